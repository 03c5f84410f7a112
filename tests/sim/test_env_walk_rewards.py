"""Contracts of the walking task's reward terms, at states for which they are computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from still import NUM_ENVS, act, make_env, walk_config

from mapush.env.walk_rewards import REWARD_WEIGHTS
from mapush.sim.geometry import quat_from_rpy
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import JOINTS
from mapush.sim.walking import PHASE

pytestmark = pytest.mark.sim

COMMAND = (0.4, -0.2, 0.3)
YAW = 0.7


def place(env, velocity=COMMAND[:2], rise=0.0, spin=(0.0, 0.0, COMMAND[2]), roll=0.0, height=0.28, **fields):
    """Give all robots the yaw `YAW`, this roll, and this velocity in the horizontal frame of their heading."""
    cos, sin = math.cos(YAW), math.sin(YAW)
    forward, left = velocity
    world = torch.tensor((cos * forward - sin * left, sin * forward + cos * left, rise))
    quat = quat_from_rpy(*torch.tensor((roll, 0.0, YAW)).expand(NUM_ENVS, 1, 3).unbind(-1))
    env.physics.place(
        robot_quat_w=quat,
        robot_lin_vel_w=world.expand(NUM_ENVS, 1, 3),
        robot_ang_vel_b=torch.tensor(spin).expand(NUM_ENVS, 1, 3),
        joint_pos=torch.tensor(DEFAULT_JOINT_POS).expand(NUM_ENVS, 1, 12),
        joint_vel=torch.zeros(NUM_ENVS, 1, 12),
    )
    env.physics.set_height(height)
    env.physics.place(**fields)


def fresh_env(command=COMMAND, force_w=(0.0, 0.0, 0.0)):
    """Return robots in step, with empty buffers, and with a command and a force that do not change for 40 steps."""
    env = make_env(walk_config())
    env.reset()
    env._buffers["length"].zero_()
    env._buffers["memory"][..., PHASE] = 0.0
    env._buffers["command"][:] = torch.tensor(command)
    env._buffers["command_left"].fill_(40.0)
    env._buffers["force_w"][:] = torch.tensor(force_w)
    env._buffers["disturbance_left"].fill_(40.0)
    return env


def terms_of(env, action=0.0):
    """Return the terms of one step without their weights; they are the same in all envs."""
    if env.metrics._steps:
        env.metrics.summary()
    assert not act(env, action).done.any()
    summary = env.metrics.summary()
    return {name: summary["reward/" + name] / weight for name, weight in REWARD_WEIGHTS.items()}


def test_reward_is_the_weighted_sum_of_its_terms():
    """The reward is the sum of the terms times 0.02 s; bonuses are positive and costs are negative."""
    env = fresh_env()
    place(env, velocity=(0.1, 0.2), rise=0.2, spin=(0.3, 0.2, 0.1), roll=0.1, height=0.25)
    reward = act(env, 0.2).reward
    terms = {name: value for name, value in env.metrics.summary().items() if name.startswith("reward/")}
    assert set(terms) == {"reward/" + name for name in REWARD_WEIGHTS}
    torch.testing.assert_close(reward, torch.full((NUM_ENVS, 1), sum(terms.values()) * 0.02))
    assert all(terms["reward/" + name] * weight >= 0.0 for name, weight in REWARD_WEIGHTS.items())


def test_transition_holds_the_terms_that_its_reward_is_the_sum_of():
    """`Transition.terms` holds what each term adds to the reward of the step; their sum is the reward."""
    env = fresh_env()
    place(env, velocity=(0.1, 0.2), rise=0.2, spin=(0.3, 0.2, 0.1), roll=0.1, height=0.25)
    transition = act(env, 0.2)
    summary = env.metrics.summary()
    assert list(transition.terms) == list(REWARD_WEIGHTS)
    torch.testing.assert_close(sum(transition.terms.values()), transition.reward)
    for name, value in transition.terms.items():
        assert value.shape == (NUM_ENVS, 1)
        assert float(value.mean()) == pytest.approx(0.02 * summary["reward/" + name]), name


def test_perfect_tracking_earns_every_bonus_and_costs_nothing():
    """A level trunk at the right height and velocity earns each bonus in full."""
    env = fresh_env()
    place(env)
    bonuses = {"linear_tracking", "linear_precision", "yaw_tracking", "yaw_precision", "upright"}
    for name, value in terms_of(env).items():
        if name not in ("torque", "foot_slip"):
            assert value == pytest.approx(float(name in bonuses), abs=1e-5), name


def test_velocity_errors_lower_the_tracking_terms():
    """Errors of 0.3 m/s and 0.2 rad/s give the Gaussians' values, and a drift that grows from step to step."""
    env = fresh_env()
    place(env, velocity=(0.4, 0.1), spin=(0.0, 0.0, 0.1))
    terms = terms_of(env)
    assert terms["linear_tracking"] == pytest.approx(math.exp(-0.09 / 0.25), abs=1e-5)
    assert terms["linear_precision"] == pytest.approx(math.exp(-0.09 / 0.01), abs=1e-5)
    assert terms["yaw_tracking"] == pytest.approx(math.exp(-0.04 / 0.25), abs=1e-5)
    assert terms["yaw_precision"] == pytest.approx(math.exp(-0.04 / 0.02), abs=1e-5)
    assert terms["heading_drift"] == pytest.approx(0.02 * 0.2, abs=1e-6)
    assert terms_of(env)["heading_drift"] == pytest.approx(0.2 * (1 - 0.98**2), abs=1e-6)


def test_trunk_motion_costs_its_squares():
    """Errors of height, vertical velocity, tilt rate and tilt cost their squares."""
    env = fresh_env()
    place(env, rise=0.1, spin=(0.3, -0.4, COMMAND[2]), height=0.25)
    terms = terms_of(env)
    assert terms["height"] == pytest.approx(0.03**2, abs=1e-6)
    assert terms["vertical_velocity"] == pytest.approx(0.1**2, abs=1e-6)
    assert terms["tilt_rate"] == pytest.approx(0.25, abs=1e-5)
    place(env, roll=0.2)
    assert terms_of(env)["upright"] == pytest.approx(math.exp(-(math.sin(0.2) ** 2) / 0.05), abs=1e-5)


def test_corrections_and_their_changes_cost_their_squares():
    """A constant correction costs its square at every step; its change costs only once."""
    env = fresh_env()
    place(env)
    first, second = terms_of(env, 0.3), terms_of(env, 0.3)
    assert first["correction"] == second["correction"] == pytest.approx(12 * 0.09, abs=1e-5)
    assert first["action_rate"] == pytest.approx(12 * 0.09, abs=1e-5)
    assert second["action_rate"] == 0.0


@pytest.mark.parametrize("action", [0.4, 6.0])
def test_torque_costs_what_the_servos_give(action):
    """The torque is that of a spring and damper, limited to the servo's effort."""
    env = fresh_env()
    speed = torch.linspace(-3.0, 3.0, 12)
    place(env, joint_vel=speed.expand(NUM_ENVS, 1, 12))
    terms = terms_of(env, action)
    total = 0.0
    for joint, name in enumerate(JOINTS):
        servo = SERVOS[name.split("_")[1]]
        stretch = float(env.physics.targets[0, 0, joint]) - DEFAULT_JOINT_POS[joint]
        torque = servo.stiffness * stretch - servo.damping * float(speed[joint])
        total += np.clip(torque, -servo.effort, servo.effort) ** 2
    assert terms["torque"] == pytest.approx(total, rel=1e-4)


def test_standing_still_earns_only_under_a_command_to_stand():
    """Still joints and no drift earn a bonus under a zero command, and nothing under a command to walk."""
    env = fresh_env(command=(0.0, 0.0, 0.0))
    place(env, velocity=(0.0, 0.0), spin=(0.0, 0.0, 0.0))
    terms = terms_of(env)
    assert terms["stand_still"] == terms["stand_drift"] == pytest.approx(1.0)
    velocity, drift = (0.3, 0.0), 0.02 * math.hypot(0.3, 0.4)
    place(env, velocity=velocity, spin=(0.0, 0.0, 0.4), joint_vel=torch.full((NUM_ENVS, 1, 12), 2.0))
    terms = terms_of(env)
    assert terms["stand_still"] == pytest.approx(math.exp(-2.0))
    assert terms["stand_drift"] == pytest.approx(math.exp(-(drift**2) / 5e-4))
    walking = fresh_env()
    place(walking)
    terms = terms_of(walking)
    assert terms["stand_still"] == terms["stand_drift"] == 0.0


@pytest.mark.parametrize("height, shift, cost", [(0.26, 0.01, 4 * 0.25), (0.26, 0.2, 4 * 4.0), (0.40, 0.01, 0.0)])
def test_foot_slip_costs_on_the_floor_only(height, shift, cost):
    """Feet that move while they are on the floor cost their squared speed, at most 4 m^2/s^2 each."""
    env = fresh_env()
    place(env, height=height)
    act(env)
    position = env.physics.state().robot_pos_w.clone()
    position[..., 1] += shift
    env.physics.place(robot_pos_w=position)
    assert terms_of(env)["foot_slip"] == pytest.approx(cost, abs=1e-3)


@pytest.mark.parametrize(
    "force, velocity, error",
    [
        (40.0, (0.25, 0.0), 0.0),
        (40.0, (0.5, 0.0), 0.2),
        (30.0, (0.25, 0.0), 0.10),
        (20.0, (0.25, 0.0), 0.25),
        (40.0, (-0.25, 0.0), 0.25),
        (40.0, (0.0, 0.25), 0.25),
        (40.0, (0.25, 0.1), 0.1),
    ],
    ids=["carried", "too fast", "half", "weak", "against", "aside", "both"],
)
def test_strong_push_excuses_being_carried_along_it(force, velocity, error):
    """A push above 20 N excuses up to 0.3 m/s along it, and nothing across or against it."""
    env = fresh_env((0.0, 0.0, 0.0), (force * math.cos(YAW), force * math.sin(YAW), 0.0))
    place(env, velocity=velocity, spin=(0.0, 0.0, 0.0))
    terms = terms_of(env)
    assert terms["linear_tracking"] == pytest.approx(math.exp(-(error**2) / 0.25), abs=1e-5)
    assert terms["linear_precision"] == pytest.approx(math.exp(-(error**2) / 0.01), abs=1e-5)


def test_outcome_averages_the_tracking_errors():
    """An episode's outcome holds its return and its mean errors, including what a push excused."""
    env = fresh_env()
    place(env, velocity=(0.4, 0.1), spin=(0.0, 0.0, 0.1))
    rewards = [act(env).reward[:, 0] for _ in range(3)]
    outcome = act(env).outcome
    torch.testing.assert_close(outcome["linear_error"], torch.full((NUM_ENVS,), 0.3), atol=1e-5, rtol=0)
    torch.testing.assert_close(outcome["yaw_error"], torch.full((NUM_ENVS,), 0.2), atol=1e-5, rtol=0)
    assert outcome["length"].tolist() == [4.0] * NUM_ENVS
    assert bool((outcome["return"] > torch.stack(rewards).sum(dim=0)).all())
