"""When an episode ends, judged on the state after the physics and before any reset.

Source: MAPush@0e61e1b, `check_termination`. Two kinds of upstream's tests are left out: those that can never fire
(pitch beyond 1.6 rad, a goal that leaves its height), and those that every published configuration turns off.
"""

from __future__ import annotations

import dataclasses

import torch

from mapush.env.pushed_object import object_of
from mapush.objects import PushObject
from mapush.sim.geometry import pairwise_distance, roll_of
from mapush.sim.physics import State

MAX_EPISODE_LENGTH = 1000  # [env steps]; the episode ends on the step after
MAX_ROLL = 0.8  # [rad]
ROBOT_HEIGHT = 0.43  # height at the start, from which a trunk may move by `MAX_HEIGHT_CHANGE` [m]
MAX_HEIGHT_CHANGE = 0.35  # [m]


@dataclasses.dataclass(frozen=True)
class Endings:
    """Which limits each env has reached, (E,) bool each; several may hold at once.

    Attributes:
      success: the object is at the goal.
      timeout: the episode is longer than `MAX_EPISODE_LENGTH`.
      roll: a robot lies on its side.
      height: a robot or the object is too low or too high.
      collision: two robots are too close to each other.
    """

    success: torch.Tensor
    timeout: torch.Tensor
    roll: torch.Tensor
    height: torch.Tensor
    collision: torch.Tensor

    @property
    def exception(self) -> torch.Tensor:
        """(E,) bool: the robots have failed."""
        return self.roll | self.height | self.collision

    @property
    def terminated(self) -> torch.Tensor:
        """(E,) bool: the task ends the episode."""
        return self.success | self.exception

    @property
    def done(self) -> torch.Tensor:
        """(E,) bool: the episode ends, for any reason."""
        return self.terminated | self.timeout


def compute(state: State, goal_pos_w: torch.Tensor, length: torch.Tensor, item: PushObject) -> Endings:
    """Return which limits the state of each env has reached.

    Args:
      state: the state after the physics, of E envs.
      goal_pos_w: (E, 3) [m].
      length: env steps of the episode, the present one included, (E,) int64.
      item: the object that is pushed.
    """
    robot_off = (state.robot_pos_w[..., 2] - ROBOT_HEIGHT).abs() > MAX_HEIGHT_CHANGE
    object_pos_w = object_of(state).pos_w
    object_off = (object_pos_w[:, 2] - item.spawn_height).abs() > MAX_HEIGHT_CHANGE
    goal_distance = (object_pos_w[:, :2] - goal_pos_w[:, :2]).norm(dim=-1)
    too_close = pairwise_distance(state.robot_pos_w) < item.collision_distance
    return Endings(
        success=goal_distance < item.goal_radius,
        timeout=length > MAX_EPISODE_LENGTH,
        roll=(roll_of(state.robot_quat_w).abs() > MAX_ROLL).any(dim=1),
        height=robot_off.any(dim=1) | object_off,
        collision=too_close.flatten(1).any(dim=1),
    )
