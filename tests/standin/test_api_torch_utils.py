"""Rotations in torch, against MuJoCo's functions and rotation matrices made with numpy; also when scripted."""

from __future__ import annotations

import importlib.util
import inspect
import math

import mujoco
import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from isaac_standin.api import torch_utils as tu

pytestmark = pytest.mark.mujoco

COUNT = 7
TOLERANCE = 2e-6
RNG = np.random.default_rng(5)
QUATS = torch.nn.functional.normalize(torch.tensor(RNG.normal(size=(COUNT, 4)), dtype=torch.float32), dim=-1)
OTHERS = torch.nn.functional.normalize(torch.tensor(RNG.normal(size=(COUNT, 4)), dtype=torch.float32), dim=-1)
VECTORS = torch.tensor(RNG.normal(size=(COUNT, 3)), dtype=torch.float32)


def wxyz(quat):
    """Return quaternions in MuJoCo's order, as numpy's."""
    return np.roll(quat.numpy().astype(float), 1, axis=-1)


def matrices(quats):
    """Return the rotation matrices (N, 3, 3), by MuJoCo."""
    result = np.zeros((len(quats), 9))
    for row, quat in zip(result, wxyz(quats), strict=True):
        mujoco.mju_quat2Mat(row, quat)
    return result.reshape(-1, 3, 3)


def rotated(quats, vectors):
    """Return rotated vectors, by matrices."""
    return np.einsum("nij,nj->ni", matrices(quats), vectors.numpy())


def assert_same_rotation(quats, expected_matrices):
    """Assert that quaternions and matrices mean the same rotations."""
    np.testing.assert_allclose(matrices(quats), expected_matrices, atol=5e-6)


def about(axis, angle):
    """Return the matrix of a rotation about the x, y or z axis (0, 1 or 2)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first] = math.sin(angle)
    matrix[first, second] = -math.sin(angle)
    return matrix


def test_product_as_mujoco():
    """`quat_mul` is MuJoCo's product, element by element, also with more dimensions."""
    expected = np.zeros((COUNT, 4))
    for row, a, b in zip(expected, wxyz(QUATS), wxyz(OTHERS), strict=True):
        mujoco.mju_mulQuat(row, a, b)
    np.testing.assert_allclose(wxyz(tu.quat_mul(QUATS, OTHERS)), expected, atol=TOLERANCE)
    stacked = tu.quat_mul(QUATS[:6].view(2, 3, 4), OTHERS[:6].view(2, 3, 4))
    np.testing.assert_allclose(wxyz(stacked.view(6, 4)), expected[:6], atol=TOLERANCE)


def test_product_refuses_other_shapes():
    """Two shapes that differ are an error, not a broadcast."""
    with pytest.raises(AssertionError, match="same shape"):
        tu.quat_mul(QUATS, OTHERS[:1])


@pytest.mark.parametrize("function", [tu.quat_apply, tu.quat_rotate, tu.get_basis_vector, tu.tf_vector])
def test_rotations_are_matrix_products(function):
    """Rotated vectors are those of the rotation matrices."""
    np.testing.assert_allclose(function(QUATS, VECTORS).numpy(), rotated(QUATS, VECTORS), atol=TOLERANCE)


def test_inverse_rotation():
    """The inverse rotation is that of the transposed matrices."""
    expected = np.einsum("nji,nj->ni", matrices(QUATS), VECTORS.numpy())
    np.testing.assert_allclose(tu.quat_rotate_inverse(QUATS, VECTORS).numpy(), expected, atol=TOLERANCE)
    np.testing.assert_allclose(tu.quat_rotate(tu.quat_conjugate(QUATS), VECTORS).numpy(), expected, atol=TOLERANCE)


def test_apply_flattens():
    """`quat_apply` reads repeated quaternions in rows of several, and keeps the shape of the vectors."""
    points = torch.tensor(RNG.normal(size=(COUNT, 5, 3)), dtype=torch.float32)
    result = tu.quat_apply(QUATS.repeat(1, 5), points)
    expected = np.einsum("nij,nkj->nki", matrices(QUATS), points.numpy())
    np.testing.assert_allclose(result.numpy(), expected, atol=TOLERANCE)


def test_from_angle_axis():
    """Axes of any length count as directions."""
    angle = torch.linspace(-3, 3, COUNT)
    expected = np.zeros((COUNT, 4))
    for row, turn, axis in zip(expected, angle.numpy(), tu.normalize(VECTORS).numpy(), strict=True):
        mujoco.mju_axisAngle2Quat(row, axis.astype(float), turn)
    np.testing.assert_allclose(wxyz(tu.quat_from_angle_axis(angle, VECTORS)), expected, atol=TOLERANCE)


def test_euler_angles():
    """Euler angles turn about fixed x, then y, then z; they come back modulo 2 pi."""
    roll, yaw = torch.linspace(-3, 3, COUNT), torch.linspace(2.5, -2.9, COUNT)
    pitch = torch.linspace(-1.4, 1.4, COUNT)
    quats = tu.quat_from_euler_xyz(roll, pitch, yaw)
    expected = []
    for r, p, y in zip(roll.tolist(), pitch.tolist(), yaw.tolist(), strict=True):
        expected.append(about(2, y) @ about(1, p) @ about(0, r))
    assert_same_rotation(quats, np.array(expected))
    for found, given in zip(tu.get_euler_xyz(quats), (roll, pitch, yaw), strict=True):
        assert (found >= 0).all()
        np.testing.assert_allclose(found.numpy(), np.mod(given.numpy(), 2 * np.pi), atol=1e-5)


def test_straight_up_is_finite():
    """At a pitch of 90 degrees rounding does not make NaN."""
    half = math.sqrt(0.5) * 1.0000001
    _, pitch, _ = tu.get_euler_xyz(torch.tensor([[0.0, half, 0.0, half]]))
    np.testing.assert_allclose(pitch.numpy(), np.pi / 2, atol=1e-3)


def test_axes_of_quaternions():
    """`quat_axis` gives columns of the matrices."""
    for axis in range(3):
        np.testing.assert_allclose(tu.quat_axis(QUATS, axis).numpy(), matrices(QUATS)[:, :, axis], atol=TOLERANCE)


def test_angle_between_rotations():
    """The angle between rotations follows from the trace of their matrices' quotient."""
    quotient = np.einsum("nij,nkj->nik", matrices(QUATS), matrices(OTHERS))
    expected = np.arccos((np.trace(quotient, axis1=1, axis2=2) - 1) / 2)
    np.testing.assert_allclose(tu.quat_diff_rad(QUATS, OTHERS).numpy(), expected, atol=2e-3)


def test_poses_compose():
    """Combined poses apply the second, then the first; inverses undo."""
    q, t = tu.tf_combine(QUATS, VECTORS, OTHERS, 2 * VECTORS)
    point = VECTORS.flip(0)
    expected = tu.tf_apply(QUATS, VECTORS, tu.tf_apply(OTHERS, 2 * VECTORS, point))
    np.testing.assert_allclose(tu.tf_apply(q, t, point).numpy(), expected.numpy(), atol=1e-5)
    back_q, back_t = tu.tf_inverse(q, t)
    np.testing.assert_allclose(tu.tf_apply(back_q, back_t, expected).numpy(), point.numpy(), atol=1e-5)


def test_small_functions():
    """Scaling, clamping, angles, signs and axes."""
    low, high = torch.tensor([-1.0, 2.0]), torch.tensor([3.0, 4.0])
    x = torch.tensor([[-1.0, 1.0], [0.5, 0.0], [0.0, -1.0]])
    np.testing.assert_allclose(tu.scale(x, low, high), [[-1, 4], [2, 3], [1, 2]])
    np.testing.assert_allclose(tu.unscale(tu.scale(x, low, high), low, high), x)
    np.testing.assert_allclose(tu.unscale_np(np.array([1.0]), -1.0, 3.0), [0.0])
    np.testing.assert_allclose(tu.tensor_clamp(5 * x, low, high), [[-1, 4], [2.5, 2], [0, 2]])
    np.testing.assert_allclose(tu.normalize_angle(torch.tensor([4.0, -4.0])), [4 - 2 * np.pi, 2 * np.pi - 4], atol=1e-6)
    np.testing.assert_allclose(tu.copysign(-2.0, torch.tensor([3.0, -0.1, 0.0])), [2, -2, 0])
    assert tu.get_axis_params(-1.0, 2) == [0.0, 0.0, -1.0]
    assert tu.normalize(torch.zeros(2, 3)).tolist() == torch.zeros(2, 3).tolist()


def test_random_numbers_stay_within_bounds():
    """Uniform numbers have the bounds, shape and mean that were asked for; random directions have unit length."""
    numbers = tu.torch_rand_float(-1.0, 3.0, (5000, 2), device="cpu")
    assert numbers.shape == (5000, 2)
    assert -1 <= numbers.min() < -0.9
    assert 2.9 < numbers.max() <= 3
    assert numbers.mean().item() == pytest.approx(1.0, abs=0.1)
    directions = tu.torch_random_dir_2((6, 1), device="cpu")
    np.testing.assert_allclose(directions.norm(dim=-1), np.ones(6), atol=1e-6)


def test_to_torch_copies():
    """`to_torch` makes a tensor of its own, of lists and of tensors."""
    assert tu.to_torch([1, 2], device="cpu").dtype == torch.float32
    copied = tu.to_torch(VECTORS, device="cpu")
    assert copied.data_ptr() != VECTORS.data_ptr()


SCRIPTED = """
import torch
from isaac_standin.api.torch_utils import *

@torch.jit.script
def observe(q, v):
    # type: (Tensor, Tensor) -> Tensor
    roll, pitch, yaw = get_euler_xyz(q)
    a, b = tf_combine(q, v, q, v)
    back, moved = tf_inverse(a, b)
    turned = quat_apply(back, quat_rotate(q, v)) + quat_rotate_inverse(q, get_basis_vector(q, moved))
    spun = quat_mul(quat_from_angle_axis(roll, v), quat_from_euler_xyz(roll, pitch, normalize_angle(yaw)))
    drawn = torch_rand_float(-1.0, 1.0, (3, 1), 'cpu') + torch_random_dir_2((3, 1), 'cpu')
    limited = tensor_clamp(scale(v, -v, v), unscale(v, -v, v), v)
    placed = quat_axis(q, 1) + tf_apply(q, v, v) + tf_vector(q, v)
    apart = quat_diff_rad(spun, quat_unit(quat_conjugate(q)))
    return turned.sum() + apart.sum() + limited.sum() + placed.sum() + copysign(1.0, roll).sum() + drawn.sum()

RESULT = np.float64(observe(torch.eye(4)[1:], torch.eye(3) + 1).item())
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_programs_can_call_them(tmp_path):
    """TorchScript compiles a function that calls all of them; the star import brings `np` and `torch`."""
    program = tmp_path / "program.py"
    program.write_text(SCRIPTED)
    spec = importlib.util.spec_from_file_location("program", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert math.isfinite(module.RESULT)


class Counter(TorchFunctionMode):
    """Counts the calls of torch, views excepted."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Count a call, and run it."""
        name = getattr(function, "__name__", "")
        if name not in ("__getitem__", "__get__", "reshape", "view"):
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("function, most", [(tu.quat_rotate_inverse, 4), (tu.quat_rotate, 4), (tu.quat_apply, 4)])
def test_few_operations(function, most):
    """A rotation takes few torch operations, as programs call it thousands of times a second."""
    with Counter() as counter:
        function(QUATS, VECTORS)
    assert counter.count <= most


def test_no_list_of_names_hides_numpy():
    """The module must not define `__all__`."""
    assert not hasattr(tu, "__all__")
    assert inspect.ismodule(tu.np)
