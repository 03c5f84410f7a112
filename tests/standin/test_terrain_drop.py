"""Bodies that are dropped on a terrain come to rest on its surface, in MuJoCo."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from isaac_standin.api.terrain_utils import convert_heightfield_to_trimesh
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.scene.terrain import add_terrain, require_small
from isaac_standin.scene.terrain_mesh import grid_of_samples, grounds_of
from isaac_standin.scene.terrain_types import Box, Grid, Plane

pytestmark = pytest.mark.mujoco

GEOM = mujoco.mjtGeom
SHAPES = {
    "sphere": (GEOM.mjGEOM_SPHERE, (0.07, 0, 0), 0.07),
    "box": (GEOM.mjGEOM_BOX, (0.09, 0.08, 0.05), 0.05),
    "capsule": (GEOM.mjGEOM_CAPSULE, (0.04, 0.06, 0), 0.1),
    "cylinder": (GEOM.mjGEOM_CYLINDER, (0.08, 0.06, 0), 0.06),
}
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES)


def drop(grounds, x, y, start, shape="sphere", seconds=0.6, slide=False):
    """Drop a body that cannot turn, and cannot slide either unless it may; return where it ends."""
    kind, size, _ = SHAPES[shape]
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.004
    names = add_terrain(spec, grounds)
    body = spec.worldbody.add_body(name="body", pos=(x, y, start))
    for axis in np.eye(3)[slide_axes(slide)]:
        body.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
    body.add_geom(name="shape", type=kind, size=size, mass=0.5, contype=0, conaffinity=0)
    for name in names:
        spec.add_pair(geomname1=name, geomname2="shape", friction=[1, 1, 0.005, 1e-4, 1e-4])
    model = spec.compile()
    data = mujoco.MjData(model)
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
    return data.body("body").xpos.copy()


def slide_axes(slide):
    """Return which world axes a body may move along."""
    if slide:
        return slice(None)
    return slice(2, None)


def terraces():
    """Return terraces along x with a pit in y, of cells of 0.1 m."""
    heights = np.zeros((61, 41), dtype=np.int16)
    heights[20:] = 60
    heights[40:] = 120
    heights[5:15, 25:] = -100
    return grounds_of(*convert_heightfield_to_trimesh(heights, 0.1, 0.005, 0.75), (-1.0, 0.5, 0.25))


@EVERY_SHAPE
@pytest.mark.parametrize(
    ("x", "y", "height"), [(0.45, 1.23, 0.25), (2.03, 1.5, 0.55), (4.0, 3.2, 0.85), (0.0, 3.7, -0.25)]
)
def test_body_rests_on_boxes(shape, x, y, height):
    """On terraces and in a pit each shape rests at the height of the ground plus its own half height."""
    half = SHAPES[shape][2]
    assert drop(terraces(), x, y, height + half + 0.05, shape)[2] == pytest.approx(height + half, abs=2e-3)


@EVERY_SHAPE
@pytest.mark.parametrize(("x", "y"), [(1.03, 0.77), (2.5, 0.31)])
def test_body_rests_on_a_height_field(shape, x, y):
    """On a slope of 0.2 along x the lowest point of a body that cannot turn touches the plane of the slope."""
    heights = 4 * np.arange(41)[:, None] + np.zeros(17)
    grounds = grounds_of(*convert_heightfield_to_trimesh(heights, 0.1, 0.005), (0.0, 0.0, -0.2))
    surface = 0.2 * x - 0.2
    normal = math.hypot(1, 0.2)
    above = {
        "sphere": 0.07 * normal,
        "box": 0.05 + 0.2 * 0.09,
        "capsule": 0.06 + 0.04 * normal,
        "cylinder": 0.06 + 0.2 * 0.08,
    }
    end = drop(grounds, x, y, surface + above[shape] + 0.05, shape)[2]
    assert end == pytest.approx(surface + above[shape], abs=3e-3)


def test_height_field_and_mesh_of_a_terrain_agree():
    """A ramp in x with a step in y has the same height under a ball, as a height field and as a mesh."""
    heights = 3 * np.arange(31)[:, None] + np.zeros(19, dtype=int)
    heights[:, 9:] += 50
    samples = grid_of_samples(heights.astype(np.int16), 19, 31, 0.1, 0.1, 0.005, (-1.0, -0.5, 0.0))
    mesh = grounds_of(*convert_heightfield_to_trimesh(heights, 0.1, 0.005), (-1.0, -0.5, 0.0))
    for x, y, step in [(1.2, 0.1, 0.0), (0.3, 0.9, 0.25)]:
        expected = 0.15 * (x + 1) + step + 0.07 * math.hypot(1, 0.15)
        for grounds in ([samples], mesh):
            assert drop(grounds, x, y, expected + 0.05)[2] == pytest.approx(expected, abs=3e-3)


def test_cells_are_split_like_the_mesh():
    """A saddle is as high in its middle as the diagonal of the mesh, and a ball on it rests there."""
    heights = np.zeros((3, 4))
    heights[1, 1] = heights[2, 2] = 0.5
    spec = mujoco.MjSpec()
    add_terrain(spec, [Grid(heights, (0.3, 0.4))])
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    down = np.array([0.0, 0.0, -1.0])
    found = np.zeros(1, dtype=np.int32)
    distance = mujoco.mj_ray(model, data, np.array([0.45, 0.6, 4.0]), down, None, 1, -1, found)
    assert 4.0 - distance == pytest.approx(0.5)


def test_wall_of_a_box_is_vertical():
    """A ball that rests on the floor touches a wall only at its own radius from the higher node."""
    heights = np.zeros((31, 21), dtype=np.int16)
    heights[15:] = 100
    grounds = grounds_of(*convert_heightfield_to_trimesh(heights, 0.1, 0.005, 0.75))
    assert drop(grounds, 1.5 - 0.0701, 1.0, 0.1, slide=True)[0] == pytest.approx(1.5 - 0.0701, abs=1e-3)
    assert drop(grounds, 1.5 - 0.05, 1.0, 0.1, slide=True)[0] < 1.5 - 0.06


def test_plane_lies_at_minus_distance_along_its_normal():
    """A plane with distance 0.4 is 0.4 m below the origin; one that is turned slopes as its normal says."""
    assert drop([Plane((0, 0, 1), 0.4)], 0.3, 0.2, -0.3)[2] == pytest.approx(-0.33, abs=1e-3)
    slope = drop([Plane((-0.2, 0, 1))], 2.0, 0.2, 0.6)[2]
    assert slope == pytest.approx(0.4 + 0.07 * math.hypot(1, 0.2), abs=2e-3)


def test_plane_without_normal_is_refused():
    """A normal of length 0 is an error."""
    with pytest.raises(StandinError, match="no length"):
        add_terrain(mujoco.MjSpec(), [Plane((0, 0, 0))])


def test_geoms_are_named_and_collide_with_nothing():
    """Geoms have the names that are returned, the friction of their ground, and no contacts of their own."""
    spec = mujoco.MjSpec()
    names = add_terrain(spec, [Plane((0, 0, 1), friction=0.3), Box((0, 0, 0), (1, 2, 3), 0.7)])
    model = spec.compile()
    assert names == ["terrain/0", "terrain/1"]
    assert model.geom_friction[:, 0] == pytest.approx([0.3, 0.7])
    assert (model.geom_contype == 0).all()
    assert (model.geom_conaffinity == 0).all()


def test_thin_slab_on_a_floor_reaches_into_it():
    """A slab of 2 cm on a floor is as thick as both, so that a body that hits it hard is not pushed out below."""
    spec = mujoco.MjSpec()
    add_terrain(spec, [Box((0, 0, -1), (4, 5, 0)), Box((1, 1, 0), (2, 3, 0.02))])
    model = spec.compile()
    assert model.geom_size[1, 2] == pytest.approx(0.51)
    assert model.geom_pos[1, 2] + model.geom_size[1, 2] == pytest.approx(0.02)


def test_slab_that_juts_out_stays_thin():
    """A slab that is not completely supported keeps its bottom: something may be below it."""
    spec = mujoco.MjSpec()
    add_terrain(spec, [Box((0, 0, -1), (4, 5, 0)), Box((1, 1, 0), (2, 6, 0.02))])
    assert spec.compile().geom_size[1, 2] == pytest.approx(0.01)


def test_large_body_needs_flat_ground():
    """A box of 1.2 m may stand on flat ground and on cells of 0.25 m, but not on rough cells of 0.1 m."""
    rough = np.random.default_rng(2).uniform(0, 0.1, (23, 31))
    require_small("the box", (1.2, 1.2), [Grid(np.zeros((23, 31)), (0.1, 0.1)), Plane((0, 0, 1))])
    require_small("the box", (1.2, 1.2), [Grid(rough, (0.25, 0.25))])
    require_small("the robot", (0.6, 0.6), [Grid(rough, (0.1, 0.1))])
    with pytest.raises(NotSupported, match="the box is too large for rough ground"):
        require_small("the box", (1.2, 1.2), [Grid(rough, (0.1, 0.1))])
    with pytest.raises(NotSupported):
        require_small("the box", (0.61, 0.61), [Grid(rough, (0.1, 0.1))])


@pytest.mark.parametrize(
    "change", [{"heights": np.zeros((1, 5))}, {"heights": np.full((3, 4), np.nan)}, {"cell": (0, 1)}]
)
def test_malformed_grid_is_refused(change):
    """A grid with one row, with NaN or with cells without size is an error."""
    arguments = {"heights": np.zeros((3, 4)), "cell": (0.1, 0.2)}
    with pytest.raises(StandinError):
        Grid(**(arguments | change))
