"""The contract that a call of `reset` starts a new episode in every env, whenever it is called.

An env that has moved since its episode began, and that shows after `reset` bit for bit what it showed before, was not
reset: its old episode goes on. In an env with few states this happens by accident, but not in most cases.
"""

from __future__ import annotations

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
MIN_SAME = 0.5  # fraction of them that show the same afterwards, for a finding


@contract("fresh-reset")
def fresh_reset(subject: EnvUnderTest) -> None:
    """A call of `reset` starts a new episode in every env, also in the middle of one."""
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 97, ("uniform",))
    num_moved = 0
    same = []
    start = player.seen[-1]
    try:
        for number in range(1, NUM_RESETS + 1):
            drive(player, driver, STEPS_BETWEEN_RESETS)
            before = player.seen[-1]
            has_moved = ~before.ended & ~_alike(start, before)
            start = player.reset()
            num_moved += int(has_moved.sum())
            for env in map(int, np.flatnonzero(has_moved & _alike(before, start))):
                same.append((number, env))
    finally:
        close_quietly(player.env)
    if num_moved < MIN_MOVED:
        raise subject.too_few("envs that had moved before a call of reset", num_moved, MIN_MOVED)
    if len(same) < MIN_SAME * num_moved:
        return
    number, env = same[0]
    raise ContractError(
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
