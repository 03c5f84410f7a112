"""The types of ground that all environments share, independent of any physics engine."""

from __future__ import annotations

import dataclasses

import numpy as np

from isaac_standin.assets.asset import ORIGIN, Vector
from isaac_standin.errors import StandinError


@dataclasses.dataclass(frozen=True)
class Plane:
    """An infinite plane: the points x where normal . x + distance = 0.

    Attributes:
      normal: points out of the ground; need not have length 1.
      distance: how far the ground lies below the origin [m]; negative if above.
      friction: sliding friction coefficient.
    """

    normal: Vector
    distance: float = 0.0
    friction: float = 1.0


@dataclasses.dataclass(frozen=True)
class Box:
    """A solid box whose edges are parallel to the axes.

    Attributes:
      lower: the corner with the smallest coordinates [m].
      upper: the corner with the largest coordinates [m].
      friction: sliding friction coefficient.
    """

    lower: Vector
    upper: Vector
    friction: float = 1.0


@dataclasses.dataclass(frozen=True)
class Grid:
    """A surface of heights above a regular grid of nodes; two triangles span each cell between four nodes.

    Flat parts become boxes: they are exact, their walls are vertical, and large bodies rest on them. More than
    `terrain_pieces.MAX_BOXES` boxes cost too much, since each shape of each robot is paired with each of them. Then
    the complete grid becomes one height field, in which a wall is a ramp that is one cell wide.

    Attributes:
      heights: of the nodes, relative to `origin` [m], (number along x, number along y).
      cell: distance between nodes along x and along y [m].
      origin: position of node (0, 0) at height 0 [m].
      friction: sliding friction coefficient.
      wall: slope above which the surface is a vertical wall instead, which stands at the higher node; None if the
        program asked for no such correction.
    """

    heights: np.ndarray
    cell: tuple[float, float]
    origin: Vector = ORIGIN
    friction: float = 1.0
    wall: float | None = None

    def __post_init__(self) -> None:
        heights = np.asarray(self.heights)
        if heights.ndim != 2 or min(heights.shape) < 2:
            raise StandinError(
                "a grid of heights needs at least two nodes along x and along y", got=f"shape {heights.shape}"
            )
        if not np.isfinite(heights).all():
            raise StandinError("a grid of heights has a height that is not finite", fix="look for NaN in the heights")
        if not min(self.cell) > 0:
            raise StandinError("the cells of a grid need a positive size", got=f"{self.cell} m")


@dataclasses.dataclass(frozen=True)
class Field:
    """What of a grid becomes a MuJoCo height field; the attributes are those of `Grid`."""

    heights: np.ndarray
    cell: tuple[float, float]
    origin: Vector
    friction: float


Ground = Plane | Box | Grid
Piece = Plane | Box | Field
