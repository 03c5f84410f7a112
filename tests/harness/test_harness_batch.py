"""Tests of whether an env depends on the batch size, on toys in which it does."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import check_env
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness


def factory(speeds, **changed):
    """Return a factory of toys whose agents move at `speeds(num_envs)`, (N,)."""

    class Scaled(PointMass):
        def step(self, actions):
            return super().step(np.clip(actions, -1.0, 1.0) * speeds(len(actions)).astype(np.float32)[:, None, None])

    def make_env(num_envs=5, seed=0):
        env = make_pointmass(num_envs=num_envs, seed=seed)
        env.__class__ = type("Changed", (Scaled,), changed)
        return env

    return make_env


def judge(make_env):
    """Return what the contract finds, and why it was not judged."""
    report = check_env(make_env, contracts=["batch-size"])
    return [one.what for one in report.findings], report.not_judged.get("batch-size")


@pytest.mark.parametrize(
    "speeds",
    [
        lambda count: np.full(count, 1.0 - 0.5 * (count % 2)),
        lambda count: np.full(count, 5.0 / count),
        lambda count: np.arange(count) / count + 0.1 * (count % 2),
    ],
    ids=["parity", "mean", "spread"],
)
def test_env_that_depends_on_the_batch_size_is_found(speeds):
    """A time step or a mean depends on the number of envs, in the first env and most others."""
    assert judge(factory(speeds)) == (["an env behaves differently in a batch of 6 than in one of 5"], None)


@pytest.mark.parametrize(
    "speeds",
    [
        lambda count: np.linspace(0.5, 1.0, count),
        lambda count: np.roll(np.arange(1.0, count + 1.0), 1) / 9.0,
    ],
    ids=["all but the first", "only the first"],
)
def test_setting_that_is_spread_over_the_batch_is_no_bug(speeds):
    """Frictions that are spread from low to high over the batch are equal in some env."""
    assert judge(factory(speeds)) == ([], None)


@pytest.mark.parametrize("part", [1e-6, 2e-3])
def test_rounding_is_no_difference(part):
    """Arrays of other sizes may be rounded differently, which stays below the tolerance."""
    assert judge(factory(lambda count: np.full(count, 1.0 + part * (count % 2)))) == ([], None)


def test_starts_from_one_generator_cannot_be_compared():
    """Envs that share a generator start elsewhere in a different batch, which is not a bug."""

    def reset(env):
        env._generators = [env._generators[0]] * env.num_envs
        return PointMass.reset(env)

    assert "do not draw their starts independently" in judge(factory(np.ones, reset=reset))[1]


def test_starts_that_are_fixed_say_nothing_of_noise():
    """If all starts are equal, noise of a shared generator cannot be distinguished from a bug."""

    def reset(env):
        env.seed_again()
        return PointMass.reset(env)

    def seed_again(env):
        env._generators = [np.random.default_rng(index) for index in range(env.num_envs)]

    assert judge(factory(np.ones, reset=reset, seed_again=seed_again))[1] == "the starts are not random"


def test_batch_of_a_fixed_size_is_not_judged():
    """The factory takes no number of envs."""
    assert judge(lambda seed=0: make_pointmass(num_envs=5, seed=seed))[1] == "the factory takes no num_envs"


class Squeezing(PointMass):
    """A toy that removes every axis of length 1 from the rewards."""

    def step(self, actions):
        """Return rewards without the last axis, and without that of the envs if there is one env."""
        obs, share_obs, rewards, *others = super().step(actions)
        return (obs, share_obs, np.squeeze(rewards)[..., None], *others)


def make_squeezing(num_envs=5, seed=0):
    """Return the squeezing toy."""
    env = make_pointmass(num_envs=num_envs, seed=seed)
    env.__class__ = Squeezing
    return env


def make_two_or_more(num_envs=5, seed=0):
    """Return the toy, but not for one env."""
    if num_envs < 2:
        raise ValueError("at least two envs")
    return make_pointmass(num_envs=num_envs, seed=seed)


def test_batch_of_one_env_that_does_not_work_is_found():
    """The finding says what is wrong with it."""
    report = check_env(make_squeezing, contracts=["batch-size"])
    (finding,) = report.findings
    assert finding.what == "a batch of one env does not work: rewards has shape (2, 1), not (1, 2, 1)"
    assert "np.squeeze" in finding.cause


def test_factory_may_refuse_a_batch_of_one():
    """A note says so."""
    report = check_env(make_two_or_more, contracts=["batch-size"])
    assert report.passed == ["batch-size"]
    assert any("no batch of one env" in note for note in report.notes)
