"""Contracts of the observation for any object and team: its numbers one by one, and what it does not depend on."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from fakes import NUM_ENVS, make_env, random_actions, random_state

from mapush.config import TaskConfig, pushed_object
from mapush.env import any_team
from mapush.env.any_team import DIRECTIONS, Outline
from mapush.errors import ConfigError
from mapush.objects import CYLINDER, TBLOCK, Part, PushObject
from mapush.sim.geometry import quat_from_rpy, rotate, yaw_of

pytestmark = pytest.mark.contracts

AGENTS, SEATS = 3, 7
CPU = torch.device("cpu")
REMAINING = torch.linspace(0.2, 0.9, NUM_ENVS)
TURN = 1.1  # of a frame [rad]


def level_state(seed=0):
    """Return a random state whose bodies stand upright, and a goal."""
    state = random_state(NUM_ENVS, AGENTS, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    robots = 6.2 * torch.rand(NUM_ENVS, AGENTS, generator=generator) - 3.1
    thing = 6.2 * torch.rand(NUM_ENVS, generator=generator) - 3.1
    state = dataclasses.replace(state, robot_quat_w=upright(robots), object_quat_w=upright(thing))
    return state, torch.randn(NUM_ENVS, 3, generator=generator)


def upright(yaw):
    return quat_from_rpy(torch.zeros_like(yaw), torch.zeros_like(yaw), yaw)


def actor_obs(state, goal, item=TBLOCK):
    return any_team.actor_obs(state, yaw_of(state.robot_quat_w), goal, Outline(item, CPU), SEATS)


def critic_obs(state, goal, item=TBLOCK):
    return any_team.critic_obs(state, goal, REMAINING, Outline(item, CPU), SEATS)


def turned(vector, angle):
    """Return a planar vector turned counter-clockwise, as numbers."""
    x, y = vector[:2].tolist()
    return [math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y]


def extents(item, turn):
    return item.extents([turn + 2.0 * math.pi * k / DIRECTIONS for k in range(DIRECTIONS)])


def test_robot_sees_goal_object_and_team_mates_in_its_own_frame():
    """Every number of the observation is the one that a loop over envs and robots computes."""
    state, goal = level_state()
    obs = actor_obs(state, goal)
    assert obs.shape == (NUM_ENVS, AGENTS, sum(any_team.obs_blocks(SEATS).values()))
    position, yaw, object_yaw = state.robot_pos_w, yaw_of(state.robot_quat_w), yaw_of(state.object_quat_w)
    for env in range(NUM_ENVS):
        for robot in range(AGENTS):
            heading = float(yaw[env, robot])
            expected = turned(goal[env] - position[env, robot], -heading)
            expected += turned(state.object_pos_w[env] - position[env, robot], -heading)
            expected += extents(TBLOCK, heading - float(object_yaw[env]))
            for k in range(1, AGENTS):
                mate = (robot + k) % AGENTS
                angle = float(yaw[env, mate]) - heading
                expected += turned(position[env, mate] - position[env, robot], -heading)
                expected += [math.sin(angle), math.cos(angle), 1.0]
            expected += [0.0] * 5 * (SEATS - AGENTS)
            np.testing.assert_allclose(obs[env, robot], expected, atol=3e-3)  # the outline is read from a table
            after = 4 + DIRECTIONS
            np.testing.assert_allclose(obs[env, robot, :4], expected[:4], atol=1e-5)
            np.testing.assert_allclose(obs[env, robot, after:], expected[after:], atol=1e-5)


def test_critic_sees_goal_and_robots_in_the_frame_of_the_object():
    """Every number of the state is the one that a loop over envs and robots computes."""
    state, goal = level_state(seed=3)
    share_obs = critic_obs(state, goal)
    assert share_obs.shape == (NUM_ENVS, sum(any_team.share_obs_blocks(SEATS).values()))
    object_spin = rotate(state.object_quat_w, state.object_ang_vel_b)
    spin = rotate(state.robot_quat_w, state.robot_ang_vel_b)
    for env in range(NUM_ENVS):
        back = -float(yaw_of(state.object_quat_w)[env])
        expected = turned(goal[env] - state.object_pos_w[env], back) + turned(state.object_lin_vel_w[env], back)
        expected += [float(object_spin[env, 2]), float(REMAINING[env]), *extents(TBLOCK, 0.0)]
        for robot in range(AGENTS):
            angle = float(yaw_of(state.robot_quat_w)[env, robot]) + back
            expected += turned(state.robot_pos_w[env, robot] - state.object_pos_w[env], back)
            expected += [math.sin(angle), math.cos(angle)]
            expected += turned(state.robot_lin_vel_w[env, robot], back) + [float(spin[env, robot, 2]), 1.0]
        expected += [0.0] * 8 * (SEATS - AGENTS)
        np.testing.assert_allclose(share_obs[env], expected, atol=1e-5)


@pytest.mark.parametrize("angle", [0.7, -2.9])
def test_turning_and_moving_the_world_changes_no_observation(angle):
    """Only the places of goal, object and robots relative to each other matter."""
    state, goal = level_state(seed=5)
    half = torch.tensor((math.cos(angle / 2.0), 0.0, 0.0, math.sin(angle / 2.0)))
    offset = torch.tensor((4.0, -3.0, 0.0))

    def moved(point):
        return rotate(half.expand(*point.shape[:-1], 4), point) + offset

    def velocity(vector):
        return rotate(half.expand(*vector.shape[:-1], 4), vector)

    other = dataclasses.replace(
        state,
        robot_pos_w=moved(state.robot_pos_w),
        robot_quat_w=upright(yaw_of(state.robot_quat_w) + angle),
        robot_lin_vel_w=velocity(state.robot_lin_vel_w),
        object_pos_w=moved(state.object_pos_w),
        object_quat_w=upright(yaw_of(state.object_quat_w) + angle),
        object_lin_vel_w=velocity(state.object_lin_vel_w),
    )
    torch.testing.assert_close(actor_obs(other, moved(goal)), actor_obs(state, goal), rtol=0.0, atol=1e-4)
    torch.testing.assert_close(critic_obs(other, moved(goal)), critic_obs(state, goal), rtol=0.0, atol=1e-4)


def test_robots_do_not_see_how_the_frame_of_the_object_is_turned():
    """An object whose parts are turned one way and its frame the other way looks the same."""
    size = (1.4, 0.3, 0.5)
    plain = PushObject("plain", (Part.box(size, 1.0, offset=(0.2, 0.1, 0.0)),))
    x, y = turned(torch.tensor((0.2, 0.1)), TURN)
    other = PushObject("turned", (Part.box(size, 1.0, offset=(x, y, 0.0), rpy=(0.0, 0.0, TURN)),))
    state, goal = level_state(seed=7)
    frame = dataclasses.replace(state, object_quat_w=upright(yaw_of(state.object_quat_w) - TURN))
    seen, expected = actor_obs(frame, goal, other), actor_obs(state, goal, plain)
    torch.testing.assert_close(seen, expected, rtol=0.0, atol=2e-2)  # a table of another 720 directions


def test_outline_tells_objects_apart():
    """A circle looks the same from everywhere; a box and a bar reach as far as geometry says."""
    turn = torch.linspace(-3.0, 3.0, 11)
    circle = Outline(CYLINDER, CPU).seen(turn)
    assert circle.shape == (11, DIRECTIONS)
    torch.testing.assert_close(circle, torch.full_like(circle, 1.5), rtol=0.01, atol=0.0)
    bar = PushObject("bar", (Part.box((2.4, 0.4, 0.5), 1.0),))
    ahead = Outline(bar, CPU).seen(torch.zeros(1))[0]
    assert float(ahead[0]) == pytest.approx(1.2)
    assert float(ahead[DIRECTIONS // 4]) == pytest.approx(0.2)
    assert float(ahead[DIRECTIONS // 8]) == pytest.approx(0.2 * math.sqrt(2.0), abs=1e-4)


def test_direction_in_which_the_object_does_not_lie_has_extent_zero():
    """The origin of an object may lie outside of its parts."""
    beside = PushObject("beside", (Part.box((0.4, 0.6, 0.5), 1.0, offset=(1.0, 0.0, 0.0)),))
    assert beside.extents([0.0, math.pi, math.pi / 2.0]) == [pytest.approx(1.2), 0.0, 0.0]


@pytest.mark.parametrize("agents", [1, 2, 4])
def test_width_does_not_depend_on_the_team(agents):
    """An env of the task declares and returns the same widths for every team."""
    env = make_env(num_agents=agents, view="any_team")
    observation = env.step(random_actions(num_agents=agents) if env.reset() else None).observation
    assert env.obs_spec.validate(observation.obs, "test").shape == (NUM_ENVS, agents, 35)
    assert env.share_obs_spec.validate(observation.share_obs, "test").shape == (NUM_ENVS, 54)


def test_more_robots_than_seats_are_refused():
    """The error says how many fit, before a simulator is made."""
    with pytest.raises(ConfigError, match="no seat") as caught:
        pushed_object(TaskConfig(num_agents=5, view="any_team"))
    assert caught.value.expected == "at most 4"
    assert pushed_object(TaskConfig(num_agents=5, view="any_team", seats=6)).num_agents == 5


def test_seats_without_the_view_that_has_them_are_refused():
    """A setting that cannot act is an error, and so is an unknown view."""
    with pytest.raises(ConfigError, match="seats"):
        TaskConfig(seats=6)
    with pytest.raises(ConfigError, match="any_team"):
        TaskConfig(view="any_taem")
