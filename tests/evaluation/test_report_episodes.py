"""The numbers of episodes, compared with a slow derivation in which points are complex numbers."""

from __future__ import annotations

import cmath
import dataclasses
import math

import numpy as np
import pytest

from benchmarks.report import ON_ITS_SIDE, made_up_trace
from mapush.objects import CUBOID
from mapush.reports.episode_data import (
    HARDLY_MOVED,
    MOVED_AWAY,
    RINGS,
    ROLLED,
    SANK,
    SECTORS,
    TIPPED,
    TOO_SLOW,
    episodes_of,
    success_by_goal,
)

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

NUM_ENVS, LONGEST = 61, 90


def point(xy) -> complex:
    """Return a point of the plane."""
    return complex(float(xy[0]), float(xy[1]))


def heading(quat) -> float:
    """Return the direction of a body's x axis [rad], from the rotation of that axis."""
    w, x, y, z = map(float, quat)
    return math.atan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)


@pytest.fixture(scope="module")
def trace():
    """Episodes of all kinds."""
    return made_up_trace(NUM_ENVS, seed=5, max_length=LONGEST)


@pytest.fixture(scope="module")
def episodes(trace):
    """The same episodes as numbers."""
    return episodes_of(trace, CUBOID.spawn_height)


def test_episode_numbers_against_a_slow_derivation_agree(trace, episodes):
    """Distances, directions and durations follow from the positions."""
    for env_id, qpos in enumerate(trace.qpos):
        goal, places = point(trace.goals[env_id]), [point(row[-7:-5]) for row in qpos]
        distances = [abs(place - goal) for place in places]
        assert episodes.goal_distance[env_id] == pytest.approx(distances[0], rel=1e-5)
        assert episodes.final_distance[env_id] == pytest.approx(distances[-1], rel=1e-5)
        assert episodes.least_distance[env_id] == pytest.approx(min(distances), rel=1e-5)
        travelled = sum(abs(after - before) for before, after in zip(places, places[1:]))
        assert episodes.travelled[env_id] == pytest.approx(travelled, rel=1e-4)
        seen = (goal - places[0]) * cmath.exp(-1j * heading(qpos[0][-4:]))
        wanted = math.degrees(cmath.phase(seen))
        assert (episodes.goal_direction[env_id] - wanted + 180.0) % 360.0 == pytest.approx(180.0, abs=1e-2)
        assert episodes.seconds[env_id] == pytest.approx(0.02 * (len(qpos) - 1))
        assert trace.outcome[str(episodes.ending[env_id])][env_id]
    assert -180.0 <= episodes.goal_direction.min()
    assert episodes.goal_direction.max() < 180.0
    assert np.array_equal(episodes.success, trace.outcome["success"])


def test_paths_are_seen_from_the_goal_with_the_start_on_the_left(trace, episodes):
    """The goal is the origin and every start lies on the negative x axis; distances are preserved."""
    for env_id, path in enumerate(episodes.paths):
        start = point(trace.qpos[env_id][0][-7:-5]) - point(trace.goals[env_id])
        assert point(path[0]) == pytest.approx(-abs(start), abs=1e-5)
        middle = point(trace.qpos[env_id][len(path) // 2][-7:-5]) - point(trace.goals[env_id])
        assert point(path[len(path) // 2]) == pytest.approx(-middle * abs(start) / start, abs=1e-5)


def test_bins_by_goal_against_a_slow_count_agree(episodes):
    """Every episode is in one ring and one sector; the first sector is centred on the object's x axis."""
    successes, trials = success_by_goal(episodes)
    wanted = {}
    for distance, direction, success in zip(episodes.goal_distance, episodes.goal_direction, episodes.success):
        ring = sum(distance >= edge for edge in (2.0, 2.5))
        sector = min(range(SECTORS), key=lambda k: abs((direction - 45.0 * k + 180.0) % 360.0 - 180.0))
        won, tried = wanted.get((ring, sector), (0, 0))
        wanted[ring, sector] = (won + bool(success), tried + 1)
    assert successes.shape == trials.shape == (RINGS, SECTORS) == (3, 8)
    assert trials.sum() == NUM_ENVS
    for cell in np.ndindex(RINGS, SECTORS):
        assert (successes[cell], trials[cell]) == wanted.get(cell, (0, 0)), cell


@pytest.mark.parametrize(
    "distance, direction, cell",
    [(1.5, 0.0, (0, 0)), (3.0, -22.0, (2, 0)), (2.1, 23.0, (1, 1)), (2.4, -170.0, (1, 4)), (2.6, -46.0, (2, 7))],
)
def test_goal_at_the_edge_of_a_bin_is_counted_in_the_right_one(episodes, distance, direction, cell):
    """Both limits of the distance belong to the range, and directions go counter-clockwise."""
    one = {name: getattr(episodes, name)[:1] for name in ("ending", "reason")}
    goal = dict(goal_distance=np.array([distance]), goal_direction=np.array([direction]))
    _, trials = success_by_goal(dataclasses.replace(episodes, **one, **goal))
    assert trials.sum() == trials[cell] == 1


def fallen(robot_changes=(), object_rise=0.0):
    """Return the reason and the spot of an episode that ended in a fall, after changes to its last row."""
    trace = made_up_trace(NUM_ENVS, seed=6, max_length=LONGEST)
    env_id = int(np.flatnonzero(trace.outcome["fall"])[0])
    trace.qpos[env_id][-1][22:26] = (1.0, 0.0, 0.0, 0.0)
    for start, values in robot_changes:
        trace.qpos[env_id][-1][start : start + len(values)] = values
    trace.qpos[env_id][-1][-5] += object_rise
    episodes = episodes_of(trace, CUBOID.spawn_height)
    goal, item = point(trace.goals[env_id]), point(trace.qpos[env_id][-1][-7:-5])
    towards = (goal - item) / abs(goal - item)
    return episodes.reason[env_id], point(episodes.spots[env_id]) * towards, trace.qpos[env_id][-1], item


def test_fall_names_the_robot_that_rolled_over():
    """The spot is the robot's position relative to the object, with the goal in the direction of x."""
    for start in (0, 19):
        reason, spot, last, item = fallen([(start + 3, ON_ITS_SIDE)])
        assert reason == ROLLED
        assert spot == pytest.approx(point(last[start : start + 2]) - item, abs=1e-5)


def test_fall_names_the_robot_that_sank_and_the_object_that_rose():
    """The reason is the robot that left its height, or the object if no robot did."""
    reason, spot, last, item = fallen([(21, (0.05,))])
    assert reason == SANK
    assert spot == pytest.approx(point(last[19:21]) - item, abs=1e-5)
    reason, spot, _, _ = fallen(object_rise=0.4)
    assert reason == TIPPED
    assert spot == pytest.approx(0.0, abs=1e-6)


def test_collision_is_between_the_two_robots_that_were_nearest(trace, episodes):
    """The spot of a collision is the midpoint of its robots."""
    assert trace.outcome["collision"].any()
    for env_id in np.flatnonzero(trace.outcome["collision"]):
        last, goal = trace.qpos[env_id][-1], point(trace.goals[env_id])
        item, middle = point(last[-7:-5]), (point(last[:2]) + point(last[19:21])) / 2
        wanted = (middle - item) * abs(goal - item) / (goal - item)
        assert point(episodes.spots[env_id]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    "path, reason",
    [
        ([0.0, 0.2], HARDLY_MOVED),
        ([0.0, 0.3], TOO_SLOW),
        ([0.0, 0.6, 0.4], TOO_SLOW),
        ([0.0, 0.6, 0.3], MOVED_AWAY),
    ],
)
def test_timeout_says_what_the_object_did(path, reason):
    """An object that hardly moved, one that went back, and one that was too slow are distinguished."""
    trace = made_up_trace(NUM_ENVS, seed=7, max_length=LONGEST)
    env_id = int(np.flatnonzero(trace.outcome["timeout"])[0])
    goal = trace.goals[env_id] / np.linalg.norm(trace.goals[env_id])
    rows = trace.qpos[env_id][: len(path)].copy()
    rows[:, -7:-5] = np.outer(path, goal)
    trace.qpos[env_id] = rows
    assert episodes_of(trace, CUBOID.spawn_height).reason[env_id] == reason


def test_worst_episodes_are_failures_far_from_the_goal_or_else_slow_successes(episodes):
    """Failures are ordered by their final distance; without a failure, the slowest successes are taken."""
    worst = episodes.worst(4)
    left = {env_id: episodes.final_distance[env_id] for env_id in np.flatnonzero(~episodes.success)}
    assert worst == sorted(left, key=left.get, reverse=True)[:4]
    one = np.where(np.arange(NUM_ENVS) == 17, "fall", "success")
    assert dataclasses.replace(episodes, ending=one).worst(4) == [17]
    none = dataclasses.replace(episodes, ending=np.full(NUM_ENVS, "success"))
    assert none.worst(2) == np.argsort(-episodes.seconds, kind="stable")[:2].tolist()
