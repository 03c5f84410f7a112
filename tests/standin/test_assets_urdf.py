"""Robots read from URDF files: order of bodies and joints, joints, shapes, meshes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tetrahedron import write_tetrahedron

from isaac_standin.assets.loading import LoadOptions, load

pytestmark = pytest.mark.mujoco

# the joints are declared in neither order of names nor depth first; names of links sort in another order than joints'
TREE = """
<robot name="tree">
  <link name="base"/>
  <link name="zebra"/> <link name="yak"/> <link name="ant"/> <link name="bee"/> <link name="cow"/>
  <joint name="j5" type="revolute"><parent link="base"/><child link="ant"/></joint>
  <joint name="j2" type="revolute"><parent link="zebra"/><child link="cow"/></joint>
  <joint name="j4" type="fixed"><parent link="base"/><child link="yak"/></joint>
  <joint name="j3" type="prismatic"><parent link="base"/><child link="zebra"/></joint>
  <joint name="j1" type="continuous"><parent link="yak"/><child link="bee"/></joint>
</robot>
"""


@pytest.fixture
def read(tmp_path):
    """Return a function that loads the text of a URDF file."""

    def load_text(text, **options):
        path = tmp_path / "robot.urdf"
        path.write_text(text, encoding="utf-8")
        return load(path, LoadOptions(**options))

    return load_text


def one_joint(attributes, inside):
    """Return a robot with two links and one joint."""
    return f"""
    <robot name="pair">
      <link name="lower"/> <link name="upper"/>
      <joint name="elbow" {attributes}><parent link="lower"/><child link="upper"/>{inside}</joint>
    </robot>
    """


def one_link(inside):
    """Return a robot with one link."""
    return f'<robot name="single"><link name="only">{inside}</link></robot>'


def names(asset):
    """Return the names of the bodies."""
    return [body.name for body in asset.bodies]


def test_bodies_are_depth_first_and_siblings_sorted_by_joint(read):
    """Each body precedes its children; siblings are in the order of their joints' names, not of declaration."""
    asset = read(TREE)
    assert names(asset) == ["base", "zebra", "cow", "yak", "bee", "ant"]
    assert [body.parent for body in asset.bodies] == [-1, 0, 1, 0, 3, 0]


def test_joints_follow_the_bodies(read):
    """Degrees of freedom have the order of their bodies; a fixed joint is none."""
    asset = read(TREE)
    assert [joint.name for joint in asset.joints()] == ["j3", "j2", "j1", "j5"]
    assert [joint.kind for joint in asset.joints()] == ["prismatic", "revolute", "revolute", "revolute"]
    assert asset.bodies[3].joint is None


def test_collapse_sorts_the_children_of_merged_links_again(read):
    """The children of a merged link are siblings of its parent's children."""
    asset = read(TREE, collapse_fixed_joints=True)
    assert names(asset) == ["base", "bee", "zebra", "cow", "ant"]
    assert [joint.name for joint in asset.joints()] == ["j1", "j3", "j2", "j5"]
    assert [body.parent for body in asset.bodies] == [-1, 0, 0, 2, 0]


def test_joint_is_read_with_limits_and_dynamics(read):
    """Axis, limits and dynamics are the file's; the axis becomes a unit vector."""
    inside = """<origin xyz="1 2 3" rpy="0.3 -0.4 0.5"/><axis xyz="0 3 -4"/>
      <limit lower="-0.7" upper="1.9" effort="33.5" velocity="21"/><dynamics damping="0.11" friction="0.13"/>"""
    body = read(one_joint('type="revolute"', inside), armature=0.017).bodies[1]
    joint = body.joint
    assert (joint.name, joint.kind) == ("elbow", "revolute")
    assert joint.axis == pytest.approx((0, 0.6, -0.8))
    assert (joint.lower, joint.upper, joint.effort, joint.velocity) == (-0.7, 1.9, 33.5, 21)
    assert (joint.damping, joint.friction, joint.armature) == (0.11, 0.13, 0.017)
    assert body.pos == (1, 2, 3)


def test_origin_turns_about_fixed_axes(read):
    """Roll, pitch and yaw turn about the fixed axes x, y, z in this order: yaw acts last."""
    roll, pitch, yaw = 0.3, -0.4, 0.5
    body = read(one_joint('type="revolute"', f'<origin rpy="{roll} {pitch} {yaw}"/>')).bodies[1]

    def turn(axis, angle):
        return np.array([math.cos(angle / 2), *(math.sin(angle / 2) * np.array(axis))])

    def product(a, b):
        vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
        return np.array([a[0] * b[0] - a[1:] @ b[1:], *vector])

    expected = product(turn((0, 0, 1), yaw), product(turn((0, 1, 0), pitch), turn((1, 0, 0), roll)))
    assert body.quat == pytest.approx(expected)


def test_joint_without_limits_is_unlimited(read):
    """A continuous joint ignores limits of its position; effort and velocity default to infinity, the axis to x."""
    joint = read(one_joint('type="continuous"', '<limit lower="-1" upper="1" velocity="8"/>')).joints()[0]
    assert (joint.lower, joint.upper) == (-math.inf, math.inf)
    assert (joint.effort, joint.velocity) == (math.inf, 8)
    assert joint.axis == (1, 0, 0)


def test_floating_root_is_the_robot_itself(read):
    """An empty root with a floating joint is dropped; the robot is free, at the pose of its actor."""
    asset = read(one_joint('type="floating"', '<origin xyz="1 2 3"/>'))
    assert names(asset) == ["upper"]
    assert asset.bodies[0].pos == (0, 0, 0)
    assert not asset.fixed_base


def test_options_fix_the_base_and_disable_gravity(read):
    """By default the base is free and has gravity."""
    assert (read(TREE).fixed_base, read(TREE).gravity) == (False, True)
    asset = read(TREE, fix_base_link=True, disable_gravity=True)
    assert (asset.fixed_base, asset.gravity) == (True, False)


@pytest.mark.parametrize(
    ("geometry", "kind", "size"),
    [
        ('<box size="0.2 0.4 0.6"/>', "box", (0.1, 0.2, 0.3)),
        ('<sphere radius="0.7"/>', "sphere", (0.7,)),
        ('<cylinder radius="0.3" length="1.2"/>', "cylinder", (0.3, 0.6)),
        ('<capsule radius="0.2" length="0.5"/>', "capsule", (0.2, 0.25)),
    ],
)
def test_shapes_have_half_extents(read, geometry, kind, size):
    """Sizes are half extents, in the link's frame."""
    part = f'<origin xyz="1 2 3"/><geometry>{geometry}</geometry>'
    body = read(one_link(f"<collision>{part}</collision><visual>{part}</visual>")).bodies[0]
    for shape in (*body.shapes, *body.visuals):
        assert shape.kind == kind
        assert shape.size == pytest.approx(size)
        assert shape.pos == (1, 2, 3)
    assert (len(body.shapes), len(body.visuals)) == (1, 1)


def test_cylinders_that_collide_become_capsules_on_request(read):
    """The capsule keeps radius and length of the cylinder, so its caps make it longer; visuals stay."""
    geometry = '<geometry><cylinder radius="0.3" length="1.2"/></geometry>'
    text = one_link(f"<collision>{geometry}</collision><visual>{geometry}</visual>")
    body = read(text, replace_cylinder_with_capsule=True).bodies[0]
    assert body.shapes[0].kind == "capsule"
    assert body.shapes[0].size == pytest.approx((0.3, 0.6))
    assert body.visuals[0].kind == "cylinder"


def test_visuals_have_the_colours_of_their_materials(read):
    """A colour comes from the visual's own material, or from the material of that name at the top of the file."""
    ball = '<geometry><sphere radius="0.1"/></geometry>'
    text = f"""<robot name="r"><material name="sea"><color rgba="0 0.5 0.7 1"/></material><link name="l">
      <visual>{ball}<material name="sea"/></visual>
      <visual>{ball}<material name="own"><color rgba="0.9 0.1 0.2 0.3"/></material></visual>
      <visual>{ball}</visual></link></robot>"""
    colors = [shape.rgba for shape in read(text).bodies[0].visuals]
    assert colors == [(0, 0.5, 0.7, 1), (0.9, 0.1, 0.2, 0.3), None]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("meshes/part.stl", "robots/go/urdf/meshes"),
        ("../meshes/part.stl", "robots/go/meshes"),
        ("meshes/part.stl", "robots/meshes"),
        ("package://go/meshes/part.stl", "robots/go/meshes"),
        ("package://other_name/meshes/part.stl", "robots/go/meshes"),
    ],
)
def test_meshes_are_found_from_the_file_upwards(tmp_path, name, folder):
    """A mesh is found relative to the URDF's folder or one above; for a package, with or without its name."""
    write_tetrahedron(tmp_path / folder / "part.stl")
    path = tmp_path / "robots/go/urdf/go.urdf"
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh = f'<geometry><mesh filename="{name}" scale="2 3 0.5"/></geometry>'
    path.write_text(one_link(f"<collision>{mesh}</collision><visual>{mesh}</visual>"), encoding="utf-8")
    body = load(path).bodies[0]
    for shape in (*body.shapes, *body.visuals):
        assert shape.mesh == (tmp_path / folder / "part.stl").resolve()
        assert shape.size == (2, 3, 0.5)


@pytest.mark.parametrize("name", ["missing.stl", "painted.dae", "pointer.stl"])
def test_visual_meshes_that_cannot_be_had_are_left_out(read, tmp_path, name):
    """A mesh that is only seen is left out if it is missing or if MuJoCo cannot read it."""
    (tmp_path / "painted.dae").write_text("<COLLADA/>", encoding="utf-8")
    (tmp_path / "pointer.stl").write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
    asset = read(one_link(f'<visual><geometry><mesh filename="{name}"/></geometry></visual>'))
    assert asset.bodies[0].visuals == ()
