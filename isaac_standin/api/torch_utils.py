"""`isaacgym.torch_utils`: rotations (quaternions x, y, z, w), poses and random numbers, in few torch operations.

All are plain functions with types that TorchScript understands, so that scripted functions of programs may call them.
Quaternions are expected to have unit length. The module has no `__all__`: programs that star-import it get `np` and
`torch` from it, too, and some rely on that.
"""

from typing import Any, List, Tuple

import numpy as np
import torch
from torch import Tensor


def to_torch(x: Any, dtype: torch.dtype = torch.float, device: Any = "cuda:0", requires_grad: bool = False) -> Tensor:
    """Return a copy of numbers as a tensor."""
    if isinstance(x, Tensor):
        return x.detach().to(device=device, dtype=dtype, copy=True).requires_grad_(requires_grad)
    return torch.tensor(x, dtype=dtype, device=device, requires_grad=requires_grad)


def normalize(x: Tensor, eps: float = 1e-9) -> Tensor:
    """Return vectors of unit length along the last dimension; those shorter than `eps` are divided by `eps`."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=eps)


def normalize_angle(x: Tensor) -> Tensor:
    """Return angles within [-pi, pi] [rad]."""
    return torch.atan2(torch.sin(x), torch.cos(x))


def quat_unit(a: Tensor) -> Tensor:
    """Return quaternions of unit length."""
    return normalize(a)


def quat_conjugate(a: Tensor) -> Tensor:
    """Return the inverse rotations."""
    return torch.cat((-a[..., :3], a[..., 3:]), dim=-1)


def quat_mul(a: Tensor, b: Tensor) -> Tensor:
    """Return the rotations by `b`, then by `a`; both of the same shape (..., 4)."""
    assert a.shape == b.shape, "quat_mul: the two tensors must have the same shape"
    a_xyz, a_w = a[..., :3], a[..., 3:]
    b_xyz, b_w = b[..., :3], b[..., 3:]
    xyz = torch.linalg.cross(a_xyz, b_xyz, dim=-1)
    xyz = torch.addcmul(torch.addcmul(xyz, a_w, b_xyz), b_w, a_xyz)
    w = a_w * b_w - (a_xyz * b_xyz).sum(dim=-1, keepdim=True)
    return torch.cat((xyz, w), dim=-1)


def quat_apply(a: Tensor, b: Tensor) -> Tensor:
    """Return vectors `b`, rotated by quaternions `a`, in the shape of `b`.

    Leading dimensions are flattened, so (2, 12) counts as six quaternions.
    """
    shape = b.shape
    a = a.reshape(-1, 4)
    b = b.reshape(-1, 3)
    xyz = a[:, :3]
    half = torch.linalg.cross(xyz, b, dim=-1)
    turned = torch.addcmul(torch.linalg.cross(xyz, half, dim=-1), a[:, 3:], half)
    return torch.add(b, turned, alpha=2.0).view(shape)


def quat_rotate(q: Tensor, v: Tensor) -> Tensor:
    """Return vectors (N, 3), rotated by quaternions (N, 4)."""
    xyz = q[:, :3]
    half = torch.linalg.cross(xyz, v, dim=-1)
    turned = torch.addcmul(torch.linalg.cross(xyz, half, dim=-1), q[:, 3:], half)
    return torch.add(v, turned, alpha=2.0)


def quat_rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """Return vectors (N, 3), rotated back by quaternions (N, 4)."""
    xyz = q[:, :3]
    half = torch.linalg.cross(xyz, v, dim=-1)
    turned = torch.addcmul(torch.linalg.cross(xyz, half, dim=-1), q[:, 3:], half, value=-1.0)
    return torch.add(v, turned, alpha=2.0)


def quat_axis(q: Tensor, axis: int = 0) -> Tensor:
    """Return where quaternions (N, 4) turn the x, y or z axis (number 0, 1 or 2)."""
    basis = torch.zeros((q.shape[0], 3), device=q.device, dtype=q.dtype)
    basis[:, axis] = 1.0
    return quat_rotate(q, basis)


def quat_diff_rad(a: Tensor, b: Tensor) -> Tensor:
    """Return the angles between rotations (N, 4) [rad], from 0 to pi."""
    difference = quat_mul(a, quat_conjugate(b))
    return 2.0 * torch.asin(torch.linalg.vector_norm(difference[:, :3], dim=-1).clamp(max=1.0))


def quat_from_angle_axis(angle: Tensor, axis: Tensor) -> Tensor:
    """Return the rotations by angles (...) [rad] about axes (..., 3) of any length."""
    half = (angle * 0.5).unsqueeze(-1)
    xyz = normalize(axis) * half.sin()
    return quat_unit(torch.cat((xyz, half.cos()), dim=-1))


def quat_from_euler_xyz(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Return the rotations about the fixed axes x, then y, then z [rad]."""
    cos_r, sin_r = torch.cos(roll * 0.5), torch.sin(roll * 0.5)
    cos_p, sin_p = torch.cos(pitch * 0.5), torch.sin(pitch * 0.5)
    cos_y, sin_y = torch.cos(yaw * 0.5), torch.sin(yaw * 0.5)
    cos_cos, sin_sin = cos_r * cos_p, sin_r * sin_p
    sin_cos, cos_sin = sin_r * cos_p, cos_r * sin_p
    x = cos_y * sin_cos - sin_y * cos_sin
    y = cos_y * cos_sin + sin_y * sin_cos
    z = sin_y * cos_cos - cos_y * sin_sin
    w = cos_y * cos_cos + sin_y * sin_sin
    return torch.stack((x, y, z, w), dim=-1)


def get_euler_xyz(q: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Return roll, pitch and yaw of quaternions (N, 4), each modulo 2 pi, so not negative [rad]."""
    x, y, z, w = q[:, 0], q[:, 1], q[:, 2], q[:, 3]
    xx, yy, zz, ww = x * x, y * y, z * z, w * w
    roll = torch.atan2(2.0 * (w * x + y * z), ww - xx - yy + zz)
    pitch = torch.asin((2.0 * (w * y - z * x)).clamp(-1.0, 1.0))
    yaw = torch.atan2(2.0 * (w * z + x * y), ww + xx - yy - zz)
    turn = 2.0 * np.pi
    return roll % turn, pitch % turn, yaw % turn


def tf_inverse(q: Tensor, t: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the poses that undo rotations `q` and translations `t`."""
    back = quat_conjugate(q)
    return back, -quat_apply(back, t)


def tf_apply(q: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """Return points `v`, rotated by `q`, then moved by `t`."""
    return quat_apply(q, v) + t


def tf_vector(q: Tensor, v: Tensor) -> Tensor:
    """Return directions `v`, rotated by `q`."""
    return quat_apply(q, v)


def tf_combine(q1: Tensor, t1: Tensor, q2: Tensor, t2: Tensor) -> Tuple[Tensor, Tensor]:
    """Return the poses that apply the second, then the first."""
    return quat_mul(q1, q2), quat_apply(q1, t2) + t1


def get_basis_vector(q: Tensor, v: Tensor) -> Tensor:
    """Return vectors (N, 3), rotated by quaternions (N, 4)."""
    return quat_rotate(q, v)


def get_axis_params(value: Any, axis_idx: int, x_value: Any = 0.0, dtype: Any = float, n_dims: int = 3) -> List[Any]:
    """Return a vector with `value` on one axis; its first element is `x_value` in any case, as in Isaac Gym."""
    if not 0 <= axis_idx < n_dims:
        raise IndexError(f"get_axis_params: axis_idx is {axis_idx}, must be within 0 and {n_dims - 1}")
    params = np.zeros(n_dims)
    params[axis_idx] = value
    params[0] = x_value
    return list(params.astype(dtype))


def copysign(a: float, b: Tensor) -> Tensor:
    """Return the magnitude of `a` with the signs of `b`; zero where `b` is zero."""
    return torch.sign(b) * abs(a)


def torch_rand_float(lower: float, upper: float, shape: Tuple[int, int], device: str) -> Tensor:
    """Return uniform random numbers."""
    return torch.rand(shape, device=device).mul_(upper - lower).add_(lower)


def torch_random_dir_2(shape: Tuple[int, int], device: str) -> Tensor:
    """Return random unit vectors in the plane, for `shape` (N, 1) of shape (N, 2)."""
    angle = torch_rand_float(-np.pi, np.pi, shape, device).squeeze(-1)
    return torch.stack((torch.cos(angle), torch.sin(angle)), dim=-1)


def tensor_clamp(t: Tensor, min_t: Tensor, max_t: Tensor) -> Tensor:
    """Return elements no larger than `max_t` and no smaller than `min_t`."""
    return torch.max(torch.min(t, max_t), min_t)


def scale(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return [-1, 1] mapped to [lower, upper]."""
    return 0.5 * (x + 1.0) * (upper - lower) + lower


def unscale(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return [lower, upper] mapped to [-1, 1]."""
    return (2.0 * x - upper - lower) / (upper - lower)


def unscale_np(x: Any, lower: Any, upper: Any) -> Any:
    """Return [lower, upper] mapped to [-1, 1], for numpy arrays."""
    return (2.0 * x - upper - lower) / (upper - lower)
