"""Check the tensors that a program passes to `Gym`."""

from __future__ import annotations

import torch

from isaac_standin.api.gymtorch import GymTensor
from isaac_standin.errors import StandinError
from isaac_standin.simulation import Simulation


def rows(given: GymTensor, like: torch.Tensor, where: str) -> torch.Tensor:
    """Return the program's tensor in the shape of `like`.

    Raises:
      StandinError: it is no unwrapped tensor, or its size, type or device is wrong.
    """
    tensor = _unwrapped(given, where)
    if tensor.dtype != like.dtype or tensor.device != like.device or tensor.numel() != like.numel():
        raise StandinError(
            f"{where} cannot use this tensor",
            got=f"{tuple(tensor.shape)} {tensor.dtype} on {tensor.device}",
            expected=f"{tuple(like.shape)} {like.dtype} on {like.device}",
        )
    return tensor.view(like.shape)


def indices(given: GymTensor, count: int, simulation: Simulation, where: str) -> torch.Tensor:
    """Return the first `count` actor indices of the program's tensor."""
    tensor = _unwrapped(given, where)
    device = simulation.engine.device
    if tensor.dtype != torch.int32 or tensor.device != device or tensor.numel() < count:
        raise StandinError(
            f"{where} cannot use these actor indices",
            got=f"{tuple(tensor.shape)} {tensor.dtype} on {tensor.device}, count {count}",
            expected=f"at least {count} indices, torch.int32 on {device}",
        )
    return tensor.flatten()[:count]


def _unwrapped(given: GymTensor, where: str) -> torch.Tensor:
    if not isinstance(given, GymTensor):
        raise StandinError(
            f"{where} needs a tensor of Isaac Gym",
            got=type(given).__name__,
            fix="wrap a torch tensor: gymtorch.unwrap_tensor(tensor)",
        )
    return given.tensor
