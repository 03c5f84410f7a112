"""A sequence of actions in the form in which it is stored in a file."""

from __future__ import annotations

import itertools
from typing import Any, List, Sequence

import numpy as np


def pack(actions: Sequence[np.ndarray]) -> List[Any]:
    """Return a sequence of actions (N, A, K) as pairs (how often, the action as lists), without loss."""
    exact = (_as_lists(np.asarray(one)) for one in actions)
    return [[len(list(group)), action] for action, group in itertools.groupby(exact)]


def _as_lists(action: np.ndarray) -> List[Any]:
    """Return numbers that read as short as their type allows: 0.1, not 0.10000000149."""
    return action.astype(str).astype(float).tolist() if action.dtype == np.float32 else action.tolist()


def unpack(packed: Sequence[Any]) -> List[np.ndarray]:
    """Return the actions (N, A, K) of a packed sequence."""
    return [np.array(action) for count, action in packed for _ in range(count)]
