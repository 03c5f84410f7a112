"""The contract that a call of `reset` starts a new episode in every env, whenever it is called.

An env that has moved since its episode began, and that shows after `reset` bit for bit what it showed before, was not
reset: its old episode goes on. In an env with few states this happens by accident, but not in most cases.

Nor may every call start the same episodes, if the episodes within a run start in different ways: then `reset` seeds the
generators again, and an evaluation sees the same few episodes for ever.
"""

from __future__ import annotations

import collections
from typing import Dict, List, Set, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.player import Seen
from harness.interface.same_bytes import same_bytes

NUM_RESETS = 4
STEPS_BETWEEN_RESETS = 7
FIELDS = ("obs", "share_obs")
MIN_MOVED = 3  # envs at all resets together that had moved
MIN_DIFFERENT = 0.5  # fraction of the envs whose episodes start in different ways
MIN_SAME = 0.5  # fraction of them that show the same afterwards, for a finding


@contract("fresh-reset")
def fresh_reset(subject: EnvUnderTest) -> None:
    """A call of `reset` starts a new episode in every env, also in the middle of one."""
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 97, ("uniform",))
    num_moved = 0
    same = []
    start = player.seen[-1]
    starts = []
    try:
        for number in range(1, NUM_RESETS + 1):
            drive(player, driver, STEPS_BETWEEN_RESETS)
            before = player.seen[-1]
            has_moved = ~_alike(start, before)
            start = player.reset()
            starts.append(start)
            num_moved += int(has_moved.sum())
            for env in map(int, np.flatnonzero(has_moved & _alike(before, start))):
                same.append((number, env))
    finally:
        close_quietly(player.env)
    if num_moved < MIN_MOVED:
        raise subject.too_few("envs that had moved before a call of reset", num_moved, MIN_MOVED)
    if len(same) >= MIN_SAME * num_moved:
        raise _not_reset(same, num_moved)
    if not getattr(subject.task, "fixed_starts", False):
        require_different_starts(starts, subject.long_run().seen)


def require_different_starts(starts: List[Seen], history: List[Seen]) -> None:
    """Raise if all calls of reset start the same episodes, although those within a run start in different ways.

    Args:
      starts: what the calls returned.
      history: a run.
    """
    if not all(_alike(starts[0], other).all() for other in starts[1:]):
        return
    within: Dict[int, Set[bytes]] = collections.defaultdict(set)
    for seen in history[1:]:
        for env in map(int, np.flatnonzero(seen.ended)):
            within[env].add(seen.obs[env].tobytes() + seen.share_obs[env].tobytes())
    num_different = sum(len(of_env) > 1 for of_env in within.values())
    if num_different < MIN_DIFFERENT * len(starts[0].obs):
        return
    raise ContractError(
        "every call of reset starts the same episodes",
        where=f"calls 2 to {len(starts) + 1} of reset",
        got="the same obs and share_obs in all envs, though the episodes within a run start in different ways",
        expected="new episodes: only a seed that is given starts the generators again",
        cause="reset seeds the generators",
        fix="seed them where the environment is made, and in seed(); if it is by design, pass Task(fixed_starts=True)",
    )


def _not_reset(same: List[Tuple[int, int]], num_moved: int) -> ContractError:
    """Return the error for envs that show the same after a call of reset, pairs of its number and the env."""
    number, env = same[0]
    return ContractError(
        "reset does not reset an env in mid-episode",
        where=f"env {env}, call {number + 1} of reset, after {STEPS_BETWEEN_RESETS} steps",
        got=f"obs and share_obs are those of the step before; so it is {len(same)} of {num_moved} times",
        expected="the first observation of a new episode",
        cause="only envs that are done, or that have not started yet, are reset",
        fix="start a new episode in every env, whatever its state",
    )


def _alike(one: Seen, other: Seen) -> np.ndarray:
    """Return which envs (N,) show the same in both, bit for bit."""
    alike = np.ones(len(one.obs), bool)
    for env in range(len(alike)):
        for field in FIELDS:
            alike[env] &= same_bytes(getattr(one, field)[env], getattr(other, field)[env])
    return alike
