"""A census of all Python objects: which types, and which containers, grew steadily during a run."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
from typing import Any, Dict, Hashable, Iterator, List, NamedTuple, Optional

import numpy as np

from harness.memory.object_holders import holder_of
from harness.memory.object_sizes import is_bounded, own_dict

MIN_ENTRIES = 16  # of a container that the census follows
MIN_EVEN_SHARE = 0.5
"""Growth is steady if each part of the run has at least this share of its proportional growth."""
MAX_NAMED = 5  # containers, and types, that are named

_GROWING = (dict, list, set, collections.deque)
_CACHE = functools._lru_cache_wrapper


class BoundedContainer(NamedTuple):
    """A container that stops growing when it is full: a deque with a maximum length, or the dict of an `lru_cache`.

    Attributes:
      container: the deque or the dict.
      bound: how many entries it holds at most.
    """

    container: Any
    bound: int

    @property
    def what(self) -> str:
        """What it is, in words."""
        kind = "a deque"
        if type(self.container) is dict:
            kind = "an lru_cache"
        return f"{kind} of at most {self.bound:,}"


@dataclasses.dataclass(frozen=True)
class ObjectGrowth:
    """Something that grew between each census and the next.

    Attributes:
      what: the type, or the kind of container.
      count: number of objects, or entries, that were added.
      holder: who keeps them; "" if unknown.
    """

    what: str
    count: int
    holder: str

    def __str__(self) -> str:
        if self.holder:
            return f"{self.what} held by {self.holder}: {self.count:+,}"
        return f"{self.what}: {self.count:+,}"


class ExistingObjects:
    """The objects that exist before a run, hidden from the garbage collector, so that a census counts only new objects.

    Libraries make hundreds of thousands of objects, which the collector and the census would otherwise visit each time.
    Containers among them are still watched, because they may grow. If most objects are frozen already, they stay so.

    Attributes:
      containers: existing containers that can grow.
      caches: existing functions with an `lru_cache`.
      gone: number of existing objects freed before the release, by type.
    """

    def __init__(self) -> None:
        self.containers: List[Any] = []
        self.caches: List[Any] = []
        self.gone: Dict[Hashable, int] = {}
        self._counts: Dict[Hashable, int] = {}

    def __enter__(self) -> ExistingObjects:
        gc.collect()
        tracked = gc.get_objects()
        if gc.get_freeze_count() < len(tracked):
            self._counts = _count_by_type(tracked)
            self.containers = _growing_containers(tracked)
            self.caches = [value for value in tracked if type(value) is _CACHE]
            del tracked
            gc.freeze()
        return self

    def __exit__(self, *error: Any) -> None:
        self.release()

    def release(self) -> None:
        """Show all objects to the collector again."""
        if not self._counts:
            return
        new = _count_by_type(gc.get_objects())
        gc.unfreeze()
        now = _count_by_type(gc.get_objects())
        self.gone = {}
        for name, count in self._counts.items():
            self.gone[name] = count + new.get(name, 0) - now.get(name, 0)
        self.containers = []
        self.caches = []
        self._counts = {}


class ObjectCensus:
    """Counts of all Python objects by type, and of the entries of each large container, at several steps.

    Of each census but the first, only what grew since the previous census is kept: anything else cannot have grown
    steadily.

    Args:
      existing: objects that do not count; their containers do. Release it before you ask for the growth.
      step: step of the first census.
    """

    def __init__(self, existing: Optional[ExistingObjects] = None, step: int = 0) -> None:
        self._existing = existing or ExistingObjects()
        self._steps = [step]
        self.counts: List[Dict[Hashable, int]] = [self._count()]

    def look(self, step: int) -> None:
        """Take a census at a later step."""
        self._steps.append(step)
        last = self.counts[-1]
        is_second = len(self.counts) == 1
        grown = {}
        for key, count in self._count().items():
            if (is_second or key in last) and count > last.get(key, 0):
                grown[key] = count
        self.counts.append(grown)

    def _count(self) -> Dict[Hashable, int]:
        """Return the number of objects by the name of their type, and of entries of large containers by `_key`.

        Cyclic garbage does not count, unless the program has switched the collector off.
        """
        if gc.isenabled():
            gc.collect()
        tracked = gc.get_objects()
        found = _count_by_type(tracked)
        cached = {id(each.container): each.bound for each in _of_caches(self._existing.caches + tracked)}
        for container in _large(self._existing.containers + _growing_containers(tracked)):
            found[_key(container, cached)] = len(container)
        return found

    def growth(self, least: int) -> Dict[Hashable, int]:
        """Return the steady growth of types by name, and of containers without a bound by id.

        Args:
          least: smaller growth is left out.
        """
        grown = self._grown(least)
        return {key: count for key, count in grown.items() if not isinstance(key, tuple)}

    def _grown(self, least: int) -> Dict[Hashable, int]:
        """Return what grew steadily by at least `least`, bounded containers included.

        What was freed of the existing objects is subtracted: new objects may only replace those.
        """
        lengths = np.diff(self._steps)
        found: Dict[Hashable, int] = {}
        for key in self.counts[-1]:
            counts = [census.get(key, 0) for census in self.counts]
            growth = counts[-1] - counts[0] - self._existing.gone.get(key, 0)
            if growth < least:
                continue
            slowest = (np.diff(counts) / lengths).min()
            if slowest >= MIN_EVEN_SHARE * growth / lengths.sum():
                found[key] = growth
        return found

    def filling(self, least: int) -> List[ObjectGrowth]:
        """Return the bounded containers that grew, and who holds them; at most `MAX_NAMED`.

        Args:
          least: smaller growth is left out.
        """
        self._existing.release()
        grown = self._grown(least)
        growths: List[ObjectGrowth] = []
        for value, bound in _bounded(gc.get_objects()):
            count = grown.get((id(value), bound))
            if count is not None and len(growths) < MAX_NAMED:
                what = f"entries of {BoundedContainer(value, bound).what}"
                growths.append(ObjectGrowth(what, count, holder_of(value)))
        return growths

    def owners(self, least: int) -> List[ObjectGrowth]:
        """Return what grew and who holds it: containers first, then types, the largest growth first.

        Args:
          least: smaller growth is left out.

        Returns:
          At most `MAX_NAMED` containers and as many types.
        """
        self._existing.release()
        grown = self.growth(least)
        containers = {}
        for value in _large(_growing_containers(gc.get_objects())):
            if id(value) in grown:
                containers[id(value)] = value
        found = []
        for key in _largest_first(containers, grown):
            value = containers[key]
            found.append(ObjectGrowth(f"entries of a {type(value).__name__}", grown[key], holder_of(value)))
        type_names = [key for key in grown if isinstance(key, str)]
        for name in _largest_first(type_names, grown):
            found.append(ObjectGrowth(f"objects {name}", grown[name], holder_of(_newest(name))))
        return found


def _largest_first(keys: Any, grown: Dict[Hashable, int]) -> List[Any]:
    """Return the `MAX_NAMED` keys that grew the most."""
    return sorted(keys, key=lambda key: -grown[key])[:MAX_NAMED]


def _count_by_type(tracked: List[Any]) -> Dict[Hashable, int]:
    """Return the number of objects by the name of their type."""
    found: Dict[Hashable, int] = collections.defaultdict(int)
    for kind, count in collections.Counter(map(type, tracked)).items():
        found[_name_of(kind)] += count
    return dict(found)


def _growing_containers(tracked: List[Any]) -> List[Any]:
    """Return the containers that can grow.

    Python hides a dict of plain values from the collector, so such dicts are taken from the objects that refer to them.
    """
    found = [value for value in tracked if type(value) in _GROWING]
    for value in gc.get_referents(*tracked):
        if type(value) is dict and not gc.is_tracked(value):
            found.append(value)
    return found


def _large(containers: List[Any]) -> List[Any]:
    return [value for value in containers if len(value) >= MIN_ENTRIES]


def _bounded(values: List[Any]) -> Iterator[BoundedContainer]:
    """Yield the containers among some objects that cannot grow for ever."""
    for value in values:
        if type(value) is collections.deque and value.maxlen is not None:  # isinstance would call lazy modules
            yield BoundedContainer(value, value.maxlen)
    yield from _of_caches(values)


def _of_caches(values: List[Any]) -> Iterator[BoundedContainer]:
    """Yield the dicts in which the functions among some objects cache a limited number of results."""
    for value in values:
        if type(value) is not _CACHE:
            continue
        bound, own = value.cache_info().maxsize, own_dict(value)
        if bound is None:
            continue
        for child in gc.get_referents(value):
            if type(child) is dict and child is not own:
                yield BoundedContainer(child, bound)


def _key(container: Any, cached: Dict[int, int]) -> Hashable:
    """Return the id of a container; of one that has a bound, the id and the bound.

    Args:
      container: the container.
      cached: bounds of the dicts of caches, by id.
    """
    if is_bounded(container):
        return (id(container), container.maxlen)
    if id(container) in cached:
        return (id(container), cached[id(container)])
    return id(container)


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _newest(name: str) -> Any:
    """Return the newest object of a type; an empty tuple, which nobody holds, if there is none."""
    for value in reversed(gc.get_objects()):
        if _name_of(type(value)) == name:
            return value
    return ()
