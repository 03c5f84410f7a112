"""Tests of whether envs share a random generator: who promises one to each env, and what is said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import List, Optional, Sequence

import numpy as np
import pytest
from wrapped import SHORT

from harness.contracts import Task, check_env
from harness.contracts.comparison import Bystanders
from harness.contracts.own_generators import SHARED, _promise_of, better_start, promised_generators, redrawn_start
from harness.object_graph import list_of_generators
from harness.toys import PointMass

pytestmark = pytest.mark.harness

NUM_ENVS = 5


class SharedGenerator(PointMass):
    """All envs draw their starts from one generator, as in simulators on a GPU."""

    def __init__(self, num_envs, num_agents, seed, horizon):
        super().__init__(num_envs, num_agents, seed, horizon)
        self._generators = [np.random.default_rng(seed)] * num_envs


class SharedLevel(PointMass):
    """Each env has its own generator, but starts are further away the more episodes have ended in all envs."""

    def _start(self, env_id):
        super()._start(env_id)
        self._level = getattr(self, "_level", 0) + 1
        self._goal[env_id] += 1e-3 * self._level


def report_of(kind, task=None, seed=0):
    """Judge `partial-reset` of a toy."""

    def make_env(num_envs=NUM_ENVS, seed=0):
        return kind(num_envs, 2, seed, 12)

    return check_env(make_env, contracts=["partial-reset"], task=task, seed=seed, effort=SHORT)


def test_generator_that_all_envs_share_is_a_note():
    """It is legal, and usual on a GPU: the note says what cannot be repeated."""
    report = report_of(SharedGenerator)
    assert report.passed == ["partial-reset"]
    assert report.notes.count(SHARED) == 1
    assert SHARED not in report_of(PointMass).notes


def test_generator_that_all_envs_share_against_a_promise_is_found():
    """Whoever states that each env has its own generator is shown the start that depends on the others."""
    (finding,) = report_of(SharedGenerator, Task(own_generators=True)).findings
    assert finding.what == "starts of an env depend on when others end"
    assert finding.expected == "the same start, as Task(own_generators=True) says"
    assert finding.step > 0


@pytest.mark.parametrize("task", [None, Task(own_generators=True)])
def test_level_that_all_envs_share_is_no_finding(task):
    """The starts then differ though every generator has the same state."""
    report = report_of(SharedLevel, task, seed=3)
    assert report.passed == ["partial-reset"]
    assert SHARED not in report.notes


class TakesSeeds:
    """Its reset takes a seed for each env."""

    def reset(self, *, seed: Optional[Sequence[int]] = None):
        """Start new episodes."""


class TakesASeed:
    """Its reset takes one seed."""

    def reset(self, *, seed: Optional[int] = None):
        """Start new episodes."""


class VectorEnv:
    """Its reset takes several seeds on paper, as the base class of gymnasium's vector environments."""

    def reset(self, *, seed: Optional[List[int]] = None):
        """Start new episodes."""


class Inheriting(VectorEnv):
    """Has the reset of the base class, which promises nothing of its own."""


def holding(*generators):
    """Return an environment that keeps a list of generators."""
    return SimpleNamespace(noise=[0.0] * 3, rngs=list(generators))


def test_environment_promises_generators_by_a_list_of_them_or_of_seeds():
    """A list must have one generator for each env, and no generator twice."""
    one, two, three = map(np.random.default_rng, range(3))
    assert _promise_of(holding(one, two, three), 3) == "env.rngs holds a generator for each env"
    assert list_of_generators(SimpleNamespace(by_env={4: one, 5: two}), 2) == "env.by_env"
    for kept in ((one, two), (one, two, two), (one, two, "three")):
        assert _promise_of(holding(*kept), 3) is None
    assert _promise_of(TakesSeeds(), 3) == "reset takes a seed for each env"
    assert _promise_of(TakesASeed(), 3) is None
    assert _promise_of(Inheriting(), 3) is None


def test_factory_promises_generators_by_its_parameters():
    """A list of seeds has a name in the plural, or a type that says so."""

    def named(num_envs=5, seeds=(0, 1)):
        """Take seeds."""

    def typed(seed: Sequence[int] = (0,)):
        """Take seeds."""

    def plain(num_envs: int = 5, seed: int = 0):
        """Take a seed."""

    def subject(make_env):
        env = SimpleNamespace(close=lambda: None)
        sizes = SimpleNamespace(num_envs=3)
        return SimpleNamespace(task=None, make_env=make_env, build=lambda: env, sizes=sizes)

    assert promised_generators(subject(named)) == "the factory takes a seed for each env"
    assert promised_generators(subject(typed)) == "the factory takes a seed for each env"
    assert promised_generators(subject(plain)) is None


def test_start_that_moved_has_the_actions_of_both_runs_up_to_it():
    """It can be compared if the same envs ended in its step."""
    steps = [SimpleNamespace(actions=number, ended=np.array([number == 2, True])) for number in range(4)]
    others = [SimpleNamespace(actions=-number, ended=np.array([number == 2, True])) for number in range(3)]
    bystanders = Bystanders(np.array([False, True]))
    assert redrawn_start(bystanders, steps, others) is None
    bystanders.moved = np.array([False, True])
    assert redrawn_start(bystanders, steps, others) == (2, 1, [1, 2], [-1, -2], True)
    comparable = redrawn_start(bystanders, steps, others)
    others[-1].ended = np.array([False, True])
    other = redrawn_start(bystanders, steps, others)
    assert not other.is_comparable
    assert better_start(other, comparable) is better_start(comparable, other) is comparable
    assert better_start(None, other) is better_start(other, None) is better_start(other, other._replace(env=0)) is other
    assert better_start(comparable, comparable._replace(env=0)) is comparable
