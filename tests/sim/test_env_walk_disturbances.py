"""Contracts of the walking task's disturbances: what was drawn is recovered from forces and torques."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from still import act, make_env, walk_config

from mapush.sim.geometry import quat_from_rpy
from mapush.sim.physics import STEP_DT

pytestmark = pytest.mark.sim

NUM_ENVS = 4001
CONFIG = walk_config(push_ramp_s=4.0, push_force=40.0, push_torque=3.0, kick=0.7)
ROLL, PITCH = 0.2, 0.6
AHEAD, ASIDE = 0.29, 0.05  # where a push acts: so far before the trunk's centre, and at most so far above or below [m]


class Drawn:
    """The first disturbances of many robots whose run is `age` steps old.

    Attributes:
      yaw: of the trunks, (E,) [rad].
      force, torque: (E, 3) [N, N m], in the world.
      hold: (E,) [env steps].
      is_kick, is_push: (E,) bool.
      ramp: what share of the configured push is allowed at this age.
    """

    def __init__(self, age: int) -> None:
        env = make_env(CONFIG, NUM_ENVS)
        env.reset()
        self.yaw = np.random.default_rng(2).uniform(-math.pi, math.pi, NUM_ENVS)
        angles = (torch.full((NUM_ENVS, 1), ROLL), torch.full((NUM_ENVS, 1), PITCH), torch.tensor(self.yaw[:, None]))
        env.physics.place(robot_quat_w=quat_from_rpy(*angles).float())
        env._buffers["age"].fill_(float(age))
        assert not act(env).done.any()
        self.force = env._buffers["force_w"][:, 0].double().numpy()
        self.torque = env._buffers["torque_w"][:, 0].double().numpy()
        self.hold = env._buffers["disturbance_left"].double().numpy()
        assert torch.equal(env.physics.force_w, env._buffers["force_w"])
        disturbed = self.force.any(axis=1)
        self.is_kick = disturbed & (self.hold == 5.0)
        self.is_push = disturbed & ~self.is_kick
        self.ramp = min(1.0, 0.25 + 0.75 * age * STEP_DT / CONFIG.push_ramp_s)


@pytest.fixture(scope="module")
def drawn():
    """Disturbances at full strength."""
    return Drawn(900)


def assert_uniform(values, low, high):
    """Check that values fill an interval evenly."""
    width = high - low
    assert low - 1e-3 * width <= values.min() <= low + 0.02 * width
    assert high - 0.02 * width <= values.max() <= high + 1e-3 * width
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.05 * width)
    assert values.std() == pytest.approx(width / math.sqrt(12), rel=0.08)


def test_disturbance_is_a_push_a_kick_or_none_in_fixed_shares(drawn):
    """60 % of the disturbances are pushes, 15 % kicks; the rest are pauses, which last as long as pushes."""
    assert drawn.is_push.mean() == pytest.approx(0.60, abs=0.03)
    assert drawn.is_kick.mean() == pytest.approx(0.15, abs=0.02)
    pause = ~(drawn.is_push | drawn.is_kick)
    assert not drawn.torque[pause].any()
    for kind in (pause, drawn.is_push):
        assert_uniform(drawn.hold[kind] * STEP_DT, 0.5, 6.0)


def test_kick_changes_each_planar_velocity_and_the_yaw_rate_evenly(drawn):
    """A kick of 0.1 s changes each planar velocity (12.74 kg) and the yaw rate (0.25 kg m^2) by at most `kick`."""
    force, torque = drawn.force[drawn.is_kick], drawn.torque[drawn.is_kick]
    for axis in (0, 1):
        assert_uniform(force[:, axis] * 0.1 / 12.74, -CONFIG.kick, CONFIG.kick)
    assert_uniform(torque[:, 2] * 0.1 / 0.25, -CONFIG.kick, CONFIG.kick)
    assert not force[:, 2].any()
    assert not torque[:, :2].any()
    assert abs(np.corrcoef(np.column_stack((force[:, :2], torque[:, 2])).T) - np.eye(3)).max() < 0.2


def pushes_taken_apart(drawn):
    """Return the pushes' size [N], angle from the heading, height and lead of the point [m], and twist [N m]."""
    strong = drawn.is_push & (np.linalg.norm(drawn.force, axis=1) > 1.0)
    force, torque, yaw = drawn.force[strong], drawn.torque[strong], drawn.yaw[strong]
    across = np.column_stack((-force[:, 1], force[:, 0]))
    assert not force[:, 2].any()
    assert abs((torque[:, :2] * force[:, :2]).sum(axis=1)).max() < 1e-3  # a torque of a horizontal force
    lift = (torque[:, :2] * across).sum(axis=1) / (across**2).sum(axis=1)  # of the point above the trunk's centre
    ahead = lift < -AHEAD * math.sin(PITCH) / 2
    lead = np.where(ahead, AHEAD, 0.0)
    height = (lift + lead * math.sin(PITCH)) / (math.cos(PITCH) * math.cos(ROLL))
    forward = lead * math.cos(PITCH) + height * math.sin(PITCH) * math.cos(ROLL)
    left = -height * math.sin(ROLL)
    x, y = np.cos(yaw) * forward - np.sin(yaw) * left, np.sin(yaw) * forward + np.cos(yaw) * left
    twist = torque[:, 2] - (x * force[:, 1] - y * force[:, 0])
    angle = np.arctan2(force[:, 1], force[:, 0]) - yaw
    return np.linalg.norm(force, axis=1), np.angle(np.exp(1j * angle)), height, ahead, twist


def test_push_against_the_heading_acts_at_the_front_and_others_at_the_centre(drawn):
    """60 % of the pushes come from within 0.5 rad of ahead and act at the front; the others come from anywhere."""
    _, angle, height, ahead, _ = pushes_taken_apart(drawn)
    assert ahead.mean() == pytest.approx(0.60, abs=0.04)
    assert_uniform(height, -ASIDE, ASIDE)
    assert_uniform(np.angle(np.exp(1j * (angle[ahead] - math.pi))), -0.5, 0.5)
    assert_uniform(angle[~ahead], -math.pi, math.pi)


@pytest.mark.parametrize("age", [0, 100, 533, 900])
def test_push_and_its_twist_grow_over_the_ramp(age):
    """Pushes fill a disc and twists an interval evenly; both grow from a quarter to their full size."""
    drawn = Drawn(age)
    size, _, _, _, twist = pushes_taken_apart(drawn)
    limit = CONFIG.push_force * drawn.ramp
    assert_uniform((size / limit) ** 2, 0.0, 1.0)
    assert_uniform(twist, -CONFIG.push_torque * drawn.ramp, CONFIG.push_torque * drawn.ramp)


def test_disturbance_is_renewed_when_its_time_is_over_and_not_before():
    """A disturbance is replaced when its time is over, and not one step earlier."""
    env = make_env(CONFIG)
    env.reset()
    left = torch.tensor((1.0, 1.5, 2.0, 5.0, 0.5))
    env._buffers["length"].zero_()
    env._buffers["disturbance_left"].copy_(left)
    env._buffers["force_w"].fill_(7.0)
    env._buffers["torque_w"].fill_(3.0)
    act(env)
    kept = torch.tensor((False, True, True, True, False))
    assert torch.equal((env._buffers["force_w"] == 7.0).flatten(1).all(dim=1), kept)
    assert torch.equal((env._buffers["torque_w"] == 3.0).flatten(1).all(dim=1), kept)
    assert torch.equal(env._buffers["disturbance_left"][kept], left[kept] - 1.0)
    assert bool((env._buffers["disturbance_left"][~kept] >= 5.0).all())
