"""The static geoms that MuJoCo gets for the ground that all environments share.

A program describes its ground as a plane, as a grid of heights, or as a triangle mesh, which
`isaac_standin.scene.terrain_mesh` reads as grids and boxes. MuJoCo has no static triangle mesh. It has planes, boxes
and height fields, and `isaac_standin.scene.terrain_pieces` cuts a grid into the latter two.

MuJoCo and MuJoCo Warp 4.0 collide, through explicit pairs, a plane or a height field with spheres, capsules,
ellipsoids, cylinders, boxes and meshes, and a box with all of these too. Neither collides two grounds with each other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import mujoco
import numpy as np

from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.scene.terrain_pieces import pieces
from isaac_standin.scene.terrain_types import Box, Field, Grid, Ground, Piece, Plane

MAX_PAIR_CONTACTS = 50  # of MuJoCo and of MuJoCo Warp, between two geoms
PRISMS_PER_CELL = 2  # a height field is made of triangular prisms; a resting body touches each below it


def add_terrain(spec: mujoco.MjSpec, grounds: Sequence[Ground], prefix: str = "terrain") -> list[str]:
    """Add grounds to the world body as geoms named `terrain/0`, `terrain/1` and so on.

    The geoms collide with nothing by themselves: the scene names each pair. Their `friction` is that of the ground.

    Args:
      spec: the model that gets the geoms.
      grounds: what the program added, in its order.
      prefix: the first part of the names.

    Returns:
      The names of the geoms.
    """
    names: list[str] = []
    for piece in thickened(all_pieces(grounds)):
        name = f"{prefix}/{len(names)}"
        _add_piece(spec, piece, name)
        names.append(name)
    return names


def all_pieces(grounds: Sequence[Ground]) -> list[Piece]:
    """Return what MuJoCo collides for some grounds."""
    found: list[Piece] = []
    for ground in grounds:
        if isinstance(ground, Grid):
            found += pieces(ground)
        else:
            found.append(ground)
    return found


def thickened(found: Sequence[Piece]) -> list[Piece]:
    """Return the pieces, where a box that stands completely on another one reaches down to that one's bottom.

    Their union stays the same. A body that sinks deeper than half of a thin slab would be pushed out below it, and
    MAPush covers its ground with a slab of 2 cm.
    """
    boxes = [piece for piece in found if isinstance(piece, Box)]
    result: list[Piece] = []
    for piece in found:
        if isinstance(piece, Box):
            bottoms = [other.lower[2] for other in boxes if _stands_on(piece, other)]
            lowest = min([piece.lower[2], *bottoms])
            piece = dataclasses.replace(piece, lower=(piece.lower[0], piece.lower[1], lowest))
        result.append(piece)
    return result


def require_small(name: str, extent: tuple[float, float], grounds: Sequence[Ground]) -> None:
    """Refuse a body that is too large to rest on a height field.

    MuJoCo keeps at most 50 contacts between two geoms, and finds those with a height field row by row. A body that
    covers many cells has no contact below its other half: it tilts and sinks in. Measured with boxes on flat and rough
    fields: sides of up to 6 cells tilt by at most 1 degree, of 8 cells by 4, of 10 cells by 18, and with 12 cells some
    tip over within two seconds. On boxes and planes any size rests.

    Args:
      name: what is placed on the ground, for the message.
      extent: sides of its largest shape along x and y [m].
      grounds: all grounds of the simulation.

    Raises:
      NotSupported: if the body is too large for one of the grounds.
    """
    for piece in all_pieces(grounds):
        if not isinstance(piece, Field):
            continue
        touched = contacts_on(extent, piece.cell)
        if touched > 2 * MAX_PAIR_CONTACTS:
            raise NotSupported(
                f"{name} is too large for rough ground",
                got=f"sides of {extent[0]:.3g} m and {extent[1]:.3g} m: up to {touched} contacts with the height field",
                expected=f"at most {2 * MAX_PAIR_CONTACTS}, that is sides of about "
                f"{6 * piece.cell[0]:.3g} m on cells of {piece.cell[0]:.3g} m",
                cause=f"MuJoCo keeps {MAX_PAIR_CONTACTS} contacts between two geoms, so the body would sink in",
                fix="use flat ground, a coarser grid, or a smaller body",
            )


def has_height_field(grounds: Sequence[Ground]) -> bool:
    """Return whether a part of the ground becomes a height field."""
    return any(isinstance(piece, Field) for piece in all_pieces(grounds))


def contacts_on(extent: tuple[float, float], cell: tuple[float, float]) -> int:
    """Return how many prisms of a flat height field a box touches at most, wherever it lies."""
    along_x = math.ceil(extent[0] / cell[0] - 1e-6) + 1
    along_y = math.ceil(extent[1] / cell[1] - 1e-6) + 1
    return PRISMS_PER_CELL * along_x * along_y


def _stands_on(box: Box, other: Box) -> bool:
    """Return whether the bottom of a box lies in another box, whose footprint contains it."""
    if box is other or not other.lower[2] < box.lower[2] <= other.upper[2]:
        return False
    lower_inside = other.lower[0] <= box.lower[0] and other.lower[1] <= box.lower[1]
    return lower_inside and box.upper[0] <= other.upper[0] and box.upper[1] <= other.upper[1]


def _add_piece(spec: mujoco.MjSpec, piece: Piece, name: str) -> None:
    geom = spec.worldbody.add_geom(name=name, contype=0, conaffinity=0)
    geom.friction[0] = piece.friction
    match piece:
        case Plane():
            _shape_plane(geom, piece)
        case Box():
            geom.type = mujoco.mjtGeom.mjGEOM_BOX
            lower, upper = np.array(piece.lower), np.array(piece.upper)
            geom.pos = (lower + upper) / 2
            geom.size = (upper - lower) / 2
        case Field():
            geom.type = mujoco.mjtGeom.mjGEOM_HFIELD
            geom.hfieldname = name
            geom.pos = _add_field(spec, piece, name)


def _shape_plane(geom: mujoco.MjsGeom, plane: Plane) -> None:
    length = math.hypot(*plane.normal)
    if not length > 0:
        raise StandinError("the normal of a ground plane has no length", got=f"{plane.normal}")
    normal = np.array(plane.normal) / length
    geom.type = mujoco.mjtGeom.mjGEOM_PLANE
    geom.size = (0, 0, 1)  # infinite
    geom.pos = -plane.distance * normal
    mujoco.mju_quatZ2Vec(geom.quat, normal)


def _add_field(spec: mujoco.MjSpec, field: Field, name: str) -> np.ndarray:
    """Add the data of a height field; return where its centre is, at its lowest height.

    MuJoCo's rows are along y and its columns along x. It splits a cell as Isaac Gym's triangle meshes do, from the
    node with the smallest coordinates to the one with the largest.
    """
    heights = field.heights
    lowest = float(heights.min())
    elevation = max(float(heights.max()) - lowest, 1e-6)
    along_x, along_y = heights.shape
    radius_x = (along_x - 1) * field.cell[0] / 2
    radius_y = (along_y - 1) * field.cell[1] / 2
    spec.add_hfield(
        name=name,
        size=(radius_x, radius_y, elevation, 1.0),
        nrow=along_y,
        ncol=along_x,
        userdata=((heights.T - lowest) / elevation).flatten(),
    )
    return np.array(field.origin) + (radius_x, radius_y, lowest)
