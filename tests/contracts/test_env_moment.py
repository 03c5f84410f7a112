"""A moment of one env puts a second env, with different random numbers and a different past, in the same place."""

from __future__ import annotations

import pytest
import torch
from fakes import make_env, put_object_at_goal, put_robots_together, random_actions
from still import NUM_ENVS, walk_config
from still import make_env as make_walk_env

from mapush.env.vec_env import VecEnv
from mapush.errors import MapushError

pytestmark = pytest.mark.contracts


def kept(env):
    """Return a copy of a moment, which the next step may overwrite."""
    return {name: value.clone() for name, value in env.moment().items()}


def assert_alike(one, other):
    """Check that two transitions agree, up to the last observation of episodes that ended."""
    for name in ("reward", "terminated", "truncated"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("obs", "share_obs"):
        assert torch.equal(getattr(one.final_observation, name), getattr(other.final_observation, name)), name
    for name, values in one.outcome.items():
        assert torch.equal(values, other.outcome[name]), name


def test_push_env_placed_at_a_moment_continues_from_there():
    """Rewards, endings and outcomes continue as in the env where the moment was taken."""
    env, other = make_env(seed=1), make_env(seed=2)
    for one, steps in ((env, 5), (other, 3)):
        one.simulator.object_velocity_w[:] = torch.tensor((0.3, 0.1, 0.0))
        one.reset()
        for step in range(steps):
            one.step(random_actions(step))
    env.simulator.memory = torch.rand(5, 2, 14, generator=torch.Generator().manual_seed(3))
    moment = kept(env)
    assert all(len(value) == NUM_ENVS for value in moment.values())
    other.place({name: value.clone() for name, value in moment.items()})
    assert torch.equal(other.simulator.memory, moment["memory"])
    for name, value in other.moment().items():
        assert torch.equal(value, moment[name]), name
    assert_alike(env.step(random_actions(7)), other.step(random_actions(7)))
    for one in (env, other):
        put_object_at_goal(one, 3)
        put_robots_together(one, 1)
    last = env.step(random_actions(8))
    assert_alike(last, other.step(random_actions(8)))
    assert last.done.tolist() == [False, True, False, True, False]
    assert last.outcome["length"][last.done].tolist() == [7, 7]


def test_walk_env_placed_at_a_moment_continues_from_there():
    """Command, disturbance, memory and feet are those of the moment, and are copies."""
    env, other = make_walk_env(walk_config(), seed=1), make_walk_env(walk_config(), seed=2)
    for one, action in ((env, 0.2), (other, 0.4)):
        one.reset()
        one.physics.set_height(0.28)
        one._buffers["length"].fill_(7.0)
        one._buffers["disturbance_left"].fill_(50.0)
        one._buffers["command_left"].fill_(50.0)
        one.step(torch.full((NUM_ENVS, 1, 12), action))
    env._buffers["force_w"].fill_(3.0)
    moment = kept(env)
    given = {name: value.clone() for name, value in moment.items()}
    other.place(given)
    assert torch.equal(other.physics.force_w, env._buffers["force_w"])
    assert other.physics.reset_ids[-1] == list(range(NUM_ENVS))
    for name, value in other.moment().items():
        assert torch.equal(value, moment[name]), name
    action = torch.full((NUM_ENVS, 1, 12), 0.3)
    assert_alike(env.step(action), other.step(action))
    assert all(torch.equal(value, moment[name]) for name, value in given.items())


def test_env_without_moments_says_so():
    """An environment without moments returns an empty one, and refuses to be placed."""

    class Plain(VecEnv):
        reset = step = check = state_dict = load_state_dict = close = None

    assert Plain().moment() == {}
    with pytest.raises(MapushError, match="Plain has no moments"):
        Plain().place({})
