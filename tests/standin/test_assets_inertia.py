"""Mass, centre of mass and inertia: of shapes, of merged links, and where a URDF file does not say."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
from tetrahedron import write_tetrahedron

from isaac_standin.assets.loading import LoadOptions, load

pytestmark = pytest.mark.mujoco

PARTS = """
<robot name="parts">
  <mujoco><compiler fusestatic="true"/></mujoco>
  <link name="stand"/>
  <link name="body">
    <inertial><origin xyz="0.1 -0.2 0.3" rpy="0.4 0.5 0.6"/><mass value="5"/>
      <inertia ixx="0.2" ixy="0.01" ixz="-0.02" iyy="0.3" iyz="0.03" izz="0.25"/></inertial>
  </link>
  <link name="head">
    <collision><origin xyz="0.2 0 0" rpy="0 0.3 0"/><geometry><box size="0.1 0.2 0.3"/></geometry></collision>
    <inertial><origin xyz="0.02 0.03 0.05" rpy="-0.7 0.1 0.2"/><mass value="3"/>
      <inertia ixx="0.02" ixy="0.001" ixz="0.002" iyy="0.03" iyz="-0.003" izz="0.04"/></inertial>
  </link>
  <link name="hat">
    <visual><geometry><sphere radius="0.4"/></geometry></visual>
    <inertial><origin xyz="0 0 0.07"/><mass value="2"/>
      <inertia ixx="0.05" ixy="0" ixz="0" iyy="0.06" iyz="0" izz="0.07"/></inertial>
  </link>
  <link name="arm">
    <inertial><mass value="1"/><inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/></inertial>
  </link>
  <joint name="turn" type="continuous"><parent link="stand"/><child link="body"/><axis xyz="0 0 1"/></joint>
  <joint name="neck" type="fixed"><parent link="body"/><child link="head"/>
    <origin xyz="0.5 0.6 0.7" rpy="0.8 -0.9 1.0"/></joint>
  <joint name="band" type="fixed"><parent link="head"/><child link="hat"/>
    <origin xyz="-0.1 0.3 0.2" rpy="1.1 0.2 -0.5"/></joint>
  <joint name="shoulder" type="continuous"><parent link="hat"/><child link="arm"/><origin xyz="0 0.9 0"/></joint>
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


def one_link(inside):
    """Return a robot with one link."""
    return f'<robot name="single"><link name="only">{inside}</link></robot>'


def collision(geometry, origin=""):
    """Return a shape that collides."""
    return f"<collision>{origin}<geometry>{geometry}</geometry></collision>"


def full_tensor(model, body):
    """Return MuJoCo's inertia of a body along the axes of its frame."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.body_iquat[body])
    axes = turn.reshape(3, 3)
    return axes @ np.diag(model.body_inertia[body]) @ axes.T


def test_collapsed_link_equals_that_of_mujoco(read):
    """Two fixed links, one on the other, merge into the inertia that MuJoCo computes for them."""
    body = read(PARTS, collapse_fixed_joints=True).bodies[1]
    model = mujoco.MjModel.from_xml_string(PARTS)
    expected = model.body("body").id
    assert (body.name, body.mass) == ("body", pytest.approx(10))
    np.testing.assert_allclose(body.com, model.body_ipos[expected], atol=1e-9)
    np.testing.assert_allclose(body.inertia, full_tensor(model, expected), atol=1e-9)


def test_collapsed_link_moves_shapes_visuals_and_children(read):
    """Shapes, visuals and children of merged links are where MuJoCo puts them."""
    asset = read(PARTS, collapse_fixed_joints=True)
    model = mujoco.MjModel.from_xml_string(PARTS.replace("fusestatic", 'discardvisual="false" fusestatic'))
    body, arm = asset.bodies[1:]
    for shape, kind in ((body.shapes[0], mujoco.mjtGeom.mjGEOM_BOX), (body.visuals[0], mujoco.mjtGeom.mjGEOM_SPHERE)):
        geom = model.geom_type.tolist().index(kind)
        np.testing.assert_allclose(shape.pos, model.geom_pos[geom], atol=1e-9)
        np.testing.assert_allclose(np.abs(np.dot(shape.quat, model.geom_quat[geom])), 1, atol=1e-9)
    expected = model.body("arm").id
    np.testing.assert_allclose(arm.pos, model.body_pos[expected], atol=1e-9)
    np.testing.assert_allclose(np.abs(np.dot(arm.quat, model.body_quat[expected])), 1, atol=1e-9)


def test_dont_collapse_keeps_the_link_as_a_body(read):
    """A fixed joint marked with dont_collapse keeps its link, fixed to the link that swallowed its parent."""
    text = PARTS.replace('name="band" type="fixed"', 'name="band" type="fixed" dont_collapse="true"')
    asset = read(text, collapse_fixed_joints=True)
    assert [body.name for body in asset.bodies] == ["stand", "body", "hat", "arm"]
    hat = asset.bodies[2]
    assert (hat.joint, hat.parent, hat.mass) == (None, 1, 2)
    assert asset.bodies[1].mass == pytest.approx(8)
    model = mujoco.MjModel.from_xml_string(PARTS.replace("true", "false"))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(hat.pos, data.body("hat").xpos, atol=1e-9)


def test_inertial_orientation_turns_the_inertia(read):
    """The inertia is given along the axes of <inertial>, and returned along those of the link."""
    body = read(PARTS).bodies[1]
    model = mujoco.MjModel.from_xml_string(PARTS.replace("true", "false"))
    np.testing.assert_allclose(body.inertia, full_tensor(model, model.body("body").id), atol=1e-9)
    np.testing.assert_allclose(body.com, (0.1, -0.2, 0.3))


@pytest.mark.parametrize(
    ("geometry", "volume", "moments"),
    [
        ('<box size="0.2 0.4 0.6"/>', 0.048, (0.52 / 12, 0.40 / 12, 0.20 / 12)),
        ('<sphere radius="0.3"/>', 4 / 3 * math.pi * 0.027, (0.036, 0.036, 0.036)),
        ('<cylinder radius="0.3" length="0.8"/>', math.pi * 0.09 * 0.8, (0.91 / 12, 0.91 / 12, 0.045)),
    ],
)
def test_link_without_inertial_gets_the_density(read, geometry, volume, moments):
    """Mass, centre and inertia (given here per mass) come from the shape and the density."""
    origin = '<origin xyz="0.1 0.2 0.3"/>'
    body = read(one_link(collision(geometry, origin)), density=70.0).bodies[0]
    assert body.mass == pytest.approx(70 * volume)
    assert body.com == pytest.approx((0.1, 0.2, 0.3))
    np.testing.assert_allclose(body.inertia, body.mass * np.diag(moments), rtol=1e-6, atol=1e-12)


def test_two_shapes_without_inertial_use_the_parallel_axis_theorem(read):
    """Two equal balls on the x axis: their centre is between them, and about y and z their distance counts."""
    radius, arm = 0.1, 0.5
    ball = f'<sphere radius="{radius}"/>'
    text = one_link(collision(ball, '<origin xyz="1 0 0"/>') + collision(ball, '<origin xyz="2 0 0"/>'))
    body = read(text, density=300.0).bodies[0]
    own = 0.4 * radius**2
    assert body.com == pytest.approx((1.5, 0, 0))
    np.testing.assert_allclose(body.inertia, body.mass * np.diag([own, own + arm**2, own + arm**2]), rtol=1e-6)


def test_mesh_counts_as_its_convex_hull(read, tmp_path):
    """A scaled tetrahedron has the volume and the centre of the closed formulas."""
    write_tetrahedron(tmp_path / "corner.stl")
    body = read(one_link(collision('<mesh filename="corner.stl" scale="0.2 0.3 0.5"/>')), density=900.0).bodies[0]
    assert body.mass == pytest.approx(900 * 0.03 / 6)
    assert body.com == pytest.approx((0.05, 0.075, 0.125))
    assert body.inertia[2, 2] == pytest.approx(body.mass * 3 / 80 * (0.2**2 + 0.3**2))
    assert body.inertia[0, 1] == pytest.approx(body.mass / 80 * 0.2 * 0.3)


def test_mass_without_inertia_is_spread_over_the_shapes(read):
    """A mass without <inertia> gives that of the shape with this mass, about the file's centre of mass."""
    text = one_link(
        collision('<box size="0.2 0.4 0.6"/>') + '<inertial><origin xyz="0 0 0.1"/><mass value="6"/></inertial>'
    )
    body = read(text, density=1.0).bodies[0]
    assert (body.mass, body.com) == (6, (0, 0, 0.1))
    np.testing.assert_allclose(body.inertia, np.diag([0.26, 0.2, 0.1]), atol=1e-9)


def test_options_override_centre_and_inertia_of_the_file(read):
    """Both are computed from the shapes, for the mass of the file."""
    inertia = '<inertia ixx="9" ixy="0" ixz="0" iyy="8" iyz="0" izz="7"/>'
    text = one_link(
        collision('<box size="0.2 0.4 0.6"/>', '<origin xyz="0.5 0 0"/>')
        + f'<inertial><origin xyz="0 0 0.1"/><mass value="6"/>{inertia}</inertial>'
    )
    given = read(text).bodies[0]
    assert given.com == (0, 0, 0.1)
    np.testing.assert_allclose(given.inertia, np.diag([9, 8, 7]))
    assert read(text, override_com=True).bodies[0].com == pytest.approx((0.5, 0, 0))
    computed = read(text, override_inertia=True).bodies[0]
    assert (computed.mass, computed.com) == (6, (0, 0, 0.1))
    np.testing.assert_allclose(computed.inertia, np.diag([0.26, 0.2, 0.1]), atol=1e-9)


def test_body_without_mass_and_shapes_can_move_in_mujoco(read):
    """It gets 1 g and an inertia; merged into another link, it adds nothing."""
    body = read(one_link("")).bodies[0]
    assert body.mass == 1e-3
    assert (np.linalg.eigvalsh(body.inertia) > 1e-9).all()
    merged = read(
        """<robot name="r"><link name="a"><inertial><mass value="2"/></inertial></link><link name="b"/>
        <joint name="j" type="fixed"><parent link="a"/><child link="b"/></joint></robot>""",
        collapse_fixed_joints=True,
    )
    assert [body.mass for body in merged.bodies] == [2]


def test_inertia_that_is_negative_about_an_axis_is_raised_with_a_warning(read):
    """Public robots have such inertias; the others about the same principal axes stay."""
    text = one_link('<inertial><mass value="1"/><inertia ixx="-0.1" iyy="2" izz="3"/></inertial>')
    with pytest.warns(UserWarning, match="'only': the inertia is not positive"):
        body = read(text).bodies[0]
    np.testing.assert_allclose(body.inertia, np.diag([0.003, 2, 3]), atol=1e-12)
