"""Grids of heights for legged robots: `isaacgym.terrain_utils`.

Heights are integers in units of `vertical_scale`; the first index counts along x. The functions change the terrain
that they get and return it. They draw from `numpy.random` in the order of the BSD-licensed
`omniisaacgymenvs/utils/terrain_utils`, so that a seed gives the same terrain.
"""

from __future__ import annotations

import numpy as np
from numpy.random import choice

from isaac_standin.errors import StandinError
from isaac_standin.scene.terrain_surface import grid_triangles, grid_vertices

__all__ = [
    "SubTerrain",
    "choice",
    "convert_heightfield_to_trimesh",
    "discrete_obstacles_terrain",
    "np",
    "pyramid_sloped_terrain",
    "pyramid_stairs_terrain",
    "random_uniform_terrain",
    "sloped_terrain",
    "stairs_terrain",
    "stepping_stones_terrain",
    "wave_terrain",
]


class SubTerrain:
    """A rectangular piece of terrain.

    Attributes:
      terrain_name: its name.
      width: number of nodes along x.
      length: number of nodes along y.
      vertical_scale: height of one unit [m].
      horizontal_scale: distance between nodes [m].
      height_field_raw: heights in units, int16, (width, length).
    """

    def __init__(
        self,
        terrain_name: str = "terrain",
        width: int = 256,
        length: int = 256,
        vertical_scale: float = 1.0,
        horizontal_scale: float = 1.0,
    ) -> None:
        self.terrain_name = terrain_name
        self.width = width
        self.length = length
        self.vertical_scale = vertical_scale
        self.horizontal_scale = horizontal_scale
        self.height_field_raw = np.zeros((width, length), dtype=np.int16)


def random_uniform_terrain(
    terrain: SubTerrain,
    min_height: float,
    max_height: float,
    step: float = 1,
    downsampled_scale: float | None = None,
) -> SubTerrain:
    """Add random heights, linear between the points that are drawn.

    Args:
      terrain: is changed.
      min_height: the smallest height [m].
      max_height: the largest height [m].
      step: distance between two possible heights [m].
      downsampled_scale: distance between points that are drawn [m]; that of the nodes if None.
    """
    if downsampled_scale is None:
        downsampled_scale = terrain.horizontal_scale
    lowest, highest = _units(min_height, terrain), _units(max_height, terrain)
    unit = _units(step, terrain)
    if unit == 0:
        raise StandinError(
            "the step between random heights is smaller than one unit of height",
            where="random_uniform_terrain",
            got=f"step {step} m, vertical_scale {terrain.vertical_scale} m",
            fix="use a step of at least vertical_scale",
        )
    extent = np.array([terrain.width, terrain.length]) * terrain.horizontal_scale
    points_x, points_y = (extent / downsampled_scale).astype(int).tolist()
    heights = np.random.choice(np.arange(lowest, highest + unit, unit), (points_x, points_y))
    terrain.height_field_raw += np.rint(_resampled(heights, terrain.width, terrain.length)).astype(np.int16)
    return terrain


def sloped_terrain(terrain: SubTerrain, slope: float = 1) -> SubTerrain:
    """Add a plane that rises along x.

    Args:
      terrain: is changed.
      slope: height per distance; negative falls.
    """
    top = int(slope * (terrain.horizontal_scale / terrain.vertical_scale) * terrain.width)
    heights = top * np.arange(terrain.width) / terrain.width
    terrain.height_field_raw += heights.astype(terrain.height_field_raw.dtype)[:, np.newaxis]
    return terrain


def pyramid_sloped_terrain(terrain: SubTerrain, slope: float = 1, platform_size: float = 1.0) -> SubTerrain:
    """Add a pyramid, and cut its top off.

    Args:
      terrain: is changed.
      slope: height per distance; negative for a pit.
      platform_size: side of the platform that is left in the middle [m].
    """
    top = int(slope * (terrain.horizontal_scale / terrain.vertical_scale) * (terrain.width / 2))
    heights = top * _ramp(terrain.width)[:, np.newaxis] * _ramp(terrain.length)[np.newaxis, :]
    terrain.height_field_raw += heights.astype(terrain.height_field_raw.dtype)
    half = int(platform_size / terrain.horizontal_scale / 2)
    edge = terrain.height_field_raw[terrain.width // 2 - half, terrain.length // 2 - half]
    terrain.height_field_raw = np.clip(terrain.height_field_raw, min(edge, 0), max(edge, 0))
    return terrain


def discrete_obstacles_terrain(
    terrain: SubTerrain,
    max_height: float,
    min_size: float,
    max_size: float,
    num_rects: int,
    platform_size: float = 1.0,
) -> SubTerrain:
    """Place rectangular steps and pits at random.

    Args:
      terrain: is changed.
      max_height: a rectangle is this or half of it above or below 0 [m].
      min_size: smallest side of a rectangle [m].
      max_size: largest side of a rectangle [m].
      num_rects: number of rectangles.
      platform_size: side of the flat part in the middle [m].
    """
    highest = _units(max_height, terrain)
    sizes = range(_cells(min_size, terrain), _cells(max_size, terrain), 4)
    heights = [-highest, -highest // 2, highest // 2, highest]
    along_x, along_y = terrain.height_field_raw.shape
    for _ in range(num_rects):
        width = np.random.choice(sizes)
        length = np.random.choice(sizes)
        x = np.random.choice(range(0, along_x - width, 4))
        y = np.random.choice(range(0, along_y - length, 4))
        terrain.height_field_raw[x : x + width, y : y + length] = np.random.choice(heights)
    return _flatten_middle(terrain, platform_size)


def wave_terrain(terrain: SubTerrain, num_waves: int = 1, amplitude: float = 1.0) -> SubTerrain:
    """Add a sine wave along x and a cosine wave along y.

    Args:
      terrain: is changed.
      num_waves: number of waves along y; those along x have the same length.
      amplitude: twice that of each of both waves [m].
    """
    height = _units(0.5 * amplitude, terrain)
    if num_waves > 0:
        scale = terrain.length / (num_waves * np.pi * 2)
        along_x = height * np.sin(np.arange(terrain.width) / scale)[:, np.newaxis]
        along_y = height * np.cos(np.arange(terrain.length) / scale)[np.newaxis, :]
        terrain.height_field_raw += (along_y + along_x).astype(terrain.height_field_raw.dtype)
    return terrain


def stairs_terrain(terrain: SubTerrain, step_width: float, step_height: float) -> SubTerrain:
    """Add stairs that rise along x.

    Args:
      terrain: is changed.
      step_width: depth of a step [m].
      step_height: rise of a step [m].
    """
    depth, rise = _cells(step_width, terrain), _units(step_height, terrain)
    for step in range(terrain.width // depth):
        terrain.height_field_raw[step * depth : (step + 1) * depth, :] += (step + 1) * rise
    return terrain


def pyramid_stairs_terrain(
    terrain: SubTerrain, step_width: float, step_height: float, platform_size: float = 1.0
) -> SubTerrain:
    """Build stairs that rise from all sides to a platform.

    Args:
      terrain: is changed.
      step_width: depth of a step [m].
      step_height: rise of a step [m]; negative for a pit.
      platform_size: the steps end when what is left inside is no longer than this [m].
    """
    depth, rise = _cells(step_width, terrain), _units(step_height, terrain)
    platform = _cells(platform_size, terrain)
    border = height = 0
    while min(terrain.width, terrain.length) - 2 * border > platform:
        border += depth
        height += rise
        inner_x, inner_y = slice(border, terrain.width - border), slice(border, terrain.length - border)
        terrain.height_field_raw[inner_x, inner_y] = height
    return terrain


def stepping_stones_terrain(
    terrain: SubTerrain,
    stone_size: float,
    stone_distance: float,
    max_height: float,
    platform_size: float = 1.0,
    depth: float = -10,
) -> SubTerrain:
    """Place square stones in rows along the shorter side, with holes between them.

    Args:
      terrain: is changed.
      stone_size: side of a stone [m].
      stone_distance: width of the holes [m].
      max_height: the largest height of a stone above or below 0 [m].
      platform_size: side of the flat part in the middle [m].
      depth: height of the ground of the holes [m].
    """
    size, gap = _cells(stone_size, terrain), _cells(stone_distance, terrain)
    highest = _units(max_height, terrain)
    heights = np.arange(-highest - 1, highest)
    terrain.height_field_raw[:, :] = _units(depth, terrain)
    rows = terrain.height_field_raw  # indexed along a row, then across
    if terrain.width > terrain.length:
        rows = rows.T
    for start in range(0, rows.shape[1], size + gap):
        _fill_row(rows[:, start : start + size], size, gap, heights)
    return _flatten_middle(terrain, platform_size)


def convert_heightfield_to_trimesh(
    height_field_raw: np.ndarray, horizontal_scale: float, vertical_scale: float, slope_threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangle mesh of a grid of heights.

    Args:
      height_field_raw: heights in units, (number along x, number along y).
      horizontal_scale: distance between nodes [m].
      vertical_scale: height of one unit [m].
      slope_threshold: a steeper slope becomes a vertical wall, which stands at its upper node; None for no walls.

    Returns:
      Vertices [m], float32, (nodes, 3), and the indices of the three vertices of each triangle, uint32, (2 x cells, 3).
    """
    heights = np.asarray(height_field_raw)
    limit = None
    if slope_threshold is not None:
        limit = slope_threshold * horizontal_scale / vertical_scale
    vertices = grid_vertices(heights, horizontal_scale, limit)
    vertices[:, 2] *= vertical_scale
    return vertices.astype(np.float32), grid_triangles(*heights.shape)


def _units(height: float, terrain: SubTerrain) -> int:
    return int(height / terrain.vertical_scale)


def _cells(distance: float, terrain: SubTerrain) -> int:
    return int(distance / terrain.horizontal_scale)


def _ramp(count: int) -> np.ndarray:
    """Return a line from 0 to 1 in the middle and back."""
    middle = count // 2
    return (middle - np.abs(middle - np.arange(count))) / middle


def _flatten_middle(terrain: SubTerrain, platform_size: float) -> SubTerrain:
    platform = _cells(platform_size, terrain)
    first_x, first_y = (terrain.width - platform) // 2, (terrain.length - platform) // 2
    last_x, last_y = (terrain.width + platform) // 2, (terrain.length + platform) // 2
    terrain.height_field_raw[first_x:last_x, first_y:last_y] = 0
    return terrain


def _fill_row(row: np.ndarray, size: int, gap: int, heights: np.ndarray) -> None:
    """Place stones of random heights along a row, the first of them at a random distance from its end."""
    start = np.random.randint(0, size)
    row[: max(0, start - gap)] = np.random.choice(heights)
    while start < len(row):
        row[start : start + size] = np.random.choice(heights)
        start += size + gap


def _resampled(values: np.ndarray, along_x: int, along_y: int) -> np.ndarray:
    """Stretch an array over a grid of nodes, linear between its elements."""
    x = np.linspace(0, values.shape[0] - 1, along_x)
    y = np.linspace(0, values.shape[1] - 1, along_y)
    i = np.minimum(x.astype(int), max(values.shape[0] - 2, 0))
    j = np.minimum(y.astype(int), max(values.shape[1] - 2, 0))
    part_x, part_y = (x - i)[:, np.newaxis], (y - j)[np.newaxis, :]
    below = values[i, :] * (1 - part_x) + values[np.minimum(i + 1, values.shape[0] - 1), :] * part_x
    return below[:, j] * (1 - part_y) + below[:, np.minimum(j + 1, values.shape[1] - 1)] * part_y
