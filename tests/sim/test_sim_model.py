"""The compiled model: masses, kinematics, names, and what can touch what."""

from __future__ import annotations

import dataclasses
import math

import mujoco
import numpy as np
import pytest

from mapush.objects import CUBOID, CYLINDER, TBLOCK
from mapush.sim.go1 import DEFAULT_JOINT_POS, leg_signs
from mapush.sim.physics import JOINTS, LEGS
from mapush.sim.scene import Scene, build_model

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]


@pytest.fixture(scope="module")
def model():
    """Three robots and the T block."""
    return build_model(Scene(3, TBLOCK))


def rotated(quat, moments):
    """Return the inertia matrix whose principal axes are rotated by `quat` (wxyz)."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, np.array(quat) / np.linalg.norm(quat))
    axes = axes.reshape(3, 3)
    return axes @ np.diag(moments) @ axes.T


def full_inertia(model, body):
    """Return the inertia matrix along the body's axes."""
    return rotated(model.body_iquat[body], model.body_inertia[body])


# As stored in menagerie's go1.xml: centre of mass, orientation (wxyz) of the principal axes, principal moments.
MENAGERIE = {
    "trunk": (
        (0.0223, 0.002, -0.0005),
        (-0.00342088, 0.705204, 0.000106698, 0.708996),
        (0.0716565, 0.0630105, 0.0168101),
    ),
    "FR_hip": (
        (-0.0049166, 0.00762615, -8.865e-05),
        (0.507341, 0.514169, 0.495027, 0.482891),
        (0.000734064, 0.000468438, 0.000398719),
    ),
    "RL_hip": (
        (0.0049166, -0.00762615, -8.865e-05),
        (0.514169, 0.507341, 0.482891, 0.495027),
        (0.000734064, 0.000468438, 0.000398719),
    ),
    "RR_thigh": (
        (-0.00304722, 0.019315, -0.0305004),
        (0.65243, -0.0272313, 0.0775126, 0.753383),
        (0.00478717, 0.00460903, 0.000709268),
    ),
    "FL_thigh": (
        (-0.00304722, -0.019315, -0.0305004),
        (0.753383, 0.0775126, -0.0272313, 0.65243),
        (0.00478717, 0.00460903, 0.000709268),
    ),
    "FL_calf": (
        (0.00429862, 0.000976676, -0.146197),
        (0.691246, 0.00357467, 0.00511118, 0.722592),
        (0.00149767, 0.00148468, 3.58427e-05),
    ),
}


def test_robot_mass_matches_menagerie(model):
    """A robot has the mass of menagerie's Go1."""
    assert model.body_subtreemass[model.body("robot1/trunk").id] == pytest.approx(12.7434, abs=1e-4)


@pytest.mark.parametrize("link", sorted(MENAGERIE))
def test_link_inertia_matches_menagerie(model, link):
    """Centre of mass and inertia matrix of each kind of link are those of menagerie's Go1."""
    com, quat, moments = MENAGERIE[link]
    index = model.body("robot1/" + link).id
    np.testing.assert_allclose(model.body_ipos[index], com, atol=1e-12)
    expected = rotated(quat, moments)
    np.testing.assert_allclose(full_inertia(model, index), expected, atol=1e-4 * max(moments))


def test_foot_position_matches_trigonometry(model):
    """Each foot is where the angles of hip, thigh and calf put it."""
    rng = np.random.default_rng(3)
    data = mujoco.MjData(model)
    mujoco.mj_resetData(model, data)
    angles = rng.uniform(-0.6, 0.6, 12) + np.array(DEFAULT_JOINT_POS)
    for joint, angle in zip(JOINTS, angles):
        data.joint("robot2/" + joint).qpos = angle
    mujoco.mj_kinematics(model, data)
    for leg, (hip, thigh, calf) in zip(LEGS, angles.reshape(4, 3)):
        front, left = leg_signs(leg)
        forward = -0.213 * (math.sin(thigh) + math.sin(thigh + calf))
        down = 0.213 * (math.cos(thigh) + math.cos(thigh + calf))
        sideways = left * 0.08
        expected = (
            front * 0.1881 + forward,
            left * 0.04675 + sideways * math.cos(hip) + down * math.sin(hip),
            sideways * math.sin(hip) - down * math.cos(hip),
        )
        found = data.geom(f"robot2/{leg}_foot").xpos
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=leg)


SKEW = dataclasses.replace(
    TBLOCK,
    name="skew",
    parts=tuple(
        dataclasses.replace(part, offset=(0.3 * part.mass, 0.2 / part.mass, part.mass)) for part in TBLOCK.parts
    ),
)


@pytest.mark.parametrize("target", [CUBOID, TBLOCK, CYLINDER, SKEW], ids=lambda target: target.name)
def test_object_inertia_matches_that_of_its_geometry(target):
    """Mass, centre of mass and inertia are those that MuJoCo computes from shapes of uniform density."""
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    for part in target.parts:
        kind = dict(box=mujoco.mjtGeom.mjGEOM_BOX, cylinder=mujoco.mjtGeom.mjGEOM_CYLINDER)[part.shape]
        size = part.half_size
        if part.shape == "cylinder":
            size = (part.half_size[0], part.half_size[2], 0)
        body.add_geom(type=kind, size=size, pos=part.offset, mass=part.mass)
    expected, found = spec.compile(), build_model(Scene(2, target))
    index = found.body("object").id
    assert found.body_mass[index] == pytest.approx(expected.body_mass[1])
    np.testing.assert_allclose(found.body_ipos[index], expected.body_ipos[1], atol=1e-12)
    np.testing.assert_allclose(full_inertia(found, index), full_inertia(expected, 1), atol=1e-9)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(CUBOID, (0.25, 0.25, 0.25)), (TBLOCK, (0.187, 0.02, 0.187)), (CYLINDER, (0.0833, 0.0833, 0.0417))],
)
def test_object_inertia_with_upstream_inertia_is_the_urdf_composite(target, expected):
    """With `upstream_inertia`, the object has the moments that upstream's URDF gives."""
    model = build_model(Scene(2, target, upstream_inertia=True))
    moments = np.diag(full_inertia(model, model.body("object").id))
    np.testing.assert_allclose(moments, expected, atol=5e-4)


def test_model_names_are_those_that_users_rely_on(model):
    """Bodies, joints, servos, goal, camera and keyframe have their documented names."""
    for agent in range(3):
        for name in JOINTS:
            full_name = f"robot{agent}/{name}"
            assert model.body(full_name).id == model.jnt_bodyid[model.joint(full_name).id]
            assert model.actuator(full_name).trnid[0] == model.joint(full_name).id
    assert model.body("robot2/trunk").parentid == 0
    assert model.joint("object").type == mujoco.mjtJoint.mjJNT_FREE
    assert model.body_mocapid[model.body("goal").id] == 0
    assert model.cam("overview").id == 0
    assert model.key("home").id == 0


def test_joint_order_is_that_of_state(model):
    """The order of coordinates is robot by robot (root, then joints as in `JOINTS`), and the object last."""
    for agent in range(3):
        for index, name in enumerate(JOINTS):
            joint = model.joint(f"robot{agent}/{name}")
            assert joint.qposadr == 19 * agent + 7 + index
            assert joint.dofadr == 18 * agent + 6 + index
            assert model.actuator(f"robot{agent}/{name}").id == 12 * agent + index
    assert model.joint("object").qposadr == model.nq - 7


def kind_of(name):
    """Return the robot (or owner) and the kind of a collision shape."""
    owner, _, part = name.partition("/")
    if part.endswith("foot"):
        return owner, "foot"
    if part.endswith(("thigh", "calf")):
        return owner, "leg"
    if part in ("body", "head"):
        return owner, "trunk"
    if "sole" in part:
        return owner, "sole"
    return owner, owner


@pytest.mark.parametrize("target", [CUBOID, TBLOCK, CYLINDER], ids=lambda target: target.name)
def test_contact_pairs_are_exactly_the_intended_ones(target):
    """Two collision shapes can touch if and only if the rules allow it, and only contact pairs make shapes touch."""
    model = build_model(Scene(3, target))
    shapes = [model.geom(index).name for index in range(model.ngeom)]
    shapes = [name for name in shapes if name]
    pairs = {frozenset((model.pair_geom1[index], model.pair_geom2[index])) for index in range(model.npair)}
    found = {frozenset(model.geom(int(geom)).name for geom in pair) for pair in pairs}
    rules = {("floor", "foot"), ("floor", "trunk"), ("foot", "object"), ("leg", "object"), ("object", "trunk")}
    if target is CYLINDER:
        rules.add(("floor", "sole"))
    else:
        rules.add(("floor", "object"))
    for index, one in enumerate(shapes):
        for other in shapes[index + 1 :]:
            (owner, kind), (other_owner, other_kind) = kind_of(one), kind_of(other)
            allowed = tuple(sorted((kind, other_kind))) in rules
            allowed |= kind == other_kind == "trunk" and owner != other_owner
            assert (frozenset((one, other)) in found) == allowed, (one, other)
    assert len(found) == model.npair
    assert not model.geom_contype.any()
    assert not model.geom_conaffinity.any()


def test_visuals_do_not_change_the_physics():
    """Visuals change nothing that moves or touches."""
    seen, bare = build_model(Scene(2, CUBOID)), build_model(Scene(2, CUBOID), visuals=False)
    assert bare.ngeom < seen.ngeom
    moving = bare.nbody
    for field in ("body_mass", "body_ipos", "body_inertia", "body_iquat", "body_pos"):
        np.testing.assert_array_equal(getattr(seen, field)[:moving], getattr(bare, field), err_msg=field)
    for field in ("jnt_range", "actuator_gainprm", "actuator_forcerange", "dof_armature", "pair_friction", "key_qpos"):
        np.testing.assert_array_equal(getattr(seen, field), getattr(bare, field), err_msg=field)


def test_home_keyframe_starts_without_penetration(model):
    """In the keyframe, robots touch only the floor, and only slightly, because the servos are not yet loaded."""
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    touched = {model.geom(int(geom)).name for contact in data.contact for geom in contact.geom}
    assert {kind_of(name)[1] for name in touched} == {"floor", "foot"}
    assert min(contact.dist for contact in data.contact) > -0.04
