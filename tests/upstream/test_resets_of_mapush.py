"""What MAPush draws at the start of an episode against what we draw: ranges, and distributions."""

from __future__ import annotations

import math

import pytest
import torch
from mapush_code import Ours, angle_gap, freeze, make_wrapper, our_state, read_roots, write_roots

from mapush.config import TaskConfig
from mapush.env.resets import Spawner
from mapush.objects import OBJECTS
from mapush.sim.geometry import pairwise_distance, roll_of, rotate, yaw_of
from mapush.sim.go1 import DEFAULT_JOINT_POS

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

NAMES = sorted(OBJECTS)
RESETS = 50
SMALLEST_P = 1e-4  # of a test of Kolmogorov and Smirnov; with fixed seeds it either holds or does not


def pitch_of(quat):
    """Return the rotation about y of quaternions wxyz (..., 4)."""
    w, x, y, z = quat.unbind(-1)
    return torch.asin((2.0 * (w * y - z * x)).clamp(-1.0, 1.0))


def described(state, goal, joint_scale):
    """Return each quantity of initial states by name, as one list of numbers.

    Args:
      state: of E envs.
      goal: (E, 3) [m].
      joint_scale: joint positions as shares of the default ones, (E, A, 12).
    """
    thing, robots = state.object_pos_w, state.robot_pos_w
    to_goal, to_robot = goal - thing, robots - thing.unsqueeze(1)
    found = {
        "goal distance": to_goal[:, :2].norm(dim=-1),
        "goal bearing": torch.atan2(to_goal[:, 1], to_goal[:, 0]),
        "robot distance": to_robot[..., :2].norm(dim=-1),
        "robot bearing": torch.atan2(to_robot[..., 1], to_robot[..., 0]),
        "robots apart": pairwise_distance(robots).flatten(1).amin(dim=1),
        "joint scale": joint_scale,
        "object roll": roll_of(state.object_quat_w),
        "object pitch": pitch_of(state.object_quat_w),
        "object yaw": yaw_of(state.object_quat_w),
        "robot roll": roll_of(state.robot_quat_w),
        "robot pitch": pitch_of(state.robot_quat_w),
        "robot yaw": yaw_of(state.robot_quat_w),
    }
    turning = rotate(state.robot_quat_w, state.robot_ang_vel_b)
    for axis, letter in enumerate("xyz"):
        found[f"robot velocity {letter}"] = state.robot_lin_vel_w[..., axis]
        found[f"robot turn {letter}"] = turning[..., axis]
    return {name: values.flatten().double() for name, values in found.items()}


def drawn_by_mapush(wrapper):
    """Return the quantities of many resets of MAPush, and the states of the last one with its goals."""
    env, parts = wrapper.env, []
    torch.manual_seed(1)
    for _ in range(RESETS):
        wrapper.reset()
        state, goal = our_state(read_roots(env), env.env_origins)
        scale = env.dof_pos / env.default_dof_pos
        parts.append(described(state, goal, scale.view(env.num_envs, env.num_agents, 12)))
        assert not env.dof_vel.any()
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, state, goal


def drawn_by_us(item, count):
    """Return the quantities of `count` of our initial states with upstream's quirks, the states, and their goals."""
    spawner = Spawner(item, count, torch.Generator().manual_seed(1), min_separation=0.0)
    state, goal = spawner.draw()
    return described(state, goal, state.joint_pos / torch.tensor(DEFAULT_JOINT_POS)), state, goal


@pytest.mark.parametrize("name", NAMES)
def test_initial_states_of_mapush_have_the_distribution_of_ours(wrapper_of, name):
    """Every quantity passes a test of Kolmogorov and Smirnov, and has the same range within 2 %."""
    from scipy.stats import ks_2samp

    wrapper = wrapper_of(name)
    theirs, _, _ = drawn_by_mapush(wrapper)
    ours, _, _ = drawn_by_us(OBJECTS[name], RESETS * wrapper.num_envs)
    assert set(theirs) == set(ours)
    for quantity, values in theirs.items():
        expected = ours[quantity]
        assert len(values) == len(expected), quantity
        width = float(expected.max() - expected.min())
        if width < 1e-6:  # the cylinder never tilts
            assert float((values - expected).abs().max()) < 1e-6, quantity
            continue
        assert ks_2samp(values, expected).pvalue > SMALLEST_P, quantity
        if quantity == "robots apart":  # its ends are rare
            continue
        for end in (torch.amin, torch.amax):
            assert float(end(values)) == pytest.approx(float(end(expected)), abs=0.02 * width), quantity


@pytest.mark.parametrize("name", NAMES)
def test_initial_states_of_mapush_are_drawn_independently(wrapper_of, name):
    """Bearings and headings of a team's robots, and of object and goal, do not depend on each other."""
    env = wrapper_of(name).env
    torch.manual_seed(5)
    angles = []
    for _ in range(RESETS):
        wrapper_of(name).reset()
        state, goal = our_state(read_roots(env), env.env_origins)
        to_robot = state.robot_pos_w - state.object_pos_w.unsqueeze(1)
        to_goal = goal - state.object_pos_w
        parts = [torch.atan2(to_robot[..., 1], to_robot[..., 0]), yaw_of(state.robot_quat_w)]
        parts += [yaw_of(state.object_quat_w).unsqueeze(1), torch.atan2(to_goal[:, 1], to_goal[:, 0]).unsqueeze(1)]
        angles.append(torch.cat(parts, dim=1))
    columns = torch.cat(angles).T
    largest = 4.0 / math.sqrt(columns.shape[1])
    for first in range(len(columns)):
        for second in range(first):
            between = columns[first] - columns[second]
            length = math.hypot(float(torch.cos(between).mean()), float(torch.sin(between).mean()))
            assert length < largest, (first, second)


@pytest.mark.parametrize("name", NAMES)
def test_initial_states_of_mapush_have_our_heights_and_rest(wrapper_of, name):
    """Heights are ours above MAPush's floor, the object rests at the middle of the track, and the goal has no yaw."""
    env = wrapper_of(name).env
    _, state, goal = drawn_by_mapush(wrapper_of(name))
    _, ours, our_goal = drawn_by_us(OBJECTS[name], env.num_envs)
    torch.testing.assert_close(state.robot_pos_w[..., 2], ours.robot_pos_w[..., 2])
    torch.testing.assert_close(state.object_pos_w[:, 2], ours.object_pos_w[:, 2])
    torch.testing.assert_close(goal[:, 2], our_goal[:, 2])
    torch.testing.assert_close(state.object_pos_w[:, :2] - torch.tensor((12.0, 0.0)), ours.object_pos_w[:, :2])
    assert not state.object_lin_vel_w.any()
    assert not state.object_ang_vel_b.any()
    quat = env.root_states_npc.view(env.num_envs, -1, 13)[:, 1, 3:7]
    assert torch.equal(quat, torch.tensor((0.0, 0.0, 0.0, 1.0)).expand_as(quat))


@pytest.mark.parametrize("name, share", [("cuboid", 0.063), ("tblock", 0.068), ("cylinder", 0.065)])
def test_share_of_mapush_starts_in_a_collision_is_the_documented_one(wrapper_of, name, share):
    """docs/deviations.md says how many episodes begin with robots that are too close."""
    theirs, _, _ = drawn_by_mapush(wrapper_of(name))
    apart = theirs["robots apart"]
    spread = math.sqrt(share * (1.0 - share) / len(apart))
    assert float((apart < OBJECTS[name].collision_distance).double().mean()) == pytest.approx(share, abs=4.0 * spread)


def test_reset_of_mapush_leaves_the_other_envs_alone(wrapper_of):
    """Only the envs that are reset get new states, and the heading that they observe is still the last one."""
    wrapper = wrapper_of("tblock")
    env = wrapper.env
    wrapper.reset()
    wrapper.step(torch.zeros(env.num_envs, 2, 3))
    before, heading = read_roots(env), env.base_quat.clone()
    ids = torch.tensor((3, 11))
    env.reset_idx(ids)
    changed = (read_roots(env) != before).flatten(1).any(dim=1)
    assert changed.nonzero().flatten().tolist() == ids.tolist()
    assert torch.equal(env.base_quat, heading)


def test_heading_before_the_first_step_of_mapush_is_never_that_of_the_last_episode(wrapper_of):
    """Until the first step, the heading that MAPush observes is a view of the state, so a second reset() shows it."""
    wrapper = make_wrapper("cuboid", 7)
    env = freeze(wrapper)
    ours = Ours(TaskConfig(object="cuboid", upstream_quirks=True), env.env_origins)
    for _ in range(2):
        obs = wrapper.reset()
        assert angle_gap(obs, ours.reset(read_roots(env)).obs) < 1e-5
    apart = read_roots(env)
    apart[:, 0, :2] = apart[:, -2, :2] + 1.0
    apart[:, 1, :2] = apart[:, -2, :2] - 1.0
    write_roots(env, apart)
    _, _, done, _ = wrapper.step(torch.zeros(7, 2, 3))
    assert not done.any()
    ours.step(torch.zeros(7, 2, 3), apart, apart)
    obs = wrapper.reset()
    stale = ours.reset(read_roots(env)).obs
    assert angle_gap(obs, stale) < 1e-5
    fresh = Ours(TaskConfig(object="cuboid"), env.env_origins).reset(read_roots(env)).obs
    assert angle_gap(obs, fresh) > 0.1
