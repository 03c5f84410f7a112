"""Contracts of PushEnv on MuJoCo, with robots that only stand."""

from __future__ import annotations

import pytest
import torch

from mapush.config import TaskConfig
from mapush.env.push import PushEnv
from mapush.objects import OBJECTS
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.simulator import Simulator

pytestmark = [pytest.mark.contracts, pytest.mark.mujoco]

NUM_ENVS = 7


class Standing:
    """A walking policy that keeps the default pose."""

    memory_dim = 1

    def step(self, state, commands, memory):
        """Return the default pose."""
        return torch.tensor(DEFAULT_JOINT_POS).expand_as(state.joint_pos), memory


def make_env(name="cuboid", seed=0, threads=1, **task):
    from mapush.sim.mjcpu import MujocoPhysics
    from mapush.sim.scene import Scene

    item = OBJECTS[name]
    physics = MujocoPhysics(Scene(item.num_agents, item), NUM_ENVS, seed=0, threads=threads)
    return PushEnv(Simulator(physics, Standing()), TaskConfig(object=name, **task), seed)


def rest(env):
    return torch.zeros(env.action_spec.shape)


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_push_env_standing_robots_survive_the_start(name):
    """Robots in a published initial state stand up: no episode ends, and the object does not move."""
    env = make_env(name, steps_per_decision=5)
    env.reset()
    for _ in range(20):
        transition = env.step(rest(env))
        assert not transition.done.any(), transition.outcome
    state = env.simulator.state()
    assert float(state.object_pos_w[:, :2].abs().max()) < 0.02
    assert float(state.robot_pos_w[..., 2].min()) > 0.2
    env.close()


def test_push_env_on_mujoco_continues_bitwise_with_any_threads():
    """A saved run continues bit for bit in a new env with a different number of threads, through resets."""
    env, fresh = make_env(seed=4, threads=1), make_env(seed=5, threads=2)
    env.reset()
    for _ in range(5):
        env.step(rest(env))
    saved = env.state_dict()

    def play(one):
        steps = [one.step(rest(one)) for _ in range(3)]
        one._length[3] = 1000
        return steps + [one.step(rest(one)) for _ in range(4)]

    first = play(env)
    fresh.load_state_dict(saved)
    assert sum(int(step.done.sum()) for step in first) == 1
    for one, other in zip(first, play(fresh)):
        assert torch.equal(one.observation.share_obs, other.observation.share_obs)
        assert torch.equal(one.reward, other.reward)
        assert torch.equal(one.truncated, other.truncated)
    env.close(), fresh.close()
