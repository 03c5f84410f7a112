"""Cuts a grid of heights into boxes and one height field."""

from __future__ import annotations

import math

import numpy as np

from isaac_standin.scene.terrain_types import Box, Field, Grid

# The largest number of boxes that one grid becomes. Measured with a robot of 17 shapes on one core of a CPU, a physics
# step takes 9 us with 1 box, 17 us with 64, which is what a height field takes, 47 us with 256, and 187 us with 1,024.
MAX_BOXES = 64
STEEP = 5.0  # slopes above this (79 degrees) are walls
TICK = 1e-5  # heights are compared in units of this [m]
ROUGH = np.iinfo(np.int64).max  # instead of a height, for a cell that is not flat
MIN_CELLS = 32  # a smaller flat patch among slopes is there by chance
BURIED = 1.0  # how far boxes reach below the lowest height, and how deep a height field lies where it is not needed [m]

Rectangle = tuple[int, int, int, int]  # first cell along x, last + 1, first along y, last + 1


def pieces(grid: Grid, max_boxes: int = MAX_BOXES) -> list[Box | Field]:
    """Return boxes for the flat parts of a grid, and a height field for the rest if there is any.

    Args:
      grid: heights of the ground.
      max_boxes: with more boxes than this, the complete grid becomes a height field.
    """
    ticks = np.rint(np.asarray(grid.heights, dtype=np.float64) / TICK).astype(np.int64)
    levels = flat_cells(ticks, _steepest(grid))
    if (levels == ROUGH).any():
        levels = _without_small_patches(levels)
    boxes = _level_boxes(ticks, levels, max_boxes)
    if boxes is None:
        return [Field(np.asarray(grid.heights), grid.cell, grid.origin, grid.friction)]
    floor = float(grid.heights.min()) - BURIED
    found: list[Box | Field] = [_box(grid, rectangle, level * TICK, floor) for rectangle, level in boxes]
    rough = levels == ROUGH
    if rough.any():
        found.append(_field(grid, rough, floor))
    return found


def flat_cells(ticks: np.ndarray, steepest: int) -> np.ndarray:
    """Return the height of each cell, or `ROUGH`, (nodes along x - 1, nodes along y - 1).

    A cell is flat if its four nodes are equal, or if a wall stands in it: then the lower ground reaches to the
    wall, which stands at the higher nodes. A ridge of one node has no cell of its own height, and would vanish by
    this rule: it becomes a wall that is one cell thick.

    Args:
      ticks: heights of the nodes.
      steepest: a larger difference between two nodes of a cell is a wall.
    """
    corners = np.stack([ticks[:-1, :-1], ticks[1:, :-1], ticks[:-1, 1:], ticks[1:, 1:]])
    lowest = corners.min(axis=0)
    rise = corners - lowest
    flat = ((rise == 0) | (rise > steepest)).all(axis=0)
    levels = np.where(flat, lowest, ROUGH)

    around = np.full(np.add(ticks.shape, 1), -ROUGH)
    around[1:-1, 1:-1] = levels
    highest = _largest_of_four(around)
    i, j = np.nonzero(ticks > highest)
    np.maximum.at(levels, (np.maximum(i - 1, 0), np.maximum(j - 1, 0)), ticks[i, j])
    return levels


def _largest_of_four(values: np.ndarray) -> np.ndarray:
    """Return the maximum of each 2 x 2 block of neighbours; one row and one column less."""
    pairs = np.maximum(values[:-1], values[1:])
    return np.maximum(pairs[:, :-1], pairs[:, 1:])


def _steepest(grid: Grid) -> int:
    slope = STEEP
    if grid.wall is not None:
        slope = min(slope, grid.wall)
    return math.floor(slope * min(grid.cell) / TICK)


def _without_small_patches(levels: np.ndarray) -> np.ndarray:
    """Return the levels, where flat rectangles of fewer than `MIN_CELLS` cells are rough."""
    result = np.full(levels.shape, ROUGH)
    rectangles = _rectangles(levels)
    first, last, start, stop = rectangles.T
    large = (last - first) * (stop - start) >= MIN_CELLS
    for first, last, start, stop in rectangles[large]:
        result[first:last, start:stop] = levels[first, start]
    return result


def _level_boxes(ticks: np.ndarray, levels: np.ndarray, max_boxes: int) -> list[tuple[Rectangle, int]] | None:
    """Return rectangles and their heights that cover all flat cells, or None if there are too many.

    The box of a height may extend below higher ground, so a floor with obstacles on it is one box.
    """
    heights = np.unique(levels[levels != ROUGH])
    if heights.size > max_boxes:
        return None
    lowest = np.where(levels == ROUGH, -_largest_of_four(-ticks), levels)
    boxes = []
    for height in heights:
        rectangles = _rectangles(lowest >= height)
        needed = rectangles[_counts(levels == height, rectangles) > 0]
        boxes += [(tuple(rectangle), int(height)) for rectangle in needed.tolist()]
        if len(boxes) > max_boxes:
            return None
    return boxes


def _counts(wanted: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Return how many elements of each rectangle are true."""
    sums = np.zeros(np.add(wanted.shape, 1), dtype=np.int64)  # sums[i, j]: of the first i rows and j columns
    sums[1:, 1:] = wanted.cumsum(axis=0).cumsum(axis=1)
    first, last, start, stop = rectangles.T
    return sums[last, stop] - sums[first, stop] - sums[last, start] + sums[first, start]


def _rectangles(values: np.ndarray) -> np.ndarray:
    """Cut an array into rectangles of equal values: first row, last + 1, first column, last + 1, (number, 4).

    Each row is cut into runs of equal values; runs of successive rows that have the same ends and the same value are
    joined.
    """
    starts_here = np.ones(values.shape, dtype=bool)
    starts_here[:, 1:] = values[:, 1:] != values[:, :-1]
    row, start = np.nonzero(starts_here)
    stop = np.append(start[1:], 0)
    stop[stop == 0] = values.shape[1]
    value = values[row, start]

    order = np.lexsort((row, value, stop, start))
    row, start, stop, value = row[order], start[order], stop[order], value[order]
    joined = (np.diff(row) == 1) & (np.diff(start) == 0) & (np.diff(stop) == 0) & (value[1:] == value[:-1])
    begins = np.flatnonzero(np.append(True, ~joined))
    ends = np.append(begins[1:], row.size) - 1
    return np.stack([row[begins], row[ends] + 1, start[begins], stop[begins]], axis=1)


def _box(grid: Grid, rectangle: Rectangle, height: float, floor: float) -> Box:
    first, last, start, stop = rectangle
    x, y, z = grid.origin
    lower = (x + first * grid.cell[0], y + start * grid.cell[1], z + floor)
    upper = (x + last * grid.cell[0], y + stop * grid.cell[1], z + height)
    return Box(lower, upper, grid.friction)


def _field(grid: Grid, rough: np.ndarray, floor: float) -> Field:
    """Return a height field around the rough cells; where no rough cell is, it lies buried below the boxes."""
    around = np.zeros(np.add(rough.shape, 2), dtype=np.int64)
    around[1:-1, 1:-1] = rough
    needed = _largest_of_four(around) > 0
    rows = np.flatnonzero(needed.any(axis=1))
    columns = np.flatnonzero(needed.any(axis=0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    heights = np.where(needed, grid.heights, floor)[part]
    x, y, z = grid.origin
    origin = (x + rows[0] * grid.cell[0], y + columns[0] * grid.cell[1], z)
    return Field(heights, grid.cell, origin, grid.friction)
