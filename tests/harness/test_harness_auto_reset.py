"""Tests of numbers that a reset within a step leaves as they were: masks, and what is off at few ends."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import AVAILABLE, DONES, check

from harness.contracts.auto_reset import require_constants
from harness.contracts.episode_spans import episodes
from harness.findings import ContractError
from harness.grid_toy import GridTeam, make_grid
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

ENVS, AGENTS, OBS_DIM, LENGTH = 5, 2, 3, 4


class Locked(GridTeam):
    """The grid, in which the last action is forbidden at the start of every episode, within a step as `masked` says."""

    masked = True

    def reset(self):
        """Return masks that forbid the last action."""
        obs, share_obs, masks = super().reset()
        masks[..., -1] = 0
        return obs, share_obs, masks

    def step(self, actions):
        """Return such masks for envs whose episode has ended, or masks that allow it."""
        returned = list(super().step(actions))
        ended = returned[DONES].all(axis=1)
        returned[AVAILABLE][ended, :, -1] = 1 - self.masked
        return tuple(returned)


class Unlocked(Locked):
    """The same, but a reset within a step does not forbid it."""

    masked = False


@pytest.mark.parametrize("kind, words", [(Locked, ""), (Unlocked, "a reset within a step leaves available entry")])
def test_mask_of_a_start_within_a_step_must_be_one_of_reset(kind, words):
    """What is forbidden after every call of reset must be at every start."""

    def make_env(num_envs=5, num_agents=3, seed=0):
        env = make_grid(num_envs, num_agents, seed)
        env.__class__ = kind
        return env

    found = check(make_env, "auto-reset")
    assert found.startswith(words)
    assert bool(found) is bool(words)


def started(value):
    """Return what a call of `reset` returns, with a value in entry 2."""
    obs = np.full((ENVS, AGENTS, OBS_DIM), 0.5)
    obs[..., 2] = value
    return Seen(obs, obs)


def run_with(num_off):
    """Return a run of episodes, and at how many of the ends entry 2 is 1 instead of 0."""
    history = [started(0.0)]
    for step in range(1, 100):
        is_end = step % LENGTH == 0
        seen = started(float(is_end and step // LENGTH <= num_off))
        seen.rewards, seen.dones = np.ones((ENVS, AGENTS)), np.full((ENVS, AGENTS), is_end)
        seen.obs[1:, :, 2] = 0.0
        seen.truncated = seen.dones
        history.append(seen)
    return history


@pytest.mark.parametrize(
    "num_off, more, is_found",
    [
        (3, lambda: [started(0.0) for _ in range(300)], True),
        (3, lambda: [started(0.0) for _ in range(299)] + [started(1.0)], False),  # reset draws it so, too
        (3, lambda: [started(0.0) for _ in range(20)], False),  # it may be an accident
        (2, lambda: [started(0.0) for _ in range(900)], False),  # too few ends
    ],
)
def test_number_that_is_off_at_few_ends_is_compared_with_many_resets(num_off, more, is_found):
    """A flag that survives after rare outcomes only differs from a draw that is rare by many calls of reset."""
    history = run_with(num_off)
    arguments = "obs", [started(0.0) for _ in range(6)], history, episodes(history), more
    if is_found:
        with pytest.raises(ContractError, match="a reset within a step leaves obs entry 2 as it was"):
            require_constants(*arguments)
    else:
        require_constants(*arguments)
