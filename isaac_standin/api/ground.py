"""Translate Isaac Gym's descriptions of the ground into `isaac_standin.scene.terrain_types`."""

from __future__ import annotations

import numpy as np

from isaac_standin.api.values import HeightFieldParams, PlaneParams, Transform, TriangleMeshParams
from isaac_standin.assets.asset import Vector
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.scene.terrain_mesh import grid_of_samples, grounds_of
from isaac_standin.scene.terrain_types import Box, Grid, Plane


def plane(params: PlaneParams) -> Plane:
    """Return an infinite plane."""
    normal = (params.normal.x, params.normal.y, params.normal.z)
    return Plane(normal, params.distance, params.static_friction)


def heightfield(samples: np.ndarray, params: HeightFieldParams) -> Grid:
    """Return a grid of heights, whose samples are integers."""
    return grid_of_samples(
        samples,
        rows=params.nbRows,
        columns=params.nbColumns,
        row_scale=params.row_scale,
        column_scale=params.column_scale,
        vertical_scale=params.vertical_scale,
        origin=_position(params.transform, "add_heightfield"),
        friction=params.static_friction,
    )


def mesh(vertices: np.ndarray, triangles: np.ndarray, params: TriangleMeshParams) -> list[Grid | Box]:
    """Return the grids and boxes that a triangle mesh consists of."""
    _require_count(np.size(vertices), params.nb_vertices, "vertices")
    _require_count(np.size(triangles), params.nb_triangles, "triangles")
    origin = _position(params.transform, "add_triangle_mesh")
    return grounds_of(vertices, triangles, origin, params.static_friction)


def _require_count(numbers: int, count: int, things: str) -> None:
    if numbers != 3 * count:
        raise StandinError(
            f"the mesh has another number of {things} than its parameters say",
            where="add_triangle_mesh",
            got=f"{numbers} numbers",
            expected=f"three for each of {count} {things}",
        )


def _position(transform: Transform, where: str) -> Vector:
    """Return where the ground lies.

    Raises:
      NotSupported: it is rotated.
    """
    if abs(transform.r.w) < 1.0 - 1e-6:
        raise NotSupported("the ground cannot be rotated", where=where, got=str(transform.r), fix="rotate its vertices")
    return transform.p.x, transform.p.y, transform.p.z
