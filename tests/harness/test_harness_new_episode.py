"""Tests of what a new episode may depend on: runs and relations written by hand, and toys."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import check_env, new_episode
from harness.contracts.env_under_test import EnvUnderTest
from harness.interface.player import Seen
from harness.toys import DiscretePointMass, PointMass, make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, OBS_DIM, STATE_DIM = 5, 2, 4, 3


def steps(count, ends=(), truncated=()):
    """Return a run in which envs end their episodes at `ends` [(step, env)], some by a time limit."""
    history = []
    for step in range(count):
        dones, limit = np.zeros((2, NUM_ENVS, AGENTS), bool)
        for at, env in ends:
            dones[env] |= at == step
            limit[env] |= at == step and (at, env) in truncated
        nothing = np.zeros((NUM_ENVS, AGENTS, 1))
        history.append(Seen(nothing, nothing, rewards=nothing[..., 0], dones=dones, truncated=limit))
    return history


def test_actions_differ_only_before_a_time_limit():
    """Actions differ only in the last three steps before a time limit, in episodes of seven steps or more."""
    ends = [(7, 0), (9, 1), (13, 0), (20, 0), (6, 2)]
    other = new_episode.steps_before_limits(steps(24, ends, truncated=[(7, 0), (13, 0), (20, 0), (6, 2)]))
    assert [tuple(place) for place in np.argwhere(other)] == [(5, 0), (6, 0), (7, 0), (18, 0), (19, 0), (20, 0)]


def test_envs_are_alike_in_what_agents_and_in_what_the_critic_is_shown():
    """A single number that differs in obs or share_obs is enough for a difference."""
    one, other = steps(2)
    one.obs, one.share_obs = np.zeros((2, NUM_ENVS, AGENTS, OBS_DIM))
    other.obs, other.share_obs = np.zeros((2, NUM_ENVS, AGENTS, OBS_DIM))
    other.obs[1, 1, 3] = other.share_obs[2, 0, 1] = other.obs[4, 0, 0] = other.share_obs[4, 1, 2] = 1e-6
    assert new_episode.shows_the_same(one, other).tolist() == [True, False, False, True, False]


class Smoothed(PointMass):
    """Its rewards contain half of the reward before."""

    last = 0.0

    def step(self, actions):
        """Act."""
        obs, share_obs, rewards, *rest = super().step(actions)
        self.last = rewards + 0.5 * self.last
        return (obs, share_obs, self.last, *rest)


class Drawing(PointMass):
    """Draws a number for each large action, so the next start depends on earlier actions."""

    def step(self, actions):
        """Act."""
        for env_id, large in enumerate((abs(actions) > 0.5).sum(axis=(1, 2))):
            self._generators[env_id].uniform(size=large)
        return super().step(actions)


def make(kind, discrete=False):
    """Return a factory of toys of this class."""

    def factory(num_envs=5, seed=0):
        env = make_pointmass(num_envs, 2, seed, 20, discrete)
        env.__class__ = kind
        return env

    return factory


def test_reward_that_remembers_the_old_episode_is_found():
    """The finding names the env, and the step of the new episode at which it showed."""
    report = check_env(make(Smoothed), contracts=("no-memory",), seed=3)
    (finding,) = report.findings
    assert finding.what == "a new episode depends on the one before: rewards"
    assert ", step 1 of the episode" in finding.where


class Slipping(Drawing):
    """Draws as well, and starts all episodes of an env alike, while the draws make the robots slip."""

    def _start(self, env_id):
        drawing, self._generators[env_id] = self._generators[env_id], np.random.default_rng(env_id)
        super()._start(env_id)
        self._generators[env_id] = drawing

    def _move(self, commands):
        slips = np.array([generator.uniform() < 0.2 for generator in self._generators])
        super()._move(np.where(slips[:, None, None], 0.0, commands))


@pytest.mark.parametrize("kind", [PointMass, Drawing, Slipping])
def test_chance_is_no_memory(kind):
    """Draws that depend on earlier actions may change the starts, or what follows equal starts."""
    report = check_env(make(kind), contracts=("no-memory",), seed=3)
    assert report.findings == []
    if kind is Drawing:  # hardly any start after a disturbed end is equal in both runs
        assert "that followed a disturbed end of an episode" in report.not_judged["no-memory"]
    else:
        assert "no-memory" in report.passed


def test_memory_is_not_judged_if_nothing_was_disturbed():
    """Starts after episodes that ended in the same actions in both runs say nothing, however many there are."""
    ends = [(step, env) for step in (4, 8, 12, 16) for env in range(NUM_ENVS)]
    history = steps(20, ends, truncated=ends)
    comparison = new_episode._MemoryComparison(history)
    for step, seen in enumerate(history[1:], start=1):
        comparison.require_no_memory(step, seen, seen)
    assert not comparison.disturbed.any()
    assert (comparison.compared_starts, comparison.compared_steps) == (0, 0)
    ends = [(9, 2), (18, 2)]
    history = steps(20, ends, truncated=ends)
    comparison = new_episode._MemoryComparison(history)
    for step, seen in enumerate(history[1:], start=1):
        comparison.require_no_memory(step, seen, seen)
    assert (comparison.compared_starts, comparison.compared_steps) == (2, 7)


class SlippingAndSmoothed(Slipping, Smoothed):
    """Has both random slips and a memory of the reward."""

    last = 0.0


def test_memory_is_found_in_a_random_environment():
    """As long as the same is shown in both runs, the rewards must be equal."""
    report = check_env(make(SlippingAndSmoothed), contracts=("no-memory",), seed=3)
    assert [finding.what for finding in report.findings] == ["a new episode depends on the one before: rewards"]


class Forbidding(DiscretePointMass):
    """Makes the last action of an episode unavailable at the start of the next one."""

    def step(self, actions):
        """Act."""
        *returned, available = super().step(actions)
        for env_id, agent in np.argwhere(returned[3]):
            available[env_id, agent, actions[env_id, agent, 0]] = 0
        return (*returned, available)


def test_mask_that_remembers_the_old_episode_is_found():
    """The mask differs already at the start, where everything else is equal."""
    report = check_env(make(Forbidding, discrete=True), contracts=("no-memory",), seed=3)
    (finding,) = report.findings
    assert finding.what == "a new episode depends on the one before: available"
    assert ", step 0 of the episode" in finding.where


def shown_by(state, **broken):
    """Return an observation (M, 4) of a state (M, 3): a copy, a difference, a constant, and a nonlinear function."""
    first, second, third = state.T
    obs = np.stack([first, second - third, np.full(len(state), 7.0), np.sin(9.0 * first)], axis=-1)
    obs[broken.get("at", []), broken.get("entry", 0)] += 0.5
    return obs


def test_relation_is_found_and_where_it_is_broken():
    """Copies and differences are exact sums; a sum is broken if half of the samples, and at least three, are off."""
    draw = np.random.default_rng(5)
    state, starts = draw.normal(size=(90, STATE_DIM)), draw.normal(size=(10, STATE_DIM))
    related = new_episode.ExactSums.fit(state, shown_by(state))
    assert related.entries.tolist() == [True, True, False, False]
    assert not related.broken(starts, shown_by(starts)).any()
    assert related.broken(starts, shown_by(starts, at=range(5), entry=1)).tolist() == [False, True, False, False]
    assert not related.broken(starts, shown_by(starts, at=range(4), entry=1)).any()
    assert not related.broken(starts[:4], shown_by(starts[:4], at=range(2), entry=1)).any()


def test_relation_needs_samples_and_no_cancelling():
    """A few samples fit anything, and a small difference of large terms may be an accident."""
    draw = np.random.default_rng(6)
    state = draw.normal(size=(90, STATE_DIM))
    assert not new_episode.ExactSums.fit(state[:19], shown_by(state[:19])).entries.any()
    state[:, 2] = state[:, 1] + 0.01 * draw.normal(size=90)
    assert new_episode.ExactSums.fit(state, shown_by(state)).entries.tolist() == [True, False, False, False]


class LateTime(PointMass):
    """Shows agent 1 half of the remaining time, in one part of what the environment returns."""

    resets, part = 0, ""

    def reset(self):
        """Start a new episode in every env."""
        self.resets += 1
        obs, *rest = super().reset()
        if self.part == "reset" and self.resets > 1:
            obs[:, 1, -1] *= 0.5
        return (obs, *rest)

    def step(self, actions):
        """Act."""
        obs, share_obs, rewards, dones, *rest = super().step(actions)
        if self.part == "start":
            obs[dones.all(axis=1), 1, -1] *= 0.5
        if self.part == "later" and self.resets > 1:
            obs[:, 1, -1] *= 0.5
        return (obs, share_obs, rewards, dones, *rest)


@pytest.mark.parametrize(
    "part, place",
    [
        ("start", "the first step of an episode"),
        ("reset", "what a later reset returns"),
        ("later", "the steps after a later reset"),
        ("", None),
    ],
)
def test_two_moments_are_found_where_they_are_shown_together(part, place):
    """The remaining time follows from share_obs in all other steps, and always in a clean environment."""
    report = check_env(make(type("Planted", (LateTime,), {"part": part})), contracts=("one-moment",), seed=3)
    if place is None:
        assert report.passed == ["one-moment"]
        assert not report.findings
        return
    (finding,) = report.findings
    assert finding.what == "obs and share_obs are not of one moment in " + place
    assert finding.where == "agent 1, entry 6 of obs"


def test_relation_is_looked_at_after_as_many_resets_as_stated(monkeypatch):
    """There are three steps before and after each of four resets; what resets return is kept separate."""
    seen = []

    class Noted(PointMass):
        def reset(self):
            seen.append("reset")
            return super().reset()

        def step(self, actions):
            seen.append("step")
            return super().step(actions)

    subject = EnvUnderTest(make(Noted), seed=3)
    assert subject.sizes.num_envs == 5  # one is built to read them
    seen.clear()
    later, again = new_episode._reset_often(subject)
    assert seen == ["reset"] + (["step"] * 3 + ["reset"] + ["step"] * 3) * 4
    assert (len(later), len(again)) == (12, 4)
    assert all(one.is_reset for one in again)
    assert not any(one.is_reset for one in later)
