"""How stored and expected tensors are compared, and how a difference is told."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import torch

TOLERANCE = 1e-4
"""Of a value, in units of itself and of the largest: for float32 against float64, or batches of another size."""


def close(got: torch.Tensor, expected: torch.Tensor) -> bool:
    """Say whether two tensors have one shape and are equal within `TOLERANCE`."""
    return got.shape == expected.shape and bool(_equal(got, expected).all())


def explain(got: torch.Tensor, explanations: Dict[str, torch.Tensor], otherwise: str) -> str:
    """Return the first explanation whose tensor is what was got."""
    return next((text for text, tensor in explanations.items() if close(got, tensor)), otherwise)


def first_difference(got: torch.Tensor, expected: torch.Tensor) -> Tuple[int, ...]:
    """Return the first index at which two tensors are not equal within `TOLERANCE`, or else not equal at all."""
    off = ~_equal(got, expected)
    off = off if bool(off.any()) else got != expected
    return tuple(int(index) for index in off.nonzero()[0])


def differing_row(value: torch.Tensor, other: torch.Tensor) -> str:
    """Return the first row of the last axis in which two tensors differ."""
    where = tuple((value != other).nonzero()[0].tolist())[:-1]
    return f"{[round(float(number), 5) for number in value[where].flatten()]} at {list(where)}"


def log_prob(actor: Any, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities (T, E, K) of actions (T, E, K) on observations (T, E, obs_dim) under a policy."""
    with torch.no_grad():
        return actor.log_prob(obs.flatten(0, 1), actions.flatten(0, 1)).view_as(actions)


def _equal(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    expected = expected.double()
    return torch.isclose(got.double(), expected, TOLERANCE, TOLERANCE * float(expected.abs().max()))
