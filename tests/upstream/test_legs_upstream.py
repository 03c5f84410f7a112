"""The legs against MAPush's own code: torques, frames, and what a folder that is no checkout leads to."""

from __future__ import annotations

import ast
import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mapush.config import WalkConfig
from mapush.errors import ConfigError
from mapush.sim import gait
from mapush.sim.geometry import gravity_b
from mapush.sim.physics import Randomization
from mapush.upstream.legs import legs_body as body
from mapush.upstream.legs.legs_env import LegsEnv
from mapush.upstream.legs.legs_physics import LegsPhysics, require_files

pytestmark = [pytest.mark.mujoco, pytest.mark.upstream]

ENVS = 5


@pytest.fixture(scope="module")
def checkout():
    """Return the folder of MAPush."""
    return Path(os.environ["MAPUSH_DIR"])


class _Permissive(type):
    """A class whose missing attributes are classes like it."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Unknown


class Unknown(metaclass=_Permissive):
    """What a configuration of upstream inherits from and the tests do not need."""


def config_of(checkout):
    """Return upstream's `Go1Cfg`, with bases that know nothing, and with the commands of the pushing task."""
    tree = ast.parse((checkout / "mqe/envs/go1/go1_config.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    names = {"LeggedRobotCfg": Unknown, "LeggedRobotFieldCfg": Unknown}
    exec(compile(tree, "go1_config.py", "exec"), names)
    config = names["Go1Cfg"]
    config.command.cfg.vel = True
    return config


def functions_of(checkout, *wanted):
    """Return functions of upstream's class `Go1`, without the rest of its file."""
    tree = ast.parse((checkout / "mqe/envs/go1/go1.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Go1"]
    tree.body = [node for node in classes[0].body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    names = {"torch": torch, "np": np}
    exec(compile(tree, "go1.py", "exec"), names)
    return [names[name] for name in wanted]


class UpstreamLowLevel:
    """Upstream's own construction of frames, fed with the states of our env."""

    def __init__(self, checkout, count):
        names = ("_fill_command_obs", "preprocess_action", "_step_contact_targets")
        fill, self._preprocess, self._step_clocks = functions_of(checkout, *names)
        zeros = torch.zeros
        self.robot = SimpleNamespace(cfg=config_of(checkout), device="cpu", dt=0.02, locomotion_policy=self._act)
        self.robot.locomotion_obs = fill(self.robot).repeat(count, 1)
        self.robot.history_locomotion_obs = zeros(count, 2100)
        self.robot.gait_indices = zeros(count)
        for name in ("clock_inputs", "doubletime_clock_inputs", "halftime_clock_inputs"):
            setattr(self.robot, name, zeros(count, 4))
        self.robot.last_locomotion_action = self.robot.last_two_locomotion_action = zeros(count, 12)

    def _act(self, history):
        self.history = history.clone()
        return self.action

    def decide(self, env, action):
        """Add the frame of the present state of `env`, and let `action` (E, 12) be what the body returns."""
        frame = env._buffers["frames"][:, -1]
        seen = env.physics.state()
        order = list(body.OTHER_ORDER)
        self.action = action
        self.robot.obs_buf = SimpleNamespace(
            projected_gravity=frame[:, :3],
            dof_pos=seen.joint_pos[:, 0, order] - torch.tensor(body.DEFAULT_JOINT_POS),
            dof_vel=seen.joint_vel[:, 0, order] * 0.05,
            clock_inputs=self.robot.clock_inputs.clone(),
        )
        self._preprocess(self.robot, env._buffers["command"])

    def after_step(self, done):
        """Advance the clocks, then reset what upstream resets where an episode ended."""
        self._step_clocks(self.robot)
        self.robot.gait_indices[done] = 0.0
        self.robot.history_locomotion_obs[done] = 0.0


def test_frames_are_those_of_upstream(checkout):
    """Over 45 steps with falls and commands that change, each history equals the one that upstream builds."""
    physics = LegsPhysics(checkout, ENVS, seed=3, threads=1)
    env = LegsEnv(physics, WalkConfig(chatter_share=0.5, calm_share=1.0), seed=4)
    env.reset()
    env._buffers["length"] = torch.tensor((979.0, 3.0, 960.0, 998.0, 0.0))  # some end within the test
    upstream = UpstreamLowLevel(checkout, ENVS)
    torch.manual_seed(7)
    ended = 0
    for _ in range(45):
        correction = 0.3 * torch.randn(ENVS, 1, 12)
        frames = env._buffers["frames"].clone()
        upstream.decide(env, body.act(frames, correction[:, 0]))
        assert torch.allclose(upstream.history.view(ENVS, 30, 70), frames, atol=1e-5)
        done = env.step(correction).done
        upstream.after_step(done)
        ended += int(done.sum())
    assert ended >= 3
    env.close()


def test_torques_are_those_of_upstream(checkout):
    """Torques are the actuator network's, with three moments of errors and velocities, clipped, in upstream's order."""
    (compute,) = functions_of(checkout, "_compute_torques")
    network = body.load_script(checkout / "resources/actuator_nets/unitree_go1.pt", "cpu")
    order = list(body.OTHER_ORDER)
    robot = SimpleNamespace(cfg=config_of(checkout), num_envs=ENVS, sim_device="cpu")
    robot.default_dof_pos = torch.tensor(body.DEFAULT_JOINT_POS)
    robot.torque_limits = torch.tensor(robot.cfg.control.torque_limits)
    robot.actuator_network = lambda *rows: network(torch.stack(rows, dim=-1).view(-1, 6)).view(ENVS, 12)
    for name in ("pos_err_last", "pos_err_last_last", "vel_last", "vel_last_last"):
        setattr(robot, "joint_" + name, torch.zeros(ENVS, 12))
    physics = LegsPhysics(checkout, ENVS, seed=8, randomization=Randomization(payload=(-1.0, 2.0)), threads=1)
    torch.manual_seed(9)
    action = 2.0 * torch.randn(ENVS, 12)
    for _ in range(6):
        state = physics.state()
        robot.dof_pos, robot.dof_vel = state.joint_pos[:, 0, order], state.joint_vel[:, 0, order]
        expected = compute(robot, action)
        torques = physics._act(body.joint_targets(action))[:, order]
        assert torch.allclose(torques, expected, atol=1e-4)
        physics._simulation.set_efforts(torques)
        physics._simulation.simulate()
    physics.close()


def test_robot_stands_on_its_feet(checkout):
    """With the uncorrected targets of a zero command, robots of any mass and friction stand level and still."""
    physics = LegsPhysics(checkout, ENVS, seed=1, randomization=Randomization((0.4, 0.9), (-1.0, 2.0)), threads=1)
    zeros = torch.zeros(ENVS, 3)
    targets = gait.trot(zeros[:, 0], zeros, zeros[:, :1], body.ROBOT).unsqueeze(1)
    start = physics.state()
    lowered = start.robot_pos_w - torch.tensor((0.0, 0.0, 0.1))
    level = dataclasses.replace(
        start, robot_pos_w=lowered, joint_pos=body.joint_targets(torch.zeros(ENVS, 12))[:, None]
    )
    physics.reset(torch.ones(ENVS, dtype=torch.bool), level)
    for _ in range(80):
        state = physics.step(targets)
    assert torch.allclose(state.robot_pos_w[..., 2], torch.tensor(0.30), atol=0.02)
    assert float(gravity_b(state.robot_quat_w)[..., :2].norm(dim=-1).max()) < 0.1
    assert float(state.joint_vel.abs().max()) < 0.3
    physics.close()


def test_folder_that_is_no_checkout_is_refused(tmp_path):
    """The error names the missing file and says where to get it."""
    with pytest.raises(ConfigError) as caught:
        require_files(tmp_path)
    assert "go1.urdf" in caught.value.got
    assert "MAPUSH_DIR" in caught.value.fix
