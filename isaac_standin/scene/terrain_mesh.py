"""Reads a triangle mesh or a height field of a program as grids and boxes."""

from __future__ import annotations

import numpy as np

from isaac_standin.assets.asset import ORIGIN, Vector
from isaac_standin.errors import StandinError
from isaac_standin.scene.terrain_raster import raster
from isaac_standin.scene.terrain_surface import grid_triangles, grid_vertices, moves
from isaac_standin.scene.terrain_types import Box, Grid

CLOSE = 1e-3  # vertices that differ by less are equal, as a part of a cell or of a box


def grounds_of(
    vertices: np.ndarray, triangles: np.ndarray, origin: Vector = ORIGIN, friction: float = 1.0
) -> list[Grid | Box]:
    """Return the grids and boxes that a triangle mesh consists of.

    A mesh may be a combination of several, as long as none of them shares vertices with another. A grid is
    recognised by its triangles and checked vertex by vertex, walls included, so it may come from any copy of
    `convert_heightfield_to_trimesh` and may have been moved. Any other surface is sampled on a grid.

    Args:
      vertices: positions [m], (number, 3) or flat.
      triangles: indices of vertices, (number, 3) or flat.
      origin: what to add to all vertices [m].
      friction: sliding friction coefficient of the surface.

    Raises:
      StandinError: if the mesh is malformed, or is no surface of heights.
    """
    points = _three_columns(vertices, "vertices").astype(np.float64)
    faces = _three_columns(triangles, "triangles").astype(np.int64)
    _check(points, faces)
    points += origin
    found: list[Grid | Box] = []
    others = []
    for first, part in _parts(faces, len(points)):
        own = points[first : part.max() + 1]
        ground = _as_box(own, part - first, friction) or _as_grid(own, part - first, friction)
        if ground is None:
            others.append(part)
        else:
            found.append(ground)
    if others:
        found.append(raster(points, np.concatenate(others), friction))
    return found


def grid_of_samples(
    samples: np.ndarray,
    rows: int,
    columns: int,
    row_scale: float,
    column_scale: float,
    vertical_scale: float,
    origin: Vector = ORIGIN,
    friction: float = 1.0,
) -> Grid:
    """Return the grid of `Gym.add_heightfield`.

    Its samples are column-major. legged_gym passes an array (along x, along y) in C order and calls the number along
    y `nbRows`: so rows count along y, columns along x, and node (0, 0) is at the origin.

    Args:
      samples: integer heights, rows x columns of them in any shape.
      rows: `nbRows`.
      columns: `nbColumns`.
      row_scale: distance between samples of one column [m].
      column_scale: distance between columns [m].
      vertical_scale: height of one unit [m].
      origin: position of the first sample at height 0 [m].
      friction: sliding friction coefficient.

    Raises:
      StandinError: if the number of samples is not rows x columns.
    """
    flat = np.asarray(samples).ravel()
    if flat.size != rows * columns:
        raise StandinError(
            "the height field has another number of samples than its parameters say",
            where="add_heightfield",
            got=f"{flat.size} samples",
            expected=f"nbRows x nbColumns = {rows} x {columns} = {rows * columns}",
        )
    heights = flat.reshape(columns, rows) * float(vertical_scale)
    return Grid(heights, (column_scale, row_scale), origin, friction)


def _three_columns(values: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0 or array.size % 3 != 0:
        raise StandinError(
            f"the {name} of a triangle mesh are no triples", where="add_triangle_mesh", got=f"{array.size} numbers"
        )
    return array.reshape(-1, 3)


def _check(points: np.ndarray, faces: np.ndarray) -> None:
    if not np.isfinite(points).all():
        raise StandinError("a triangle mesh has a vertex that is not finite", where="add_triangle_mesh")
    if faces.min() < 0 or faces.max() >= len(points):
        raise StandinError(
            "a triangle mesh names a vertex that it does not have",
            where="add_triangle_mesh",
            got=f"indices from {faces.min()} to {faces.max()}",
            expected=f"0 to {len(points) - 1}",
        )


def _parts(faces: np.ndarray, count: int) -> list[tuple[int, np.ndarray]]:
    """Cut a mesh where no triangle connects the vertices before with those behind.

    Returns:
      The first vertex of each part, and its triangles in their order.
    """
    spanning = np.zeros(count + 1, dtype=np.int64)  # how many triangles have vertices on both sides of a cut
    np.add.at(spanning, faces.min(axis=1) + 1, 1)
    np.add.at(spanning, faces.max(axis=1) + 1, -1)
    cuts = np.flatnonzero(spanning.cumsum()[:count] == 0)
    part = np.searchsorted(cuts, faces[:, 0], side="right") - 1
    order = np.argsort(part, kind="stable")
    numbers, starts = np.unique(part[order], return_index=True)
    return list(zip(cuts[numbers].tolist(), np.split(faces[order], starts[1:]), strict=True))


def _as_box(points: np.ndarray, faces: np.ndarray, friction: float) -> Box | None:
    """Return the box that a mesh is: eight corners and twelve triangles, each of which lies in a side."""
    if points.shape != (8, 3) or faces.shape != (12, 3):
        return None
    lower, upper = points.min(axis=0), points.max(axis=0)
    tolerance = CLOSE * (upper - lower).min()
    at_lower = np.abs(points - lower) <= tolerance
    at_upper = np.abs(points - upper) <= tolerance
    corners = np.unique(at_upper, axis=0)
    in_side = at_lower[faces].all(axis=1).any(axis=1) | at_upper[faces].all(axis=1).any(axis=1)
    if tolerance == 0 or len(corners) < 8 or not (at_lower | at_upper).all() or not in_side.all():
        return None
    return Box(_vector(lower), _vector(upper), friction)


def _as_grid(points: np.ndarray, faces: np.ndarray, friction: float) -> Grid | None:
    """Return the grid whose mesh this is, or None: then the mesh is another one."""
    along_y = int(faces[0, 1]) - 1  # the first triangle is (0, along_y + 1, 1)
    if along_y < 2 or len(points) % along_y != 0 or len(points) < 2 * along_y:
        return None
    along_x = len(points) // along_y
    if not np.array_equal(faces, grid_triangles(along_x, along_y)):
        return None
    nodes = points.reshape(along_x, along_y, 3)
    spacing = _spacing(nodes)
    if spacing is None:
        return None
    heights = nodes[:, :, 2]
    limit = _limit(nodes, spacing)
    shift = points - grid_vertices(heights, spacing, limit)
    if (np.ptp(shift[:, :2], axis=0) > CLOSE * spacing).any():
        return None
    x, y = np.median(shift[:, :2], axis=0).tolist()
    wall = None
    if limit is not None:
        wall = limit / spacing
    return Grid(heights, (spacing, spacing), (x, y, 0.0), friction, wall)


def _spacing(nodes: np.ndarray) -> float | None:
    """Return the distance between nodes, None if there is none: the shortest of neighbours that is not 0.

    Walls change distances between neighbours by complete cells.
    """
    x, y = nodes[:, :, 0], nodes[:, :, 1]
    steps = np.concatenate([np.diff(x, axis=0).ravel(), np.diff(y, axis=1).ravel()])
    steps = steps[steps > CLOSE * steps.max()]
    if steps.size == 0:
        return None
    shortest = steps.min()
    estimate = steps[steps < 1.5 * shortest].mean()
    cells = np.rint((np.ptp(x) + np.ptp(y)) / estimate)
    return float((np.ptp(x) + np.ptp(y)) / cells)


def _limit(nodes: np.ndarray, spacing: float) -> float | None:
    """Return the difference of heights above which neighbours are connected by a wall; None if there is no wall.

    The smaller the limit, the more walls there are. A wall is a pair of neighbours that are at the same x or y, or
    have even passed each other. So bisection finds the limit that gives as many of them as the mesh has.
    """
    x_walls = np.diff(nodes[:, :, 0], axis=0) < CLOSE * spacing
    y_walls = np.diff(nodes[:, :, 1], axis=1) < CLOSE * spacing
    walls = np.count_nonzero(x_walls) + np.count_nonzero(y_walls)
    if walls == 0:
        return None
    heights = nodes[:, :, 2]
    limits = _between(heights)
    first, last = 0, len(limits) - 1
    while first < last:
        middle = (first + last + 1) // 2
        if _count_walls(heights, limits[middle]) >= walls:
            first = middle
        else:
            last = middle - 1
    return float(limits[first])


def _between(heights: np.ndarray) -> np.ndarray:
    """Return limits that separate the differences between neighbours that occur in a grid, in ascending order."""
    across = heights[1:, 1:] - heights[:-1, :-1]
    rises = [np.diff(heights, axis=0).ravel(), np.diff(heights, axis=1).ravel(), across.ravel()]
    distinct = np.unique(np.round(np.abs(np.concatenate(rises)), 6))
    return (distinct + np.append(0.0, distinct[:-1])) / 2


def _count_walls(heights: np.ndarray, limit: float) -> int:
    """Return how many pairs of neighbours a limit moves to the same x or y."""
    move_x, move_y = moves(heights, limit)
    at_same_x, at_same_y = np.diff(move_x, axis=0) < 0, np.diff(move_y, axis=1) < 0
    return int(at_same_x.sum() + at_same_y.sum())


def _vector(values: np.ndarray) -> Vector:
    x, y, z = values.tolist()
    return (x, y, z)
