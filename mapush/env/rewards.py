"""The reward, term by term: pure functions that return (E, A).

Source: MAPush@0e61e1b, `Go1PushMidWrapper.step` and `utils_dist.py`, with `general_dist` off.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Dict

import torch
from torch.nn.functional import normalize

from mapush.config import RewardConfig
from mapush.sim.geometry import pairwise_distance, rotate_xy, wrap

TERMS = ("target", "push", "reach_target", "exception", "approach", "collision", "ocb")
PUSH_SPEED = 0.1  # [m/s], above which the object counts as pushed


@dataclasses.dataclass(frozen=True)
class RewardInputs:
    """Everything that the reward of one env step depends on, for E envs of A robots.

    Attributes:
      robot_pos_w: (E, A, 3) [m].
      object_pos_w: (E, 3) [m].
      object_yaw: (E,) [rad].
      object_lin_vel_w: (E, 3) [m/s].
      previous_object_xy: where the object was one env step ago, (E, 2) [m].
      goal_pos_w: (E, 3) [m].
      success: the object is at the goal, (E,) bool.
      exception: a collision or a fall, (E,) bool.
    """

    robot_pos_w: torch.Tensor
    object_pos_w: torch.Tensor
    object_yaw: torch.Tensor
    object_lin_vel_w: torch.Tensor
    previous_object_xy: torch.Tensor
    goal_pos_w: torch.Tensor
    success: torch.Tensor
    exception: torch.Tensor


def compute(inputs: RewardInputs, vertices: torch.Tensor, weights: RewardConfig) -> Dict[str, torch.Tensor]:
    """Return the weighted terms, (E, A) float32 each, in the order of `TERMS`; their sum is the reward.

    Args:
      inputs: one env step.
      vertices: the object's outline, counter-clockwise in its root frame, (V, 2) [m].
      weights: weight of each term.
    """
    team_terms = {
        "target": weights.target * target(inputs),
        "push": weights.push * push(inputs),
        "reach_target": weights.reach_target * inputs.success,
        "exception": weights.exception * inputs.exception,
    }
    terms: Dict[str, torch.Tensor] = {}
    for name, value in team_terms.items():
        terms[name] = value.unsqueeze(1).expand(inputs.robot_pos_w.shape[:2])
    terms["approach"] = weights.approach * approach(inputs)
    terms["collision"] = weights.collision * collision(inputs)
    terms["ocb"] = weights.ocb * occlusion(inputs, vertices, weights.expanded_ocb)
    return terms


def target(inputs: RewardInputs) -> torch.Tensor:
    """Return the object's progress towards the goal, minus a share of the distance that is left, (E,)."""
    goal_xy = inputs.goal_pos_w[:, :2]
    before = (inputs.previous_object_xy - goal_xy).norm(dim=-1)
    now = (inputs.object_pos_w[:, :2] - goal_xy).norm(dim=-1)
    return 100.0 * (2.0 * (before - now) - 0.01 * now)


def approach(inputs: RewardInputs) -> torch.Tensor:
    """Return the negative square of each robot's distance from the object plus 0.5 m, (E, A)."""
    distance = (inputs.object_pos_w.unsqueeze(1) - inputs.robot_pos_w).norm(dim=-1)
    return -((distance + 0.5) ** 2)


def collision(inputs: RewardInputs) -> torch.Tensor:
    """Return how near each robot is to its team mates, (E, A): the sum of 1 / (0.02 + distance / 3)."""
    return (1.0 / (0.02 + pairwise_distance(inputs.robot_pos_w) / 3.0)).sum(dim=-1)


def push(inputs: RewardInputs) -> torch.Tensor:
    """Return whether the object moves faster than `PUSH_SPEED`, (E,) bool."""
    return inputs.object_lin_vel_w[:, :2].norm(dim=-1) > PUSH_SPEED


def occlusion(inputs: RewardInputs, vertices: torch.Tensor, expanded: bool) -> torch.Tensor:
    """Return the cosine between the way to the goal and the inward normal of each robot's nearest edge, (E, A).

    It is 1 behind the object as seen from the goal, and -1 in front of it.

    Args:
      inputs: one env step.
      vertices: see `compute`.
      expanded: turn the way to the goal by half the object's yaw, as upstream's published runs did.
    """
    towards_robot = inputs.robot_pos_w[..., :2] - inputs.object_pos_w[:, None, :2]
    yaw = inputs.object_yaw.unsqueeze(1)
    normal = rotate_xy(_nearest_normal(rotate_xy(towards_robot, -yaw), vertices), yaw)
    return (_way_to_goal(inputs, expanded).unsqueeze(1) * normal).sum(dim=-1)


def _way_to_goal(inputs: RewardInputs, expanded: bool) -> torch.Tensor:
    towards_goal = inputs.goal_pos_w[:, :2] - inputs.object_pos_w[:, :2]
    if not expanded:
        return normalize(towards_goal, dim=-1)
    # Upstream's published runs: not quite a unit vector, and turned by half the object's yaw.
    direction = towards_goal / (towards_goal + 0.01).norm(dim=-1, keepdim=True)
    return rotate_xy(direction, -wrap(-inputs.object_yaw) / 2.0)


def _nearest_normal(points: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
    """Return the inward unit normal of the edge nearest to each of `points` (..., 2), all in the object's frame.

    The distance from an edge is that from its line, if the point lies beside the edge, and otherwise that from the
    nearer of its two corners. Beyond a corner both its edges are equally near: the first one in the order of
    `vertices` is taken.
    """
    edges = vertices.roll(-1, dims=0) - vertices
    lengths = edges.norm(dim=-1)
    normals = torch.stack((-edges[:, 1], edges[:, 0]), dim=-1) / lengths.unsqueeze(-1)
    from_start = points.unsqueeze(-2) - vertices
    along = (from_start * edges).sum(dim=-1) / lengths**2
    beside = (along >= 0.0) & (along <= 1.0)
    to_line = (from_start * normals).sum(dim=-1).abs().masked_fill(~beside, math.inf)
    to_start = from_start.norm(dim=-1)
    to_end = to_start.roll(-1, dims=-1)
    distance = torch.minimum(to_line, torch.minimum(to_start, to_end))
    return normals[distance.argmin(dim=-1)]
