"""Triangle meshes and height fields are read as the grids and boxes that they are."""

from __future__ import annotations

import numpy as np
import pytest

from isaac_standin.api.terrain_utils import convert_heightfield_to_trimesh
from isaac_standin.errors import StandinError
from isaac_standin.scene.terrain_mesh import grid_of_samples, grounds_of
from isaac_standin.scene.terrain_types import Box, Grid

pytestmark = pytest.mark.mujoco

BOX_FACES = [[0, 2, 1], [1, 2, 3], [0, 4, 2], [2, 4, 6], [4, 5, 6], [5, 7, 6]]
BOX_FACES += [[1, 3, 5], [3, 7, 5], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7]]


def uneven(along_x=13, along_y=9):
    """Return heights in units of 5 mm: a ramp along x, a step along y, and noise without a wall."""
    heights = 3 * np.arange(along_x)[:, None] + np.zeros(along_y, dtype=int)
    heights[:, 5:] += 60
    heights[4:7, 1:3] -= 80
    heights[10, :] += np.arange(along_y) % 3
    return heights.astype(np.int16)


def box_mesh(lower, upper):
    """Return the mesh of a box: eight corners and twelve triangles."""
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=np.float32)
    vertices = np.array(lower) + corners * np.subtract(upper, lower)
    return vertices.astype(np.float32), np.array(BOX_FACES, dtype=np.uint32)


@pytest.mark.parametrize("threshold", [None, 0.75, 100.0])
def test_grid_is_recovered_from_its_mesh(threshold):
    """The mesh of a grid, with walls or without, flat or not, moved in place and by the origin, is that grid."""
    vertices, triangles = convert_heightfield_to_trimesh(uneven(), 0.1, 0.005, threshold)
    vertices += np.array([4.0, -3.0, 0.5])
    (grid,) = grounds_of(vertices.flatten(), triangles.flatten(), (-1.0, -2.0, 0.25), 0.7)
    assert isinstance(grid, Grid)
    assert grid.cell == pytest.approx((0.1, 0.1))
    assert grid.origin[:2] == pytest.approx((3.0, -5.0), abs=1e-4)
    assert grid.heights + grid.origin[2] == pytest.approx(uneven() * 0.005 + 0.75, abs=1e-6)
    assert grid.friction == 0.7
    assert (grid.wall is not None) == (threshold == 0.75)


@pytest.mark.parametrize("seed", range(5))
def test_rough_grid_with_walls_is_recovered(seed):
    """Where single nodes stick out, neighbours move past each other; the grid and its walls are found nevertheless."""
    heights = np.random.default_rng(seed).integers(-12, 13, (17, 11)) * 3
    vertices, triangles = convert_heightfield_to_trimesh(heights, 0.1, 0.005, 1.3)
    (grid,) = grounds_of(vertices, triangles)
    assert grid.heights == pytest.approx(heights * 0.005, abs=1e-6)
    assert grid.origin == pytest.approx((0, 0, 0), abs=1e-5)
    again, _ = convert_heightfield_to_trimesh(grid.heights, 0.1, 1.0, grid.wall)
    assert again == pytest.approx(vertices, abs=1e-5)


def test_wall_of_a_grid_is_below_its_walls():
    """The slope that separates walls from the rest lies between the gentlest wall and the steepest slope."""
    (grid,) = grounds_of(*convert_heightfield_to_trimesh(uneven(), 0.1, 0.005, 0.75))
    assert 0.25 < grid.wall < 3.0


def test_stairs_of_single_nodes_are_recovered():
    """On stairs where each node is a step all nodes but the last move; they are that grid nevertheless."""
    heights = 40 * np.arange(7)[:, None] + np.zeros(5, dtype=int)
    (grid,) = grounds_of(*convert_heightfield_to_trimesh(heights, 0.1, 0.005, 0.75))
    assert grid.origin == pytest.approx((0, 0, 0), abs=1e-5)
    assert grid.heights == pytest.approx(heights * 0.005, abs=1e-6)


def test_box_is_recovered_from_its_mesh():
    """A mesh of eight corners and twelve triangles is a box."""
    (box,) = grounds_of(*box_mesh((1, 2, 0), (4, 4, 0.02)), (0.5, 0.0, 1.0))
    assert isinstance(box, Box)
    assert box.lower == pytest.approx((1.5, 2, 1))
    assert box.upper == pytest.approx((4.5, 4, 1.02))


def test_combined_meshes_are_taken_apart():
    """A grid and two boxes in one mesh are a grid and two boxes."""
    meshes = [convert_heightfield_to_trimesh(uneven(), 0.1, 0.005, 0.75)]
    meshes += [box_mesh((0, 0, 0), (1, 2, 3)), box_mesh((5, 5, 5), (6, 7, 8))]
    vertices, triangles, count = [], [], 0
    for own_vertices, own_triangles in meshes:
        vertices.append(own_vertices)
        triangles.append(own_triangles + count)
        count += len(own_vertices)
    found = grounds_of(np.concatenate(vertices), np.concatenate(triangles))
    assert [type(ground) for ground in found] == [Grid, Box, Box]


def test_other_surface_is_sampled():
    """A ramp, and a terrace behind a vertical wall, are sampled at their heights."""
    vertices = [[0, 0, 0], [1, 0, 0.5], [2, 0, 0.5], [0, 3, 0], [1, 3, 0.5], [2, 3, 0.5]]
    vertices += [[2, 0, 2], [2, 3, 2], [3, 0, 2], [3, 3, 2]]
    triangles = [[0, 1, 3], [1, 4, 3], [1, 2, 4], [2, 5, 4], [2, 6, 5], [6, 7, 5], [6, 8, 7], [8, 9, 7]]
    (grid,) = grounds_of(np.array(vertices, dtype=np.float32), np.array(triangles))
    assert grid.cell == pytest.approx((1, 3))
    assert grid.heights[:, 0] == pytest.approx([0, 0.5, 2, 2])
    assert grid.heights[:, 1] == pytest.approx([0, 0.5, 2, 2])
    assert grid.wall == pytest.approx(0.5, abs=0.01)


def test_triangles_without_common_vertices_are_sampled_together():
    """A ramp whose triangles share no vertices is one surface."""
    vertices = [[0, 0, 0], [2, 0, 1], [2, 3, 1], [0, 0, 0], [2, 3, 1], [0, 3, 0]]
    (grid,) = grounds_of(np.array(vertices, dtype=float), np.arange(6))
    assert grid.heights.tolist() == [[0, 0], [1, 1]]


def tetrahedron():
    """Return a closed mesh that is no box."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 1]], dtype=float)
    return vertices, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def bridge():
    """Return a floor with a roof above a part of it."""
    floor = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], dtype=float)
    roof = floor * (0.5, 0.5, 1) + (1, 1, 2)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return np.concatenate([floor, roof]), np.concatenate([faces, faces + 4])


def triangle():
    """Return a surface whose outline is no rectangle."""
    return np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0]], dtype=float), np.array([[0, 1, 2]])


@pytest.mark.parametrize("mesh", [tetrahedron, bridge, triangle])
def test_mesh_that_is_no_grid_is_refused(mesh):
    """A closed body, an overhang and a gap in the surface are errors that say what a mesh must be."""
    with pytest.raises(StandinError, match="no grid of heights") as caught:
        grounds_of(*mesh())
    assert "each vertical line hits once" in str(caught.value)


@pytest.mark.parametrize(
    ("vertices", "triangles", "message"),
    [
        (np.zeros(8), np.arange(3), "no triples"),
        (np.zeros((4, 3)), np.array([0, 1, 4]), "does not have"),
        (np.full((3, 3), np.nan), np.arange(3), "not finite"),
        (np.zeros((3, 3)), np.arange(0), "no triples"),
    ],
)
def test_malformed_mesh_is_refused(vertices, triangles, message):
    """Arrays of a wrong size, indices out of range and NaN are errors."""
    with pytest.raises(StandinError, match=message):
        grounds_of(vertices, triangles)


def test_height_field_equals_the_mesh_of_the_same_terrain():
    """What legged_gym passes as a height field and as a mesh is the same ground, x and y not swapped."""
    heights = uneven()
    tot_rows, tot_cols = heights.shape
    field = grid_of_samples(heights, tot_cols, tot_rows, 0.1, 0.1, 0.005, (-1.0, -2.0, 0.0), 0.6)
    (grid,) = grounds_of(*convert_heightfield_to_trimesh(heights, 0.1, 0.005), (-1.0, -2.0, 0.0), 0.6)
    assert field.heights == pytest.approx(grid.heights, abs=1e-6)
    assert field.cell == pytest.approx(grid.cell)
    assert field.origin == pytest.approx(grid.origin, abs=1e-4)


def test_scales_of_a_height_field_belong_to_their_axes():
    """Columns count along x and rows along y."""
    field = grid_of_samples(np.zeros((13, 9), dtype=np.int16), 9, 13, 0.2, 0.3, 0.005)
    assert field.heights.shape == (13, 9)
    assert field.cell == (0.3, 0.2)


def test_wrong_number_of_samples_is_refused():
    """A height field of 13 x 9 samples that claims 9 x 12 is an error."""
    with pytest.raises(StandinError, match="another number of samples"):
        grid_of_samples(np.zeros((13, 9)), 9, 12, 0.1, 0.1, 0.005)
