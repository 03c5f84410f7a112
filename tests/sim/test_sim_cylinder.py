"""The cylinder on the floor. MuJoCo's contacts between a cylinder and a plane are unreliable, so it has soles."""

from __future__ import annotations

import dataclasses
import math

import mujoco
import pytest
import torch

from mapush.objects import CYLINDER
from mapush.sim import mjcpu
from mapush.sim.geometry import quat_from_rpy
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.scene import Scene

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

NUM_ENVS = 41
RADIUS, _, HALF_LENGTH = CYLINDER.parts[0].half_size
GRAVITY = 9.81


@pytest.fixture(scope="module")
def physics():
    """A robot, which is far away, and the cylinder."""
    return mjcpu.MujocoPhysics(Scene(1, CYLINDER), NUM_ENVS, seed=2, threads=1)


def uniform(low, high, seed):
    """Return one number for each env."""
    return low + (high - low) * torch.rand(NUM_ENVS, generator=torch.Generator().manual_seed(seed))


def lay(physics, tilt, yaw, velocity=(0.0, 0.0, 0.0), spin=0.0):
    """Put the cylinder on the floor with `tilt` (E,) towards random sides and with `yaw` (E,)."""
    state = physics.state()
    side = uniform(-math.pi, math.pi, 0)
    position = torch.stack((uniform(-9, 9, 1), uniform(-9, 9, 2), torch.full((NUM_ENVS,), HALF_LENGTH)), dim=1)
    rotation = torch.zeros(NUM_ENVS, 3)
    rotation[:, 2] = spin
    start = dataclasses.replace(
        state,
        robot_pos_w=torch.tensor((50.0, 0.0, 0.257)).expand_as(state.robot_pos_w),
        robot_quat_w=torch.tensor((1.0, 0.0, 0.0, 0.0)).expand_as(state.robot_quat_w),
        object_pos_w=position,
        object_quat_w=quat_from_rpy(tilt * torch.cos(side), tilt * torch.sin(side), yaw),
        object_lin_vel_w=torch.tensor(velocity).expand(NUM_ENVS, 3),
        object_ang_vel_b=rotation,
    )
    physics.reset(torch.ones(NUM_ENVS, dtype=torch.bool), start)


def run(physics, steps):
    """Return the states of `steps` env steps with a standing robot."""
    targets = torch.tensor(DEFAULT_JOINT_POS).expand(NUM_ENVS, 1, 12)
    return [physics.step(targets) for _ in range(steps)]


def friction(physics):
    """Return the friction of cylinder and floor in each env, (E,)."""
    model = physics.model
    floor, sole = model.geom("floor").id, model.geom("object/0/sole0").id
    pairs = [{model.pair_geom1[pair], model.pair_geom2[pair]} for pair in range(model.npair)]
    return physics.state_dict()["fields"]["pair_friction"][:, pairs.index({floor, sole}), 0].float()


@pytest.mark.parametrize("exponents", [None, (-17.0, -8.0), (-8.0, -3.0)], ids=["level", "nearly", "slightly"])
def test_cylinder_almost_level_stays_on_the_floor(physics, exponents):
    """At any tilt, yaw and position, a resting cylinder neither rises nor sinks by more than 2 mm."""
    tilt = torch.zeros(NUM_ENVS)
    if exponents is not None:
        tilt = 10.0 ** uniform(exponents[0], exponents[1], 3)
    lay(physics, tilt, uniform(-math.pi, math.pi, 4))
    height = torch.stack([state.object_pos_w[:, 2] for state in run(physics, 100)])
    assert float(height.max()) < HALF_LENGTH + 0.002
    assert float(height.min()) > HALF_LENGTH - 0.002


@pytest.mark.parametrize("velocity", [(1.0, 0.0, 0.0), (0.0, -0.5, 0.0)])
def test_cylinder_sliding_decelerates_by_friction(physics, velocity):
    """At any yaw, a cylinder that slides along an axis of the world decelerates with mu g."""
    lay(physics, torch.zeros(NUM_ENVS), uniform(-math.pi, math.pi, 5), velocity)
    start = physics.state().object_pos_w
    end = run(physics, 40)[-1]
    assert float(end.object_lin_vel_w.norm(dim=1).max()) < 1e-2
    distance = (end.object_pos_w - start)[:, :2].norm(dim=1)
    deceleration = sum(part**2 for part in velocity) / (2 * distance)
    torch.testing.assert_close(deceleration, friction(physics) * GRAVITY, rtol=0.1, atol=0)


def test_cylinder_spinning_is_slowed_as_by_a_ring(physics):
    """The weight rests on the rim, so the friction torque is mu m g r; the pyramidal cone takes up to a quarter."""
    lay(physics, torch.zeros(NUM_ENVS), uniform(-math.pi, math.pi, 6), spin=1.0)
    states = run(physics, 15)
    rate = [states[step].object_ang_vel_b[:, 2] for step in (4, 14)]
    torque = CYLINDER.parts[0].mass * RADIUS**2 / 2 * (rate[0] - rate[1]) / 0.2
    share = torque / (friction(physics) * CYLINDER.parts[0].mass * GRAVITY * RADIUS)
    assert bool(((share > 0.75) & (share < 1.1)).all()), share


def test_cylinder_touches_robots_with_its_true_side():
    """A foot touches the cylinder at its radius in every direction, also between the corners of its soles."""
    model = mjcpu.build_model(Scene(1, CYLINDER))
    data = mujoco.MjData(model)
    foot = model.geom("robot0/FL_foot")
    for angle in torch.linspace(0.0, 1.6, 17).tolist():
        mujoco.mj_resetDataKeyframe(model, data, 0)
        mujoco.mj_kinematics(model, data)
        reach = RADIUS + float(foot.size[0]) - 0.004
        place = (reach * math.cos(angle), reach * math.sin(angle), HALF_LENGTH)
        data.qpos[:3] += place - data.geom("robot0/FL_foot").xpos
        mujoco.mj_forward(model, data)
        depth = [contact.dist for contact in data.contact if foot.id in contact.geom]
        assert depth == [pytest.approx(-0.004, abs=1e-6)], angle
