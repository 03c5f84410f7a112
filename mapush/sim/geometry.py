"""Rotations and distances of torch tensors with any leading shape. Quaternions are wxyz, angles are in radians."""

from __future__ import annotations

import functools
import math
from typing import Any, Tuple

import torch

TWO_PI = 2.0 * math.pi


@functools.lru_cache(maxsize=None)
def constant(values: Tuple[Any, ...], device: torch.device) -> torch.Tensor:
    """Return `values` as a float32 tensor, which is created once for each device; never write to it.

    Creating it on every call would copy from the host, for which the GPU has to wait.
    """
    return torch.tensor(values, dtype=torch.float32, device=device)


def wrap(angle: torch.Tensor) -> torch.Tensor:
    """Return the equivalent angle in [-pi, pi)."""
    return positive_angle(angle + math.pi) - math.pi


def positive_angle(angle: torch.Tensor) -> torch.Tensor:
    """Return the equivalent angle in [0, 2 pi)."""
    turned = torch.remainder(angle, TWO_PI)
    return torch.where(turned >= TWO_PI, torch.zeros_like(turned), turned)  # a tiny negative angle rounds up to 2 pi


def roll_of(quat: torch.Tensor) -> torch.Tensor:
    """Return the roll of `quat` (..., 4), its rotation about x, in [-pi, pi], shape (...)."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))


def yaw_of(quat: torch.Tensor) -> torch.Tensor:
    """Return the yaw of `quat` (..., 4), its heading, in [-pi, pi], shape (...)."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def quat_from_rpy(roll: torch.Tensor, pitch: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Return the quaternion (..., 4) of a rotation by `roll` about x, then `pitch` about y, then `yaw` about z."""
    sr, cr = torch.sin(roll / 2.0), torch.cos(roll / 2.0)
    sp, cp = torch.sin(pitch / 2.0), torch.cos(pitch / 2.0)
    sy, cy = torch.sin(yaw / 2.0), torch.cos(yaw / 2.0)
    return torch.stack(
        (
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ),
        dim=-1,
    )


def rotate(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Transform `vector` (..., 3) from the frame of `quat` (..., 4) to the world frame."""
    axis = quat[..., 1:].expand_as(vector)
    turn = 2.0 * torch.cross(axis, vector, dim=-1)
    return vector + quat[..., :1] * turn + torch.cross(axis, turn, dim=-1)


def rotate_inverse(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Transform `vector` (..., 3) from the world frame to the frame of `quat` (..., 4)."""
    return rotate(torch.cat((quat[..., :1], -quat[..., 1:]), dim=-1), vector)


def gravity_b(quat: torch.Tensor) -> torch.Tensor:
    """Return the direction of gravity in the frame of `quat` (..., 4), shape (..., 3), length 1."""
    w, x, y, z = quat.unbind(-1)
    return torch.stack((2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1), dim=-1)


def rotate_xy(vector: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate `vector` (..., 2) counter-clockwise by `angle` (...)."""
    x, y = vector.unbind(-1)
    sin, cos = torch.sin(angle), torch.cos(angle)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def pairwise_distance(points: torch.Tensor) -> torch.Tensor:
    """Return the distances between `points` (..., A, d) as (..., A, A), with infinity on the diagonal."""
    distance = (points.unsqueeze(-2) - points.unsqueeze(-3)).norm(dim=-1)
    itself = torch.eye(points.shape[-2], dtype=torch.bool, device=points.device)
    return distance.masked_fill(itself, math.inf)
