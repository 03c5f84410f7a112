"""Robots and objects of public repositories, where a checkout is: every file loads, in Isaac Gym's order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isaac_standin.assets.loading import LoadOptions, load

pytestmark = [pytest.mark.mujoco, pytest.mark.robots]

OPTIONS = LoadOptions(collapse_fixed_joints=True, replace_cylinder_with_capsule=True, density=0.001)


def checkout(variable):
    """Return the folder that an environment variable names."""
    return Path(os.environ[variable])


def legs(base, sides, parts):
    """Return the names of the base and of all parts of all legs."""
    names = [base]
    for side in sides:
        names += [f"{side}_{part}" for part in parts]
    return names


def bodies_and_joints(asset):
    """Return the names of both."""
    return [body.name for body in asset.bodies], [joint.name for joint in asset.joints()]


def test_go1_of_mapush_has_the_order_of_isaac_gym():
    """17 bodies and 12 joints, front left first; what is fixed to the base is merged, the feet are not."""
    asset = load(checkout("MAPUSH_DIR") / "resources/robots/go1/urdf/go1.urdf", OPTIONS)
    sides = ("FL", "FR", "RL", "RR")
    bodies, joints = bodies_and_joints(asset)
    assert bodies == legs("base", sides, ("hip", "thigh", "calf", "foot"))
    assert joints == legs("", sides, ("hip_joint", "thigh_joint", "calf_joint"))[1:]
    hip = asset.bodies[1]
    assert [shape.kind for shape in hip.shapes] == ["capsule"]
    assert asset.joints()[0].upper == pytest.approx(0.802851455917)


@pytest.mark.parametrize("folder", ["objects", "robots"])
def test_every_file_of_mapush_loads(folder):
    """Each robot and each object is one tree with mass."""
    paths = sorted((checkout("MAPUSH_DIR") / "resources" / folder).rglob("*.urdf"))
    assert len(paths) > 5
    for path in paths:
        assert all(body.mass > 0 for body in load(path, OPTIONS).bodies), path


def test_a1_of_legged_gym_has_the_order_of_isaac_gym():
    """The file declares the right legs first, Isaac Gym shows the left ones first."""
    asset = load(checkout("LEGGED_GYM_DIR") / "resources/robots/a1/urdf/a1.urdf", OPTIONS)
    sides = ("FL", "FR", "RL", "RR")
    bodies, joints = bodies_and_joints(asset)
    assert bodies == legs("base", sides, ("hip", "thigh", "calf", "foot"))
    assert joints == legs("", sides, ("hip_joint", "thigh_joint", "calf_joint"))[1:]
    assert sum(body.mass for body in asset.bodies) * 9.81 == pytest.approx(122.17, abs=0.01)


def test_anymal_c_of_legged_gym_has_the_order_of_isaac_gym():
    """Left front, left hind, right front, right hind; the weight is that of the file."""
    asset = load(checkout("LEGGED_GYM_DIR") / "resources/robots/anymal_c/urdf/anymal_c.urdf", OPTIONS)
    sides = ("LF", "LH", "RF", "RH")
    bodies, joints = bodies_and_joints(asset)
    assert bodies == legs("base", sides, ("HIP", "THIGH", "SHANK", "FOOT"))
    assert joints == legs("", sides, ("HAA", "HFE", "KFE"))[1:]
    assert sum(body.mass for body in asset.bodies) * 9.81 == pytest.approx(511.44, abs=0.01)


def test_cassie_of_legged_gym_loads():
    """12 joints; the inertia of one of its links is impossible by itself, but not that of the merged body."""
    asset = load(checkout("LEGGED_GYM_DIR") / "resources/robots/cassie/urdf/cassie.urdf", OPTIONS)
    assert (asset.bodies[0].name, len(asset.bodies), len(asset.joints())) == ("pelvis", 13, 12)


def test_ant_of_isaacgymenvs_has_motors():
    """9 bodies, 8 joints and 8 motors of 15 N m; the floor of the file is left out."""
    asset = load(checkout("ISAACGYMENVS_DIR") / "assets/mjcf/nv_ant.xml")
    assert (len(asset.bodies), len(asset.joints()), asset.fixed_base) == (9, 8, False)
    assert [joint.name for joint in asset.joints()][:4] == ["hip_1", "ankle_1", "hip_2", "ankle_2"]
    assert {motor.motor_effort for motor in asset.actuators} == {15.0}


def test_humanoid_of_isaacgymenvs_has_no_bodies_between_its_hinges():
    """15 bodies and 28 joints, as in the tables of its task."""
    asset = load(checkout("ISAACGYMENVS_DIR") / "assets/mjcf/amp_humanoid.xml")
    assert (len(asset.bodies), len(asset.joints())) == (15, 28)


def test_cartpole_of_isaacgymenvs_loads():
    """A mass without inertia is spread over the shape."""
    asset = load(checkout("ISAACGYMENVS_DIR") / "assets/urdf/cartpole.urdf", LoadOptions(fix_base_link=True))
    assert bodies_and_joints(asset) == (["slider", "cart", "pole"], ["slider_to_cart", "cart_to_pole"])
    assert asset.bodies[2].inertia[0, 0] == pytest.approx((0.06**2 + 1) / 12)
