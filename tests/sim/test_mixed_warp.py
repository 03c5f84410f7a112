"""Contracts of several models of MuJoCo Warp in one process, as a mixed run has them."""

from __future__ import annotations

import pytest
import torch

from mapush.config import TaskConfig, pushed_object
from mapush.env.mixed_env import MixedEnv
from mapush.env.push import PushEnv
from mapush.sim.mjwarp import WarpPhysics
from mapush.sim.scene import Scene
from mapush.sim.simulator import Simulator
from mapush.sim.walking import WalkingPolicy

pytestmark = [pytest.mark.sim, pytest.mark.mujoco, pytest.mark.warp, pytest.mark.slow]

KINDS = (("cuboid", 2, 3), ("cylinder", 3, 2), ("tblock", 1, 4))  # object, robots, envs
NUM_ENVS, NUM_AGENTS, DECISIONS = 9, 3, 3


def make_group(index):
    name, agents, envs = KINDS[index]
    task = TaskConfig(object=name, num_agents=agents, view="any_team", steps_per_decision=3)
    physics = WarpPhysics(Scene(agents, pushed_object(task)), envs, seed=index, device="cpu")
    return PushEnv(Simulator(physics, WalkingPolicy.load(device="cpu")), task, seed=10 + index)


def actions(number):
    return torch.randn(NUM_ENVS, NUM_AGENTS, 3, generator=torch.Generator().manual_seed(number))


def test_models_of_a_mixed_run_do_not_affect_each_other():
    """The rows of each group are bit for bit those of its model without the others, and a saved state continues so."""
    mixed = MixedEnv([make_group(index) for index in range(len(KINDS))])
    joint = [mixed.reset().obs]
    for number in range(DECISIONS):
        joint.append(mixed.step(actions(number)).observation.obs)
    report = mixed.check()
    assert report["nconmax"] == 72.0, "the cylinder needs the largest buffer"
    start = 0
    for index, (_, agents, envs) in enumerate(KINDS):
        rows = slice(start, start + envs)
        start += envs
        env = make_group(index)
        own = [env.reset().obs]
        for number in range(DECISIONS):
            own.append(env.step(actions(number)[rows, :agents]).observation.obs)
        env.close()
        for expected, seen in zip(own, joint):
            assert torch.equal(seen[rows, :agents], expected)
    saved = mixed.state_dict()
    expected = mixed.step(actions(9)).observation.obs
    mixed.load_state_dict(saved)
    assert torch.equal(mixed.step(actions(9)).observation.obs, expected)
    mixed.close()
