"""Values that are not finite: finding them, naming them, and replacing them as upstream does."""

from __future__ import annotations

import dataclasses
from typing import List

import torch

from mapush.device.cuda_graphs import tensors_in
from mapush.errors import NonFiniteError
from mapush.sim.physics import State


def all_finite(state: State) -> torch.Tensor:
    """Return whether every value of `state` is finite, () bool, without waiting for the device."""
    # A sum is finite only if every addend is: one kernel per field instead of one per field and test.
    sums = [tensor.sum() for tensor in tensors_in(state)]
    return torch.stack(sums).sum().isfinite()


def zero_if_not_finite(value: torch.Tensor) -> torch.Tensor:
    """Return `value` with 0 in the place of NaN and infinity, as upstream shows them."""
    return value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def non_finite_error(state: State, env_step: int) -> NonFiniteError:
    """Return the error that names the first value of `state` that is not finite.

    Args:
      state: the state in question; the host waits for its device.
      env_step: env steps taken so far, for the error's `where`.
    """
    error = NonFiniteError(
        "the simulator's state is not finite",
        where=f"env step {env_step}",
        cause="the physics diverged, or an action was not finite",
    )
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        bad = (~value.isfinite()).nonzero().tolist()
        if bad:
            error.where = f"{_place(field.name, bad[0])}, env step {env_step}"
            error.got = f"{len(bad)} of {value.numel()} values are nan or inf"
            return error
    return error


def _place(field: str, index: List[int]) -> str:
    """Return the place of a value (env, agent, axis), or (env, axis) for the object's fields, in words."""
    env_id, axis = index[0], index[-1]
    if field.startswith("object"):
        return f"env {env_id}, {field}[{axis}]"
    return f"env {env_id}, agent {index[1]}, {field}[{axis}]"
