"""Robots read from MJCF files, against MuJoCo's compilation of the same file."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
from tetrahedron import write_tetrahedron

from isaac_standin.assets.loading import LoadOptions, load

pytestmark = pytest.mark.mujoco

# siblings are in reverse order of their names; the floor has a material that does not exist
ROBOT = """
<mujoco model="walker">
  <compiler angle="degree"/>
  <default>
    <joint armature="0.01" damping="0.2"/>
    <geom density="50" friction="1.5"/>
    <motor ctrlrange="-0.5 0.5" ctrllimited="true"/>
    <default class="stiff"><joint stiffness="7" frictionloss="0.3"/></default>
  </default>
  <asset><material name="paint" rgba="0.1 0.2 0.3 0.4"/></asset>
  <worldbody>
    <geom type="plane" size="1 1 1" material="nowhere"/>
    <body name="torso" pos="0 0 0.75" euler="0 0 30">
      <freejoint/>
      <geom type="box" size="0.1 0.2 0.3" material="paint"/>
      <geom type="sphere" size="0.4" contype="0" conaffinity="0" mass="0" rgba="1 0 0 1"/>
      <body name="rear" pos="-0.5 0 0" euler="20 30 40">
        <joint name="hip_z" axis="0 0 1" range="-30 60"/>
        <joint name="hip_x" axis="1 0 0" pos="0 0 0.02" class="stiff"/>
        <geom type="capsule" fromto="0 0 0 0.1 0.2 -0.4" size="0.05"/>
        <body name="hoof" pos="0.1 0.2 -0.4"><geom type="cylinder" size="0.06 0.02" pos="0 0 0.1"/></body>
      </body>
      <body name="front" pos="0.5 0 0">
        <joint name="rail" type="slide" axis="0 3 4" range="-0.2 0.3"/>
        <geom size="0.07" pos="0.1 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="push" joint="rail" gear="40"/>
    <motor joint="hip_z" gear="30" ctrlrange="-2 2"/>
    <motor name="plain" joint="hip_x" gear="9" ctrllimited="false"/>
  </actuator>
</mujoco>
"""


@pytest.fixture
def read(tmp_path):
    """Return a function that loads the text of an MJCF file."""

    def load_text(text, **options):
        path = tmp_path / "robot.xml"
        path.write_text(text, encoding="utf-8")
        return load(path, LoadOptions(**options))

    return load_text


@pytest.fixture(scope="module")
def model():
    """Return MuJoCo's compilation of the robot, without the reference to a material that does not exist."""
    return mujoco.MjModel.from_xml_string(ROBOT.replace('material="nowhere"', ""))


def test_bodies_keep_the_order_of_the_file(read):
    """Depth first, siblings as declared; the floor is no body."""
    asset = read(ROBOT)
    assert asset.name == "walker"
    assert [body.name for body in asset.bodies] == ["torso", "rear", "hoof", "front"]
    assert [body.parent for body in asset.bodies] == [-1, 0, 1, 0]


def test_several_joints_of_a_body_are_degrees_of_freedom_without_bodies(read):
    """A body with two hinges has two degrees of freedom, in the order of the file."""
    asset = read(ROBOT)
    assert [joint.name for joint in asset.joints()] == ["hip_z", "hip_x", "rail"]
    assert [joint.name for joint in asset.bodies[1].joints()] == ["hip_z", "hip_x"]
    assert asset.bodies[0].joints() == ()
    assert asset.bodies[2].joints() == ()


def test_joints_are_in_radians_with_the_defaults_of_their_classes(read):
    """Ranges, defaults, classes and the option for armature are applied."""
    hip_z, hip_x, rail = read(ROBOT, armature=0.005).joints()
    assert (hip_z.lower, hip_z.upper) == pytest.approx((-math.pi / 6, math.pi / 3))
    assert (hip_x.lower, hip_x.upper) == (-math.inf, math.inf)
    assert (hip_x.stiffness, hip_x.friction, hip_x.pos) == (7, 0.3, (0, 0, 0.02))
    assert (hip_z.stiffness, hip_z.friction, hip_z.damping) == (0, 0, 0.2)
    assert (rail.kind, rail.lower, rail.upper) == ("prismatic", -0.2, 0.3)
    assert rail.axis == pytest.approx((0, 0.6, 0.8))
    assert rail.armature == pytest.approx(0.015)


def test_bodies_have_the_inertia_that_mujoco_computes(read, model):
    """Mass, centre and inertia equal MuJoCo's for the same file, for each body."""
    for body in read(ROBOT).bodies:
        index = model.body(body.name).id
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.body_iquat[index])
        axes = turn.reshape(3, 3)
        assert body.mass == pytest.approx(model.body_mass[index])
        np.testing.assert_allclose(body.com, model.body_ipos[index], atol=1e-12)
        np.testing.assert_allclose(body.inertia, axes @ np.diag(model.body_inertia[index]) @ axes.T, atol=1e-12)


def test_bodies_are_where_mujoco_puts_them(read, model):
    """Poses equal MuJoCo's; the root's own position does not count, because it is its actor's."""
    bodies = read(ROBOT).bodies
    assert (bodies[0].pos, bodies[0].quat) == ((0, 0, 0), (1, 0, 0, 0))
    for body in bodies[1:]:
        np.testing.assert_allclose(body.pos, model.body(body.name).pos)
        np.testing.assert_allclose(body.quat, model.body(body.name).quat)


def test_shapes_are_those_of_the_file(read):
    """`fromto` is resolved; a geom that collides with nothing is only seen; colours and friction are read."""
    torso, rear, hoof, _ = read(ROBOT).bodies
    assert [shape.kind for shape in torso.shapes] == ["box"]
    assert torso.shapes[0].rgba == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert torso.shapes[0].friction == 1.5
    assert [shape.kind for shape in torso.visuals] == ["box", "sphere"]
    length = math.sqrt(0.1**2 + 0.2**2 + 0.4**2)
    assert rear.shapes[0].size == pytest.approx((0.05, length / 2))
    assert rear.shapes[0].pos == pytest.approx((0.05, 0.1, -0.2))
    assert hoof.shapes[0].size == pytest.approx((0.06, 0.02))


def test_motors_have_gear_times_control(read):
    """In the order of the file; a motor without a name has its joint's, one without a range has its gear."""
    motors = [(motor.name, motor.joint, motor.motor_effort) for motor in read(ROBOT).actuators]
    assert motors == [("push", "rail", 20), ("hip_z", "hip_z", 60), ("plain", "hip_x", 9)]


def test_base_is_free_if_it_has_a_free_joint(read):
    """Without a free joint, or on request, the base is fixed."""
    assert not read(ROBOT).fixed_base
    assert read(ROBOT, fix_base_link=True).fixed_base
    assert read(ROBOT.replace("<freejoint/>", "")).fixed_base
    assert not read(ROBOT, disable_gravity=True).gravity


def test_fixed_bodies_are_merged_on_request(read, model):
    """The hoof is fixed to the rear leg: mass and shapes go there."""
    asset = read(ROBOT, collapse_fixed_joints=True, replace_cylinder_with_capsule=True)
    assert [body.name for body in asset.bodies] == ["torso", "rear", "front"]
    rear = asset.bodies[1]
    assert rear.mass == pytest.approx(model.body("rear").mass[0] + model.body("hoof").mass[0])
    assert [shape.kind for shape in rear.shapes] == ["capsule", "capsule"]
    assert rear.shapes[1].pos == pytest.approx((0.1, 0.2, -0.3))


def test_meshes_keep_the_frame_of_their_file(read, tmp_path):
    """MuJoCo recentres a mesh and moves the geom with it; the asset has the geom's pose of the file, and the scale."""
    write_tetrahedron(tmp_path / "parts/corner.stl")
    text = """<mujoco><compiler meshdir="parts"/><asset>
      <mesh name="gone" file="gone.stl"/><mesh name="corner" file="corner.stl" scale="0.2 0.3 0.5"/></asset>
      <worldbody><body name="b"><freejoint/><geom type="mesh" mesh="corner" pos="1 2 3" quat="0.5 0.5 -0.5 0.5"/>
      <geom type="mesh" mesh="gone" contype="0" conaffinity="0"/></body></worldbody></mujoco>"""
    body = read(text).bodies[0]
    (shape,) = body.shapes
    assert shape.mesh == (tmp_path / "parts/corner.stl").resolve()
    assert shape.size == pytest.approx((0.2, 0.3, 0.5))
    np.testing.assert_allclose(shape.pos, (1, 2, 3), atol=1e-6)
    np.testing.assert_allclose(np.abs(np.dot(shape.quat, (0.5, 0.5, -0.5, 0.5))), 1, atol=1e-6)
    assert body.visuals == (shape,)
