"""`isaacgym.gymtorch`: tensors of the simulation as torch tensors, and back."""

from __future__ import annotations

from typing import Any

import torch

from isaac_standin.api.callers import caller_place
from isaac_standin.errors import StandinError


class GymTensor:
    """A tensor as `Gym` hands it out and takes it; `wrap_tensor` gives the torch tensor inside.

    Attributes:
      tensor: the torch tensor, whose storage the simulation fills.
    """

    __slots__ = ("tensor",)
    own_data = False

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __repr__(self) -> str:
        return f"GymTensor(shape={self.shape}, dtype={self.dtype}, device={self.tensor.device})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes."""
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.tensor.ndim

    @property
    def dtype(self) -> torch.dtype:
        """The type of the elements, as torch's."""
        return self.tensor.dtype

    @property
    def device(self) -> int:
        """The number of the GPU; -1 on the CPU."""
        if self.tensor.device.type == "cpu":
            return -1
        return self.tensor.device.index or 0

    @property
    def data_address(self) -> int:
        """The address of the first element."""
        return self.tensor.data_ptr()

    @property
    def data_ptr(self) -> int:
        """The same."""
        return self.tensor.data_ptr()


def wrap_tensor(gym_tensor: Any) -> torch.Tensor:
    """Return the torch tensor of a `GymTensor`: the very storage, not a copy."""
    if not isinstance(gym_tensor, GymTensor):
        raise StandinError(
            "gymtorch.wrap_tensor got no tensor of the simulation",
            where=caller_place(),
            got=f"a {type(gym_tensor).__name__}",
            expected="what one of gym.acquire_..._tensor returned",
        )
    return gym_tensor.tensor


def unwrap_tensor(torch_tensor: Any) -> GymTensor:
    """Return a torch tensor in the form that setters of `Gym` take.

    Args:
      torch_tensor: contiguous, of type float32, or int32 for indices.
    """
    if isinstance(torch_tensor, torch.Tensor) and torch_tensor.is_contiguous():
        if torch_tensor.dtype in (torch.float32, torch.int32):
            return GymTensor(torch_tensor)
    raise _not_unwrappable(torch_tensor)


def _not_unwrappable(value: Any) -> StandinError:
    """Return the error for a value that `unwrap_tensor` refuses."""
    where = caller_place()
    if not isinstance(value, torch.Tensor):
        return StandinError(
            "gymtorch.unwrap_tensor takes torch tensors only",
            where=where,
            got=f"a {type(value).__name__}",
            expected="a torch.Tensor",
        )
    if not value.is_contiguous():
        return StandinError(
            "gymtorch.unwrap_tensor takes contiguous tensors only",
            where=where,
            got=f"a tensor of shape {tuple(value.shape)} with strides {value.stride()}",
            expected="a tensor whose elements lie in order",
            cause="a slice or transpose of a larger tensor",
            fix="pass the complete state tensor, or tensor.contiguous()",
        )
    return StandinError(
        "gymtorch.unwrap_tensor cannot take this type of elements",
        where=where,
        got=str(value.dtype),
        expected="torch.float32, or torch.int32 for indices",
        fix="tensor.to(torch.float32), or indices.to(torch.int32)",
    )
