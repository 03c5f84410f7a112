"""The camera of a viewer: it looks at a point, and the mouse moves it around that point."""

from __future__ import annotations

import math

import numpy as np

from isaac_standin.viewing.lens import Pose, look_at

STEEPEST = math.radians(89.0)
NEAREST = 0.05  # to the point that it looks at [m]
ZOOM = 0.9  # factor on the distance for each notch of the wheel


class Orbit:
    """A camera that looks at a point.

    Args:
      up: the unit vector that is up, along an axis.
    """

    def __init__(self, up: tuple[float, float, float]) -> None:
        self._up = np.array(up)
        self._axes = np.stack([np.roll(up, 1), np.roll(up, 2), up], axis=1)  # right-handed, up last
        self._target = np.zeros(3)
        self._offset = self._axes @ np.array([-3.0, -3.0, 2.0])

    def look_at(self, pos: np.ndarray, target: np.ndarray) -> None:
        """Put the camera somewhere and let it look at a target [m]."""
        look_at(pos.tolist(), target.tolist(), self._up.tolist())  # refuses what makes no sense
        self._target, self._offset = target, pos - target

    def pose(self) -> Pose:
        """Return the pose of the camera."""
        return look_at((self._target + self._offset).tolist(), self._target.tolist(), self._up.tolist())

    def turn(self, right: float, down: float) -> None:
        """Turn the scene with the mouse: by angles [rad] to the right and downward."""
        x, y, z = self._axes.T @ self._offset
        distance = math.hypot(x, y, z)
        azimuth = math.atan2(y, x) - right
        elevation = math.asin(z / distance) + down
        elevation = min(max(elevation, -STEEPEST), STEEPEST)
        level = distance * math.cos(elevation)
        offset = np.array([level * math.cos(azimuth), level * math.sin(azimuth), distance * math.sin(elevation)])
        self._offset = self._axes @ offset

    def shift(self, right: float, down: float) -> None:
        """Shift the scene with the mouse: by shares of the distance to the right and downward."""
        rot = self.pose().rot
        distance = np.linalg.norm(self._offset)
        self._target = self._target + distance * (right * rot[:, 1] + down * rot[:, 2])

    def zoom(self, notches: float) -> None:
        """Come closer by notches of the wheel."""
        distance = float(np.linalg.norm(self._offset))
        self._offset = self._offset * max(ZOOM**notches, NEAREST / distance)
