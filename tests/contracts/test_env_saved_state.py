"""A saved state is a copy: neither the env that saved it nor an env that loaded it changes it later."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from fakes import make_env, put_object_at_goal, random_actions
from still import make_env as make_walk_env
from still import walk_config

from mapush.env.metrics import EpisodeMetrics

pytestmark = pytest.mark.contracts


def play_push(env, seed):
    """Take four steps; one of them ends an episode."""
    for step in range(4):
        if step == 2:
            put_object_at_goal(env, 3)
        env.step(random_actions(seed + step))


def play_walk(env, seed):
    """Take four steps; one of them ends an episode."""
    env.physics.set_height(0.28)
    for step in range(4):
        if step == 2:
            env.physics.set_height(torch.tensor((0.28, 0.28, 0.28, 0.1, 0.28)))
        env.step(torch.full((env.num_envs, 1, 12), 0.1 * (seed + step)))


def walk_env(seed):
    """Return the walking task on robots that stand still."""
    return make_walk_env(walk_config(), seed=seed)


def assert_same(one, other, where="state"):
    """Check that two nested values are equal bit for bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name), where + "." + field.name)
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for name in one:
            assert_same(one[name], other[name], where + "." + name)
    else:
        assert one == other, where


@pytest.mark.parametrize("make, play", [(make_env, play_push), (walk_env, play_walk)], ids=["push", "walk"])
def test_state_dict_is_changed_neither_by_its_source_nor_by_who_loads_it(make, play):
    """Both envs continue, through resets and statistics, and the saved state does not change."""
    env, fresh = make(seed=1), make(seed=2)
    for one in (env, fresh):
        one.reset()
        play(one, 5)
    saved = env.state_dict()
    kept = copy.deepcopy(saved)
    play(env, 10)
    assert_same(saved, kept)
    fresh.load_state_dict(saved)
    assert_same(fresh.state_dict(), kept)
    play(fresh, 20)
    assert_same(saved, kept)


def test_statistics_loaded_twice_count_for_themselves():
    """Two statistics loaded from one state do not share their episodes."""
    done = torch.ones(5, dtype=torch.bool)
    saved = EpisodeMetrics(("length",), 5, torch.device("cpu"), capacity=7).state_dict()
    one, other = (EpisodeMetrics(("length",), 5, torch.device("cpu"), capacity=7) for _ in range(2))
    for metrics, length in ((one, 2.0), (other, 4.0)):
        metrics.load_state_dict(saved)
        metrics.add_episodes(done, {"length": torch.full((5,), length)})
        metrics.add_step({"reward": torch.full((5, 2), length)})
    for metrics, length in ((one, 2.0), (other, 4.0)):
        assert metrics.summary() == {"episode/length": length, "reward/reward": length, "episodes": 5.0}


def test_reset_forgets_the_episodes_it_interrupts():
    """Length and return of an episode that `reset` began count only its own steps."""
    env = make_env()
    env.reset()
    env.simulator.object_velocity_w[:] = torch.tensor((0.3, 0.1, 0.0))
    for step in range(3):
        env.step(random_actions(step))
    env.reset()
    put_object_at_goal(env, 3)
    transition = env.step(random_actions(9))
    assert transition.done.tolist() == [False, False, False, True, False]
    outcome = {name: float(values[3]) for name, values in transition.outcome.items()}
    assert outcome["length"] == 1.0
    assert outcome["collaboration"] in (0.0, 1.0)
    assert outcome["return"] == pytest.approx(float(transition.reward[3].mean()))
