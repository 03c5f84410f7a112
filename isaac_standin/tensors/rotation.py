"""Quaternions wxyz of any leading shape, (..., 4)."""

from __future__ import annotations

import torch


def xyzw(quat: torch.Tensor) -> torch.Tensor:
    """Return a quaternion wxyz as xyzw."""
    return torch.cat((quat[..., 1:], quat[..., :1]), dim=-1)


def wxyz(quat: torch.Tensor) -> torch.Tensor:
    """Return a quaternion xyzw as wxyz."""
    return torch.cat((quat[..., 3:], quat[..., :3]), dim=-1)


def rotate(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Return vectors, (..., 3), rotated by unit quaternions."""
    axis = quat[..., 1:]
    vector = vector.expand_as(axis)
    twice = 2.0 * torch.linalg.cross(axis, vector)
    return vector + quat[..., :1] * twice + torch.linalg.cross(axis, twice)


def rotate_inverse(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Return vectors, (..., 3), rotated by the inverses of unit quaternions."""
    return rotate(torch.cat((quat[..., :1], -quat[..., 1:]), dim=-1), vector)
