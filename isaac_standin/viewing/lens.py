"""What a camera sees: its pose and its lens, without anything that draws.

A camera's own frame is Isaac Gym's: x forward, y to the left, z up.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple, Sequence

import mujoco
import numpy as np

from isaac_standin.errors import StandinError

NEAREST = 0.01  # nearer planes would leave no precision for what is far [m]
FARTHEST = 1000.0  # nothing is drawn beyond [m]


class Pose(NamedTuple):
    """Where something is, and how it is turned.

    Attributes:
      pos: position [m], (3,).
      rot: rotation matrix, whose columns are the axes, (3, 3).
    """

    pos: np.ndarray
    rot: np.ndarray

    def after(self, parent: Pose) -> Pose:
        """Return this pose, which is relative to `parent`, in the frame of `parent`'s own pose."""
        return Pose(parent.pos + parent.rot @ self.pos, parent.rot @ self.rot)


AT_ORIGIN = Pose(np.zeros(3), np.eye(3))


def pose_of(pos: Sequence[float], quat: Sequence[float]) -> Pose:
    """Return the pose with this position [m] and orientation (w, x, y, z)."""
    rot = np.empty(9)
    unit = np.array(quat, dtype=np.float64)
    mujoco.mju_normalize4(unit)
    mujoco.mju_quat2Mat(rot, unit)
    return Pose(np.array(pos, dtype=np.float64), rot.reshape(3, 3))


def quat_of(rot: np.ndarray) -> np.ndarray:
    """Return the orientation (w, x, y, z) of a rotation matrix."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rot).flatten())
    return quat


def look_at(pos: Sequence[float], target: Sequence[float], up: Sequence[float]) -> Pose:
    """Return the pose of a camera that has a target in the centre of its image.

    Args:
      pos: where the camera is [m].
      target: where it looks [m].
      up: the direction that points up in the image, as far as possible.

    Raises:
      StandinError: the camera is at its target.
    """
    eye = np.array(pos, dtype=np.float64)
    forward = np.array(target, dtype=np.float64) - eye
    distance = np.linalg.norm(forward)
    if not distance > 0.0:
        raise StandinError("a camera cannot look at the place where it is", got=f"position and target {tuple(pos)}")
    forward /= distance
    left = np.cross(up, forward)
    if np.linalg.norm(left) < 1e-6:  # it looks straight up or down: any direction may be up in the image
        left = np.cross((up[1], up[2], up[0]), forward)
    left /= np.linalg.norm(left)
    return Pose(eye, np.stack([forward, left, np.cross(forward, left)], axis=1))


@dataclasses.dataclass(frozen=True)
class Lens:
    """How a camera projects.

    Attributes:
      width: of the image [pixels].
      height: of the image [pixels].
      horizontal_fov: horizontal angle of view [degrees].
      near: distance of the nearest visible plane [m].
      far: distance of the farthest visible plane [m].
    """

    width: int
    height: int
    horizontal_fov: float
    near: float
    far: float

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise StandinError("an image needs pixels", got=f"{self.width} x {self.height}", expected="1 x 1 or more")
        if not 0.0 < self.horizontal_fov < 180.0:
            raise StandinError(
                "a camera cannot have this angle of view",
                got=f"horizontal_fov {self.horizontal_fov}",
                expected="degrees between 0 and 180",
            )
        if not 0.0 < self.near < self.far:
            raise StandinError(
                "a camera cannot have these planes",
                got=f"near_plane {self.near}, far_plane {self.far}",
                expected="0 < near_plane < far_plane [m]",
            )

    @property
    def planes(self) -> tuple[float, float]:
        """The nearest and farthest planes that are drawn [m]."""
        near = max(self.near, NEAREST)
        return near, max(min(self.far, FARTHEST), 2.0 * near)

    @property
    def slopes(self) -> tuple[float, float]:
        """The tangents of half the angles of view, horizontal and vertical; pixels are square."""
        across = math.tan(math.radians(self.horizontal_fov) / 2.0)
        return across, across * self.height / self.width

    def projection(self) -> np.ndarray:
        """Return OpenGL's perspective matrix for row vectors: clip = point @ matrix, (4, 4)."""
        across, upright = self.slopes
        near, far = self.near, self.far
        matrix = np.zeros((4, 4), dtype=np.float32)
        matrix[0, 0] = 1.0 / across
        matrix[1, 1] = 1.0 / upright
        matrix[2, 2] = -(far + near) / (far - near)
        matrix[2, 3] = -1.0
        matrix[3, 2] = -2.0 * far * near / (far - near)
        return matrix

    def aim(self, scene: mujoco.MjvScene, pose: Pose) -> None:
        """Let a scene be drawn through this lens, from this pose."""
        across, upright = self.slopes
        near, far = self.planes
        for eye in scene.camera:
            eye.pos[:] = pose.pos
            eye.forward[:] = pose.rot[:, 0]
            eye.up[:] = pose.rot[:, 2]
            eye.orthographic = 0
            eye.frustum_center = 0.0
            eye.frustum_width = near * across
            eye.frustum_bottom, eye.frustum_top = -near * upright, near * upright
            eye.frustum_near, eye.frustum_far = near, far


def view_matrix(pose: Pose) -> np.ndarray:
    """Return OpenGL's view matrix for row vectors: point in the camera = point in the world @ matrix, (4, 4).

    In the camera, x points to the right, y up, and z backward.
    """
    axes = np.stack([-pose.rot[:, 1], pose.rot[:, 2], -pose.rot[:, 0]], axis=1)
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = axes
    matrix[3, :3] = -pose.pos @ axes
    return matrix
