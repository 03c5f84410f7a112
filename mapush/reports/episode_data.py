"""The episodes of an evaluation as numbers: where each started, how it ended, and why it failed."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Tuple

import numpy as np
import torch

from mapush.env.metrics import ENDINGS
from mapush.env.resets import GOAL_DISTANCE
from mapush.env.terminations import MAX_HEIGHT_CHANGE, MAX_ROLL, ROBOT_HEIGHT
from mapush.evaluation.traces import Trace
from mapush.sim.geometry import pairwise_distance, roll_of, wrap, yaw_of
from mapush.sim.physics import STEP_DT

RINGS = 3  # bins of the goal's distance
SECTORS = 8  # bins of the goal's direction; the first is centred on the object's x axis
MIN_TRAVELLED = 0.25  # an object whose path is shorter "hardly moved" [m]
MAX_SETBACK = 0.25  # an object that ends farther than this beyond its least distance "moved away again" [m]

COLLIDED = "two robots collided"
ROLLED = "a robot rolled over"
SANK = "a robot sank or rose"
TIPPED = "the object rose"
HARDLY_MOVED = "the object hardly moved"
MOVED_AWAY = "the object moved away again"
TOO_SLOW = "still on its way"
REASONS: Dict[str, Tuple[str, ...]] = {
    "collision": (COLLIDED,),
    "fall": (ROLLED, SANK, TIPPED),
    "timeout": (HARDLY_MOVED, MOVED_AWAY, TOO_SLOW),
}
"""Why an episode failed, by how it ended."""

_QPOS_OF_ROBOT = 19  # numbers of a robot in a row of `Trace.qpos`
_OBJECT_XY = slice(-7, -5)  # the object's numbers in a row of `Trace.qpos`
_OBJECT_Z = -5
_OBJECT_QUAT = slice(-4, None)


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Numbers of E episodes; arrays have shape (E,) unless stated otherwise.

    Attributes:
      ending: success, collision, fall or timeout.
      reason: why it failed, one of `REASONS`; '' for a success.
      seconds: duration [s].
      goal_distance: from object to goal at the start [m].
      goal_direction: direction of the goal at the start, in the object's own frame, in [-180, 180) [degrees].
      final_distance: from object to goal at the end [m].
      least_distance: smallest distance from object to goal [m].
      travelled: length of the object's path [m].
      collaboration: share of the steps in which all robots were near the object.
      team_return: sum of the rewards, mean over the team.
      paths: paths of the object in a frame whose origin is the goal and whose negative x axis holds the start; one
        array of shape (1 + length, 2) per episode [m].
      spots: where the episode failed: between the two robots of a collision, at the robot that fell, otherwise at the
        object; in a frame whose origin is the object and whose x axis points to the goal, shape (E, 2) [m].
    """

    ending: np.ndarray
    reason: np.ndarray
    seconds: np.ndarray
    goal_distance: np.ndarray
    goal_direction: np.ndarray
    final_distance: np.ndarray
    least_distance: np.ndarray
    travelled: np.ndarray
    collaboration: np.ndarray
    team_return: np.ndarray
    paths: List[np.ndarray]
    spots: np.ndarray

    def __len__(self) -> int:
        return len(self.ending)

    @property
    def success(self) -> np.ndarray:
        """Which episodes succeeded, shape (E,), bool."""
        return self.ending == "success"

    def worst(self, number: int) -> List[int]:
        """Return the failed episodes that ended farthest from the goal; if none failed, the slowest ones.

        Args:
          number: how many, at most.
        """
        failures = int((~self.success).sum())
        if failures == 0:
            badness = self.seconds
        else:
            badness = np.where(self.success, -np.inf, self.final_distance)
            number = min(number, failures)
        order = np.argsort(-badness, kind="stable")
        return order[:number].tolist()


def episodes_of(trace: Trace, spawn_height: float) -> Episodes:
    """Return the numbers of the episodes in `trace`.

    Args:
      trace: the episodes, with their outcomes.
      spawn_height: height of the object at the start [m].
    """
    outcome = trace.outcome
    start = np.stack([qpos[0] for qpos in trace.qpos])
    last = np.stack([qpos[-1] for qpos in trace.qpos])
    bearing = _bearing(trace.goals - start[:, _OBJECT_XY])
    heading = yaw_of(torch.from_numpy(start[:, _OBJECT_QUAT])).numpy()
    ending = np.array(ENDINGS)[np.argmax(np.stack([outcome[name] for name in ENDINGS]), axis=0)]
    motion = _motion_of(trace, bearing)
    faults = _faults_of(last, spawn_height)
    is_collision, is_fall = ending == "collision", ending == "fall"
    spots = np.select([is_collision[:, None], is_fall[:, None]], [faults.between, faults.fallen])
    return Episodes(
        ending=ending,
        reason=_reasons(ending, motion, faults),
        seconds=outcome["length"] * STEP_DT,
        goal_distance=motion.first_distance,
        goal_direction=np.degrees(wrap(torch.from_numpy(bearing - heading)).numpy()),
        final_distance=motion.final_distance,
        least_distance=motion.least_distance,
        travelled=motion.travelled,
        collaboration=outcome["collaboration"],
        team_return=outcome["return"],
        paths=motion.paths,
        spots=_turned(spots, -_bearing(trace.goals - last[:, _OBJECT_XY])),
    )


def success_by_goal(episodes: Episodes) -> Tuple[np.ndarray, np.ndarray]:
    """Count the episodes by distance and direction of the goal.

    Returns:
      The number of successes and the number of episodes, both of shape (RINGS, SECTORS), int64. The rings have the
      same width and cover `GOAL_DISTANCE`, the nearest first; the sectors go counter-clockwise, the first is centred
      on the object's x axis.
    """
    low, high = GOAL_DISTANCE
    ring = np.floor((episodes.goal_distance - low) / (high - low) * RINGS).astype(int).clip(0, RINGS - 1)
    sector = np.round(episodes.goal_direction / (360.0 / SECTORS)).astype(int) % SECTORS
    successes = np.zeros((RINGS, SECTORS), dtype=np.int64)
    trials = np.zeros((RINGS, SECTORS), dtype=np.int64)
    np.add.at(trials, (ring, sector), 1)
    np.add.at(successes, (ring, sector), episodes.success)
    return successes, trials


# -- how the object moved --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Motion:
    """How the object moved; see `Episodes`."""

    first_distance: np.ndarray
    final_distance: np.ndarray
    least_distance: np.ndarray
    travelled: np.ndarray
    paths: List[np.ndarray]


def _motion_of(trace: Trace, bearing: np.ndarray) -> _Motion:
    first, final, least, travelled, paths = [], [], [], [], []
    for qpos, goal, angle in zip(trace.qpos, trace.goals, bearing):
        path = qpos[:, _OBJECT_XY].astype(np.float64)
        distances = np.linalg.norm(path - goal, axis=1)
        first.append(distances[0])
        final.append(distances[-1])
        least.append(distances.min())
        travelled.append(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        paths.append(_turned(path - goal, -angle))
    return _Motion(np.array(first), np.array(final), np.array(least), np.array(travelled), paths)


# -- why an episode failed -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Faults:
    """What is wrong with a team at the end of an episode.

    Attributes:
      fall_reason: why the episode ended in a fall, if it did, shape (E,).
      between: midpoint of the two robots that are nearest to each other, relative to the object, shape (E, 2) [m].
      fallen: position of the robot that fell, relative to the object; zero if none fell, shape (E, 2) [m].
    """

    fall_reason: np.ndarray
    between: np.ndarray
    fallen: np.ndarray


def _faults_of(last: np.ndarray, spawn_height: float) -> _Faults:
    """Return the faults in the last rows of the episodes, shape (E, nq)."""
    episode = np.arange(len(last))
    robots = torch.from_numpy(last[:, :-7]).unflatten(1, (-1, _QPOS_OF_ROBOT))[..., :7]
    offset = (robots[..., :2] - torch.from_numpy(last[:, None, _OBJECT_XY])).numpy()

    # Roll and height change relative to their limits: the robot that exceeds a limit most is the one that fell.
    roll = roll_of(robots[..., 3:]).abs().numpy() / MAX_ROLL
    height_change = np.abs(robots[..., 2].numpy() - ROBOT_HEIGHT) / MAX_HEIGHT_CHANGE
    culprit = np.maximum(roll, height_change).argmax(axis=1)
    rolled = roll[episode, culprit] > 1.0
    sank = height_change[episode, culprit] > 1.0
    object_rose = np.abs(last[:, _OBJECT_Z] - spawn_height) > MAX_HEIGHT_CHANGE

    nearest_pair = pairwise_distance(robots[..., :3]).flatten(1).argmin(dim=1).numpy()
    first, second = np.divmod(nearest_pair, robots.shape[1])
    return _Faults(
        fall_reason=np.where(rolled, ROLLED, np.where(sank | ~object_rose, SANK, TIPPED)),
        between=(offset[episode, first] + offset[episode, second]) / 2.0,
        fallen=np.where((rolled | sank)[:, None], offset[episode, culprit], 0.0),
    )


def _reasons(ending: np.ndarray, motion: _Motion, faults: _Faults) -> np.ndarray:
    hardly_moved = motion.travelled < MIN_TRAVELLED
    moved_away = motion.final_distance > motion.least_distance + MAX_SETBACK
    timeout_reason = np.where(hardly_moved, HARDLY_MOVED, np.where(moved_away, MOVED_AWAY, TOO_SLOW))
    conditions = [ending == "collision", ending == "fall", ending == "timeout"]
    return np.select(conditions, [np.full(len(ending), COLLIDED), faults.fall_reason, timeout_reason], "")


# -- geometry --------------------------------------------------------------------------------------------------------


def _bearing(offset: np.ndarray) -> np.ndarray:
    """Return the direction of `offset`, shape (E, 2), in the world frame, shape (E,) [rad]."""
    return np.arctan2(offset[:, 1], offset[:, 0])


def _turned(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn `points`, shape (..., 2), counter-clockwise by `angle`, shape (...) [rad]."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return np.stack((cos * x - sin * y, sin * x + cos * y), axis=-1)
