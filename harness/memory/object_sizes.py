"""The size of a part of a run: the bytes of all objects that can be reached from it, by path."""

from __future__ import annotations

import collections
import gc
import sys
import types
from typing import Any, Dict, Hashable, Iterable, List, Optional, Set, Tuple

from harness.memory.meters import PART, Blind, Meter
from harness.object_graph import walk

MAX_OBJECTS = 300_000
"""A part with more objects is not measured."""
GRAPH_NODE_BYTES = 512
"""Estimated size of a node of PyTorch's autograd graph, which PyTorch does not report [bytes]."""
DEQUE_ENTRY_BYTES = 8  # of an entry of a deque, without the object it refers to
SAMPLE_SIZE = 500  # entries of a container that are measured

_IGNORED = (type, types.ModuleType, types.FrameType, types.CodeType)

Label = Tuple[str, float]
"""The path of an object, and how many objects it stands for."""


class PartMeter(Meter):
    """The memory that can be reached from one part of a run: its objects, arrays and tensors.

    Args:
      name: name of the part.
      root: the part.
      shared: objects that do not count although they can be reached: the other parts.
      max_objects: largest number of objects; a part with more is not measured.
    """

    rank = PART
    quantum = 1024.0

    def __init__(self, name: str, root: Any, shared: Iterable[Any] = (), max_objects: int = MAX_OBJECTS) -> None:
        self.name = name
        self.owner = name
        self._root = root
        self._shared = tuple(shared)
        self._max_objects = max_objects

    def _read(self) -> float:
        return sum(self.parts().values())

    def parts(self) -> Dict[str, float]:
        """Return the bytes of each attribute, by path such as `env.metrics._episodes`.

        Raises:
          Blind: the part has too many objects.
        """
        shared_ids = {id(each) for each in self._shared}
        return sizes(self._root, self.name, shared_ids, self._max_objects)


def sizes(root: Any, name: str, shared: Set[int], max_objects: int = MAX_OBJECTS) -> Dict[str, float]:
    """Return the bytes of all objects that can be reached from a root, by the path of the attribute that leads to them.

    The content of a container counts under the container's path. Of a long container, about `SAMPLE_SIZE` entries are
    measured and stand for all. A bounded deque counts as if it were full. A tensor counts with its autograd graph.
    Memory that is reached twice counts once, under the shortest path.

    Args:
      root: any object.
      name: the path of the root.
      shared: ids of objects that do not count, and neither do objects reached only through them.
      max_objects: largest number of objects.

    Raises:
      Blind: there are more objects.
    """
    found: Dict[str, float] = collections.defaultdict(float)
    count = 0
    for (path, weight), value in walk(root, (name, 1.0), _parts, key=_memory_key, excluded=shared):
        count += 1
        if count > max_objects:
            raise Blind(f"more than {max_objects:,} objects")
        found[path] += weight * _bytes_of(value)
    return dict(found)


def _parts(label: Label, value: Any) -> List[Tuple[Label, Any]]:
    """Return the objects that a value refers to.

    Attributes get a path of their own; a sample of the other references stands for all of them.
    """
    path, weight = label
    found: List[Tuple[Label, Any]] = []
    own = own_dict(value) or {}
    for name, child in list(own.items()):
        if not isinstance(child, _IGNORED):
            found.append(((f"{path}.{name}", weight), child))
    children = _unnamed_children(value, own)
    if not children:
        return found
    stride = 1
    if len(children) > SAMPLE_SIZE:
        stride = len(children) // SAMPLE_SIZE | 1  # odd, because the keys and values of a dict alternate
    sample = children[::stride]
    each = (path, weight * len(children) / len(sample) * _entries_when_full(value))
    for child in sample:
        if not isinstance(child, _IGNORED):
            found.append((each, child))
    return found


def _unnamed_children(value: Any, attributes: Dict[str, Any]) -> List[Any]:
    """Return the objects that a value refers to, without its attributes; of a function, only its own variables."""
    if _is_graph_node(value):
        return [node for node, _ in value.next_functions if node is not None]
    if isinstance(value, types.FunctionType):
        return list(value.__closure__ or ()) + list(value.__defaults__ or ())
    found = []
    if _is_tensor(value) and value.grad_fn is not None:
        found.append(value.grad_fn)
    named = {id(child) for child in attributes.values()}
    named.add(id(attributes))
    for child in gc.get_referents(value):
        if id(child) not in named:
            found.append(child)
    return found


def _entries_when_full(value: Any) -> float:
    """Return how many times its present number of entries a bounded deque will hold; 1 for any other object."""
    if is_bounded(value) and value:
        return value.maxlen / len(value)
    return 1.0


def is_bounded(value: Any) -> bool:
    """Return whether an object is a deque with a maximum length."""
    return isinstance(value, collections.deque) and value.maxlen is not None


def _memory_key(value: Any) -> Hashable:
    """Return a key that is equal for objects of the same memory: tensors with the same storage, or the same object."""
    if _is_graph_node(value):
        return value  # PyTorch wraps a node in a new object on each access, so ids are reused
    if _is_tensor(value):
        return ("storage", value.untyped_storage().data_ptr())
    return id(value)


def _bytes_of(value: Any) -> int:
    if _is_graph_node(value):
        return GRAPH_NODE_BYTES
    if is_bounded(value):
        return DEQUE_ENTRY_BYTES * value.maxlen
    size = sys.getsizeof(value, 0)  # an array includes the data that it owns
    own = own_dict(value)
    if own is not None:
        size += sys.getsizeof(own)
    if _is_tensor(value):
        size += value.untyped_storage().nbytes()
    return size


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(type(value), torch.Tensor) and value.layout is torch.strided


def _is_graph_node(value: Any) -> bool:
    """Return whether an object is a node of PyTorch's autograd graph."""
    return hasattr(type(value), "next_functions")


def own_dict(value: Any) -> Optional[Dict[str, Any]]:
    """Return the dict of an instance's attributes; None if it has none."""
    if not getattr(type(value), "__dictoffset__", 0):
        return None
    own = getattr(value, "__dict__", None)
    return own if isinstance(own, dict) else None
