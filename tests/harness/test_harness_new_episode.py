"""What a new episode may know, on runs and relations that are written down by hand, and on toys."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts import check_env, new_episode
from harness.contracts.action_masks import require_one_mask_for_each_state
from harness.contracts.env_under_test import EnvUnderTest
from harness.findings import ContractError
from harness.interface.player import Seen
from harness.toys import DiscretePointMass, PointMass, make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, OBS_DIM, STATE_DIM, CHOICES = 5, 2, 4, 3, 6


def steps(count, ends=(), truncated=()):
    """Return a run of steps in which envs end their episodes at `ends` [(step, env)], some by a time limit."""
    history = []
    for step in range(count):
        dones, limit = np.zeros((2, NUM_ENVS, AGENTS), bool)
        for at, env in ends:
            dones[env] |= at == step
            limit[env] |= at == step and (at, env) in truncated
        nothing = np.zeros((NUM_ENVS, AGENTS, 1))
        history.append(Seen(nothing, nothing, rewards=nothing[..., 0], dones=dones, truncated=limit))
    return history


def test_other_actions_are_taken_before_a_time_limit_alone():
    """In the last three steps of an episode of seven or more; failures come sooner or later by other actions."""
    ends = [(7, 0), (9, 1), (13, 0), (20, 0), (6, 2)]
    other = new_episode.steps_before_limits(steps(24, ends, truncated=[(7, 0), (13, 0), (20, 0), (6, 2)]))
    assert [tuple(place) for place in np.argwhere(other)] == [(5, 0), (6, 0), (7, 0), (18, 0), (19, 0), (20, 0)]


def test_envs_are_alike_in_what_agents_and_in_what_the_critic_is_shown():
    """One number that differs in either is enough."""
    one, other = steps(2)
    one.obs, one.share_obs = np.zeros((2, NUM_ENVS, AGENTS, OBS_DIM))
    other.obs, other.share_obs = np.zeros((2, NUM_ENVS, AGENTS, OBS_DIM))
    other.obs[1, 1, 3] = other.share_obs[2, 0, 1] = other.obs[4, 0, 0] = other.share_obs[4, 1, 2] = 1e-6
    assert new_episode.shows_the_same(one, other).tolist() == [True, False, False, True, False]


class Smoothed(PointMass):
    """Its rewards hold half of the last one."""

    last = 0.0

    def step(self, actions):
        """Act."""
        obs, share_obs, rewards, *rest = super().step(actions)
        self.last = rewards + 0.5 * self.last
        return (obs, share_obs, self.last, *rest)


class Drawing(PointMass):
    """Draws a number for each large action, so that where an episode starts depends on what was done before."""

    def step(self, actions):
        """Act."""
        for env_id, large in enumerate((abs(actions) > 0.5).sum(axis=(1, 2))):
            self._generators[env_id].uniform(size=large)
        return super().step(actions)


def make(kind, discrete=False):
    """Return a factory of toys of this kind."""

    def factory(num_envs=5, seed=0):
        env = make_pointmass(num_envs, 2, seed, 20, discrete)
        env.__class__ = kind
        return env

    return factory


def test_reward_that_remembers_the_old_episode_is_found():
    """With the env, and how long after the start it showed."""
    report = check_env(make(Smoothed), contracts=("no-memory",), seed=3)
    (finding,) = report.findings
    assert finding.what == "a new episode depends on the one before: rewards"
    assert ", step 1 of the episode" in finding.where


class Slipping(Drawing):
    """The same, and all episodes of an env start alike, while what is drawn moves the robots."""

    def _start(self, env_id):
        drawing, self._generators[env_id] = self._generators[env_id], np.random.default_rng(env_id)
        super()._start(env_id)
        self._generators[env_id] = drawing

    def _move(self, commands):
        slips = np.array([generator.uniform() < 0.2 for generator in self._generators])
        super()._move(np.where(slips[:, None, None], 0.0, commands))


@pytest.mark.parametrize("kind", [PointMass, Drawing, Slipping])
def test_chance_is_no_memory(kind):
    """Neither where starts depend on what was done before, nor where what follows on equal starts does."""
    report = check_env(make(kind), contracts=("no-memory",), seed=3)
    assert report.findings == []
    assert "no-memory" in report.passed


class SlippingAndSmoothed(Slipping, Smoothed):
    """Has a memory besides, of the reward."""

    last = 0.0


def test_memory_is_found_beside_chance():
    """As long as the same is shown, the reward must be the same."""
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
    """It shows at the start itself, where all else is alike."""
    report = check_env(make(Forbidding, discrete=True), contracts=("no-memory",), seed=3)
    (finding,) = report.findings
    assert finding.what == "a new episode depends on the one before: available"
    assert ", step 0 of the episode" in finding.where


def shown_by(state, **broken):
    """Return an observation (M, 4) of a state (M, 3): a copy, a difference, a constant, and what does not follow."""
    first, second, third = state.T
    obs = np.stack([first, second - third, np.full(len(state), 7.0), np.sin(9.0 * first)], axis=-1)
    obs[broken.get("at", []), broken.get("entry", 0)] += 0.5
    return obs


def test_relation_is_found_and_where_it_is_broken():
    """Copies and differences are related; half of the new samples, and three at least, must be off."""
    draw = np.random.default_rng(5)
    state, starts = draw.normal(size=(90, STATE_DIM)), draw.normal(size=(10, STATE_DIM))
    related = new_episode.ExactSums.fit(state, shown_by(state))
    assert related.entries.tolist() == [True, True, False, False]
    assert not related.broken(starts, shown_by(starts)).any()
    assert related.broken(starts, shown_by(starts, at=range(5), entry=1)).tolist() == [False, True, False, False]
    assert not related.broken(starts, shown_by(starts, at=range(4), entry=1)).any()
    assert not related.broken(starts[:4], shown_by(starts[:4], at=range(2), entry=1)).any()


def test_relation_needs_samples_and_no_cancelling():
    """Few samples fit anything; a small difference of large numbers may come from how they move."""
    draw = np.random.default_rng(6)
    state = draw.normal(size=(90, STATE_DIM))
    assert not new_episode.ExactSums.fit(state[:19], shown_by(state[:19])).entries.any()
    state[:, 2] = state[:, 1] + 0.01 * draw.normal(size=90)
    assert new_episode.ExactSums.fit(state, shown_by(state)).entries.tolist() == [True, False, False, False]


class LateTime(PointMass):
    """Shows agent 1, in what a part of its life returns, half of the time that is left."""

    resets, part = 0, ""

    def reset(self):
        """Start all envs anew."""
        self.resets += 1
        obs, *rest = super().reset()
        obs[:, 1, -1] *= 0.5 if self.part == "reset" and self.resets > 1 else 1.0
        return (obs, *rest)

    def step(self, actions):
        """Act."""
        obs, share_obs, rewards, dones, *rest = super().step(actions)
        off = dones.all(axis=1) if self.part == "start" else self.part == "later" and self.resets > 1
        obs[:, 1, -1] *= np.where(off, 0.5, 1.0)
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
    """The time that is left follows from share_obs in all other steps, and in all of a clean environment."""
    report = check_env(make(type("Planted", (LateTime,), {"part": part})), contracts=("one-moment",), seed=3)
    if place is None:
        assert report.passed == ["one-moment"]
        assert not report.findings
        return
    (finding,) = report.findings
    assert finding.what == "obs and share_obs are not of one moment in " + place
    assert finding.where == "agent 1, entry 6 of obs"


def test_relation_is_looked_at_after_as_many_resets_as_stated(monkeypatch):
    """Three steps before and after each of four resets; what these return is kept apart."""
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


def masks(*available):
    """Return a run in which all envs show the same states again and again, with these masks by step."""
    history = steps(len(available))
    for step, (seen, mask) in enumerate(zip(history, available)):
        seen.obs = np.arange(NUM_ENVS * AGENTS, dtype=float).reshape(NUM_ENVS, AGENTS, 1)
        seen.share_obs = np.repeat(seen.obs[:, :1] + 100.0 * (step % 2), AGENTS, axis=1)
        seen.available = np.tile(mask, (NUM_ENVS, AGENTS, 1))
    return history


def test_state_that_comes_with_two_masks_is_found():
    """The states alternate; masks may as well, and may not otherwise."""
    usual, other = np.ones(CHOICES), np.arange(CHOICES) % 2
    assert require_one_mask_for_each_state(masks(usual, other, usual, other)) is None
    assert require_one_mask_for_each_state(steps(3)) is None  # actions that need no mask
    with pytest.raises(ContractError) as caught:
        require_one_mask_for_each_state(masks(usual, other, other))
    assert caught.value.where == "env 0, agent 0, step 2; it was seen in env 0 at step 0"
    assert caught.value.got == "[0, 1, 0, 1, 0, 1], in 10 states"
    few = masks(usual, other, usual)
    few[2].available[:2] = other
    assert require_one_mask_for_each_state(few) is None  # four states are no more than an accident


class KeepingAFile(PointMass):
    """Opens a file for each env that it never closes."""

    kept = []

    def reset(self):
        """Start all envs anew."""
        self.kept.append(open("/dev/null"))  # noqa: SIM115
        return super().reset()


class SharingAFile(KeepingAFile):
    """Opens one file for all environments."""

    def reset(self):
        """Start all envs anew."""
        return super().reset() if not self.kept else PointMass.reset(self)


@pytest.mark.parametrize("kind, found", [(KeepingAFile, ["close"]), (SharingAFile, []), (PointMass, [])])
def test_environment_that_leaves_a_file_open_is_found(kind, found, monkeypatch):
    """What all environments share is no leak."""
    monkeypatch.setattr(KeepingAFile, "kept", [])
    report = check_env(make(kind), contracts=("close",))
    assert [finding.contract for finding in report.findings] == found
    assert not found or report.findings[0].what == "each environment leaves an open file when it is closed"
    for file in KeepingAFile.kept:
        file.close()


def test_slow_factories_are_not_asked_for_five_environments(monkeypatch):
    """They may take a twentieth of the budget."""
    monkeypatch.setattr("harness.contracts.lifecycle._left_over", lambda: 1 / 0)
    from harness.contracts import lifecycle

    subject = SimpleNamespace(build_s=0.61, budget_s=60.0)
    assert lifecycle.require_nothing_left(subject) is None
