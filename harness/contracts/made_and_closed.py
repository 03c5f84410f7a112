"""The contract that nothing stays of an environment that was made, used and closed.

In a new process, environments are made, stepped, closed and forgotten one after the other. After each, the garbage
collector runs, the objects of every class are counted, and the bytes that Python and numpy hold are added up. Both keep
freed objects for later use, so bytes grow for a while without a leak: if only they grow, more environments follow. What
grows with every environment is kept by somebody else: a registry, a list of the class, a cache of a method.
"""

from __future__ import annotations

import collections
import functools
import gc
import pickle
import sys
import tracemalloc
from typing import Any, Counter, Dict, List, NamedTuple, Optional

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import Recipe, close_quietly
from harness.contracts.fresh_process import START_S, Failed, Surroundings, call_fresh
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.moment import StepErrors
from harness.interface.player import Player
from harness.interface.spaces import Sizes

WARM_UP = 1  # environments before the first count, which may fill what all of them share
COUNTED = 5  # environments after which is counted
COUNTED_MORE = 20  # if only bytes grow: Python and numpy keep freed objects for later use, ever fewer with time
MOST_STEPS = 25  # of each environment
FEWEST_STEPS = 3
SHARE = 0.2  # of the budget
MORE_TIME = 5.0  # than usual that all of it takes if more environments are counted
TRACING = 2.0  # by which counting makes everything slower
MIN_BYTES = 256  # that each environment leaves, for a leak
MIN_SPEED = 0.5  # of the last growth in proportion to the first; what fills up slows down more
OWN_FILES = (
    "*/harness/contracts/*",
    "*/harness/apis/*",
    "*/harness/interface/*",
    "*/tracemalloc.py",
    "<frozen*",
    "*/linecache.py",
)


class Kept(NamedTuple):
    """What is alive after each environment.

    Attributes:
      objects: number of objects of each class, by its name.
      num_bytes: bytes that Python and numpy hold.
      env_class: name of the class of the environments.
      holder: who holds an old environment, in words, or None.
      line: file and line that allocated most of what is left, or None.
    """

    objects: List[Dict[str, int]]
    num_bytes: List[int]
    env_class: str
    holder: Optional[str]
    line: Optional[str]


@contract("made-and-closed")
def made_and_closed(subject: EnvUnderTest) -> None:
    """An environment that was closed is gone: registries and caches keep neither its objects nor its bytes."""
    subject.require_several_in_a_process()
    subject.long_run()
    slower = TRACING * (WARM_UP + 1 + COUNTED)
    affordable = (subject.time_for(SHARE) - START_S) / slower - subject.build_s
    steps = int(np.clip(affordable / max(subject.step_s, 1e-6), FEWEST_STEPS, MOST_STEPS))
    expected_s = START_S + slower * (subject.build_s + steps * subject.step_s)
    subject.require_time_for(expected_s, SHARE)
    work = (count_what_stays, subject.recipe(), subject.sizes, subject.seed, steps)
    try:
        kept = call_fresh(*work, around=Surroundings(), expected_s=MORE_TIME * expected_s)
    except Failed as failure:
        raise NotJudgedError(f"the factory cannot be built in a new process: {failure}") from failure
    require_nothing_kept(kept)


def require_nothing_kept(kept: Kept) -> None:
    """Raise if objects or bytes grow with every environment."""
    growing = _growing_classes(kept)
    bytes_grow = is_steady(np.diff(kept.num_bytes), MIN_BYTES)
    if not growing and not bytes_grow:
        return
    what = f"each environment leaves {int(np.median(np.diff(kept.num_bytes))):,} bytes when it is closed"
    got = f"{kept.num_bytes[-1] - kept.num_bytes[0]:,} bytes more after {len(kept.num_bytes) - 1} environments"
    if kept.env_class in growing:
        what = "environments that were closed are kept"
        got = f"{kept.objects[-1][kept.env_class]} of class {kept.env_class} are alive"
    elif growing and not bytes_grow:
        name = growing[0]
        what = f"each environment leaves objects of class {name} when it is closed"
        got = f"{kept.objects[0].get(name, 0)} at first, {kept.objects[-1][name]} in the end"
    raise ContractError(
        what,
        where=kept.holder or kept.line,
        got=got,
        expected="as many as before",
        cause="a registry, a list of the class or module, or a cache of a method (lru_cache keeps self) holds it",
        fix="keep it in the environment's own attributes; remove it in close; weakref.WeakSet for a registry",
    )


def _growing_classes(kept: Kept) -> List[str]:
    """Return the names of the classes of which every environment leaves objects, the most numerous first."""
    growth = {}
    for name in kept.objects[-1]:
        counts = [count.get(name, 0) for count in kept.objects]
        if is_steady(np.diff(counts), 1):
            growth[name] = counts[-1] - counts[0]
    return sorted(growth, key=lambda name: -growth[name])


def is_steady(growth: np.ndarray, least: int) -> bool:
    """Return whether something grows by at least this much every time, and does not slow down."""
    if len(growth) > COUNTED:  # a long series: its second half in proportion to its beginning
        latest = growth[len(growth) // 2 :].mean()
        return bool(growth.min() >= least and latest >= MIN_SPEED * growth[: COUNTED - 1].mean())
    return bool(growth.min() >= least and growth[-1] >= MIN_SPEED * growth[0])


# -- in the new process ----------------------------------------------------------------------------------------------


def count_what_stays(recipe: Recipe, sizes: Sizes, seed: int, steps: int) -> Kept:
    """Make, use and close environments one after the other, and return what is alive after each."""
    env_class = ""
    for _ in range(WARM_UP):
        env_class = _use(recipe, sizes, seed, steps)
    tracemalloc.start()
    counts: List[bytes] = []  # which the garbage collector does not count as objects
    num_bytes: List[int] = []
    first = None
    for number in range(1 + COUNTED + COUNTED_MORE):
        if number == 1 + COUNTED and not _only_bytes_grow(counts, num_bytes):
            break
        _use(recipe, sizes, seed, steps)
        gc.collect()
        count = pickle.dumps(_objects_by_class())
        snapshot = _snapshot()
        if number == 0:
            continue  # the first count fills caches of its own
        first = first or snapshot
        counts.append(count)
        num_bytes.append(sum(trace.size for trace in snapshot.traces))
    tracemalloc.stop()
    objects = [pickle.loads(count) for count in counts]
    return Kept(objects, num_bytes, env_class, _holder(env_class), _line(first, snapshot))


def _only_bytes_grow(counts: List[bytes], num_bytes: List[int]) -> bool:
    """Return whether bytes grow with every environment and the objects of no class do."""
    kept = Kept([pickle.loads(count) for count in counts], num_bytes, "", None, None)
    return is_steady(np.diff(num_bytes), MIN_BYTES) and not _growing_classes(kept)


def _use(recipe: Recipe, sizes: Sizes, seed: int, steps: int) -> str:
    """Make, step and close an environment, and return the name of its class."""
    player = Player(recipe.build(), sizes, StepErrors())
    player.reset()
    drive(player, ActionDriver(sizes, seed), steps)
    close_quietly(player.env)
    return _name_of(type(player.env))


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _objects_by_class() -> Dict[str, int]:
    counts: Counter[str] = collections.Counter()
    for value in gc.get_objects():
        counts[_name_of(type(value))] += 1
    return dict(counts)


def _snapshot() -> tracemalloc.Snapshot:
    """Return what is allocated, except by the harness itself."""
    filters = [tracemalloc.Filter(False, pattern) for pattern in OWN_FILES]
    return tracemalloc.take_snapshot().filter_traces(filters)


def _line(first: Any, last: Any) -> Optional[str]:
    """Return file and line whose allocations grew the most between two snapshots."""
    for statistic in last.compare_to(first, "lineno"):
        if statistic.size_diff >= MIN_BYTES:
            frame = statistic.traceback[0]
            return f"allocated at {frame.filename}:{frame.lineno}"
    return None


def _holder(env_class: str) -> Optional[str]:
    """Return in words what holds an environment that was closed."""
    for value in gc.get_objects():
        if _name_of(type(value)) != env_class:
            continue
        for holder in gc.get_referrers(value):
            if isinstance(holder, functools._lru_cache_wrapper):
                return f"the cache of {holder.__module__}.{holder.__qualname__}"
            name = _global_name(holder)
            if name is not None:
                return f"kept in {name}"
    return None


def _global_name(container: Any) -> Optional[str]:
    """Return the name of a variable of a module or class that is this container."""
    for module_name, module in list(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is container:
                return f"{module_name}.{name}"
            is_class = issubclass(type(value), type)  # isinstance asks the value, and deprecated ones of torch warn
            if not is_class or value.__module__ != module_name:
                continue
            for attribute, entry in list(vars(value).items()):
                if entry is container:
                    return f"{module_name}.{name}.{attribute}"
    return None
