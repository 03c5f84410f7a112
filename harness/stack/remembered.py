"""What an object remembers: every tensor, array, generator, number and text that can be reached from it, by path."""

from __future__ import annotations

import functools
import random
import types
from typing import Any, Dict, Iterator, Set, Tuple

import numpy as np
import torch

_LEAVES = (bool, int, float, str, bytes)
_CLOSED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_OF_MODULES = ("_parameters", "_buffers", "_modules")


def memory_of(root: Any) -> Dict[str, Any]:
    """Return a copy of all that `root` remembers, in a form that `==` compares bit for bit.

    Attributes, items, optimisers, modules, partial functions and the object of a bound method are followed; classes,
    plain functions and what is written in C are not. An object that is reached twice is walked once, a tensor is listed
    under every path.

    Returns:
      Path, such as `agent.critic.v_out.weight`, and value.
    """
    found: Dict[str, Any] = {}
    _walk("", root, found, set())
    return found


def arrays_of(root: Any) -> Dict[str, torch.Tensor]:
    """Return the tensors and arrays that can be reached from `root`, by path, as tensors of the same memory."""
    found: Dict[str, Any] = {}
    _walk("", root, found, set(), copy=False)
    arrays = {path: torch.from_numpy(value) for path, value in found.items() if isinstance(value, np.ndarray)}
    return {**{path: value for path, value in found.items() if isinstance(value, torch.Tensor)}, **arrays}


def _walk(path: str, value: Any, found: Dict[str, Any], seen: Set[int], copy: bool = True) -> None:
    if value is None or isinstance(value, _CLOSED):
        return
    if _is_leaf(value):
        found[path] = _frozen(value) if copy else value
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    for name, item in _parts(value):
        _walk(f"{path}.{name}" if path and name else path or name, item, found, seen, copy)


def _is_leaf(value: Any) -> bool:
    return isinstance(
        value, _LEAVES + (torch.Tensor, np.ndarray, np.generic, torch.Generator, np.random.Generator, random.Random)
    )


def _frozen(value: Any) -> Tuple[Any, ...]:
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


def _parts(value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield name and value of what an object is made of; the parameters of an optimiser's state count by position."""
    if isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            yield str(key) if isinstance(key, (str, int)) else str(index), item
    elif isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        for index, item in enumerate(value):
            yield str(index), item
    elif isinstance(value, functools.partial):
        yield from ((str(index), item) for index, item in enumerate((value.func,) + value.args))
    elif isinstance(value, types.MethodType):
        yield "", value.__self__
    else:
        for name, item in getattr(value, "__dict__", {}).items():
            yield "" if name in _OF_MODULES else name, item
        for name in getattr(type(value), "__slots__", ()):
            if hasattr(value, name):
                yield name, getattr(value, name)
