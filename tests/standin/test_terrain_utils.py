"""Grids of heights as programs for Isaac Gym build them."""

from __future__ import annotations

import numpy as np
import pytest

from isaac_standin.api import terrain_utils
from isaac_standin.errors import StandinError

pytestmark = pytest.mark.mujoco


def sub_terrain(width=30, length=22):
    """Return a flat terrain whose sides and scales all differ."""
    return terrain_utils.SubTerrain("ground", width, length, vertical_scale=0.005, horizontal_scale=0.1)


def test_slope_rises_along_x():
    """Each cell of a slope of 0.5 rises by 0.05 m, that is 10 units, along x only."""
    heights = terrain_utils.sloped_terrain(sub_terrain(), 0.5).height_field_raw
    assert (heights == 10 * np.arange(30)[:, None]).all()


def test_pyramid_has_a_platform():
    """A pyramid of slope 0.4 would be 6 m x 0.4 / 4 high; its platform is as high as the platform's corner."""
    heights = terrain_utils.pyramid_sloped_terrain(sub_terrain(), 0.4, platform_size=1.0).height_field_raw
    corner = int(120 * (10 / 15) * (6 / 11))  # 120 units in the middle; the corner is 5 nodes from it on both axes
    assert heights.max() == corner
    assert (heights[11:19, 8:15] == corner).all()
    assert heights[0].max() == 0


def test_stairs_rise_by_step_height():
    """Steps of 0.3 m and 0.15 m are 3 nodes and 30 units, and the first of them is at the beginning."""
    heights = terrain_utils.stairs_terrain(sub_terrain(), 0.31, 0.15).height_field_raw
    assert heights[[0, 2, 3, 29], 5].tolist() == [30, 30, 60, 300]


def test_pyramid_stairs_end_at_the_platform():
    """Steps of 2 nodes rise from all four sides until at most 6 nodes are left along y."""
    heights = terrain_utils.pyramid_stairs_terrain(sub_terrain(), 0.2, -0.1, platform_size=0.65).height_field_raw
    assert heights[15, [0, 1, 2, 4, 6, 8, 10]].tolist() == [0, 0, -20, -40, -60, -80, -80]
    assert heights[8, 10] == -80


def test_obstacles_have_four_heights():
    """An obstacle of 0.2 m is 40 or 20 units above or below the ground; the platform stays flat."""
    np.random.seed(3)
    terrain = terrain_utils.discrete_obstacles_terrain(sub_terrain(60, 50), 0.2, 0.5, 1.5, 30, platform_size=1.0)
    assert set(np.unique(terrain.height_field_raw)) == {-40, -20, 0, 20, 40}
    assert (terrain.height_field_raw[25:35, 20:30] == 0).all()


def test_waves_follow_the_formula():
    """A wave is amplitude / 2 high along x and y, and repeats along y."""
    heights = terrain_utils.wave_terrain(sub_terrain(30, 24), num_waves=2, amplitude=0.8).height_field_raw
    assert heights[0, [0, 6, 12]].tolist() == [80, -80, 80]
    assert heights[3, 0] == 160


@pytest.mark.parametrize(("width", "length"), [(42, 35), (35, 42)])
def test_stepping_stones_lie_along_the_shorter_side(width, length):
    """Stones of 5 nodes lie in rows, with holes of 2 nodes between the rows."""
    np.random.seed(1)
    terrain = terrain_utils.stepping_stones_terrain(sub_terrain(width, length), 0.5, 0.2, 0.05, 0.5, depth=-2)
    holes = terrain.height_field_raw == -400
    between_rows = holes.all(axis=int(width > length))
    assert between_rows.sum() == 0 if between_rows[17:25].any() else between_rows.sum() > 0
    assert np.abs(terrain.height_field_raw[~holes]).max() <= 11


def test_random_heights_are_linear_between_points():
    """Between the points that are drawn the heights are linear; at the ends they are those that were drawn."""
    np.random.seed(5)
    heights = terrain_utils.random_uniform_terrain(sub_terrain(), -0.05, 0.05, 0.01, 0.2).height_field_raw
    np.random.seed(5)
    drawn = np.random.choice(np.arange(-10, 12, 2), (15, 11))
    assert heights[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == drawn[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
    along_x = np.interp(np.linspace(0, 14, 30), np.arange(15), drawn[:, 0])
    assert np.abs(heights[:, 0] - along_x).max() <= 0.5


def test_step_below_one_unit_is_refused():
    """A step of 2 mm between heights in units of 5 mm is an error, not an endless loop."""
    with pytest.raises(StandinError, match="smaller than one unit"):
        terrain_utils.random_uniform_terrain(sub_terrain(), -0.05, 0.05, step=0.002)


def test_mesh_has_the_nodes_and_types_of_isaac_gym():
    """Vertices count along y first; both triangles of a cell share its diagonal and face up."""
    heights = np.arange(6, dtype=np.int16).reshape(2, 3)
    vertices, triangles = terrain_utils.convert_heightfield_to_trimesh(heights, 0.1, 0.005)
    assert vertices.dtype == np.float32
    assert triangles.dtype == np.uint32
    assert vertices[4] == pytest.approx([0.1, 0.1, 0.02])
    assert triangles.tolist() == [[0, 4, 1], [0, 3, 4], [1, 5, 2], [1, 4, 5]]


def test_walls_stand_at_the_higher_node():
    """A step of 0.2 m over 0.1 m is steeper than 0.75: the lower node moves below the higher one, on both sides."""
    heights = np.repeat([[0], [0], [40], [40], [0], [0]], 4, axis=1)
    vertices, _ = terrain_utils.convert_heightfield_to_trimesh(heights, 0.1, 0.005, 0.75)
    assert vertices.reshape(6, 4, 3)[:, 1, 0] == pytest.approx([0, 0.2, 0.2, 0.3, 0.3, 0.5])
    gentle, _ = terrain_utils.convert_heightfield_to_trimesh(heights, 0.1, 0.005, 2.5)
    assert gentle.reshape(6, 4, 3)[:, 1, 0] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
