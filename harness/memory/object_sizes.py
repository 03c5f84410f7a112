"""Who keeps memory alive: sizes of known parts by path, and a census of all objects of Python."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import sys
import types
from typing import Any, Deque, Dict, List, Mapping, Optional, Set, Tuple

import numpy as np

from harness.memory.meters import PART, Blind, Meter

MOST_OBJECTS = 300_000
"""In a part; beyond, it is not measured."""
NODE = 512
"""Bytes of a node of PyTorch's graph, about; it does not tell."""
ENTRY = 8  # bytes of an entry of a deque, without what it refers to
SAMPLE = 500  # entries of a container that are measured
LARGE = 16  # entries of a container that the census follows
EVEN = 0.5  # of its mean: what each part of the run has at least of growth that is no accident
MOST_NAMED = 5  # containers, and types
MOST_HOLDERS = 2000  # objects that are looked at on the way to who holds one

_NOT_OURS = (type, types.ModuleType, types.FrameType, types.CodeType)
_CONTAINERS = (list, tuple, set, frozenset, collections.deque, types.CellType, types.MethodType)
_FUNCTIONS = (types.FunctionType, functools._lru_cache_wrapper)
_GROWING = (dict, list, set, collections.deque)


class Owned(Meter):
    """All that can be reached from one part of a run: its objects, arrays and tensors.

    Args:
      name: of the part.
      root: the part.
      shared: what does not count, though it can be reached: other parts.
    """

    rank, quantum = PART, 1024.0

    def __init__(self, name: str, root: Any, shared: Tuple[Any, ...] = ()) -> None:
        self.name = self.owner = name
        self._root, self._shared = root, shared

    def _read(self) -> float:
        return sum(self.parts().values())

    def parts(self) -> Dict[str, float]:
        """Return the bytes under each attribute, by path such as `env.metrics._episodes`.

        Raises:
          Blind: there are too many objects.
        """
        return sizes(self._root, self.name, {id(each) for each in self._shared})


def sizes(root: Any, name: str, shared: Set[int]) -> Dict[str, float]:
    """Return the bytes of what can be reached from `root`, under the path of the attribute that leads to it.

    What a container holds counts under the container's path; of many entries, about `SAMPLE` stand for all, and a
    bounded deque counts as if it were full. A tensor counts with the graph that it was computed by. Memory that is seen
    twice counts once, under the shortest path.

    Args:
      root: any object.
      name: of the root, with which every path begins.
      shared: ids of objects that do not count, nor what can be reached through them alone.
    Raises:
      Blind: there are more than `MOST_OBJECTS`.
    """
    found: Dict[str, float] = collections.defaultdict(float)
    seen = set(shared) - {id(root)}
    waiting: Deque[Tuple[str, float, Any]] = collections.deque([(name, 1.0, root)])
    while waiting:
        path, weight, value = waiting.popleft()
        key = _memory_key(value)
        if key in seen or isinstance(value, _NOT_OURS):
            continue
        if len(seen) >= MOST_OBJECTS:
            raise Blind(f"more than {MOST_OBJECTS:,} objects")
        seen.add(key)
        found[path] += weight * _bytes_of(value)
        own = _own_dict(value) or {}
        waiting.extend((f"{path}.{attribute}", weight, child) for attribute, child in list(own.items()))
        children = _children(value, own)
        stride = 1 if len(children) <= SAMPLE else len(children) // SAMPLE | 1  # odd, for keys and values take turns
        sample = children[::stride]
        weight *= len(children) / max(len(sample), 1) * _fullness(value)
        waiting.extend((path, weight, child) for child in sample)
    return dict(found)


def _fullness(value: Any) -> float:
    """Return how many times as much a bounded container will hold when it is full."""
    return value.maxlen / len(value) if _is_bounded(value) and value else 1.0


def _is_bounded(value: Any) -> bool:
    return isinstance(value, collections.deque) and value.maxlen is not None


def _memory_key(value: Any) -> Any:
    """Return what is equal for two objects of the same memory: of tensors, the storage."""
    if _is_node(value):
        return value  # its id is another's as soon as nobody holds it
    return ("storage", value.untyped_storage().data_ptr()) if _is_tensor(value) else id(value)


def _bytes_of(value: Any) -> int:
    if _is_node(value):
        return NODE
    if _is_bounded(value):
        return ENTRY * value.maxlen
    own = _own_dict(value)
    size = sys.getsizeof(value, 0) + (0 if own is None else sys.getsizeof(own))  # of an array with the data it owns
    return size + value.untyped_storage().nbytes() if _is_tensor(value) else size


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(type(value), torch.Tensor) and value.layout is torch.strided


def _is_node(value: Any) -> bool:
    """Return whether this is a node of the graph that PyTorch goes back through."""
    return hasattr(type(value), "next_functions")


def _children(value: Any, attributes: Dict[str, Any]) -> List[Any]:
    """Return what an object refers to, besides its attributes; of a function, what is its own."""
    if _is_node(value):
        return [node for node, _ in value.next_functions if node is not None]
    if isinstance(value, types.FunctionType):
        return list(value.__closure__ or ()) + list(value.__defaults__ or ())
    named = {id(child) for child in attributes.values()} | {id(attributes)}
    graph = [value.grad_fn] if _is_tensor(value) and value.grad_fn is not None else []
    return graph + [child for child in gc.get_referents(value) if id(child) not in named]


def _own_dict(value: Any) -> Optional[Dict[str, Any]]:
    """Return the dict of an instance's attributes, if it has one."""
    own = getattr(value, "__dict__", None) if getattr(type(value), "__dictoffset__", 0) else None
    return own if isinstance(own, dict) else None


# -- census ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Growth:
    """What became more between each census and the next.

    Attributes:
      what: type, or kind of container.
      count: by how many objects, or entries.
      holder: who keeps them, "" if nobody is found.
    """

    what: str
    count: int
    holder: str

    def __str__(self) -> str:
        return "{}{}: {:+,}".format(self.what, " held by " + self.holder if self.holder else "", self.count)


class Elders:
    """All that lives before a run, set aside, so that each census is of the run's own objects.

    Libraries make hundreds of thousands of objects, which the collector and the census would otherwise go through each
    time. Containers among them are watched all the same. If somebody has set most objects aside already, that stays.

    Attributes:
      containers: those that can grow.
      gone: how many were freed until the release, by type.
    """

    def __init__(self) -> None:
        self.containers: List[Any] = []
        self.gone: Dict[Any, int] = {}
        self._types: Dict[Any, int] = {}

    def __enter__(self) -> Elders:
        gc.collect()
        tracked = gc.get_objects()
        if gc.get_freeze_count() < len(tracked):
            self._types, self.containers = _types(tracked), _growing(tracked)
            del tracked
            gc.freeze()
        return self

    def __exit__(self, *error: Any) -> None:
        self.release()

    def release(self) -> None:
        """Let the collector see everything again."""
        if not self._types:
            return
        new = _types(gc.get_objects())
        gc.unfreeze()
        now = _types(gc.get_objects())
        self.gone = {name: count + new.get(name, 0) - now.get(name, 0) for name, count in self._types.items()}
        self.containers, self._types = [], {}


class Population:
    """Counts of all objects of Python by type, and of the entries of each large container, from census to census.

    Of each census but the first, only that is kept which grew since the one before.

    Args:
      elders: of whom the containers count, but not the objects; to be released before the growth is asked for.
      step: of the first census.
    """

    def __init__(self, elders: Optional[Elders] = None, step: int = 0) -> None:
        self._elders = elders or Elders()
        self._steps = [step]
        self.counts: List[Dict[Any, int]] = [self._census()]

    def look(self, step: int) -> None:
        """Take another census at a later step."""
        self._steps.append(step)
        last = self.counts[-1]
        candidates = self._census()
        if len(self.counts) > 1:
            candidates = {key: count for key, count in candidates.items() if key in last}
        self.counts.append({key: count for key, count in candidates.items() if count > last.get(key, 0)})

    def _census(self) -> Dict[Any, int]:
        """Return how many objects live by name of their type, and the entries of large containers by their key.

        Cycles that are garbage do not count, unless nobody would collect them.
        """
        if gc.isenabled():
            gc.collect()
        tracked = gc.get_objects()
        found = _types(tracked)
        found.update({_key(value): len(value) for value in _large(self._elders.containers + _growing(tracked))})
        return found

    def growth(self, least: int) -> Dict[Any, int]:
        """Return by how much that grew which grew by at least `least`, and evenly: by type, or by id of a container.

        A container with a bound does not count.
        """
        return {key: growth for key, growth in self._grown(least).items() if not isinstance(key, tuple)}

    def _grown(self, least: int) -> Dict[Any, int]:
        found, times = {}, np.diff(self._steps)
        for key in self.counts[-1]:
            counts = [each.get(key, 0) for each in self.counts]
            growth = counts[-1] - counts[0] - self._elders.gone.get(key, 0)
            if growth >= least and (np.diff(counts) / times).min() >= EVEN * growth / times.sum():
                found[key] = growth
        return found

    def filling(self, least: int) -> List[Growth]:
        """Return which containers grew towards a bound, and who holds them; at most `MOST_NAMED`."""
        self._elders.release()
        grown = self._grown(least)
        deques = [value for value in gc.get_objects() if type(value) is collections.deque]
        rings = [value for value in deques if value.maxlen and _key(value) in grown]
        return [
            Growth(f"entries of a deque of at most {ring.maxlen:,}", grown[_key(ring)], holder_of(ring))
            for ring in rings[:MOST_NAMED]
        ]

    def owners(self, least: int) -> List[Growth]:
        """Return what grew and who holds it, containers first, the most first; at most `MOST_NAMED` of each."""
        self._elders.release()
        grown = self.growth(least)
        containers = {id(value): value for value in _large(_growing(gc.get_objects())) if id(value) in grown}
        found = [
            Growth(f"entries of a {type(containers[key]).__name__}", grown[key], holder_of(containers[key]))
            for key in sorted(containers, key=lambda key: -grown[key])[:MOST_NAMED]
        ]
        names = sorted((key for key in grown if isinstance(key, str)), key=lambda key: -grown[key])
        return found + [Growth(f"objects {name}", grown[name], holder_of(_newest(name))) for name in names[:MOST_NAMED]]


def _types(tracked: List[Any]) -> Dict[Any, int]:
    """Return how many objects there are by the name of their type."""
    found: Dict[Any, int] = collections.Counter()
    for kind, count in collections.Counter(map(type, tracked)).items():
        found[_name_of(kind)] += count
    return dict(found)


def _growing(tracked: List[Any]) -> List[Any]:
    """Return the containers that may grow.

    A dict of plain values is hidden from the collector, but not from who refers to it.
    """
    hidden = [value for value in gc.get_referents(*tracked) if type(value) is dict and not gc.is_tracked(value)]
    return [value for value in tracked if type(value) in _GROWING] + hidden


def _large(containers: List[Any]) -> List[Any]:
    return [value for value in containers if len(value) >= LARGE]


def _key(container: Any) -> Any:
    """Return the id of a container; with its bound, if it has one."""
    return (id(container), container.maxlen) if _is_bounded(container) else id(container)


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _newest(name: str) -> Any:
    """Return the object of a type that was made last; an empty tuple, which nobody owns, if none is left."""
    return next((value for value in reversed(gc.get_objects()) if _name_of(type(value)) == name), ())


def holder_of(value: Any) -> str:
    """Return who holds an object, through whatever containers: `Class.attribute` or `module.name`; "" if nobody."""
    layer, leads_to = [value], {id(value): None}  # all that leads to the object, and what it leads to it through
    while layer and len(leads_to) < MOST_HOLDERS:
        above: List[Any] = []
        current = {id(each) for each in layer}
        for holder in gc.get_referrers(*layer):
            if id(holder) in leads_to or holder is layer or holder is leads_to or isinstance(holder, types.FrameType):
                continue
            held = next((each for each in gc.get_referents(holder) if id(each) in current), None)
            name = _name_within(holder, held, leads_to.get(id(held)))
            if name:
                return name
            leads_to[id(holder)] = held
            above.append(holder)
        layer = above
    return ""


def _name_within(holder: Any, held: Any, below: Any) -> Optional[str]:
    """Return how a holder calls what it holds, if it is no mere container and none of ours."""
    if isinstance(holder, dict):
        module = sys.modules.get(str(holder.get("__name__")))
        return "{}.{}".format(holder["__name__"], _key_of(holder, held)) if _own_dict(module) is holder else None
    named = holder if isinstance(holder, (type, *_FUNCTIONS)) else type(holder)
    if isinstance(holder, _CONTAINERS) or (named.__module__ or "").startswith(__package__):
        return None
    if isinstance(holder, _FUNCTIONS):
        return f"{named.__module__}.{named.__qualname__}"
    own = vars(holder) if isinstance(holder, type) else _own_dict(holder) or {}
    name = _key_of(own, held) or _key_of(own, below)
    return f"{named.__qualname__}.{name}" if name else None


def _key_of(names: Mapping[str, Any], value: Any) -> str:
    return next((str(name) for name, held in list(names.items()) if held is value), "")
