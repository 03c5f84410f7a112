"""How the contracts compare tensors, and how they describe a difference."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import torch

TOLERANCE = 1e-4
"""Largest relative difference, of a value and of the largest expected value.

The stack computes in float32, the contracts in float64 and in batches of different sizes; both change the last digits.
"""


def close(got: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether two tensors have the same shape and are equal within `TOLERANCE`."""
    return got.shape == expected.shape and bool(_is_close(got, expected).all())


def explain(got: torch.Tensor, explanations: Dict[str, torch.Tensor], otherwise: str) -> str:
    """Return the most likely explanation of a wrong tensor.

    Args:
      got: the wrong tensor.
      explanations: what a known bug would have made of the expected tensor, by the text that describes the bug.
      otherwise: the text if none of them fits.
    """
    for text, tensor in explanations.items():
        if close(got, tensor):
            return text
    return otherwise


def first_difference(got: torch.Tensor, expected: torch.Tensor) -> Tuple[int, ...]:
    """Return the first index at which two tensors differ by more than `TOLERANCE`, or else at all."""
    differs = ~_is_close(got, expected)
    if not bool(differs.any()):
        differs = got != expected
    return tuple(differs.nonzero()[0].tolist())


def differing_row(value: torch.Tensor, other: torch.Tensor) -> str:
    """Return the first row of a tensor, along the last axis, that differs from the same row of a second tensor."""
    index = (value != other).nonzero()[0].tolist()[:-1]
    row = value[tuple(index)].flatten().tolist()
    numbers = [round(float(number), 5) for number in row]
    return f"{numbers} at {index}"


def log_prob(actor: Any, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities (T, E, K) of actions under a policy.

    Args:
      actor: the policy.
      obs: observations (T, E, obs_dim).
      actions: actions (T, E, K).
    """
    with torch.no_grad():
        return actor.log_prob(obs.flatten(0, 1), actions.flatten(0, 1)).view_as(actions)


def _is_close(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    expected = expected.double()
    largest = float(expected.abs().max())
    return torch.isclose(got.double(), expected, rtol=TOLERANCE, atol=TOLERANCE * largest)
