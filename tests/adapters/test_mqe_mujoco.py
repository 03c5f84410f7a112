"""Contracts of MqeEnv on the fake of MQE with real physics and robots that walk."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from doubles import (
    NUM_ENVS,
    TOLERANCE,
    differences,
    forget_doubles,
    largest_difference,
    load_doubles,
    make_push,
    random_actions,
    run,
    task,
)
from test_mqe_train import TRAIN

from mapush.assembly import make_mqe_env
from mapush.errors import SimulatorError
from mapush.objects import OBJECTS
from mapush.presets import preset
from mapush.sim.simulator import Simulator
from mapush.sim.walking import WalkingPolicy

pytestmark = [pytest.mark.adapters, pytest.mark.mujoco]


def walkers():
    from mapush.sim.mjcpu import MujocoPhysics
    from mapush.sim.scene import Scene

    scene = Scene(num_agents=2, object=OBJECTS["cuboid"], upstream_inertia=True)
    return Simulator(MujocoPhysics(scene, NUM_ENVS, seed=3, threads=1), WalkingPolicy.load(device="cpu"))


@pytest.mark.parametrize("quirks", [False, True])
def test_mqe_env_on_mujoco_equals_push_env(monkeypatch, quirks):
    """For the same seed and actions it returns what PushEnv returns; the contact pair buffer has MQE's own size."""
    load_doubles(monkeypatch)
    monkeypatch.delenv("MQE_DOUBLE")
    monkeypatch.setattr("mapush.assembly.why_no_gpu", lambda: SimulatorError("no card"))
    config = dataclasses.replace(preset("cuboid", "published"), num_envs=NUM_ENVS, seed=3, task=task(quirks=quirks))
    mine = make_mqe_env(config)
    theirs = make_push(quirks=quirks, simulator=walkers())
    assert mine._upstream.sim._max_gpu_contact_pairs == 2**23
    assert largest_difference(mine.reset().obs, theirs.reset().obs) < TOLERANCE
    for step in range(11):
        if step == 6:  # both envs end these episodes by the time limit
            mine._upstream.episode_length_buf[1:3] = theirs._length[1:3] = 1000
        actions = random_actions(step, 2)
        found = differences(mine.step(actions), theirs.step(actions))
        assert max(found.values()) < TOLERANCE, (step, found)
    assert torch.equal(mine._upstream.episode_length_buf, torch.tensor([11, 4, 4, 11, 11]))
    mine.close()
    theirs.close()
    forget_doubles()


def test_command_line_trains_on_the_doubles(tmp_path):
    """The command imports Isaac Gym first and trains on real physics, in a new process and from any folder."""
    result = run(["mapush.train"] + TRAIN + ["--total-steps", "150", "--run-dir", "run"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "done; evaluate with" in result.stdout
