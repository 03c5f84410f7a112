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

RINGS = 3  # of goal distance
SECTORS = 8  # of goal direction; the first is centred on the object's x axis
STILL = 0.25  # an object whose path is shorter hardly moved [m]
BACK = 0.25  # an object that ends this much farther from the goal than it had been moved away again [m]

COLLIDED, ROLLED, SANK, TIPPED = "two robots collided", "a robot rolled over", "a robot sank or rose", "the object rose"
HARDLY_MOVED, MOVED_AWAY, TOO_SLOW = "the object hardly moved", "the object moved away again", "still on its way"
REASONS: Dict[str, Tuple[str, ...]] = {
    "collision": (COLLIDED,),
    "fall": (ROLLED, SANK, TIPPED),
    "timeout": (HARDLY_MOVED, MOVED_AWAY, TOO_SLOW),
}
"""Why an episode failed, by how it ended."""


@dataclasses.dataclass(frozen=True)
class Episodes:
    """One number for each of E episodes.

    Attributes:
      ending: success, collision, fall or timeout.
      reason: why it failed, of `REASONS`; "" of a success.
      seconds: how long it took [s].
      goal_distance: from object to goal at the start [m].
      goal_direction: of the goal at the start, in the object's own frame, in [-180, 180) [degrees].
      final_distance: from object to goal at the end [m].
      least_distance: the same, where it was least [m].
      travelled: length of the object's path [m].
      collaboration: share of the steps in which all robots were near the object.
      team_return: sum of the rewards, mean over the team.
      paths: of the object, seen from the goal, which lies in the origin; the object starts on the negative x axis,
        (1 + length, 2) each [m].
      spots: where it went wrong: of a collision between the two robots, of a fall at the robot, else at the object;
        from the object, with the goal in the direction of x, (E, 2) [m].
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
        """Which succeeded, (E,) bool."""
        return self.ending == "success"

    def worst(self, number: int) -> List[int]:
        """Return the failed episodes that ended farthest from the goal; of a team that never fails, the slowest."""
        rank = np.where(self.success, self.seconds, self.seconds.max() + self.final_distance)
        order = np.argsort(-rank, kind="stable")
        failures = int((~self.success).sum())
        return order[: min(number, failures) or number].tolist()


def episodes_of(trace: Trace, spawn_height: float) -> Episodes:
    """Return the numbers of the episodes in `trace`.

    Args:
      trace: with the outcome of each.
      spawn_height: of the object [m], from which it departs when it rises.
    """
    paths = [qpos[:, -7:-5].astype(np.float64) for qpos in trace.qpos]
    distances = [np.linalg.norm(path - goal, axis=1) for path, goal in zip(paths, trace.goals)]
    start, last = (np.stack([qpos[row] for qpos in trace.qpos]) for row in (0, -1))
    to_goal = trace.goals - start[:, -7:-5]
    bearing = np.arctan2(to_goal[:, 1], to_goal[:, 0])
    heading = yaw_of(torch.from_numpy(start[:, -4:])).numpy()
    outcome = trace.outcome
    ending = np.array(ENDINGS)[np.argmax(np.stack([outcome[name] for name in ENDINGS]), axis=0)]
    final, least = (np.array([pick(distance) for distance in distances]) for pick in (lambda d: d[-1], np.min))
    travelled = np.array([np.linalg.norm(np.diff(path, axis=0), axis=1).sum() for path in paths])
    faults = _faults(last, spawn_height)
    reasons = {
        "success": np.full(len(trace), ""),
        "collision": np.full(len(trace), COLLIDED),
        "fall": faults.reason,
        "timeout": np.where(travelled < STILL, HARDLY_MOVED, np.where(final > least + BACK, MOVED_AWAY, TOO_SLOW)),
    }
    spots = np.select([(ending == name)[:, None] for name in ("collision", "fall")], [faults.between, faults.fallen])
    to_goal = trace.goals - last[:, -7:-5]
    return Episodes(
        ending=ending,
        reason=np.select([ending == name for name in reasons], list(reasons.values()), ""),
        seconds=outcome["length"] * STEP_DT,
        goal_distance=np.array([distance[0] for distance in distances]),
        goal_direction=np.degrees(wrap(torch.from_numpy(bearing - heading)).numpy()),
        final_distance=final,
        least_distance=least,
        travelled=travelled,
        collaboration=outcome["collaboration"],
        team_return=outcome["return"],
        paths=[_turned(path - goal, -angle) for path, goal, angle in zip(paths, trace.goals, bearing)],
        spots=_turned(spots, -np.arctan2(to_goal[:, 1], to_goal[:, 0])),
    )


def success_by_goal(episodes: Episodes) -> Tuple[np.ndarray, np.ndarray]:
    """Return how many episodes succeeded and how many there were, by distance and direction of the goal.

    Returns:
      Two arrays (RINGS, SECTORS) of int64: rings of equal width over `GOAL_DISTANCE`, the nearest first; sectors
      counter-clockwise, the first centred on the object's x axis.
    """
    low, high = GOAL_DISTANCE
    ring = np.floor((episodes.goal_distance - low) / (high - low) * RINGS).astype(int).clip(0, RINGS - 1)
    sector = np.round(episodes.goal_direction / (360.0 / SECTORS)).astype(int) % SECTORS
    successes, trials = np.zeros((2, RINGS, SECTORS), dtype=np.int64)
    np.add.at(trials, (ring, sector), 1)
    np.add.at(successes, (ring, sector), episodes.success)
    return successes, trials


@dataclasses.dataclass(frozen=True)
class _Faults:
    """What is wrong with a team at the end: kind of a fall, and the places of a collision or a fall from the object."""

    reason: np.ndarray
    between: np.ndarray
    fallen: np.ndarray


def _faults(last: np.ndarray, spawn_height: float) -> _Faults:
    robots = torch.from_numpy(last[:, :-7]).unflatten(1, (-1, 19))[..., :7]
    offset = (robots[..., :2] - torch.from_numpy(last[:, None, -7:-5])).numpy()
    rolled = roll_of(robots[..., 3:]).abs().numpy() / MAX_ROLL
    sunk = np.abs(robots[..., 2].numpy() - ROBOT_HEIGHT) / MAX_HEIGHT_CHANGE
    row, culprit = np.arange(len(last)), np.maximum(rolled, sunk).argmax(axis=1)
    lies, low = rolled[row, culprit] > 1.0, sunk[row, culprit] > 1.0
    risen = np.abs(last[:, -5] - spawn_height) > MAX_HEIGHT_CHANGE
    nearest = pairwise_distance(robots[..., :3]).flatten(1).argmin(dim=1).numpy()
    first, second = np.divmod(nearest, robots.shape[1])
    return _Faults(
        reason=np.where(lies, ROLLED, np.where(low | ~risen, SANK, TIPPED)),
        between=(offset[row, first] + offset[row, second]) / 2.0,
        fallen=np.where((lies | low)[:, None], offset[row, culprit], 0.0),
    )


def _turned(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn `points` (..., 2) counter-clockwise by `angle` (...)."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return np.stack((cos * x - sin * y, sin * x + cos * y), axis=-1)
