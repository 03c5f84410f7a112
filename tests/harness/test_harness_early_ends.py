"""Tests of runs in which an env ends because its clock is put forward, and of noise that all envs share."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts import Effort, Task, check_env
from harness.contracts.clocks import Clock, Reading, clocks_in, put_forward, read_numbers
from harness.contracts.early_ends import ages_in, calm_steps
from harness.contracts.own_generators import SHARED
from harness.faults import find
from harness.grid_toy import make_grid
from harness.toys import PointMass

pytestmark = pytest.mark.harness

EFFORT = Effort(long_run_steps=60, max_searches=0)
NUM_ENVS = 3


# -- clocks --------------------------------------------------------------------------------------------------------


def reading(ages, is_later=(True, True, True), **numbers):
    """Return what was read when the episodes had these ages."""
    values = {name: np.asarray(value, float) for name, value in numbers.items()}
    return Reading(np.asarray(ages), np.array(is_later), values)


def test_clock_is_what_follows_the_age_of_every_episode():
    """It may count in other units, or down; what counts on over ends, or differs from env to env, is none."""
    readings = []
    for total, ages in ((2, [2, 2, 2]), (5, [5, 5, 5]), (9, [9, 1, 0])):
        age = np.array(ages)
        numbers = {"up": 25 * age + 1, "down": 12 - age, "rough": 1e4 * age + 1e-3 * (age == 5)}
        readings.append(reading(ages, **numbers, total=[total] * 3, own=age * [1, 1, 2], still=[4, 4, 4]))
    assert clocks_in(readings) == [Clock("up", 25.0, 1.0), Clock("down", -1.0, 12.0), Clock("rough", 1e4, 0.0)]
    readings[1].numbers["up"][2] += 1.0
    readings[1].numbers["rough"][2] += 1.0
    del readings[2].numbers["down"]
    assert clocks_in(readings) == []


def test_clock_is_read_at_several_ages():
    """At two ages, every number that differs would be a clock."""
    readings = [reading([2, 2, 2], age=[2, 2, 2]), reading([5, 5, 2], age=[5, 5, 2])]
    assert clocks_in(readings) == []
    readings.append(reading([0, 0, 0], age=[0, 0, 0]))
    assert clocks_in(readings) == [Clock("age", 1.0, 0.0)]
    readings[0].numbers["age"][0] = np.nan
    assert clocks_in(readings) == []


def test_clock_may_be_anywhere_in_the_first_episode():
    """Simulators spread the ends of episodes over time; only later episodes then tell which number is a clock."""
    readings = [
        reading([1, 6, 6], (True, False, False), clock=[1, 9, 4], total=[6, 6, 6]),
        reading([3, 8, 8], (True, False, False), clock=[3, 11, 6], total=[8, 8, 8]),
        reading([5, 1, 10], (True, True, False), clock=[5, 1, 8], total=[10, 10, 10]),
    ]
    assert clocks_in(readings) == [Clock("clock", 1.0, 0.0)]
    readings[2].numbers["clock"][1] = 2.0
    assert clocks_in(readings) == []


def test_clocks_of_one_env_are_put_forward():
    """Arrays and lists are found, also with a further axis, and those of different lengths are left alone."""
    env = SimpleNamespace(
        age=np.zeros((NUM_ENVS, 1), np.int32), left=[9.5, 9.5, 9.5], others=np.zeros(4), done=np.zeros(3, bool)
    )
    numbers = read_numbers(env, NUM_ENVS)
    assert sorted(numbers) == ["env.age, number 1", "env.left, number 1"]
    clocks = [Clock("env.age, number 1", 2.0, 1.0), Clock("env.left, number 1", -1.0, 9.5)]
    put_forward(env, NUM_ENVS, clocks, 1, 4)
    assert env.age.ravel().tolist() == [0, 9, 0]
    assert env.left == [9.5, 5.5, 9.5]


# -- steps ---------------------------------------------------------------------------------------------------------


def run(ends, steps=20, num_envs=2):
    """Return a run with ends at (step, env)."""
    history = [SimpleNamespace(obs=np.zeros((num_envs, 1)), ended=np.zeros(num_envs, bool))]
    for step in range(1, steps + 1):
        ended = np.array([(step, env) in ends for env in range(num_envs)])
        history.append(SimpleNamespace(obs=np.zeros((num_envs, 1)), ended=ended))
    return history


def test_ages_are_counted_from_the_last_end():
    """A reset and an end both make an episode 0 steps old."""
    assert ages_in(run([(3, 1)], steps=5)).T.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize(
    "ends, limit, steps", [([], 100, [2, 6, 10]), ([(8, 0), (8, 1)], 100, [2, 10, 14]), ([], 8, [2, 6]), ([], 3, [])]
)
def test_env_ends_early_where_all_are_in_the_middle_of_an_episode(ends, limit, steps):
    """None has just begun, and none ends within three steps, or at the next one by itself."""
    assert calm_steps(run(ends), limit) == steps


# -- contracts -----------------------------------------------------------------------------------------------------


def test_end_that_disturbs_others_is_found_though_all_envs_end_together():
    """In the short run, all episodes of the grid end at the same time limit."""
    with find("one-end-shifts-all-boxes").inject():
        (finding,) = check_env(make_grid, contracts=["partial-reset"], effort=EFFORT).findings
    assert finding.what.startswith("the reset of one env changes another: ")
    assert "; the clock of env " in finding.where
    assert check_env(make_grid, contracts=["partial-reset"], effort=EFFORT).passed == ["partial-reset"]


class Noisy(PointMass):
    """All envs draw starts and the noise of every step from one generator."""

    def __init__(self, num_envs, seed):
        super().__init__(num_envs, 2, seed, 12)
        self._noise = np.random.default_rng(seed)
        self._generators = [self._noise] * num_envs

    def _observe(self):
        obs, share_obs = super()._observe()
        return obs + 0.01 * self._noise.random(obs.shape, np.float32), share_obs


class NoisyAndCoupled(Noisy):
    """In addition, the end of one episode turns all robots."""

    def _start(self, env_id):
        super()._start(env_id)
        self._yaw = np.where(np.arange(self.num_envs)[:, None] == env_id, self._yaw, 0.5 * self._yaw)


def judge(kind, task=None, contract="partial-reset"):
    """Judge a contract of a toy."""

    def make_env(num_envs=5, seed=0):
        return kind(num_envs, seed)

    return check_env(make_env, contracts=[contract], task=task, effort=EFFORT)


def test_noise_from_a_generator_that_all_envs_share_is_a_note():
    """After an early end, all draw other noise from then on, which is legal."""
    report = judge(Noisy)
    assert report.passed == ["partial-reset"]
    assert SHARED in report.notes


class NoisyUntilIll(Noisy):
    """An env that is given NaN ends its episode."""

    def step(self, actions):
        """Act."""
        self._age[np.isnan(actions).any(axis=(1, 2))] = self.horizon - 1
        return super().step(np.nan_to_num(actions))


def test_noise_after_the_end_of_an_env_that_is_given_nan_is_a_note():
    """The env may end its episode, and the others then draw other noise; without noise, they are the same."""
    report = judge(NoisyUntilIll, contract="independence")
    assert report.passed == ["independence"]
    assert SHARED in report.notes


def test_noise_against_a_promise_and_noise_that_hides_a_disturbance_are_found():
    """With the generators in the same state before each step, only the disturbance is left."""
    assert [one.contract for one in judge(Noisy, Task(own_generators=True)).findings] == ["partial-reset"]
    assert [one.contract for one in judge(NoisyAndCoupled).findings] == ["partial-reset"]


class Unfailing(PointMass):
    """Its robots never collide, and reach no goal."""

    def __init__(self, num_envs, seed):
        super().__init__(num_envs, 2, seed, 9)
        self._robots_collide = lambda: np.zeros(num_envs, bool)

    def _start(self, env_id):
        super()._start(env_id)
        self._goal[env_id] = 2.9 + 2.9j


class OneClock(Unfailing):
    """All episodes end with the oldest one, and nobody sees how old they are."""

    def step(self, actions):
        """Act."""
        self._age[:] = self._age.max()
        return super().step(actions)

    def _observe(self):
        age, self._age = self._age, np.zeros_like(self._age)
        seen = super()._observe()
        self._age = age
        return seen


class SeenClock(Unfailing):
    """All envs see how old the oldest episode was in this step, but each ends by itself."""

    def step(self, actions):
        """Act."""
        oldest = (self._age.max() + 1) / self.horizon
        returned = super().step(actions)
        returned[0][..., -1] = oldest
        return returned


@pytest.mark.parametrize("kind", [OneClock, SeenClock])
def test_envs_that_depend_on_the_clock_itself_are_no_finding(kind):
    """Whatever a clock that was put forward does to the others, it says nothing of resets."""
    report = judge(kind)
    assert report.not_judged == {"partial-reset": "no env ended without the others"}


class DrawnLimits(Unfailing):
    """Every episode has a time limit of its own, which no action changes."""

    def __init__(self, num_envs, seed):
        self._limits = np.zeros(num_envs, int)
        super().__init__(num_envs, seed)

    def _start(self, env_id):
        super()._start(env_id)
        self._limits[env_id] = self._generators[env_id].integers(6, self.horizon)

    def step(self, actions):
        """Act."""
        self._age[self._age + 1 >= self._limits] = self.horizon - 1
        return super().step(actions)


@pytest.mark.parametrize("kind", [Unfailing, DrawnLimits])
def test_env_that_ends_early_alone_is_judged(kind):
    """Without such a dependence, toys of which no action changes the ends are judged."""
    assert judge(kind).passed == ["partial-reset"]
