"""Whether an env goes another way among more envs, on toys whose batch enters what each of them does."""

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
def test_batch_that_enters_what_an_env_does_is_found(speeds):
    """A time step or a mean that depends on the number of envs, in the first env and most others."""
    assert judge(factory(speeds)) == (["an env behaves differently in a batch of 6 than in one of 5"], None)


@pytest.mark.parametrize(
    "speeds",
    [
        lambda count: np.linspace(0.5, 1.0, count),
        lambda count: np.roll(np.arange(1.0, count + 1.0), 1) / 9.0,
    ],
    ids=["all but the first", "the first alone"],
)
def test_setting_that_is_spread_over_the_batch_is_no_bug(speeds):
    """Frictions from low to high over all envs, as a curriculum has it, are the same in some env."""
    assert judge(factory(speeds)) == ([], None)


@pytest.mark.parametrize("part", [1e-6, 2e-3])
def test_rounding_is_no_difference(part):
    """What arrays of other sizes round otherwise stays below the tolerance."""
    assert judge(factory(lambda count: np.full(count, 1.0 + part * (count % 2)))) == ([], None)


def test_starts_from_one_generator_cannot_be_compared():
    """Envs that share a generator start elsewhere in another batch, and that is no bug."""

    def reset(env):
        env._generators = [env._generators[0]] * env.num_envs
        return PointMass.reset(env)

    assert "do not draw their starts independently" in judge(factory(np.ones, reset=reset))[1]


def test_starts_that_are_fixed_say_nothing_of_noise():
    """Where every start is the same, noise of one generator could not be told from a bug."""

    def reset(env):
        env.seed_again()
        return PointMass.reset(env)

    def seed_again(env):
        env._generators = [np.random.default_rng(index) for index in range(env.num_envs)]

    assert judge(factory(np.ones, reset=reset, seed_again=seed_again))[1] == "the starts are not random"


def test_batch_of_a_fixed_size_is_not_judged():
    """A factory that takes no number of envs can say nothing."""
    assert judge(lambda seed=0: make_pointmass(num_envs=5, seed=seed))[1] == "the factory takes no num_envs"
