"""A sequence of actions in the form in which it is stored in a file."""

from __future__ import annotations

import itertools
from typing import Any, List, Sequence

import numpy as np


def pack(actions: Sequence[np.ndarray]) -> List[Any]:
    """Return a sequence of actions (N, A, K) as pairs (count, action as lists), without loss."""
    packed = []
    for action, repeats in itertools.groupby(map(_as_lists, actions)):
        packed.append([len(list(repeats)), action])
    return packed


def unpack(packed: Sequence[Any]) -> List[np.ndarray]:
    """Return the actions (N, A, K) of a packed sequence."""
    actions = []
    for count, action in packed:
        actions += [np.array(action) for _ in range(count)]
    return actions


def _as_lists(action: Any) -> List[Any]:
    """Return an action as lists of numbers that are written as short as their type allows: 0.1, not 0.10000000149."""
    array = np.asarray(action)
    if array.dtype == np.float32:
        array = array.astype(str).astype(float)
    return array.tolist()
