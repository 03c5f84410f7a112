"""A sequence of actions as data: packed for a file, and in words."""

from __future__ import annotations

import itertools
from typing import Any, List, Sequence

import numpy as np

NAMED = 3  # entries of the last action that are named one by one


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


def in_words(packed: Sequence[Any]) -> str:
    """Return how long a packed sequence is, and what is done in its last step."""
    steps = sum(count for count, _ in packed)
    text = "{} step{} after a reset; ".format(steps, "s" * (steps > 1))
    last = np.array(packed[-1][1])
    acting = [tuple(map(int, place)) for place in np.argwhere(last)]
    if not acting:
        return text + "no action is needed"
    if len(acting) > NAMED:
        return text + f"the last one of {len(acting)} actions that are not 0"
    named = ("{:g} for env {}, agent {}, entry {}".format(last[place], *place) for place in acting)
    return text + "in the last one " + "; ".join(named)
