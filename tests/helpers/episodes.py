"""Episodes that nobody played: two robots walk next to an object, towards a goal."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from mapush.evaluation.episode import Episode, Frame
from mapush.sim.go1 import DEFAULT_JOINT_POS, STAND_HEIGHT

GOAL = (2.5, 0.75)
STEP = 0.05  # by which everything moves in an env step [m]
COMMANDS = ((0.5, 0.0, 0.0), (0.0, -0.25, 0.125))


def frame_at(robots: Sequence[Sequence[float]], item: Sequence[float]) -> Frame:
    """Return a frame with robots standing at (x, y, yaw), and the object at (x, y, z)."""
    qpos = []
    for x, y, yaw in robots:
        qpos += [x, y, STAND_HEIGHT, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2), *DEFAULT_JOINT_POS]
    qpos += [*item, 1.0, 0.0, 0.0, 0.0]
    goal, commands = (np.array(values, dtype=np.float32) for values in (GOAL, COMMANDS))
    return Frame(np.array(qpos, dtype=np.float32), goal, commands)


def walking_episode(length: int, number: int = 1) -> Episode:
    """Return an episode of `length` env steps, in each of which everything moves by `STEP` along x."""
    frames = []
    for step in range(length):
        x = STEP * step
        frames.append(frame_at([(x - 1.5, -0.9, 0.0), (x - 1.2, 1.1, math.pi / 2)], (x, 0.0, 0.25)))
    outcome = {"success": 0.0, "collision": 0.0, "fall": 0.0, "timeout": 1.0, "length": float(length)}
    return Episode(number, frames=frames, outcome=outcome)
