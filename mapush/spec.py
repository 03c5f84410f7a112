"""Specs: the name, shape, type and bounds of an array, declared once and checked wherever it crosses a border."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple, Optional, Tuple

from mapush.errors import NonFiniteError, SpecError

if TYPE_CHECKING:
    import torch


class SetLayout(NamedTuple):
    """The last features of an input that are the rows of a set, whose order means nothing.

    The last number of a row is 1, or 0 where the row is empty; then its other numbers mean nothing.

    Attributes:
      rows: number of rows.
      width: numbers in a row.
    """

    rows: int
    width: int


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Name, shape, type and bounds of a tensor.

    Attributes:
      name: name of the tensor in errors.
      dims: what each axis counts, such as `("num_envs", "num_agents", "obs_dim")`.
      shape: length of each axis.
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
        """Return `value` if it conforms to this spec, including its values; this waits for a GPU.

        Args:
          value: the tensor to check.
          where: the border that it crosses, for the error.

        Raises:
          SpecError: wrong type, shape or dtype, or a value out of bounds.
          NonFiniteError: NaN or infinity in a floating-point tensor.
        """
        self.validate_form(value, where)
        if value.is_floating_point():
            self._require_finite(value, where)
        too_low = self.low is not None and bool((value < self.low).any())
        too_high = self.high is not None and bool((value > self.high).any())
        if too_low or too_high:
            raise self._error(where, f"values in [{float(value.min()):g}, {float(value.max()):g}]", None)
        return value

    def validate_form(self, value: torch.Tensor, where: str) -> torch.Tensor:
        """Return `value` if it has this shape and type, whatever its values; this does not wait for a GPU.

        Args:
          value: the tensor to check.
          where: the border that it crosses, for the error.

        Raises:
          SpecError: wrong type, shape or dtype.
        """
        import torch

        if not isinstance(value, torch.Tensor):
            raise self._error(where, f"a {type(value).__name__}", "pass a torch tensor")
        if tuple(value.shape) != self.shape:
            fix: Optional[str] = None
            if value.dim() > 1 and tuple(value.transpose(0, 1).shape) == self.shape:
                fix = "the first two axes are swapped: transpose them"
            raise self._error(where, f"shape {tuple(value.shape)}", fix)
        if str(value.dtype) != "torch." + self.dtype:
            raise self._error(where, f"dtype {value.dtype}", f"convert with .to(torch.{self.dtype})")
        return value

    def _require_finite(self, value: torch.Tensor, where: str) -> None:
        bad = ~value.isfinite()
        if not bool(bad.any()):
            return
        first = bad.nonzero()[0].tolist()
        place = ", ".join(f"{dim} {index}" for dim, index in zip(self.dims, first))
        raise NonFiniteError(
            f"{self.name} is not finite",
            where=f"{where}, first at {place}",
            got=f"{int(bad.sum())} of {value.numel()} values are nan or inf",
            expected=str(self),
        )

    def _error(self, where: str, got: str, fix: Optional[str]) -> SpecError:
        expected = str(self)
        if self.low is not None or self.high is not None:
            expected += f", values in [{self.low}, {self.high}]"
        return SpecError(f"{self.name} has the wrong form", where=where, got=got, expected=expected, fix=fix)
