"""Contracts of the endings: each limit is checked just inside and just outside."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mapush.env import terminations
from mapush.objects import OBJECTS
from mapush.sim.geometry import quat_from_rpy
from mapush.sim.physics import State

pytestmark = pytest.mark.contracts

NUM_ENVS, ENV = 5, 3
FLAGS = ("success", "timeout", "roll", "height", "collision")


def calm(name):
    """Return a state that has reached no limit, a goal and an episode length."""
    item = OBJECTS[name]
    robots = torch.zeros(NUM_ENVS, item.num_agents, 3)
    robots[..., 0], robots[..., 2] = torch.arange(item.num_agents) + 2.0, 0.26
    still = torch.zeros(NUM_ENVS, item.num_agents, 12)
    body = torch.zeros(NUM_ENVS, 3)
    body[:, 2] = item.spawn_height
    zero = torch.zeros(NUM_ENVS)
    agents = torch.zeros(NUM_ENVS, item.num_agents)
    state = State(
        robot_pos_w=robots,
        robot_quat_w=quat_from_rpy(agents, agents, agents),
        robot_lin_vel_w=torch.zeros_like(robots),
        robot_ang_vel_b=torch.zeros_like(robots),
        joint_pos=still,
        joint_vel=still,
        object_pos_w=body,
        object_quat_w=quat_from_rpy(zero, zero, zero),
        object_lin_vel_w=torch.zeros_like(body),
        object_ang_vel_b=torch.zeros_like(body),
    )
    goal = torch.tensor((2.0, 0.0, 0.08)).repeat(NUM_ENVS, 1)
    return state, goal, torch.full((NUM_ENVS,), 1000)


def assert_only(endings, flag):
    """Assert that `flag` holds in env `ENV`, and that no other flag holds in any env."""
    for name in FLAGS:
        expected = torch.zeros(NUM_ENVS, dtype=torch.bool)
        expected[ENV] = name == flag
        assert torch.equal(getattr(endings, name), expected), name
    fault = flag in ("roll", "height", "collision")
    assert bool(endings.exception[ENV]) == fault
    assert bool(endings.terminated[ENV]) == (fault or flag == "success")
    assert bool(endings.done[ENV]) == (flag is not None)


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_terminations_calm_state_has_none(name):
    """Robots that stand apart and an object at its place end no episode."""
    assert_only(terminations.compute(*calm(name), OBJECTS[name]), None)


@pytest.mark.parametrize("distance, expected", ((1.001, None), (1.0, None), (0.999, "success")))
def test_success_planar_distance_is_strict(distance, expected):
    """Success is a planar distance strictly below 1 m; heights do not count."""
    state, goal, length = calm("cuboid")
    goal[ENV] = torch.tensor((0.0, distance, -40.0))
    assert_only(terminations.compute(state, goal, length, OBJECTS["cuboid"]), expected)


@pytest.mark.parametrize("steps, expected", ((1000, None), (1001, "timeout")))
def test_timeout_length_above_limit_is_strict(steps, expected):
    """The time limit is passed by step 1001, not by step 1000."""
    state, goal, length = calm("cuboid")
    length[ENV] = steps
    assert_only(terminations.compute(state, goal, length, OBJECTS["cuboid"]), expected)


@pytest.mark.parametrize("pitch", (0.0, 0.7))
@pytest.mark.parametrize(
    "roll, expected", ((0.79, None), (-0.79, None), (0.81, "roll"), (-0.81, "roll"), (3.0, "roll"))
)
def test_roll_of_one_robot_beyond_limit_ends(roll, expected, pitch):
    """One robot rolled beyond 0.8 rad ends the episode, at any pitch and yaw."""
    state, goal, length = calm("cylinder")
    quat = state.robot_quat_w.clone()
    quat[ENV, 1] = quat_from_rpy(*torch.tensor((roll, pitch, 2.5)))
    state = dataclasses.replace(state, robot_quat_w=quat)
    assert_only(terminations.compute(state, goal, length, OBJECTS["cylinder"]), expected)


@pytest.mark.parametrize("height, expected", ((0.081, None), (0.079, "height"), (0.779, None), (0.781, "height")))
def test_robot_height_outside_band_ends(height, expected):
    """A robot lower than 0.08 m or higher than 0.78 m above the floor ends the episode."""
    state, goal, length = calm("cuboid")
    state.robot_pos_w[ENV, 0, 2] = height
    assert_only(terminations.compute(state, goal, length, OBJECTS["cuboid"]), expected)


@pytest.mark.parametrize("change, expected", ((0.349, None), (0.351, "height"), (-0.351, "height")))
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_object_height_change_beyond_limit_ends(name, change, expected):
    """An object 0.35 m from its height at the start ends the episode."""
    state, goal, length = calm(name)
    state.object_pos_w[ENV, 2] += change
    assert_only(terminations.compute(state, goal, length, OBJECTS[name]), expected)


@pytest.mark.parametrize("name, limit", (("cuboid", 0.25), ("tblock", 0.27), ("cylinder", 0.25)))
@pytest.mark.parametrize("margin, expected", ((0.001, None), (-0.001, "collision")))
def test_collision_distance_below_limit_ends(name, limit, margin, expected):
    """Two robots closer than the object's limit end the episode; the distance is spatial."""
    state, goal, length = calm(name)
    offset = (limit + margin) * torch.tensor((0.6, 0.0, 0.8))
    state.robot_pos_w[ENV, -1] = state.robot_pos_w[ENV, 0] + offset
    assert_only(terminations.compute(state, goal, length, OBJECTS[name]), expected)
