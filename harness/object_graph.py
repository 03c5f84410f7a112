"""A walk over everything that can be reached from an object, and its uses: entry counts, settings, random generators.

`walk` is the only traversal of object graphs in the harness. A user passes a function that returns the parts of an
object; that function decides which references are followed and what their paths are called.
"""

from __future__ import annotations

import collections
import math
import random
import re
import sys
import types
from typing import Any, Callable, Deque, Dict, Hashable, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

import numpy as np

MAX_OBJECTS = 200_000
MAX_SETTING_DEPTH = 6  # levels of attributes in which settings are looked for
MAX_SETTING = 1e300  # a larger number stands for infinity
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
FOREIGN_PACKAGES = {
    "builtins",
    "abc",
    "typing",
    "collections",
    "numpy",
    "torch",
    "gym",
    "gymnasium",
    "random",
    "threading",
}

IN_A_SPACE = re.compile(r"\.(\w*_)?spaces?\.")

Label = TypeVar("Label")


def walk(
    root: Any,
    label: Label,
    parts: Callable[[Label, Any], Iterable[Tuple[Label, Any]]],
    *,
    is_leaf: Callable[[Any], bool] = lambda value: False,
    key: Callable[[Any], Hashable] = id,
    excluded: Iterable[Hashable] = (),
    max_objects: Optional[int] = None,
    max_depth: Optional[int] = None,
) -> Iterator[Tuple[Label, Any]]:
    """Yield everything that can be reached from `root`, breadth first, so under its shortest path.

    Args:
      root: the object to start from.
      label: the label of the root, for example its path.
      parts: returns label and value of each part of an object, given the object's own label.
      is_leaf: recognises objects without parts. A leaf is yielded each time it is reached; any other object only once.
      key: returns the identity of an object; two objects with equal keys count as one.
      excluded: keys of objects that are neither yielded nor looked into, unless one of them is the root.
      max_objects: stop after this many objects, not counting leaves.
      max_depth: do not look into objects this many steps away from the root.
    """
    seen: Set[Hashable] = set(excluded) - {key(root)}
    room = math.inf
    if max_objects is not None:
        room = len(seen) + max_objects
    waiting: Deque[Tuple[Label, int, Any]] = collections.deque([(label, 0, root)])
    while waiting and len(seen) < room:
        label, depth, value = waiting.popleft()
        if is_leaf(value):
            yield label, value
            continue
        identity = key(value)
        if identity in seen:
            continue
        seen.add(identity)
        yield label, value
        if max_depth is None or depth < max_depth:
            for part_label, part in parts(label, value):
                waiting.append((part_label, depth + 1, part))


def measure(root: Any, max_objects: int = MAX_OBJECTS) -> Dict[str, int]:
    """Return how many entries each container, array and text holds that can be reached from an object, by path.

    Bounded deques are left out, and of their entries only the newest counts, because they fill up to their bound. A
    container inside a container counts under the path of the outermost one. Mutable variables of a module are included
    if the module defines a class of the object.

    Args:
      root: the object; its path is "env".
      max_objects: stop after this many objects.
    """
    counts: Dict[str, int] = collections.Counter()
    for path, value in walk(root, "env", _kept_parts, is_leaf=_is_atom, max_objects=max_objects):
        if _is_array(value):
            counts[path] += int(np.prod(value.shape))
        elif isinstance(value, (str, bytes, bytearray)):
            counts[path] += len(value)
        elif isinstance(value, CONTAINERS + (tuple,)) and getattr(value, "maxlen", None) is None:
            counts[path] += len(value)
    return dict(counts)


def settings(root: Any) -> Dict[str, float]:
    """Return the nonzero numbers that an object and its settings hold as attributes or under names, by path."""
    found: Dict[str, float] = {}
    reached = walk(root, "env", _named_parts, is_leaf=_is_number, max_objects=MAX_OBJECTS, max_depth=MAX_SETTING_DEPTH)
    for path, value in reached:
        if _is_number(value) and 0 < float(abs(value)) < MAX_SETTING:
            found[path] = float(value)
    return found


def generators(root: Any) -> List[Any]:
    """Return the random generators that can be reached from an object, of Python, numpy and torch.

    Those of spaces are left out: they draw samples of actions, and nothing within an environment.
    """
    found = []
    for path, value in walk(root, "env", _kept_parts, is_leaf=_is_atom, max_objects=MAX_OBJECTS):
        if _is_generator(value) and not IN_A_SPACE.search(path):
            found.append(value)
    return found


def arrays_and_lists(root: Any, length: int) -> Iterator[Tuple[str, Any]]:
    """Yield path and value of the arrays, tensors and lists of `length` numbers; several under a path are numbered.

    An array may have further axes of length 1.
    """
    counts: Dict[str, int] = collections.Counter()
    for path, value in walk(root, "env", _kept_parts, is_leaf=_is_atom, max_objects=MAX_OBJECTS):
        if _holds_numbers(value, length):
            counts[path] += 1
            yield f"{path}, number {counts[path]}", value


def _holds_numbers(value: Any, length: int) -> bool:
    """Return whether a value is an array, tensor or list of so many numbers."""
    if isinstance(value, list):
        return len(value) == length and all(map(_is_number, value))
    if not _is_array(value):
        return False
    is_one_each = len(value.shape) > 0 and value.shape[0] == length and int(np.prod(value.shape)) == length
    if isinstance(value, np.ndarray):
        return is_one_each and value.dtype.kind in "iuf"
    return is_one_each and "bool" not in str(value.dtype)


def recorded_tensors(root: Any) -> Iterator[Tuple[str, Any]]:
    """Yield path and tensor of what an object keeps for which PyTorch has recorded how it was computed."""
    for path, value in walk(root, "env", _kept_parts, is_leaf=_is_atom, max_objects=MAX_OBJECTS):
        if _is_tensor(value) and getattr(value, "grad_fn", None) is not None:
            yield path, value


def list_of_generators(root: Any, length: int) -> Optional[str]:
    """Return the path of a list, tuple or dict of `length` different random generators; None if there is none."""
    for path, value in walk(root, "env", _kept_parts, is_leaf=_is_atom, max_objects=MAX_OBJECTS):
        if not isinstance(value, (list, tuple, dict)) or len(value) != length:
            continue
        entries = _entries(value)
        if len(set(map(id, entries))) == length and all(map(_is_generator, entries)):
            return path
    return None


def _is_generator(value: Any) -> bool:
    is_of_torch = type(value).__name__ == "Generator" and type(value).__module__.startswith("torch")
    return is_of_torch or isinstance(value, (random.Random, np.random.RandomState, np.random.Generator))


def seed_generator(generator: Any, seed: int) -> None:
    """Seed a generator that `generators` found."""
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(seed).state
    elif hasattr(generator, "manual_seed"):
        generator.manual_seed(seed)
    else:
        generator.seed(seed)


def _is_atom(value: Any) -> bool:
    return isinstance(value, ATOMS)


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBERS) and not isinstance(value, bool)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or _is_tensor(value)


def _is_tensor(value: Any) -> bool:
    package = type(value).__module__.split(".")[0]
    return package == "torch" and hasattr(value, "shape") and hasattr(value, "element_size")


def _kept_parts(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield path and value of everything that an object keeps; entries of a container have the container's path."""
    if _is_array(value) or isinstance(value, (str, bytes, bytearray)):
        return
    if isinstance(value, CONTAINERS + (tuple,)):
        for entry in _entries(value):
            yield path, entry
    elif isinstance(value, types.FunctionType):
        for content in _closure(value):
            yield path, content
        yield from _module_variables(value.__module__)
    elif isinstance(value, types.MethodType):
        yield path, value.__self__
        yield path, value.__func__
    else:
        yield from _attributes(path, value)


def _entries(container: Any) -> List[Any]:
    """Return the values of a dict, the newest entry of a bounded deque, and all entries of any other container."""
    if isinstance(container, dict):
        return list(container.values())
    if getattr(container, "maxlen", None) is not None:
        return list(container)[-1:]
    return list(container)


def _closure(function: types.FunctionType) -> List[Any]:
    """Return the variables of outer functions that a function uses; an unset variable is left out."""
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            continue
    return contents


def _attributes(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield an object's attributes, and the containers that its classes and their modules keep."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict):
        for name, attribute in list(own.items()):
            yield f"{path}.{name}", attribute
    for base in _own_classes(value):
        for name, attribute in list(vars(base).items()):
            if isinstance(attribute, types.MemberDescriptorType) and hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)
            elif isinstance(attribute, CONTAINERS) and not name.startswith("__"):
                yield f"{base.__name__}.{name}", attribute
        yield from _module_variables(base.__module__)


def _module_variables(module: str) -> Iterator[Tuple[str, Any]]:
    """Yield the containers that a module keeps."""
    if _is_foreign(module):
        return
    for name, variable in list(vars(sys.modules.get(module, object)).items()):
        if isinstance(variable, CONTAINERS) and not name.startswith("__"):
            yield f"{module}.{name}", variable


def _named_parts(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield what an object holds by name: entries of a dict under a text, and attributes, those of classes included."""
    if isinstance(value, dict):
        for name, entry in list(value.items()):
            if isinstance(name, str):
                yield f"{path}[{name!r}]", entry
        return
    if isinstance(value, (str, np.ndarray, types.ModuleType, types.FunctionType) + CONTAINERS):
        return
    owners = [value]
    if not isinstance(value, type):
        owners += _own_classes(value)
    for owner in owners:
        if isinstance(owner, type) and _is_foreign(owner.__module__):
            continue
        for name, attribute in list(getattr(owner, "__dict__", {}).items()):
            if not name.startswith("__"):
                yield f"{path}.{name}", attribute


def _own_classes(value: Any) -> List[type]:
    """Return the classes of an object, without those of foreign packages."""
    return [base for base in type(value).__mro__ if not _is_foreign(base.__module__)]


def _is_foreign(module: str) -> bool:
    return module.split(".")[0] in FOREIGN_PACKAGES
