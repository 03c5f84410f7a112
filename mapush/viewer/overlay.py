"""What is drawn over a scene, as data: window, page and films show the same."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, List, Sequence, Tuple

import numpy as np

from mapush.evaluation.episode import Episode, Frame
from mapush.sim.appearance import TINTS

Point = Tuple[float, float, float]
Colour = Tuple[float, float, float, float]  # red, green, blue, opacity, each in [0, 1]

ROBOT_COLOURS: Tuple[Colour, ...] = tuple((red, green, blue, 1.0) for red, green, blue in TINTS)  # also of the shells
OBJECT_COLOUR: Colour = (0.72, 0.56, 0.32, 1.0)
WALK_COLOUR: Colour = (1.0, 0.75, 0.0, 1.0)
TURN_COLOUR: Colour = (0.1, 0.7, 0.9, 1.0)
REACHED_COLOUR: Colour = (0.15, 0.85, 0.3, 0.6)
DISC_OPACITY = 0.45  # of the disc under a robot

ARROW_HEIGHT = 0.25  # above the trunk [m]
ARROW_SCALE = 1.2  # length per commanded speed [m per m/s or rad/s]
ARROW_WIDTH = 0.025  # [m]
SHORTEST_ARROW = 0.03  # shorter ones are not drawn [m]
HEAD = 0.3  # distance of a robot's head from the origin of its trunk [m]
DISC_RADIUS = 0.32  # of the disc under a robot [m]
STRIDE = 5  # env steps between two points of a path
PATH_WIDTH = 0.035  # [m]
AZIMUTH, ELEVATION = 90.0, -48.0  # of the camera [degrees]

_DISC_HEIGHT, _PATH_HEIGHT = 0.008, 0.012  # above the floor [m]
_HALF_THICKNESS = 0.001  # of discs and paths [m]


@dataclasses.dataclass(frozen=True)
class Arrow:
    """An arrow from `start` to `end`, in the world frame [m]."""

    start: Point
    end: Point
    colour: Colour


@dataclasses.dataclass(frozen=True)
class Disc:
    """A disc on the floor, in the world frame [m]."""

    centre: Tuple[float, float]
    radius: float
    colour: Colour


@dataclasses.dataclass(frozen=True)
class Trail:
    """A line on the floor through `points`, shape (n, 2), in the world frame [m]."""

    points: np.ndarray
    colour: Colour


@dataclasses.dataclass(frozen=True)
class Overlay:
    """What is drawn over one frame.

    Goal and success radius are part of the model, see `mapush.sim.appearance`.

    Attributes:
      lines: text in the corner.
      arrows: the commands, above the robots.
      discs: one under each robot in its colour, and one over the success radius once the object is at the goal.
      paths: of the robots and, last, of the object, from the start of the episode.
      look_at: where a camera that follows looks, in the world frame [m].
    """

    lines: Tuple[str, ...]
    arrows: Tuple[Arrow, ...]
    discs: Tuple[Disc, ...]
    paths: Tuple[Trail, ...]
    look_at: Point


def overlay_of(episode: Episode, step: int, lines: Sequence[str] = ()) -> Overlay:
    """Return what is drawn over `episode.frames[step]`.

    Args:
      episode: the episode, which may grow meanwhile.
      step: the env step, counted from 0.
      lines: text in the corner.
    """
    frame = episode.frames[step]
    x, y = (frame.object[:2] + frame.goal) / 2
    return Overlay(
        lines=tuple(lines),
        arrows=command_arrows(frame),
        discs=_discs(frame, episode.goal_radius),
        paths=_paths(episode, step),
        look_at=(float(x), float(y), float(frame.object[2]) / 2),
    )


def command_arrows(frame: Frame) -> Tuple[Arrow, ...]:
    """Return up to two arrows per robot: the commanded velocity, and at its head the commanded turn."""
    arrows: List[Arrow] = []
    for pose, (v_x, v_y, omega_z) in zip(frame.robots, frame.commands):
        yaw = _yaw_of(pose[3:])
        above = pose[:3] + (0.0, 0.0, ARROW_HEIGHT)
        head = above + _level(HEAD, 0.0, yaw)
        walk = _level(ARROW_SCALE * v_x, ARROW_SCALE * v_y, yaw)
        turn = _level(0.0, ARROW_SCALE * omega_z, yaw)
        for start, way, colour in ((above, walk, WALK_COLOUR), (head, turn, TURN_COLOUR)):
            if np.linalg.norm(way) > SHORTEST_ARROW:
                arrows.append(Arrow(tuple(start.tolist()), tuple((start + way).tolist()), colour))
    return tuple(arrows)


def _level(x: float, y: float, yaw: float) -> np.ndarray:
    """Return the horizontal vector, shape (3,), with components `x` and `y` in a frame turned by `yaw` [rad]."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array((x * cos - y * sin, x * sin + y * cos, 0.0))


def _yaw_of(quat: np.ndarray) -> float:
    w, x, y, z = quat.tolist()
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def _discs(frame: Frame, goal_radius: float) -> Tuple[Disc, ...]:
    discs: List[Disc] = []
    for pose, (red, green, blue, _) in zip(frame.robots, itertools.cycle(ROBOT_COLOURS)):
        centre = (float(pose[0]), float(pose[1]))
        discs.append(Disc(centre, DISC_RADIUS, (red, green, blue, DISC_OPACITY)))
    if frame.distance < goal_radius:
        goal = (float(frame.goal[0]), float(frame.goal[1]))
        discs.append(Disc(goal, goal_radius, REACHED_COLOUR))
    return tuple(discs)


def _paths(episode: Episode, step: int) -> Tuple[Trail, ...]:
    frames = episode.frames[:step:STRIDE] + [episode.frames[step]]
    robots = np.stack([frame.robots[:, :2] for frame in frames], axis=1)
    item = np.stack([frame.object[:2] for frame in frames])
    paths: List[Trail] = []
    for points, colour in zip(robots, itertools.cycle(ROBOT_COLOURS)):
        paths.append(Trail(points, colour))
    paths.append(Trail(item, OBJECT_COLOUR))
    return tuple(paths)


# -- into MuJoCo -----------------------------------------------------------------------------------------------------


def draw(overlay: Overlay, scene: Any) -> None:
    """Append everything but the text to `scene`, a `mujoco.MjvScene`; shapes that find no room are left out."""
    import mujoco

    shapes = mujoco.mjtGeom
    for disc in overlay.discs:
        x, y = disc.centre
        size = (disc.radius, _HALF_THICKNESS, 0.0)
        _append(scene, shapes.mjGEOM_CYLINDER, disc.colour, size, (x, y, _DISC_HEIGHT))
    for path in overlay.paths:
        for start, end in zip(path.points[:-1], path.points[1:]):
            _append_ribbon(scene, start, end, path.colour)
    for arrow in overlay.arrows:
        geom = _append(scene, shapes.mjGEOM_ARROW, arrow.colour)
        if geom is not None:
            mujoco.mjv_connector(geom, shapes.mjGEOM_ARROW, ARROW_WIDTH, np.array(arrow.start), np.array(arrow.end))


def _append_ribbon(scene: Any, start: np.ndarray, end: np.ndarray, colour: Colour) -> None:
    """Append a flat box from `start` to `end`, half a width longer at both ends, to close the gaps at bends."""
    import mujoco

    x, y = (start + end) / 2
    along_x, along_y = end - start
    length = math.hypot(along_x, along_y)
    cos, sin = 1.0, 0.0
    if length > 0.0:
        cos, sin = along_x / length, along_y / length
    size = ((length + PATH_WIDTH) / 2, PATH_WIDTH / 2, _HALF_THICKNESS)
    rotation = (cos, -sin, 0, sin, cos, 0, 0, 0, 1)
    _append(scene, mujoco.mjtGeom.mjGEOM_BOX, colour, size, (x, y, _PATH_HEIGHT), rotation)


def _append(
    scene: Any,
    shape: Any,
    colour: Colour,
    size: Sequence[float] = (0, 0, 0),
    pos: Sequence[float] = (0, 0, 0),
    rotation: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> Any:
    """Append a shape to `scene`, and return it; None if there is no room."""
    import mujoco

    if scene.ngeom >= scene.maxgeom:
        return None
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        geom,
        shape,
        np.array(size, dtype=np.float64),
        np.array(pos, dtype=np.float64),
        np.array(rotation, dtype=np.float64),
        np.array(colour, dtype=np.float32),
    )
    scene.ngeom += 1
    return geom


def aim(camera: Any, look_at: Point, distance: float) -> None:
    """Let `camera`, a `mujoco.MjvCamera`, look down at `look_at` from `distance` [m]."""
    import mujoco

    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = look_at
    camera.distance = distance
    camera.azimuth = AZIMUTH
    camera.elevation = ELEVATION
