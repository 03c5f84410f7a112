"""The parts of one env step of the walking task, between which the physics computes."""

from __future__ import annotations

import math
from typing import Dict, NamedTuple

import torch

from mapush.env.vec_env import Observation
from mapush.sim.gait import foot_positions_b
from mapush.sim.geometry import gravity_b, rotate
from mapush.sim.physics import State

FALL_TILT = math.cos(math.radians(70.0))  # cosine of the tilt beyond which a robot has fallen
FALL_HEIGHT = 0.15  # a robot whose trunk is lower has fallen [m]

Buffers = Dict[str, torch.Tensor]


class Begun(NamedTuple):
    """What an env step begins with.

    Attributes:
      action: clipped, (E, 1, 12).
      targets: set points of the servos [rad], (E, 1, 12).
      force_w: on the trunk [N], (E, 1, 3).
      torque_w: on the trunk [N m], (E, 1, 3).
    """

    action: torch.Tensor
    targets: torch.Tensor
    force_w: torch.Tensor
    torque_w: torch.Tensor


class Ended(NamedTuple):
    """What an env step led to, before new episodes begin.

    Attributes:
      earned: what each reward term adds to the reward, (N, E, 1).
      reward: (E, 1).
      terminated: the robot has fallen, (E,) bool.
      truncated: the time limit has ended the episode, (E,) bool.
      outcome: results of the episodes so far by name, (E,) each.
      observation: the last one of the episodes that ended.
    """

    earned: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    outcome: Dict[str, torch.Tensor]
    observation: Observation


def has_fallen(state: State) -> torch.Tensor:
    """Return where the robot is tilted too far or too low, (E,) bool."""
    tilted = gravity_b(state.robot_quat_w)[:, 0, 2] > -FALL_TILT
    low = state.robot_pos_w[:, 0, 2] < FALL_HEIGHT
    return tilted | low


def foot_positions_w(state: State) -> torch.Tensor:
    """Return where the feet of the one robot of each env are [m], (E, 4, 3)."""
    feet = foot_positions_b(state.joint_pos[:, 0])
    quat = state.robot_quat_w.expand(-1, 4, 4)
    return rotate(quat, feet) + state.robot_pos_w
