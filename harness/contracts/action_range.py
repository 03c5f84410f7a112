"""The contract that actions outside their bounds do no more than actions at the bounds.

Method: an action at the bound of an axis is compared with one that is a hundred times as large, each for one step from
the same start. If the environment clips or squashes actions, both move things about equally far.
"""

from __future__ import annotations

from typing import Iterator, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import finite_range, neutral

BEYOND_FACTOR = 100.0  # of the bound
MAX_RATIO = 1.6  # of the effects; squashing changes the effect less than this, no clipping much more
MIN_EFFECT = 1e-9  # of the action at the bound, for a ratio


@contract("actions-any-range")
def actions_any_range(subject: EnvUnderTest) -> None:
    """Actions outside the action_space are clipped or squashed: HARL draws such actions and never clips them."""
    subject.long_run()
    if subject.sizes.discrete:
        raise NotJudgedError("indices are always in range")
    subject.require_same_again()
    at_rest = _seen_after(subject, neutral(subject.sizes))
    num_judged = 0
    for axis, bound in _bounds(subject):
        at_bound = _effect(subject, axis, bound, at_rest)
        beyond = _effect(subject, axis, BEYOND_FACTOR * bound, at_rest)
        ratio = float(np.median(beyond / np.maximum(at_bound, MIN_EFFECT)))
        num_judged += bool(at_bound.max() > 0)
        if at_bound.max() > 0 and ratio > MAX_RATIO:
            raise ContractError(
                "actions beyond the action_space are not clipped",
                where=f"axis {axis}",
                got=f"an action of {BEYOND_FACTOR * bound:g} moves {ratio:.1f} times as far as one of {bound:g}",
                expected=f"no more than the bound of the space, {bound:g}",
                fix="actions = np.clip(actions, low, high)",
            )
    if not num_judged:
        raise NotJudgedError("no action at a bound changes what is seen in one step")


def _bounds(subject: EnvUnderTest) -> Iterator[Tuple[int, float]]:
    """Yield axis and bound for each finite bound that is not the neutral action."""
    sizes = subject.sizes
    low, high = finite_range(sizes)
    for axis in range(sizes.action_dim):
        for stated, bound in ((sizes.high[axis], high[axis]), (sizes.low[axis], low[axis])):
            if np.isfinite(stated) and bound != neutral(sizes)[axis]:
                yield axis, bound


def _effect(subject: EnvUnderTest, axis: int, value: float, at_rest: np.ndarray) -> np.ndarray:
    """Return the largest change in each env (N,) that an action of this value on one axis causes."""
    action = neutral(subject.sizes).copy()
    action[axis] = value
    return abs(_seen_after(subject, action) - at_rest).max(axis=(1, 2))


def _seen_after(subject: EnvUnderTest, action: np.ndarray) -> np.ndarray:
    """Return the observations (N, A, D) after all agents took the same action (K,) for one step."""
    player = subject.player()
    try:
        actions = np.tile(action, subject.sizes.action_shape[:2] + (1,))
        return player.step(actions).obs.astype(float)
    finally:
        close_quietly(player.env)
