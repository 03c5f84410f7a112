"""Positions and orientations of frames in other frames."""

from __future__ import annotations

import mujoco
import numpy as np

from .asset import IDENTITY, ORIGIN, Quaternion, Vector

Pose = tuple[Vector, Quaternion]

NO_MOVE: Pose = (ORIGIN, IDENTITY)


def vector(values: np.ndarray) -> Vector:
    """Return three numbers as a tuple."""
    x, y, z = values.tolist()
    return (x, y, z)


def quaternion(values: np.ndarray) -> Quaternion:
    """Return four numbers as a tuple."""
    w, x, y, z = values.tolist()
    return (w, x, y, z)


def compose(outer: Pose, inner: Pose) -> Pose:
    """Return where `inner` is, which is given in the frame of `outer`, in the frame in which `outer` is given."""
    pos, quat = np.zeros(3), np.zeros(4)
    mujoco.mju_mulPose(pos, quat, np.array(outer[0]), np.array(outer[1]), np.array(inner[0]), np.array(inner[1]))
    return vector(pos), quaternion(quat)


def inverse(pose: Pose) -> Pose:
    """Return the pose of the outer frame in the inner one."""
    pos, quat = np.zeros(3), np.zeros(4)
    mujoco.mju_negPose(pos, quat, np.array(pose[0]), np.array(pose[1]))
    return vector(pos), quaternion(quat)


def rotation(quat: Quaternion) -> np.ndarray:
    """Return the matrix of a rotation, (3, 3)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.array(quat))
    return matrix.reshape(3, 3)


def from_rpy(rpy: np.ndarray) -> Quaternion:
    """Return URDF's orientation: roll about x, then pitch about y, then yaw about z, axes that stay [rad]."""
    quat = np.zeros(4)
    mujoco.mju_euler2Quat(quat, rpy, "XYZ")
    return quaternion(quat)
