"""A trot for the legs of a Go1: the position of each foot, and the joint positions that put it there.

The trot is the feed-forward part of walking. Without feedback it stumbles; the networks of `mapush.sim.walking` correct
it.

Frames and signs: x is forward, y is left, z is up. Joint positions have the order of `JOINTS`: hip, thigh and calf of
each leg. The hip turns the leg about x; the thigh and the calf turn about y, so both links move in one plane.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Tuple

import torch

from mapush.sim.geometry import constant
from mapush.sim.go1 import DEFAULT_JOINT_POS, HIP_OFFSET, LINK_LENGTH, SERVOS, THIGH_OFFSET
from mapush.sim.physics import STEP_DT

FREQUENCY = 3.0  # steps per second of each leg [Hz]
SWING_HEIGHT = 0.06  # height to which a foot is lifted above its stance [m]
STANCE_WIDENING = 0.05  # distance of each foot outward from the default pose [m]
WEIGHT = 12.74 * 9.81  # weight of the robot [N]
WALKING_COMMAND = 0.05
"""|v_x| + |v_y| + |omega_z| at which feet are lifted to the full height; up to half of it they stay down."""

STIFFNESS = (SERVOS["hip"].stiffness, SERVOS["thigh"].stiffness, SERVOS["calf"].stiffness) * 4
DAMPING = (SERVOS["hip"].damping, SERVOS["thigh"].damping, SERVOS["calf"].damping) * 4


class Robot(NamedTuple):
    """What a trot has to know about a robot with the links of a Go1.

    Attributes:
      joint_pos: joint positions above whose feet the trot goes [rad].
      widening: distance of each foot outward from there [m].
      weight: [N].
      stiffness: of each joint's servo [N m/rad].
      damping: of each joint's servo [N m s/rad].
    """

    joint_pos: Tuple[float, ...]
    widening: float
    weight: float
    stiffness: Tuple[float, ...]
    damping: Tuple[float, ...]


GO1 = Robot(DEFAULT_JOINT_POS, STANCE_WIDENING, WEIGHT, STIFFNESS, DAMPING)

_FORE = (1.0, 1.0, -1.0, -1.0)  # sign of each leg's x, in the order of `LEGS`
_SIDE = (-1.0, 1.0, -1.0, 1.0)  # sign of each leg's y, in the order of `LEGS`
_LEG_PHASE = (0.0, 0.5, 0.5, 0.0)  # diagonal legs move together


def _signs(device: torch.device) -> torch.Tensor:
    """Return the signs of each leg's x and y, (2, 4)."""
    return constant((_FORE, _SIDE), device)


def foot_positions_b(joint_pos: torch.Tensor) -> torch.Tensor:
    """Return the positions of the feet in the trunk frame [m], (..., 4, 3), for joint positions (..., 12) [rad]."""
    fore, side = _signs(joint_pos.device)
    hip, thigh, calf = joint_pos.unflatten(-1, (4, 3)).unbind(-1)
    forward = -LINK_LENGTH * (torch.sin(thigh) + torch.sin(thigh + calf))
    down = -LINK_LENGTH * (torch.cos(thigh) + torch.cos(thigh + calf))
    outward = side * THIGH_OFFSET
    left = outward * torch.cos(hip) - down * torch.sin(hip)
    up = outward * torch.sin(hip) + down * torch.cos(hip)
    return torch.stack((forward + fore * HIP_OFFSET[0], left + side * HIP_OFFSET[1], up), dim=-1)


def joint_positions(feet_b: torch.Tensor) -> torch.Tensor:
    """Return the joint positions (..., 12) [rad] that put the feet at `feet_b` (..., 4, 3) [m] in the trunk frame.

    This is the inverse of `foot_positions_b`. If a foot is out of reach, the leg reaches as far as it can.

    Thigh and calf are of equal length, so by the law of cosines the angle of the knee follows from the distance between
    thigh joint and foot, and the thigh is half that angle away from the line between them.
    """
    fore, side = _signs(feet_b.device)
    forward = feet_b[..., 0] - fore * HIP_OFFSET[0]
    left = feet_b[..., 1] - side * HIP_OFFSET[1]
    down = -feet_b[..., 2]
    # Distance from the thigh joint to the foot, seen along x; the offset of the thigh is at a right angle to it.
    length = (left.square() + down.square() - THIGH_OFFSET**2).clamp(min=1e-4).sqrt()
    hip = torch.atan2(left, down) - torch.atan2(side * THIGH_OFFSET, length)
    reach = (forward.square() + length.square()) / (2.0 * LINK_LENGTH**2) - 1.0
    calf = -torch.acos(reach.clamp(-0.98, 0.98))
    thigh = torch.atan2(-forward, length) - calf / 2.0
    return torch.stack((hip, thigh, calf), dim=-1).flatten(-2)


def load_torques(joint_pos: torch.Tensor, load: torch.Tensor) -> torch.Tensor:
    """Return the torques (..., 12) [N m] that balance the vertical forces `load` (..., 4) [N] on the feet.

    `lift` is the derivative of the height of a foot with respect to the joint positions of its leg. By the principle of
    virtual work, the torque of a joint is minus its derivative times the load.
    """
    _, side = _signs(joint_pos.device)
    hip, thigh, calf = joint_pos.unflatten(-1, (4, 3)).unbind(-1)
    forward = -LINK_LENGTH * (torch.sin(thigh) + torch.sin(thigh + calf))
    down = -LINK_LENGTH * (torch.cos(thigh) + torch.cos(thigh + calf))
    left = side * THIGH_OFFSET * torch.cos(hip) - down * torch.sin(hip)
    shank = LINK_LENGTH * torch.sin(thigh + calf)
    lift = torch.stack((left, -forward * torch.cos(hip), shank * torch.cos(hip)), dim=-1)
    return -(lift * load.unsqueeze(-1)).flatten(-2)


def walking_ramp(commands: torch.Tensor) -> torch.Tensor:
    """Return 1 for `commands` (..., 3) to walk, 0 for those to stand, and a linear ramp between, (..., 1)."""
    speed = commands.abs().sum(dim=-1, keepdim=True)
    return (speed / WALKING_COMMAND * 2.0 - 1.0).clamp(0.0, 1.0)


def stride(
    phase: torch.Tensor, commands: torch.Tensor, stepping: torch.Tensor, robot: Robot = GO1
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the joint positions of a trot that follows `commands`, and the load on each foot.

    In the first half of its phase, a leg is in stance: its foot moves backwards at the commanded speed, from half a
    stance ahead of its nominal position to half a stance behind it. In the second half it swings: the foot is lifted
    and returns along a smooth step, 3 s^2 - 2 s^3. The two legs in stance carry the weight.

    Args:
      phase: phase of the gait, (...,), in [0, 1).
      commands: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's frame, (..., 3).
      stepping: height of the steps as a fraction of `SWING_HEIGHT`, (..., 1), in [0, 1]; at 0 the feet stay down.
      robot: where its feet stand, and its weight.

    Returns:
      Joint positions (..., 12) [rad], and vertical load on each foot (..., 4) [N].
    """
    device = commands.device
    side = _signs(device)[1]
    nominal = foot_positions_b(constant(robot.joint_pos, device))
    nominal[:, 1] += robot.widening * side
    leg_phase = torch.remainder(phase.unsqueeze(-1) + constant(_LEG_PHASE, device), 1.0)
    in_stance = leg_phase < 0.5
    swing = (leg_phase - 0.5).clamp(min=0.0) * 2.0  # 0 in stance, then 0 to 1
    return_step = swing * swing * (3.0 - 2.0 * swing)
    progress = torch.where(in_stance, 0.5 - 2.0 * leg_phase, return_step - 0.5)
    forward = commands[..., :1] - commands[..., 2:] * nominal[:, 1]
    left = commands[..., 1:2] + commands[..., 2:] * nominal[:, 0]
    stance_time = 0.5 / FREQUENCY
    lift = stepping * SWING_HEIGHT * torch.sin(math.pi * swing)
    offset = torch.stack((forward * stance_time * progress, left * stance_time * progress, lift), dim=-1)
    share = 0.25 + stepping * torch.where(in_stance, 0.25, -0.25)
    return joint_positions(nominal + offset), share * robot.weight


def trot(phase: torch.Tensor, commands: torch.Tensor, stepping: torch.Tensor, robot: Robot = GO1) -> torch.Tensor:
    """Return the servo set points (..., 12) [rad] that make the legs follow `stride` with the same arguments.

    A servo is a spring and a damper: damping and weight would make the joints lag behind their set points. So the set
    points lead by (torque of the load + damping * velocity) / stiffness.
    """
    device = commands.device
    stiffness = constant(robot.stiffness, device)
    damping = constant(robot.damping, device)
    phases = torch.stack((phase, phase + FREQUENCY * STEP_DT))
    (joint_pos, ahead), (load, _) = stride(phases, commands, stepping, robot)
    velocity = (ahead - joint_pos) / STEP_DT
    return joint_pos + (load_torques(joint_pos, load) + damping * velocity) / stiffness
