"""The checks without which a step cannot be read at all: the parts that were returned, their shapes and types."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface.moment import SHAPES, place_of
from harness.interface.size_names import name_numbers, unequal
from harness.interface.spaces import Sizes

Shape = Tuple[int, ...]


def check_tuple(returned: Any, names: Tuple[str, ...], contract: str, place: str, step: int) -> None:
    """Raise unless a call returned one value for each name.

    Raises:
      ContractError: it returned something else.
    """
    is_tuple = isinstance(returned, (tuple, list))
    if is_tuple and len(returned) == len(names):
        return
    method = "step"
    if step == 0:
        method = "reset"
    got = type(returned).__name__
    if is_tuple:
        got = f"{len(returned)} values"
    raise ContractError(
        f"{method} returns {got}, not {len(names)} values",
        contract=contract,
        step=step,
        where=place,
        expected=f"({', '.join(names)})",
        cause=_other_interface(returned, method),
    )


def _other_interface(returned: Any, method: str) -> Optional[str]:
    """Return the interface that a call seems to follow instead of HARL's."""
    is_tuple = isinstance(returned, tuple)
    if method == "step":
        if is_tuple and len(returned) == 5:
            return "gymnasium's or PettingZoo's interface: (obs, reward, terminated, truncated, info)"
        return None
    if is_tuple and len(returned) == 2:
        return "gymnasium's or PettingZoo's interface: (obs, info)"
    return "a bare observation, as in gym before 0.26"


def check_shape(name: str, value: Any, sizes: Sizes, contract: str, step: int) -> None:
    """Raise unless `value` is a numpy array of numbers of the declared shape.

    Raises:
      ContractError: it is not, so the array cannot be interpreted.
    """
    axis_names, shape = _axes(SHAPES[name], sizes)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.shape == shape:
        return
    details: Dict[str, Any] = {
        "contract": contract,
        "step": step,
        "where": place_of(step),
        "expected": f"a numpy array {shape} ({', '.join(axis_names)})",
    }
    if not isinstance(value, np.ndarray):
        kind, fix = f"a {type(value).__name__}", f"np.asarray({name})"
        if type(value).__module__.split(".")[0] == "torch":
            kind, fix = "a torch tensor", f"{name}.detach().cpu().numpy().copy()"
        raise ContractError(f"{name} is {kind}, not a numpy array", fix=fix, **details)
    if value.dtype.kind not in "fiub":
        raise ContractError(f"{name} holds {value.dtype}, not numbers", **details)
    cause = _why_shape(value.shape, shape, axis_names, sizes)
    raise ContractError(f"{name} has shape {value.shape}, not {shape}", cause=cause, **details)


def _axes(dims: Sequence[str], sizes: Sizes) -> Tuple[List[str], Shape]:
    """Return the names and the sizes of the axes of an array."""
    names, shape = [], []
    for dim in dims:
        if dim == "one":
            names.append("1")
            shape.append(1)
        else:
            names.append(dim)
            shape.append(getattr(sizes, dim))
    return names, tuple(shape)


def _why_shape(got: Shape, shape: Shape, axis_names: List[str], sizes: Sizes) -> str:
    """Return the most likely reason for a wrong shape."""
    named = name_numbers([number for pair in reversed(unequal(got, shape)) for number in pair], sizes)
    if len(got) > 1 and (got[1], got[0]) + got[2:] == shape:
        return f"{named}: axes swapped, envs and agents are transposed"
    if len(got) == len(shape):
        wrong, wrong_sizes = [], set()
        for axis, name in enumerate(axis_names):
            if got[axis] != shape[axis]:
                wrong.append(name)
                wrong_sizes.add(got[axis])
        if wrong_sizes == {1}:
            return f"an axis of size 1: HARL would broadcast it over all {', '.join(wrong)}"
        if wrong == ["num_envs"]:
            return f"a different num_envs: {shape[0]} were asked for, or stated by the environment, and {got[0]} came"
        return f"a different {', '.join(wrong)}: {named}"
    if got == shape[:-1]:
        return "the last axis is missing"
    return f"{len(got)} axes instead of {len(shape)}"


def check_dtype(name: str, value: np.ndarray, step: int) -> None:
    """Raise if the numbers are of a type that HARL misreads or rounds.

    Raises:
      ContractError: they are.
    """
    expected = "float32"
    correct = value.dtype == np.float32
    cause = "HARL casts it silently: large numbers become infinite or are rounded"
    if name == "dones":
        expected = "bool"
        correct = value.dtype == bool
        cause = "HARL tests envs for truth and agents for equality with True: the two disagree on other numbers"
    elif name == "rewards":
        correct = value.dtype.kind == "f"
        cause = "a reward of whole numbers has lost its fraction"
    if correct:
        return
    numpy_name = {"bool": "bool_"}.get(expected, expected)
    raise ContractError(
        f"{name} is {value.dtype}, not {expected}",
        step=step,
        where=place_of(step),
        cause=cause,
        fix=f"{name}.astype(np.{numpy_name})",
    )
