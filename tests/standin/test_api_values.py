"""Vectors, quaternions, poses and properties of the API, against MuJoCo's functions and closed formulas."""

from __future__ import annotations

import copy
import math
import pickle

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac_standin.api import enums, values
from isaac_standin.api.options import SimParams
from isaac_standin.api.values import Quat, RigidShapeProperties, Transform, Vec3
from isaac_standin.errors import StandinError

pytestmark = pytest.mark.mujoco

TOLERANCE = 2e-5
few = settings(max_examples=30, deadline=None)
coordinate = st.floats(-5, 5, width=32)
vectors = st.builds(Vec3, coordinate, coordinate, coordinate)
angles = st.floats(-3, 3, width=32)
tilts = st.floats(-1.5, 1.5, width=32)
quats = st.builds(Quat.from_euler_zyx, angles, tilts, angles)


def numbers(record):
    """Return the numbers of a vector or quaternion."""
    return np.array([getattr(record, name) for name in "xyzw" if hasattr(record, name)])


def wxyz(quat):
    """Return a quaternion in MuJoCo's order."""
    return np.array([quat.w, quat.x, quat.y, quat.z], dtype=float)


@few
@given(quats, vectors)
def test_rotate_as_mujoco(quat, vector):
    """`Quat.rotate` is MuJoCo's rotation."""
    expected = np.zeros(3)
    mujoco.mju_rotVecQuat(expected, numbers(vector), wxyz(quat))
    np.testing.assert_allclose(numbers(quat.rotate(vector)), expected, atol=TOLERANCE)


@few
@given(quats, quats)
def test_product_as_mujoco(first, second):
    """`Quat * Quat` is MuJoCo's product."""
    expected = np.zeros(4)
    mujoco.mju_mulQuat(expected, wxyz(first), wxyz(second))
    np.testing.assert_allclose(wxyz(first * second), expected, atol=TOLERANCE)


@few
@given(angles, tilts, angles)
def test_euler_angles_are_products_of_rotation_matrices(roll, pitch, yaw):
    """`from_euler_zyx` is Rz Ry Rx, and `to_euler_zyx` its inverse."""
    cos, sin = math.cos, math.sin
    about_x = np.array([[1, 0, 0], [0, cos(roll), -sin(roll)], [0, sin(roll), cos(roll)]])
    about_y = np.array([[cos(pitch), 0, sin(pitch)], [0, 1, 0], [-sin(pitch), 0, cos(pitch)]])
    about_z = np.array([[cos(yaw), -sin(yaw), 0], [sin(yaw), cos(yaw), 0], [0, 0, 1]])
    quat = Quat.from_euler_zyx(roll, pitch, yaw)
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, wxyz(quat))
    np.testing.assert_allclose(matrix.reshape(3, 3), about_z @ about_y @ about_x, atol=TOLERANCE)
    np.testing.assert_allclose(quat.to_euler_zyx(), (roll, pitch, yaw), atol=2e-4)


def test_from_axis_angle_as_mujoco():
    """`from_axis_angle` is MuJoCo's."""
    expected = np.zeros(4)
    mujoco.mju_axisAngle2Quat(expected, np.array([0.6, 0.0, -0.8]), 0.7)
    np.testing.assert_allclose(wxyz(Quat.from_axis_angle(Vec3(0.6, 0.0, -0.8), 0.7)), expected, atol=1e-6)


@few
@given(quats, vectors, quats, vectors, vectors)
def test_poses_compose(first, p1, second, p2, point):
    """A product of poses applies the second, then the first; an inverse undoes; arrays behave as single points."""
    outer, inner = Transform(p1, first), Transform(p2, second)
    expected = numbers(outer.transform_point(inner.transform_point(point)))
    np.testing.assert_allclose(numbers((outer * inner).transform_point(point)), expected, atol=1e-4)
    back = outer.inverse().transform_point(outer.transform_point(point))
    np.testing.assert_allclose(numbers(back), numbers(point), atol=1e-4)
    rows = np.array([(1, 2, 3), (point.x, point.y, point.z)], dtype=Vec3.dtype)
    moved = outer.transform_points(rows)[1]
    np.testing.assert_allclose(list(moved.tolist()), numbers(outer.transform_point(point)), atol=1e-4)


@few
@given(vectors, vectors)
def test_vector_algebra(a, b):
    """Sums, differences, products and lengths are numpy's."""
    np.testing.assert_allclose(numbers(a + b), numbers(a) + numbers(b), atol=1e-5)
    np.testing.assert_allclose(numbers(a - b * 2.5), numbers(a) - 2.5 * numbers(b), atol=1e-5)
    np.testing.assert_allclose(numbers(-a / 4), -numbers(a) / 4, atol=1e-5)
    np.testing.assert_allclose(numbers(a.cross(b)), np.cross(numbers(a), numbers(b)), atol=1e-4)
    assert a.dot(b) == pytest.approx(np.dot(numbers(a), numbers(b)))
    assert a.length() == pytest.approx(np.linalg.norm(numbers(a)))


def test_numbers_are_32_bit():
    """A number reads back as the nearest 32-bit one, as in Isaac Gym."""
    params = SimParams()
    params.dt = 0.005
    assert params.dt == 0.004999999888241291


@pytest.mark.parametrize("given_value", [torch.tensor(0.5), torch.tensor([[0.5]]), np.float32(0.5), np.array([0.5])])
def test_tensors_become_numbers(given_value):
    """Tensors and arrays of one element become floats."""
    shape = RigidShapeProperties()
    shape.friction = given_value
    assert type(shape.friction) is float
    assert shape.friction == 0.5


@pytest.mark.parametrize("bad", [math.nan, "0.5", None, torch.zeros(2), 1e39])
def test_wrong_numbers_are_refused_by_name(bad):
    """A value that is no number is an error that names the attribute, and changes nothing."""
    shape = RigidShapeProperties()
    with pytest.raises(StandinError, match=r"RigidShapeProperties\.friction"):
        shape.friction = bad
    assert shape.friction == 1.0


def test_whole_numbers_refuse_floats():
    """As in Isaac Gym, a float is no count."""
    with pytest.raises(TypeError, match=r"PhysXParams\.max_gpu_contact_pairs"):
        SimParams().physx.max_gpu_contact_pairs = 8e6


def test_misspelt_attributes_are_refused():
    """Writing or reading an unknown attribute raises AttributeError with the closest name."""
    shape = RigidShapeProperties()
    with pytest.raises(AttributeError, match="did you mean 'friction'"):
        shape.fricton = 0.5
    with pytest.raises(AttributeError, match="did you mean 'restitution'"):
        _ = shape.restituton
    assert not hasattr(shape, "mu")


def test_parts_are_copied_when_assigned_and_shared_when_read():
    """`pose.p = v` copies v; `pose.p.x = 1` changes the pose."""
    position = Vec3(1, 2, 3)
    pose = Transform(position, r=None)
    position.x = 9
    assert pose.p.x == 1
    pose.p.y = 7
    assert numbers(pose.p).tolist() == [1, 7, 3]
    assert numbers(Transform().p).tolist() == [0, 0, 0]


def test_parts_of_parts_are_copied():
    """A pose that was assigned to a state does not change with its source, nor do the defaults of a class."""
    pose, state = Transform(), values.RigidBodyState()
    state.pose = pose
    pose.p.x = 9
    assert state.pose.p.x == 0
    state.pose.p.x = 8
    assert values.RigidBodyState().pose.p.x == 0
    SimParams().physx.num_threads = 5
    assert SimParams().physx.assignments("num_threads") == []


def test_rows_of_states_are_poses():
    """An element of a structured array can be assigned, and read from its buffer."""
    rows = np.zeros(2, dtype=values.RigidBodyState.dtype)
    rows["pose"]["p"]["z"] = [4, 5]
    state = values.RigidBodyState()
    state.pose = rows["pose"][1]
    assert state.pose.p.z == 5
    assert Transform.from_buffer(rows["pose"][0]).p.z == 4


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_copies_share_nothing(copier):
    """Deep copies and pickles are equal and independent."""
    params = SimParams()
    params.gravity = Vec3(0, 0, -9.81)
    params.physx.max_gpu_contact_pairs = 77
    other = copier(params)
    params.gravity.z = 0
    assert other.gravity.z == pytest.approx(-9.81)
    assert other.physx.max_gpu_contact_pairs == 77
    assert other.physx.assignments("max_gpu_contact_pairs")[0].new == 77


def test_plane_points_along_y_at_first():
    """The ground's normal defaults to y, as in Isaac Gym."""
    assert numbers(values.PlaneParams().normal).tolist() == [0, 1, 0]


def test_enums_take_numbers_and_are_names_of_the_module():
    """Published numbers: drive modes, contact collection, axes; each member is a name of the module."""
    assert enums.ContactCollection(2) is enums.CC_ALL_SUBSTEPS
    assert [enums.DOF_MODE_NONE, enums.DOF_MODE_POS, enums.DOF_MODE_VEL, enums.DOF_MODE_EFFORT] == [0, 1, 2, 3]
    assert (enums.UP_AXIS_Y, enums.UP_AXIS_Z) == (0, 1)
    assert enums.STATE_POS | enums.STATE_VEL == enums.STATE_ALL
    for kind in (enums.KeyboardInput, enums.MouseInput, enums.ImageType, enums.JointType, enums.MeshType):
        for member in kind:
            assert getattr(enums, member.name) is member


def test_enum_attributes_refuse_unknown_members():
    """An unknown number is an error that lists the members."""
    with pytest.raises(StandinError, match="UP_AXIS_Z"):
        SimParams().up_axis = 7
