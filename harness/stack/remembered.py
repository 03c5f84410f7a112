"""What an object remembers: every tensor, array, generator, number and text that can be reached from it, by path."""

from __future__ import annotations

import functools
import random
import types
from typing import Any, Dict, Iterator, Tuple

import numpy as np
import torch

from harness.object_graph import walk

_VALUES = (
    bool,
    int,
    float,
    str,
    bytes,
    torch.Tensor,
    np.ndarray,
    np.generic,
    torch.Generator,
    np.random.Generator,
    random.Random,
)
_NOT_FOLLOWED = (type(None), type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_MODULE_DICTS = ("_parameters", "_buffers", "_modules")
"""Attributes of a `torch.nn.Module` that are left out of paths: `actor.mean.weight`, as in its `state_dict`."""


def memory_of(root: Any) -> Dict[str, Any]:
    """Return a copy of every value that an object remembers, in a form that `==` compares bit for bit.

    Attributes, items, optimizers, modules, partial functions and the objects of bound methods are followed. Classes,
    plain functions and objects written in C are not. A value that is reached on several ways is listed once for each.

    Args:
      root: the object.

    Returns:
      The copies by path, such as `agent.critic.v_out.weight`.
    """
    return {path: _frozen(value) for path, value in _values_of(root)}


def arrays_of(root: Any) -> Dict[str, torch.Tensor]:
    """Return the tensors and arrays that can be reached from an object, by path, as tensors of the same memory."""
    found: Dict[str, torch.Tensor] = {}
    for path, value in _values_of(root):
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, np.ndarray):
            found[path] = torch.from_numpy(value)
    return found


def _values_of(root: Any) -> Iterator[Tuple[str, Any]]:
    """Yield path and value of everything that an object remembers."""
    for path, value in walk(root, "", _parts, is_leaf=_is_value):
        if _is_value(value):
            yield path, value


def _is_value(value: Any) -> bool:
    return isinstance(value, _VALUES)


def _frozen(value: Any) -> Tuple[Any, ...]:
    """Return a copy of a value that is equal to a second copy only if type, shape and bits are."""
    if isinstance(value, torch.Generator):
        value = value.get_state()
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, np.random.Generator):
        return ("numpy generator", repr(value.bit_generator.state))
    if isinstance(value, random.Random):
        return ("python generator", value.getstate())
    return (type(value).__name__, repr(value))


def _parts(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield path and value of each part of an object."""
    for name, part in _named_parts(value):
        if isinstance(part, _NOT_FOLLOWED):
            continue
        if path and name:
            yield f"{path}.{name}", part
        else:
            yield path or name, part


def _named_parts(value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield name and value of each part of an object; "" for a part that has the object's own path."""
    if isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            if isinstance(key, (str, int)):
                yield str(key), item
            else:  # a parameter in the state of an optimizer, whose identity changes from run to run
                yield str(index), item
    elif isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        for index, item in enumerate(value):
            yield str(index), item
    elif isinstance(value, functools.partial):
        for index, item in enumerate((value.func, *value.args)):
            yield str(index), item
    elif isinstance(value, types.MethodType):
        yield "", value.__self__
    else:
        yield from _attributes(value)


def _attributes(value: Any) -> Iterator[Tuple[str, Any]]:
    for name, attribute in getattr(value, "__dict__", {}).items():
        if name in _MODULE_DICTS:
            yield "", attribute
        else:
            yield name, attribute
    for name in getattr(type(value), "__slots__", ()):
        if hasattr(value, name):
            yield name, getattr(value, name)
