"""Limits of the walking task, each checked from both sides."""

from __future__ import annotations

import math

import pytest
import torch
from still import NUM_ENVS, act, make_env, walk_config

from mapush.env.walk_rewards import REWARD_WEIGHTS
from mapush.sim.geometry import quat_from_rpy

pytestmark = pytest.mark.sim

CALM = walk_config(push_force=0.0, push_torque=0.0, kick=0.0)

SHIPPED_WALKER_WAS_TRAINED_WITH = {
    "linear_tracking": 1.5,
    "linear_precision": 1.0,
    "yaw_tracking": 0.75,
    "yaw_precision": 1.0,
    "heading_drift": -1.5,
    "stand_drift": 1.0,
    "upright": 0.5,
    "height": -100.0,
    "stand_still": 0.5,
    "vertical_velocity": -1.0,
    "tilt_rate": -0.04,
    "correction": -0.005,
    "action_rate": -0.01,
    "torque": -0.0001,
    "foot_slip": -0.1,
}


def started(command_left=40.0):
    """Return an env at the start of its episodes; its commands and disturbances do not change for 40 steps."""
    env = make_env(CALM)
    env.reset()
    env._buffers["length"].zero_()
    env._buffers["command_left"].fill_(command_left)
    env._buffers["disturbance_left"].fill_(40.0)
    return env


def test_reward_weights_are_those_of_the_shipped_walker():
    """The reward weights are those with which the shipped policy was trained."""
    assert REWARD_WEIGHTS == SHIPPED_WALKER_WAS_TRAINED_WITH


@pytest.mark.parametrize("action", [40.0, -40.0])
def test_actions_beyond_either_limit_are_clipped(action):
    """An action beyond 6 acts as 6, one below -6 as -6."""
    env, at_limit = started(), started()
    env.step(torch.full((NUM_ENVS, 1, 12), action))
    at_limit.step(torch.full((NUM_ENVS, 1, 12), math.copysign(6.0, action)))
    assert torch.equal(env.physics.targets, at_limit.physics.targets)
    assert torch.equal(env._buffers["memory"], at_limit._buffers["memory"])


@pytest.mark.parametrize("about", ["roll", "pitch"])
def test_fall_is_a_tilt_of_seventy_degrees_either_way(about):
    """A trunk tilted by 69.8 degrees stands, and by 70.2 degrees it has fallen, in every direction."""
    env = started()
    tilt = torch.tensor((69.8, -69.8, 70.2, -70.2, 0.0)).deg2rad().unsqueeze(1)
    none = torch.zeros_like(tilt)
    env.physics.place(robot_quat_w=quat_from_rpy(*((tilt, none) if about == "roll" else (none, tilt)), none))
    env.physics.set_height(0.28)
    assert act(env).terminated.tolist() == [False, False, True, True, False]


def test_fall_is_a_trunk_below_fifteen_centimetres():
    """A trunk at 0.151 m stands, and at 0.149 m it has fallen; a fall at the time limit is a fall."""
    env = started()
    env.physics.set_height(torch.tensor((0.151, 0.149, 0.28, 0.149, 0.151)))
    env._buffers["length"].copy_(torch.tensor((998.0, 998.0, 999.0, 999.0, 999.0)))
    transition = act(env)
    assert transition.terminated.tolist() == [False, True, False, True, False]
    assert transition.truncated.tolist() == [False, False, True, False, True]


def test_first_episodes_begin_at_every_age():
    """The first episodes begin at each age from 0 to 998 steps with the same probability."""
    env = make_env(CALM, num_envs=20_001)
    env.reset()
    ages, counts = env._buffers["length"].unique(return_counts=True)
    assert ages.tolist() == list(range(999))
    assert float(counts.float().std()) == pytest.approx(math.sqrt(20_001 / 999), rel=0.2)


def test_command_is_renewed_when_its_time_is_over_and_not_before():
    """A command is replaced when its time is over, and not one step earlier."""
    env = started()
    left = torch.tensor((1.0, 1.5, 2.0, 5.0, 0.5))
    env._buffers["command_left"].copy_(left)
    env._buffers["command"].fill_(0.123)
    act(env)
    kept = torch.tensor((False, True, True, True, False))
    assert torch.equal((env._buffers["command"] == 0.123).all(dim=1), kept)
    assert torch.equal(env._buffers["command_left"][kept], left[kept] - 1.0)
    assert bool((env._buffers["command_left"][~kept] >= 1.0).all())


@pytest.mark.parametrize("command, stands", [((0.02, -0.01, 0.015), 1.0), ((0.02, -0.02, 0.015), 0.0)])
def test_command_to_stand_is_one_of_less_than_five_hundredths(command, stands):
    """A command means to stand if its absolute values add up to 0.045, and to walk if they add up to 0.055."""
    env = started()
    env._buffers["command"].copy_(torch.tensor(command))
    env.physics.place(joint_vel=torch.zeros(NUM_ENVS, 1, 12))
    env.physics.set_height(0.28)
    act(env)
    assert env.metrics.summary()["reward/stand_still"] == pytest.approx(0.5 * stands)


def test_foot_below_three_centimetres_touches_the_floor():
    """The critic sees a contact at 0.029 m and none at 0.031 m."""
    env = started()
    level = torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(NUM_ENVS, 1, 4)
    env.physics.place(robot_quat_w=level, joint_pos=env.physics.state().joint_pos[:1].expand(NUM_ENVS, 1, 12))
    env.physics.set_height(0.28)
    reach = 0.28 - float(act(env).observation.share_obs[0, 56]) / 10.0
    env.physics.set_height(reach + torch.tensor((0.029, 0.031, 0.029, 0.031, 0.031)))
    assert act(env).observation.share_obs[:, 60].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("force, error", [(40.0, 0.2), (60.0, 0.2), (400.0, 0.2), (35.0, 0.275), (15.0, 0.5)])
def test_push_excuses_three_tenths_of_a_metre_per_second_at_most(force, error):
    """A push excuses nothing below 20 N, at most 0.3 m/s from 40 N on, and in proportion between."""
    env = started()
    env.physics.place(
        robot_quat_w=torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(NUM_ENVS, 1, 4),
        robot_lin_vel_w=torch.tensor((0.5, 0.0, 0.0)).expand(NUM_ENVS, 1, 3),
    )
    env.physics.set_height(0.28)
    env._buffers["command"].zero_()
    env._buffers["force_w"][:] = torch.tensor((force, 0.0, 0.0))
    act(env)
    assert env.metrics.summary()["reward/linear_tracking"] == pytest.approx(
        1.5 * math.exp(-(error**2) / 0.25), abs=1e-5
    )
