"""Contracts of what an environment keeps, and of how it is put away."""

from __future__ import annotations

import collections
import types
from typing import Any, Dict, Iterator, List, Set, Tuple

import numpy as np

from harness.contracts.registry import contract
from harness.contracts.subject import Subject, drive
from harness.drivers import Driver
from harness.findings import ContractError, NotJudgedError
from harness.interface import first_line, innermost_line

ROUNDS = 4  # measurements of what is kept, one after each part of the run
PART = 500  # steps between them
LARGE = 2500  # entries; what still grows beyond is not bounded
MAX_OBJECTS = 200_000
ATOMS = (
    str,
    bytes,
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


@contract("bounded-statistics")
def bounded_statistics(subject: Subject) -> None:
    """What an environment keeps does not grow with the number of steps or episodes."""
    part = subject.steps(PART, ROUNDS)
    if part < 40:
        raise NotJudgedError("there was time for {} steps only".format(part * ROUNDS))
    player = subject.player()
    driver = Driver(subject.sizes, subject.seed)
    drive(player, driver, 10)
    counts = [measure(player.env)]
    for _ in range(ROUNDS):
        player.seen = player.seen[-1:]
        drive(player, driver, part)
        counts.append(measure(player.env))
    growing = _growing(counts)
    rounds = ROUNDS
    while growing and max(counts[-1][path] for path in growing) < LARGE and rounds < 4 * ROUNDS:
        player.seen = player.seen[-1:]
        drive(player, driver, subject.steps(PART, ROUNDS))
        counts.append(measure(player.env))
        growing = [path for path in _growing(counts[-3:]) if path in growing]
        rounds += 1
    if growing:
        path = max(growing, key=lambda path: counts[-1][path])
        steps = 10 + rounds * part
        raise ContractError(
            "{} grows without bound".format(path),
            got="{:,} entries after {:,} steps, {:,} after {:,}".format(
                counts[-1][path], steps, counts[1].get(path, 0), 10 + part
            ),
            expected="a bounded number, however long training runs",
            cause="something is appended at every step or episode and never taken out",
            fix="collections.deque(maxlen=1000), or sums instead of lists",
        )


def _growing(counts: List[Dict[str, int]]) -> List[str]:
    """Return the paths whose size grows from each measurement to the next, and not ever more slowly."""
    found = []
    for path in counts[-1]:
        growth = np.diff([one.get(path, 0) for one in counts])
        if (growth > 0).all() and growth[-1] >= 0.5 * growth[0]:
            found.append(path)
    return found


def measure(root: Any) -> Dict[str, int]:
    """Return how many entries each container and array holds that can be reached from an object, by its path.

    Bounded deques are left out. Containers in containers count under the path of the outermost.
    """
    counts: Dict[str, int] = collections.Counter()
    waiting = collections.deque([("env", root)])
    visited: Set[int] = set()
    while waiting and len(visited) < MAX_OBJECTS:
        path, value = waiting.popleft()
        if id(value) in visited or isinstance(value, ATOMS):
            continue
        visited.add(id(value))
        if isinstance(value, np.ndarray) or _is_tensor(value):
            counts[path] += int(np.prod(value.shape))
            continue
        if isinstance(value, (dict, list, tuple, set, collections.deque)):
            if getattr(value, "maxlen", None) is None:
                counts[path] += len(value)
        waiting.extend((name, child) for name, child in _children(path, value))
    return dict(counts)


def _is_tensor(value: Any) -> bool:
    return (
        type(value).__module__.split(".")[0] == "torch" and hasattr(value, "shape") and hasattr(value, "element_size")
    )


def _children(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((path, child) for child in list(value.values()))
    elif isinstance(value, (list, tuple, set, collections.deque)):
        yield from ((path, child) for child in list(value))
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield path, cell.cell_contents
            except ValueError:
                continue
    elif isinstance(value, types.MethodType):
        yield from ((path, value.__self__), (path, value.__func__))
    else:
        yield from _attributes(path, value)


def _attributes(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Give an object's attributes, and the mutable ones of its classes."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict):
        yield from (("{}.{}".format(path, name), child) for name, child in list(own.items()))
    for base in type(value).__mro__:
        if base.__module__ in ("builtins", "abc", "typing"):
            continue
        for name, child in list(vars(base).items()):
            if isinstance(child, types.MemberDescriptorType) and hasattr(value, name):
                yield "{}.{}".format(path, name), getattr(value, name)
            elif isinstance(child, (dict, list, set, collections.deque)) and not name.startswith("__"):
                yield "{}.{}".format(base.__name__, name), child


@contract("close")
def close(subject: Subject) -> None:
    """`close` exists, may be called twice, and leaves other environments, older and newer, at work."""
    older = subject.player()
    for steps in (0, 2):
        player = subject.player()
        drive(player, Driver(subject.sizes, subject.seed), steps)
        if not callable(getattr(player.env, "close", None)):
            raise ContractError("the environment has no method close", cause="HARL's runner calls it at the end")
        for call in ("first", "second"):
            try:
                player.env.close()
            except Exception as error:
                raise ContractError(
                    "the {} call of close raises {}: {}".format(call, type(error).__name__, first_line(error)),
                    where=innermost_line(error),
                    fix="do nothing if it is closed already",
                ) from error
    for name, player in (("made before", older), ("made after", subject.player())):
        try:
            drive(player, Driver(subject.sizes, subject.seed), 2)
        except ContractError as error:
            raise ContractError(
                "closing one environment breaks another that was {}".format(name),
                got=error.what,
                where=error.where,
                cause="close releases what all environments of the process share",
            ) from error
