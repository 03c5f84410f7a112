"""Samples a triangle mesh that is a surface of heights on a regular grid."""

from __future__ import annotations

import math

import numpy as np

from isaac_standin.errors import StandinError
from isaac_standin.scene.terrain_types import Grid

MAX_NODES = 4_000_000
COARSEST = 0.05  # distance between nodes if the vertices lie on no regular grid [m]
TOLERANCE = 0.02  # how far the grid may be from a vertex of the mesh [m]
FLAT = 1e-3  # heights that differ by less are equal [m]
INSIDE = 1e-6  # how far outside of a triangle a point belongs to it, in barycentric coordinates
SHIFT = np.array([0.317, 0.431, 0.0])  # of points within cells, which lie on no edge of a triangle but by chance
CHUNK = 2_000_000  # samples at a time


def raster(points: np.ndarray, faces: np.ndarray, friction: float) -> Grid:
    """Return the grid of heights of a mesh that each vertical line hits once, vertical walls apart.

    Args:
      points: vertices [m], (number, 3).
      faces: indices of vertices, (number, 3).
      friction: sliding friction coefficient.

    Raises:
      StandinError: if a vertical line hits the mesh twice, if the mesh has a hole or no rectangular outline, or if it
        has details that the grid would lose.
    """
    corners = points[faces]
    used = corners.reshape(-1, 3)
    lower, upper = used.min(axis=0), used.max(axis=0)
    shape, cell = _nodes(used, lower, upper)
    area = _areas(corners)
    level = np.abs(area) > 1e-9
    if not level.any():
        raise _no_grid("all of its triangles are vertical")

    at_nodes = _Samples(shape)
    within_cells = _Samples((shape[0] - 1, shape[1] - 1))
    for chosen in _chunks(corners[level], cell):
        at_nodes.add(chosen, lower, cell)
        within_cells.add(chosen, lower + SHIFT * np.array([*cell, 0]), cell)
    _require_single(at_nodes, within_cells, lower, cell)

    grid = Grid(at_nodes.highest, cell, (float(lower[0]), float(lower[1]), 0.0), friction, _wall(corners, area, level))
    _require_close(grid, used)
    return grid


class _Samples:
    """The heights at which vertical lines hit the triangles.

    Attributes:
      highest: of all hits; minus infinity without a hit.
      lowest: of all hits; infinity without a hit.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.highest = np.full(shape, -np.inf)
        self.lowest = np.full(shape, np.inf)

    def add(self, corners: np.ndarray, lower: np.ndarray, cell: tuple[float, float]) -> None:
        """Sample triangles, (number, 3 corners, 3), that are not vertical."""
        plane = (corners[:, :, :2] - lower[:2]) / cell
        largest = np.subtract(self.highest.shape, 1)
        first = np.maximum(np.ceil(plane.min(axis=1) - INSIDE), 0).astype(np.int64)
        last = np.minimum(np.floor(plane.max(axis=1) + INSIDE), largest).astype(np.int64)
        counts = np.maximum(last - first + 1, 0)
        number = counts.prod(axis=1)
        triangle = np.repeat(np.arange(len(corners)), number)
        local = np.arange(number.sum()) - np.repeat(number.cumsum() - number, number)
        i = first[triangle, 0] + local // counts[triangle, 1]
        j = first[triangle, 1] + local % counts[triangle, 1]
        weights = _barycentric(plane[triangle], np.stack([i, j], axis=1))
        height = (weights * corners[triangle, :, 2]).sum(axis=1)
        hit = weights.min(axis=1) >= -INSIDE
        np.maximum.at(self.highest, (i[hit], j[hit]), height[hit])
        np.minimum.at(self.lowest, (i[hit], j[hit]), height[hit])


def _nodes(used: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return the shape of the grid, and its distances between nodes along x and along y."""
    extent = upper - lower
    if not (extent[:2] > FLAT).all():
        raise _no_grid("it has no extent along x or along y")
    counts, cells = [], []
    finest = math.sqrt(extent[0] * extent[1] / MAX_NODES)
    for axis in (0, 1):
        wanted = max(_gap(used[:, axis], float(extent[axis])), finest)
        cells_along = max(round(float(extent[axis]) / wanted), 1)
        counts.append(cells_along + 1)
        cells.append(float(extent[axis]) / cells_along)
    return (counts[0], counts[1]), (cells[0], cells[1])


def _gap(values: np.ndarray, extent: float) -> float:
    """Return the distance of which all coordinates are multiples if there is one, else a fine one."""
    distinct = np.unique(np.round(values - values.min(), 4))
    gap = float(np.diff(distinct).min())
    multiples = distinct / (extent / round(extent / gap))
    if np.abs(multiples - np.rint(multiples)).max() < 0.01:
        return gap
    return min(COARSEST, extent / 20)


def _areas(corners: np.ndarray) -> np.ndarray:
    """Return twice the area of each triangle as seen from above [m^2], signed."""
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]


def _chunks(corners: np.ndarray, cell: tuple[float, float]) -> list[np.ndarray]:
    """Cut the triangles into parts of which none has many more than `CHUNK` samples."""
    extent = np.ptp(corners[:, :, :2], axis=1) / cell + 1
    total = extent.prod(axis=1).cumsum()
    cuts = np.searchsorted(total, np.arange(CHUNK, total[-1], CHUNK))
    return np.split(corners, cuts)


def _barycentric(triangles: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return the weights of the three corners of each triangle at a node, (number, 3)."""
    first = triangles[:, 0]
    along, across, inner = triangles[:, 1] - first, triangles[:, 2] - first, nodes - first
    area = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
    second = (inner[:, 0] * across[:, 1] - inner[:, 1] * across[:, 0]) / area
    third = (along[:, 0] * inner[:, 1] - along[:, 1] * inner[:, 0]) / area
    return np.stack([1 - second - third, second, third], axis=1)


def _wall(corners: np.ndarray, area: np.ndarray, level: np.ndarray) -> float | None:
    """Return the slope above which a difference between nodes is a wall; None if no triangle is vertical."""
    rise = np.ptp(corners[:, :, 2], axis=1)
    if not (rise[~level] > FLAT).any():
        return None
    normal = np.cross(corners[level, 1] - corners[level, 0], corners[level, 2] - corners[level, 0])
    slopes = np.hypot(normal[:, 0], normal[:, 1]) / np.abs(area[level])
    return 1.01 * float(slopes.max()) + FLAT


def _require_single(at_nodes: _Samples, within_cells: _Samples, lower: np.ndarray, cell: tuple[float, float]) -> None:
    """Refuse holes and overhangs."""
    for sampled in (at_nodes, within_cells):
        missing = np.argwhere(np.isinf(sampled.highest))
        if len(missing):
            raise _no_grid("it has a hole, or its outline is no rectangle", missing[0] * cell + lower[:2])
    overhangs = np.argwhere(within_cells.highest - within_cells.lowest > FLAT)
    if len(overhangs):
        raise _no_grid("a part of it lies above another part", overhangs[0] * cell + lower[:2])


def _require_close(grid: Grid, used: np.ndarray) -> None:
    """Refuse a mesh with a vertex whose height is none of those between the nodes around it."""
    position = (used[:, :2] - grid.origin[:2]) / grid.cell
    largest = np.subtract(grid.heights.shape, 1)
    around = [np.floor(position - 0.01), np.rint(position), np.ceil(position + 0.01)]
    nodes = [np.clip(node, 0, largest).astype(np.int64) for node in around]
    heights = np.stack([grid.heights[x_node[:, 0], y_node[:, 1]] for x_node in nodes for y_node in nodes])
    missed = np.maximum(used[:, 2] - heights.max(axis=0), heights.min(axis=0) - used[:, 2])
    worst = int(np.argmax(missed))
    if missed[worst] > TOLERANCE:
        raise _no_grid(f"it has details finer than {grid.cell[0]:.3g} m", used[worst, :2])


def _no_grid(reason: str, place: np.ndarray | None = None) -> StandinError:
    where = "add_triangle_mesh"
    if place is not None:
        where = f"add_triangle_mesh, near x {place[0]:.3g} m, y {place[1]:.3g} m"
    return StandinError(
        f"a triangle mesh is no grid of heights: {reason}",
        where=where,
        expected="a surface that each vertical line hits once, walls apart, with a rectangular outline; or boxes whose "
        "edges are parallel to the axes",
        cause="MuJoCo has no static triangle meshes, so the ground becomes boxes and a height field",
        fix="build the ground with convert_heightfield_to_trimesh; add what overhangs as an actor with a fixed base",
    )
