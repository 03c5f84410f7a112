"""Spaces that views present, and how the spaces of a user are read."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from harness.findings import ContractError


class VectorSpace:
    """Vectors between two bounds.

    Args:
      low: lower bounds, (dim,).
      high: upper bounds, (dim,).
    """

    def __init__(self, low: Any, high: Any) -> None:
        self.low = np.asarray(low, np.float32).ravel()
        self.high = np.asarray(high, np.float32).ravel()
        self.shape = self.low.shape
        self.dtype = np.dtype(np.float32)

    def __repr__(self) -> str:
        return f"Box{self.shape}"


class IndexSpace:
    """The integers from 0 to n - 1.

    Args:
      n: how many there are.
    """

    def __init__(self, n: int) -> None:
        self.n = int(n)
        self.shape = ()
        self.dtype = np.dtype(np.int64)

    def __repr__(self) -> str:
        return f"Discrete({self.n})"


# HARL and the harness go by the name of the class
VectorSpace.__name__ = "Box"
IndexSpace.__name__ = "Discrete"


def unbounded(dim: int) -> VectorSpace:
    """Return the space of all vectors of a length."""
    return VectorSpace(np.full(dim, -np.inf), np.full(dim, np.inf))


def flat_dim(space: Any, name: str) -> int:
    """Return the number of entries of an observation space.

    Raises:
      ContractError: it is not a Box (contract "factory").
    """
    kind, shape = type(space).__name__, getattr(space, "shape", None)
    if kind != "Box" or shape is None:
        raise ContractError(
            f"{name} is a {kind}, which the view cannot stack",
            contract="factory",
            got=repr(space)[:200],
            expected="a Box",
            fix="wrap the environment so that it returns one array: gymnasium.wrappers.FlattenObservation",
        )
    return int(np.prod(shape))


def as_vectors(space: Any) -> VectorSpace:
    """Return a Box of any shape as the space of its flattened arrays."""
    return VectorSpace(space.low, space.high)


def action_space_of(space: Any, name: str) -> Any:
    """Return what a view presents for an action space: a flat Box, a Discrete, or a MultiDiscrete as it is.

    Raises:
      ContractError: it is none of these (contract "factory").
    """
    kind = type(space).__name__
    if kind == "Box":
        return as_vectors(space)
    if kind == "Discrete":
        return IndexSpace(space.n)
    if kind == "MultiDiscrete":
        return space
    raise ContractError(
        f"{name} is a {kind}, which the view cannot drive",
        contract="factory",
        got=repr(space)[:200],
        expected="Box, Discrete or MultiDiscrete",
    )


def to_users_actions(actions: np.ndarray, space: Any) -> np.ndarray:
    """Return actions in the form that a space of the user's asks for, within its bounds, in memory of their own.

    Args:
      actions: (..., K).
      space: the user's space of one action.
    """
    kind = type(space).__name__
    if kind == "Discrete":
        return np.array(actions[..., 0], np.int64) + int(getattr(space, "start", 0))
    if kind == "MultiDiscrete":
        return np.array(actions, space.dtype)
    shaped = np.array(actions, np.float64).reshape(actions.shape[:-1] + tuple(space.shape))
    return np.clip(shaped, space.low, space.high).astype(space.dtype)


def padded_space(spaces: Sequence[Any], name: str) -> VectorSpace:
    """Return the smallest space that holds the flattened arrays of all spaces; shorter ones end in zeros."""
    dims = [flat_dim(space, name) for space in spaces]
    low, high = np.zeros((2, max(dims)))
    for space, dim in zip(spaces, dims):
        low[:dim] = np.minimum(low[:dim], np.ravel(space.low))
        high[:dim] = np.maximum(high[:dim], np.ravel(space.high))
    return VectorSpace(low, high)
