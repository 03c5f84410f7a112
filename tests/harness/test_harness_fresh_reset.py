"""Tests of the contract that a call of `reset` starts new episodes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from wrapped import report_of

from harness.contracts import Task
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness

FRESH = ["fresh-reset"]


def make(kind):
    """Return a factory of toys of this class."""
    return lambda num_envs=5, seed=0: kind(num_envs, 2, seed, 20)


class KeepsHalf(PointMass):
    """Resets the first `num_reset` envs only, once it was reset."""

    num_reset = 2

    def reset(self):
        """Start some episodes."""
        if not self._age.any():
            return super().reset()
        for env_id in range(self.num_reset):
            self._start(env_id)
        return (*self._observe(), self._available_actions())


class KeepsTwo(KeepsHalf):
    """Resets the first three of five envs."""

    num_reset = 3


class Still(PointMass):
    """Never moves."""

    def step(self, actions):
        """Show the start again, whatever is done."""
        returned = list(super().step(actions))
        returned[:2] = self._shown
        return tuple(returned)

    def reset(self):
        """Start new episodes that all look the same."""
        obs, share_obs, available = super().reset()
        self._shown = [np.ones_like(obs), np.ones_like(share_obs)]
        return (*self._shown, available)


def test_reset_that_leaves_most_envs_as_they_are_is_found():
    """Three of five envs show the same after reset."""
    (finding,) = report_of(make(KeepsHalf), contracts=FRESH).findings
    assert finding.what == "reset does not reset an env in mid-episode"
    assert finding.where == "env 2, call 2 of reset, after 7 steps"
    assert finding.got.endswith("so it is 12 of 20 times")


class SeedsAgain(PointMass):
    """Starts the same episodes with every call of reset."""

    def reset(self):
        """Seed, and start."""
        self._generators = [np.random.default_rng(env_id) for env_id in range(self.num_envs)]
        return super().reset()


def test_reset_that_always_starts_the_same_episodes_is_found():
    """Those within a run start in different ways; a task may state that it is by design."""
    (finding,) = report_of(make(SeedsAgain), contracts=FRESH).findings
    assert finding.what == "every call of reset starts the same episodes"
    assert finding.where == "calls 2 to 5 of reset"
    assert report_of(make(SeedsAgain), contracts=FRESH, task=Task(fixed_starts=True)).passed == FRESH


class OneStart(SeedsAgain):
    """Starts the same episodes within a run, too."""

    def _start(self, env_id):
        self._generators[env_id] = np.random.default_rng(env_id)
        super()._start(env_id)


def test_world_that_always_starts_alike_holds():
    """Its calls of reset can start nothing else."""
    assert report_of(make(OneStart), contracts=FRESH).passed == FRESH


def test_few_equal_starts_may_be_accidents():
    """Two of five envs: in a world of few states, a start may be where the env just was."""
    assert report_of(make(KeepsTwo), contracts=FRESH).passed == FRESH


def test_env_that_never_moves_says_nothing():
    """Nobody can tell whether it was reset."""
    reason = report_of(make(Still), contracts=FRESH).not_judged["fresh-reset"]
    assert reason.startswith("0 envs that had moved before a call of reset")


def test_toys_hold():
    """With continuous actions and with masks."""
    for discrete in (False, True):
        make_env = functools.partial(make_pointmass, discrete=discrete)
        assert report_of(make_env, contracts=FRESH).passed == FRESH
