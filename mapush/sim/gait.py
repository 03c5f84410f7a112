"""A trot for the legs of a Go1: where each foot should be, and the joint angles that put it there.

It is the feed-forward part of walking. On its own it stumbles; `mapush.sim.walking` learns the corrections.
"""

from __future__ import annotations

import math
from typing import Tuple

import torch

from mapush.sim.geometry import constant
from mapush.sim.go1 import DEFAULT_JOINT_POS, HIP_OFFSET, LINK_LENGTH, SERVOS, THIGH_OFFSET
from mapush.sim.physics import STEP_DT

FREQUENCY = 3.0  # steps of each leg per second [Hz]
SWING_HEIGHT = 0.06  # of a foot above its stance [m]
STANCE_WIDENING = 0.05  # of each foot outward from the default pose [m]
WEIGHT = 12.74 * 9.81  # of the robot [N]
WALKING_COMMAND = 0.05  # |v_x| + |v_y| + |omega_z| from which feet are lifted fully; none at half of it

_FORE = (1.0, 1.0, -1.0, -1.0)  # sign of each leg's x, in the order of `LEGS`
_SIDE = (-1.0, 1.0, -1.0, 1.0)  # sign of each leg's y
_LEG_PHASE = (0.0, 0.5, 0.5, 0.0)  # diagonal legs move together


def _signs(device: torch.device) -> torch.Tensor:
    """Return the signs of each leg's x and y, (2, 4)."""
    return constant((_FORE, _SIDE), device)


def foot_positions_b(joint_pos: torch.Tensor) -> torch.Tensor:
    """Return where the feet are in the trunk frame [m], (..., 4, 3), for joint positions (..., 12) [rad]."""
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

    A foot out of reach is brought as near as the leg can.
    """
    fore, side = _signs(feet_b.device)
    forward = feet_b[..., 0] - fore * HIP_OFFSET[0]
    left = feet_b[..., 1] - side * HIP_OFFSET[1]
    down = -feet_b[..., 2]
    length = (left.square() + down.square() - THIGH_OFFSET**2).clamp(min=1e-4).sqrt()
    hip = torch.atan2(left, down) - torch.atan2(side * THIGH_OFFSET, length)
    reach = (forward.square() + length.square()) / (2.0 * LINK_LENGTH**2) - 1.0
    calf = -torch.acos(reach.clamp(-0.98, 0.98))
    thigh = torch.atan2(-forward, length) - calf / 2.0
    return torch.stack((hip, thigh, calf), dim=-1).flatten(-2)


def load_torques(joint_pos: torch.Tensor, load: torch.Tensor) -> torch.Tensor:
    """Return the torques (..., 12) [N m] with which the legs hold vertical forces `load` (..., 4) [N] at the feet."""
    _, side = _signs(joint_pos.device)
    hip, thigh, calf = joint_pos.unflatten(-1, (4, 3)).unbind(-1)
    forward = -LINK_LENGTH * (torch.sin(thigh) + torch.sin(thigh + calf))
    down = -LINK_LENGTH * (torch.cos(thigh) + torch.cos(thigh + calf))
    left = side * THIGH_OFFSET * torch.cos(hip) - down * torch.sin(hip)
    shank = LINK_LENGTH * torch.sin(thigh + calf)
    lift = torch.stack((left, -forward * torch.cos(hip), shank * torch.cos(hip)), dim=-1)
    return -(lift * load.unsqueeze(-1)).flatten(-2)


def asked_to_step(commands: torch.Tensor) -> torch.Tensor:
    """Return 1 for commands (..., 3) to walk and 0 for a command to stand, with a ramp between, (..., 1)."""
    return (commands.abs().sum(dim=-1, keepdim=True) / WALKING_COMMAND * 2.0 - 1.0).clamp(0.0, 1.0)


def stride(phase: torch.Tensor, commands: torch.Tensor, stepping: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the joint positions of a trot that follows `commands`, and the load on each foot.

    Args:
      phase: of the gait, (...,), in [0, 1).
      commands: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's frame, (..., 3).
      stepping: how high the feet are lifted, (..., 1), from 0 (they stay on the floor) to 1.
    Returns:
      (..., 12) [rad], and (..., 4) [N].
    """
    device = commands.device
    side = _signs(device)[1]
    nominal = foot_positions_b(constant(DEFAULT_JOINT_POS, device))
    nominal[:, 1] += STANCE_WIDENING * side
    leg_phase = torch.remainder(phase.unsqueeze(-1) + constant(_LEG_PHASE, device), 1.0)
    swing = (leg_phase - 0.5).clamp(min=0.0) * 2.0  # 0 in stance, then 0 to 1
    progress = torch.where(leg_phase < 0.5, 0.5 - 2.0 * leg_phase, swing * swing * (3.0 - 2.0 * swing) - 0.5)
    forward = commands[..., :1] - commands[..., 2:] * nominal[:, 1]
    left = commands[..., 1:2] + commands[..., 2:] * nominal[:, 0]
    stance_time = 0.5 / FREQUENCY
    lift = stepping * SWING_HEIGHT * torch.sin(math.pi * swing)
    offset = torch.stack((forward * stance_time * progress, left * stance_time * progress, lift), dim=-1)
    share = 0.25 + stepping * torch.where(leg_phase < 0.5, 0.25, -0.25)
    return joint_positions(nominal + offset), share * WEIGHT


def trot(phase: torch.Tensor, commands: torch.Tensor, stepping: torch.Tensor) -> torch.Tensor:
    """Return the servo set points (..., 12) [rad] that produce the stride of these arguments; see `stride`.

    They lead the stride by what the servos' damping and the robot's weight would make them lag.
    """
    device = commands.device
    servos = [SERVOS[name] for name in ("hip", "thigh", "calf")] * 4
    stiffness = constant(tuple(servo.stiffness for servo in servos), device)
    damping = constant(tuple(servo.damping for servo in servos), device)
    phases = torch.stack((phase, phase + FREQUENCY * STEP_DT))
    (joint_pos, ahead), (load, _) = stride(phases, commands, stepping)
    velocity = (ahead - joint_pos) / STEP_DT
    return joint_pos + (load_torques(joint_pos, load) + damping * velocity) / stiffness
