"""What can be reached from an object: how much it holds, and the numbers it is set to."""

from __future__ import annotations

import collections
import sys
import types
from typing import Any, Deque, Dict, Iterator, Set, Tuple

import numpy as np

MAX_OBJECTS = 200_000
MAX_DEPTH = 6  # attributes of attributes, where settings are looked for
LARGEST = 1e300  # as a setting may be; smaller than infinity
CONTAINERS = (dict, list, set, collections.deque)
ATOMS = (
    int,
    float,
    complex,
    bool,
    type(None),
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    np.generic,
)
NUMBERS: Any = (int, float, np.integer, np.floating)
FOREIGN = {"builtins", "abc", "typing", "collections", "numpy", "torch", "gym", "gymnasium", "random", "threading"}


def measure(root: Any) -> Dict[str, int]:
    """Return how many entries each container, array and text holds that can be reached from an object, by its path.

    Bounded deques are left out. Containers in containers count under the path of the outermost. What a module keeps
    is reached if a class of the object is defined in it.
    """
    counts: Dict[str, int] = collections.Counter()
    waiting = collections.deque([("env", root)])
    visited: Set[int] = set()
    while waiting and len(visited) < MAX_OBJECTS:
        path, value = waiting.popleft()
        if isinstance(value, ATOMS) or id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, np.ndarray) or _is_tensor(value):
            counts[path] += int(np.prod(value.shape))
        elif isinstance(value, (str, bytes, bytearray)):
            counts[path] += len(value)
        else:
            if isinstance(value, CONTAINERS + (tuple,)) and getattr(value, "maxlen", None) is None:
                counts[path] += len(value)
            waiting.extend(_children(path, value))
    return dict(counts)


def _is_tensor(value: Any) -> bool:
    return (
        type(value).__module__.split(".")[0] == "torch" and hasattr(value, "shape") and hasattr(value, "element_size")
    )


def _children(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((path, child) for child in list(value.values()))
    elif isinstance(value, CONTAINERS + (tuple,)):
        yield from ((path, child) for child in list(value))
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield path, cell.cell_contents
            except ValueError:
                continue
        yield from _module(value.__module__)
    elif isinstance(value, types.MethodType):
        yield from ((path, value.__self__), (path, value.__func__))
    else:
        yield from _attributes(path, value)


def _attributes(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Give an object's attributes, and the mutable ones of its classes and of their modules."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict):
        yield from ((f"{path}.{name}", child) for name, child in list(own.items()))
    for base in _classes(value):
        for name, child in list(vars(base).items()):
            if isinstance(child, types.MemberDescriptorType) and hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)
            elif isinstance(child, CONTAINERS) and not name.startswith("__"):
                yield f"{base.__name__}.{name}", child
        yield from _module(base.__module__)


def _module(module: str) -> Iterator[Tuple[str, Any]]:
    """Give what a module keeps."""
    if module.split(".")[0] not in FOREIGN:
        for name, child in list(vars(sys.modules.get(module, object)).items()):
            if isinstance(child, CONTAINERS) and not name.startswith("__"):
                yield f"{module}.{name}", child


def _classes(value: Any) -> Iterator[type]:
    return (base for base in type(value).__mro__ if base.__module__.split(".")[0] not in FOREIGN)


def settings(root: Any) -> Dict[str, float]:
    """Return the numbers, other than 0, that an object and its settings hold as attributes or under names, by path."""
    found: Dict[str, float] = {}
    waiting: Deque[Tuple[str, Any, int]] = collections.deque([("env", root, 0)])
    visited: Set[int] = set()
    while waiting and len(visited) < MAX_OBJECTS:
        path, value, depth = waiting.popleft()
        if isinstance(value, NUMBERS) and not isinstance(value, bool):
            if 0 < float(abs(value)) < LARGEST:
                found[path] = float(value)
        elif depth < MAX_DEPTH and id(value) not in visited:
            visited.add(id(value))
            waiting.extend((name, child, depth + 1) for name, child in _named(path, value))
    return found


def _named(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{path}[{key!r}]", child) for key, child in list(value.items()) if isinstance(key, str))
        return
    if isinstance(value, (str, np.ndarray, types.ModuleType, types.FunctionType) + CONTAINERS):
        return
    owners = [value] if isinstance(value, type) else [value, *_classes(value)]
    for owner in owners:
        held = getattr(owner, "__dict__", {})
        if isinstance(owner, type) and owner.__module__.split(".")[0] in FOREIGN:
            continue
        yield from ((f"{path}.{name}", child) for name, child in list(held.items()) if name[:2] != "__")
