"""Contracts of the observations: the published form, and symmetries."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from fakes import random_state

from mapush.env import observations
from mapush.sim.geometry import (
    positive_angle,
    quat_from_rpy,
    rotate,
    rotate_inverse,
    rotate_xy,
    wrap,
    yaw_of,
)

pytestmark = pytest.mark.contracts

NUM_ENVS = 5


def level_state(num_agents, seed=0):
    """Return a random state whose bodies stand upright, and a goal."""
    state = random_state(NUM_ENVS, num_agents, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    robot_yaw = 6.2 * torch.rand(NUM_ENVS, num_agents, generator=generator) - 3.1
    object_yaw = 6.2 * torch.rand(NUM_ENVS, generator=generator) - 3.1
    state = dataclasses.replace(state, robot_quat_w=upright(robot_yaw), object_quat_w=upright(object_yaw))
    return state, torch.randn(NUM_ENVS, 3, generator=generator)


def upright(yaw):
    return quat_from_rpy(torch.zeros_like(yaw), torch.zeros_like(yaw), yaw)


def actor_obs(state, goal):
    return observations.actor_obs(state, yaw_of(state.robot_quat_w), goal)


def turn_world(state, goal, angle):
    """Turn everything about the world's z axis."""
    half = torch.tensor((math.cos(angle / 2.0), 0.0, 0.0, math.sin(angle / 2.0)))

    def vector(value):
        return rotate(half.expand(value.shape[:-1] + (4,)), value)

    def quat(value):
        w, xyz = half[:1] * value[..., :1] - (half[1:] * value[..., 1:]).sum(-1, keepdim=True), value[..., 1:]
        turned = half[:1] * xyz + value[..., :1] * half[1:] + torch.cross(half[1:].expand_as(xyz), xyz, dim=-1)
        return torch.cat((w, turned), dim=-1)

    turned = {name: vector(getattr(state, name)) for name in FIELDS if name.endswith(("pos_w", "lin_vel_w"))}
    turned.update({name: quat(getattr(state, name)) for name in FIELDS if "quat" in name})
    return dataclasses.replace(state, **turned), vector(goal)


FIELDS = (
    "robot_pos_w",
    "robot_quat_w",
    "robot_lin_vel_w",
    "object_pos_w",
    "object_quat_w",
    "object_lin_vel_w",
)


@pytest.mark.parametrize("num_agents", (2, 3))
def test_obs_random_states_match_slow_derivation(num_agents):
    """The actor sees goal, object and team mates in its yaw frame, as published; mate k is robot (i - k) mod A."""
    state, goal = level_state(num_agents)
    obs = actor_obs(state, goal)
    assert obs.shape == (NUM_ENVS, num_agents, 2 + 3 * num_agents)
    assert obs.dtype == torch.float32
    yaw = yaw_of(state.robot_quat_w).double().numpy()
    object_yaw = yaw_of(state.object_quat_w).double().numpy()
    position = state.robot_pos_w.double().numpy()
    for env in range(NUM_ENVS):
        for agent in range(num_agents):
            c, s = np.cos(yaw[env, agent]), np.sin(yaw[env, agent])

            def local(point):
                dx, dy = point[:2] - position[env, agent, :2]  # noqa: B023
                return [c * dx + s * dy, -s * dx + c * dy]  # noqa: B023

            expected = local(goal[env].double().numpy()) + local(state.object_pos_w[env].double().numpy())
            expected.append((object_yaw[env] - yaw[env, agent]) % (2 * math.pi))
            for k in range(1, num_agents):
                mate = (agent - k) % num_agents
                expected += local(position[env, mate]) + [(yaw[env, mate] - yaw[env, agent]) % (2 * math.pi)]
            np.testing.assert_allclose(obs[env, agent].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("num_agents", (2, 3))
def test_share_obs_random_states_match_slow_derivation(num_agents):
    """Each named block of the critic's state is what its name says, in the object's yaw frame."""
    state, goal = level_state(num_agents)
    remaining = torch.rand(NUM_ENVS)
    blocks = observations.share_obs_blocks(num_agents)
    share_obs = observations.critic_obs(state, goal, remaining)
    assert share_obs.shape == (NUM_ENVS, sum(observations.share_obs_blocks(num_agents).values()))
    part = dict(zip(blocks, share_obs.split(list(blocks.values()), dim=1)))
    for env in range(NUM_ENVS):
        yaw = float(yaw_of(state.object_quat_w)[env])
        frame = np.array([[math.cos(yaw), math.sin(yaw)], [-math.sin(yaw), math.cos(yaw)]])
        origin = state.object_pos_w[env, :2].numpy()
        expected = {
            "goal_xy": frame @ (goal[env, :2].numpy() - origin),
            "object_velocity_xy": frame @ state.object_lin_vel_w[env, :2].numpy(),
            "object_yaw_rate": state.object_ang_vel_b[env, 2:].numpy(),
            "remaining_time": remaining[env : env + 1].numpy(),
        }
        for agent in range(num_agents):
            relative = float(yaw_of(state.robot_quat_w)[env, agent]) - yaw
            robot = f"robot_{agent}_"
            expected[robot + "xy"] = frame @ (state.robot_pos_w[env, agent, :2].numpy() - origin)
            expected[robot + "sin_cos_yaw"] = [math.sin(relative), math.cos(relative)]
            expected[robot + "velocity_xy"] = frame @ state.robot_lin_vel_w[env, agent, :2].numpy()
            expected[robot + "yaw_rate"] = state.robot_ang_vel_b[env, agent, 2:].numpy()
        assert expected.keys() == part.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(part[name][env].numpy(), value, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("angle", (0.3, 2.0, -2.9))
def test_observations_world_turned_are_unchanged(angle):
    """Turning the world about the vertical does not change observations."""
    state, goal = level_state(2)
    turned_state, turned_goal = turn_world(state, goal, angle)
    apart = wrap(actor_obs(turned_state, turned_goal) - actor_obs(state, goal))
    assert float(apart.abs().max()) < 2e-5
    remaining = torch.rand(NUM_ENVS)
    torch.testing.assert_close(
        observations.critic_obs(turned_state, turned_goal, remaining),
        observations.critic_obs(state, goal, remaining),
        atol=1e-5,
        rtol=1e-5,
    )


def test_obs_agents_swapped_permutes_rows():
    """Agents are interchangeable: swapping them permutes the rows of obs."""
    state, goal = level_state(2)
    swapped = dataclasses.replace(
        state,
        **{name: getattr(state, name).flip(1) for name in ("robot_pos_w", "robot_quat_w", "robot_lin_vel_w")},
    )
    torch.testing.assert_close(actor_obs(swapped, goal).flip(1), actor_obs(state, goal))


def test_obs_world_reflected_flips_y_and_angles():
    """Mirroring the world flips the sign of every y and of every angle."""
    state, goal = level_state(3)
    mirror = torch.tensor((1.0, -1.0, 1.0))
    reflected = dataclasses.replace(
        state,
        robot_pos_w=state.robot_pos_w * mirror,
        object_pos_w=state.object_pos_w * mirror,
        robot_quat_w=upright(-yaw_of(state.robot_quat_w)),
        object_quat_w=upright(-yaw_of(state.object_quat_w)),
    )
    sign = torch.tensor((1.0, -1.0) + (1.0, -1.0, -1.0) * 3)
    apart = wrap(actor_obs(reflected, goal * mirror) - sign * actor_obs(state, goal))
    assert float(apart.abs().max()) < 2e-5


def test_positive_angle_edges_stay_in_range():
    """Angles lie in [0, 2 pi), also where rounding would give 2 pi."""
    angle = positive_angle(torch.tensor((0.0, -1e-9, 2.0 * math.pi, -7.0, 50.0)))
    assert float(angle.min()) >= 0.0
    assert float(angle.max()) < 2.0 * math.pi


def test_rotate_inverse_undoes_rotate_and_keeps_yaw():
    """A rotation and its inverse cancel, and agree with matrices of roll, pitch and yaw."""
    roll, pitch, yaw = torch.tensor(0.3), torch.tensor(-0.5), torch.tensor(2.1)
    quat = quat_from_rpy(roll, pitch, yaw)

    def about(axis, angle):
        c, s = math.cos(angle), math.sin(angle)
        return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                         "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])  # fmt: skip

    matrix = about("z", 2.1) @ about("y", -0.5) @ about("x", 0.3)
    vector = torch.tensor((0.2, -1.0, 0.7))
    np.testing.assert_allclose(rotate(quat, vector).numpy(), matrix @ vector.numpy(), atol=1e-6)
    torch.testing.assert_close(rotate_inverse(quat, rotate(quat, vector)), vector)
    torch.testing.assert_close(yaw_of(quat), yaw)
    torch.testing.assert_close(rotate_xy(torch.tensor((1.0, 0.0)), yaw), torch.stack((yaw.cos(), yaw.sin())))
