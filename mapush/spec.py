"""Specs: what an array is, declared once and checked wherever it crosses a border."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Optional, Tuple

from mapush.errors import NonFiniteError, SpecError

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Name, shape, type and bounds of a tensor.

    Attributes:
      name: what the tensor is called in errors.
      dims: what each axis counts, such as `("num_envs", "num_agents", "obs_dim")`.
      shape: how many of each.
      dtype: name of the torch type, such as `"float32"`.
      low: smallest legal value, or None.
      high: largest legal value, or None.
    """

    name: str
    dims: Tuple[str, ...]
    shape: Tuple[int, ...]
    dtype: str = "float32"
    low: Optional[float] = None
    high: Optional[float] = None

    def __str__(self) -> str:
        axes = ", ".join(f"{dim}={size}" for dim, size in zip(self.dims, self.shape))
        return f"{self.dtype} {self.name}[{axes}]"

    def validate(self, value: torch.Tensor, where: str) -> torch.Tensor:
        """Return `value` if it is a tensor of this spec, values included: a GPU is waited for.

        Args:
          value: the tensor to check.
          where: the place it crosses, for the error.
        Raises:
          SpecError: another type, shape or dtype, or a value out of bounds.
          NonFiniteError: NaN or infinity in a floating-point tensor.
        """
        self.validate_form(value, where)
        if value.is_floating_point():
            self._require_finite(value, where)
        out_of_bounds = (self.low is not None and bool((value < self.low).any())) or (
            self.high is not None and bool((value > self.high).any())
        )
        if out_of_bounds:
            raise self._error(where, f"values in [{float(value.min()):g}, {float(value.max()):g}]", None)
        return value

    def validate_form(self, value: torch.Tensor, where: str) -> torch.Tensor:
        """Return `value` if it is a tensor of this shape and type, whatever its values; a GPU is not waited for.

        Args:
          value: the tensor to check.
          where: the place it crosses, for the error.
        Raises:
          SpecError: another type, shape or dtype.
        """
        import torch

        if not isinstance(value, torch.Tensor):
            raise self._error(where, f"a {type(value).__name__}", "pass a torch tensor")
        if tuple(value.shape) != self.shape:
            transposed = value.dim() > 1 and tuple(value.transpose(0, 1).shape) == self.shape
            fix = "the first two axes are swapped: transpose them" if transposed else None
            raise self._error(where, f"shape {tuple(value.shape)}", fix)
        if str(value.dtype) != "torch." + self.dtype:
            raise self._error(where, f"dtype {value.dtype}", f"convert with .to(torch.{self.dtype})")
        return value

    def _require_finite(self, value: torch.Tensor, where: str) -> None:
        bad = ~value.isfinite()
        if not bool(bad.any()):
            return
        first = [int(index) for index in bad.nonzero()[0]]
        raise NonFiniteError(
            f"{self.name} is not finite",
            where="{}, first at {}".format(where, ", ".join(f"{dim} {index}" for dim, index in zip(self.dims, first))),
            got=f"{int(bad.sum())} of {value.numel()} values are nan or inf",
            expected=str(self),
        )

    def _error(self, where: str, got: str, fix: Optional[str]) -> SpecError:
        bounds = "" if self.low is None and self.high is None else f", values in [{self.low}, {self.high}]"
        return SpecError(f"{self.name} has the wrong form", where=where, got=got, expected=str(self) + bounds, fix=fix)
