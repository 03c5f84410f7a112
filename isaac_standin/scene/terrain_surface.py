"""The triangle mesh of a grid of heights, as programs for Isaac Gym build it."""

from __future__ import annotations

import numpy as np


def grid_vertices(heights: np.ndarray, spacing: float, limit: float | None) -> np.ndarray:
    """Return the vertices of the mesh of a grid, node after node along y, (nodes, 3).

    If a neighbour lies higher by more than `limit`, then a node moves below it, so that the surface between both is
    a vertical wall. Neighbours along x decide about x and neighbours along y about y. The neighbours on the diagonal
    of smallest to largest coordinates decide where those do not.

    Args:
      heights: of the nodes, in any unit, (number along x, number along y).
      spacing: distance between two nodes [m].
      limit: the largest difference of heights without a wall, in the unit of the heights; None for no walls.

    Returns:
      x and y [m], and the height in its unit, float64.
    """
    values = heights.astype(np.float64)
    x, y = np.meshgrid(*(np.arange(count) * spacing for count in values.shape), indexing="ij")
    if limit is not None:
        move_x, move_y = moves(values, limit)
        x += move_x * spacing
        y += move_y * spacing
    return np.stack([x.ravel(), y.ravel(), values.ravel()], axis=1)


def grid_triangles(along_x: int, along_y: int) -> np.ndarray:
    """Return the triangles of the mesh of a grid, counterclockwise seen from above, (2 x cells, 3)."""
    nodes = np.arange(along_x * along_y, dtype=np.uint32).reshape(along_x, along_y)
    here, beyond_y = nodes[:-1, :-1], nodes[:-1, 1:]
    beyond_x, across = nodes[1:, :-1], nodes[1:, 1:]
    cells = np.stack([here, across, beyond_y, here, beyond_x, across], axis=-1)
    return cells.reshape(-1, 3)


def moves(values: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Return by how many cells each node moves along x and along y: -1, 0 or 1."""
    everything, first, last = slice(None), slice(None, -1), slice(1, None)
    along_x = _steps(values, (first, everything), (last, everything), limit)
    along_y = _steps(values, (everything, first), (everything, last), limit)
    diagonal = _steps(values, (first, first), (last, last), limit)
    return np.where(along_x == 0, diagonal, along_x), np.where(along_y == 0, diagonal, along_y)


def _steps(values: np.ndarray, lower: tuple[slice, slice], upper: tuple[slice, slice], limit: float) -> np.ndarray:
    """Return 1 where the next node is too high, -1 where the one before is, 0 where neither or both are."""
    steps = np.zeros(values.shape, dtype=np.int8)
    rise = values[upper] - values[lower]
    steps[lower] += rise > limit
    steps[upper] -= -rise > limit
    return steps
