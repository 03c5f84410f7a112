"""What is shown on top of the robots, as data, so that window and recording show the same."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Tuple

import mujoco
import numpy as np
import torch

from mapush.geometry import rotate_xy, yaw_of
from mapush.sim.base import State

Point = Tuple[float, float, float]
Colour = Tuple[float, float, float, float]

WALK_COLOUR: Colour = (1.0, 0.75, 0.0, 1.0)
TURN_COLOUR: Colour = (0.1, 0.7, 0.9, 1.0)
ARROW_HEIGHT = 0.25  # above the trunk [m]
ARROW_WIDTH = 0.025  # [m]
ARROW_SCALE = 1.2  # length per commanded speed [m per m/s or rad/s]
SHORTEST_ARROW = 0.03  # [m]


@dataclasses.dataclass(frozen=True)
class Arrow:
    """An arrow from `start` to `end`, in the world frame [m]."""

    start: Point
    end: Point
    colour: Colour


@dataclasses.dataclass(frozen=True)
class Overlay:
    """What comes on top of one frame.

    Attributes:
      lines: text in the corner.
      arrows: in the scene.
      look_at: where the camera looks, in the world frame [m].
    """

    lines: Tuple[str, ...]
    arrows: Tuple[Arrow, ...]
    look_at: Point


def command_arrows(state: State, commands: torch.Tensor) -> Tuple[Arrow, ...]:
    """Return two arrows for each robot of env 0: where it is told to walk, and at its head, to which side to turn.

    Args:
      state: of one env.
      commands: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's frame, (1, A, 3).
    """
    commands, yaw = commands.cpu(), yaw_of(state.robot_quat_w[0].cpu())
    start = state.robot_pos_w[0].cpu() + torch.tensor((0.0, 0.0, ARROW_HEIGHT))
    flat = torch.zeros_like(start)
    walk, head, turn = flat.clone(), flat.clone(), flat.clone()
    walk[:, :2] = ARROW_SCALE * rotate_xy(commands[0, :, :2], yaw)
    head[:, :2] = rotate_xy(torch.tensor((0.3, 0.0)).expand(len(yaw), 2), yaw)
    sideways = torch.stack((torch.zeros_like(yaw), commands[0, :, 2]), dim=-1)
    turn[:, :2] = ARROW_SCALE * rotate_xy(sideways, yaw)
    arrows: List[Arrow] = []
    for origin, way, colour in ((start, walk, WALK_COLOUR), (start + head, turn, TURN_COLOUR)):
        for first, offset in zip(origin, way):
            if float(offset.norm()) > SHORTEST_ARROW:
                arrows.append(Arrow(tuple(first.tolist()), tuple((first + offset).tolist()), colour))
    return tuple(arrows)


def draw_arrows(overlay: Overlay, scene: Any) -> None:
    """Append the arrows of `overlay` to `scene`, a `mujoco.MjvScene`."""
    for arrow in overlay.arrows[: scene.maxgeom - scene.ngeom]:
        geom = scene.geoms[scene.ngeom]
        kind, colour = mujoco.mjtGeom.mjGEOM_ARROW, np.array(arrow.colour, dtype=np.float32)
        mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), colour)
        mujoco.mjv_connector(geom, kind, ARROW_WIDTH, np.array(arrow.start), np.array(arrow.end))
        scene.ngeom += 1


def aim(camera: Any, look_at: Point, distance: float) -> None:
    """Let `camera`, a `mujoco.MjvCamera`, look down at `look_at` from `distance` [m]."""
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = look_at
    camera.distance, camera.azimuth, camera.elevation = distance, 90.0, -48.0
