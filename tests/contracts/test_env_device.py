"""Environments create every tensor on their simulator's device, not on torch's default device."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fakes import NUM_AGENTS, NUM_ENVS, KinematicSimulator, put_object_at_goal, random_actions
from still import StillPhysics, walk_config

from mapush.config import TaskConfig
from mapush.env.metrics import EpisodeMetrics
from mapush.env.mixed_env import MixedEnv
from mapush.env.push import PushEnv
from mapush.env.push_quirks import push_env_class
from mapush.env.walk import EPISODE_STEPS, WalkEnv
from mapush.sim.geometry import constant

pytestmark = pytest.mark.contracts

ELSEWHERE = torch.device("meta")  # a device that stores no values; as a context, it becomes torch's default device
CPU = torch.device("cpu")


def tensors_of(value):
    """Yield the tensors in nested dicts and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)


def assert_on_cpu(make, actions, end_an_episode):
    """Build and run an env while torch's default device is a different one; everything it returns is on the CPU."""
    constant.cache_clear()
    with ELSEWHERE:
        env = make()
        given = [env.reset(), env.step(actions)]
        end_an_episode(env)
        given += [env.step(actions), env.state_dict()]
        env.load_state_dict(given[-1])
        given.append(env.step(actions))
        env.check()
        env.metrics.summary()
    assert bool(given[2].done.any())
    for value in given:
        assert {tensor.device for tensor in tensors_of(value)} == {CPU}


@pytest.mark.parametrize("upstream_quirks, steps_per_decision", [(False, 1), (True, 1), (False, 3)])
def test_push_env_makes_every_tensor_on_its_simulators_device(upstream_quirks, steps_per_decision):
    """The pushing task does not rely on a default device."""
    simulator, actions = KinematicSimulator(NUM_ENVS, NUM_AGENTS), random_actions()
    task = TaskConfig(upstream_quirks=upstream_quirks, steps_per_decision=steps_per_decision)
    assert_on_cpu(
        lambda: push_env_class(task)(simulator, task, seed=0), actions, lambda env: put_object_at_goal(env, 3)
    )


def test_mixed_env_makes_every_tensor_on_its_simulators_device():
    """The view for any team, and what joins groups of envs, do not rely on a default device."""
    simulators = [KinematicSimulator(NUM_ENVS, 3), KinematicSimulator(7, 2)]

    def make():
        groups = []
        for name, simulator in zip(("cuboid", "tblock"), simulators):
            task = TaskConfig(object=name, num_agents=simulator.num_agents, view="any_team", steps_per_decision=2)
            groups.append(PushEnv(simulator, task, seed=0))
        return MixedEnv(groups)

    actions = random_actions(num_envs=NUM_ENVS + 7, num_agents=3)
    assert_on_cpu(make, actions, lambda env: put_object_at_goal(env.groups["tblock_2"], 3))


def test_walk_env_makes_every_tensor_on_its_physics_device():
    """The walking task does not rely on a default device."""
    physics, actions = StillPhysics(NUM_ENVS), torch.zeros(NUM_ENVS, 1, 12)

    def end_an_episode(env):
        env._buffers["length"][3] = EPISODE_STEPS

    assert_on_cpu(lambda: WalkEnv(physics, walk_config(), seed=0), actions, end_an_episode)


def test_metrics_make_every_tensor_on_their_device():
    """Statistics do not rely on a default device, not even before the first episode."""
    done, outcome = torch.tensor([True, False, True, True, False]), {"length": torch.arange(5.0)}
    with ELSEWHERE:
        metrics = EpisodeMetrics(("length",), NUM_ENVS, CPU, capacity=7)
        assert metrics.summary()["episodes"] == 0.0
        metrics.add_episodes(done, outcome)
        saved = metrics.state_dict()
        metrics.load_state_dict(saved)
    assert {tensor.device for tensor in tensors_of(saved)} == {CPU}
    assert metrics.summary()["episode/length"] == pytest.approx(5.0 / 3.0)
