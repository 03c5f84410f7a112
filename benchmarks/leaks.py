"""Planted leaks: `python -m benchmarks.leaks [--gpu] [--only NAME ...] [--repeats 1]`.

Each is a subject for a soak, with the cycles within which it must be found and the owner that must be blamed. Prints
lines of `name.metric value`. The exit code is 1 if a leak was missed, or fewer than nine in ten were named.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import dataclasses
import gc
import mmap
import os
import subprocess
import threading
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence

import numpy as np
import torch

from harness.memory.driver import DriverMeter
from harness.memory.soak import Subject, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import LEAK
from harness.toys import make_pointmass

WARM_UP = 10  # cycles
NAMED = 0.9  # of the leaks, whose owner must be named

_LIBC = ctypes.CDLL(None)
_LIBC.malloc.restype, _LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]


@dataclasses.dataclass(frozen=True)
class Leak:
    """A subject that leaks.

    Attributes:
      make: makes the subject.
      cycles: within which it must be found.
      owner: what the name of the first owner must contain.
      clean_up: gives back what the leak took, for the tests that follow.
    """

    make: Callable[[], Subject]
    cycles: int
    owner: str
    clean_up: Callable[[], Any] = lambda: None


class Statistics:
    """Outcomes of all episodes there ever were."""

    def __init__(self) -> None:
        self.returns: List[float] = []

    def add(self, values: List[float]) -> None:
        """Keep the returns of episodes."""
        self.returns += values


class Writer:
    """A log writer that keeps every scalar."""

    def __init__(self) -> None:
        self.scalars: dict = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Keep (step, value), about 165 bytes with their boxes."""
        self.scalars.setdefault(tag, []).append((step, value))


class Buffer:
    """A rollout that makes new arrays and keeps the old ones."""

    def __init__(self) -> None:
        self.rollouts: List[torch.Tensor] = []

    def finish(self) -> None:
        """Begin the next rollout of 4 KiB."""
        self.rollouts.append(torch.zeros(1024))


class Loop:
    """A bystander that allocates and gives back, so that a leak is not all there is."""

    def __init__(self) -> None:
        self.last = torch.zeros(64)

    def turn(self) -> None:
        """Compute something."""
        self.last = torch.tanh(self.last + 1.0)
        np.sort(np.arange(500)[::-1]).tolist()


class Cache:
    """A cache without a bound, of which no soak is told."""

    def __init__(self) -> None:
        self.entries: List[torch.Tensor] = []


def tensors() -> Subject:
    """Keep 512 bytes of a tensor at each step, where nobody looks."""
    cache = Cache()
    return Subject(lambda: cache.entries.append(torch.zeros(128)), owners={"loop": Loop()})


def statistics() -> Subject:
    """Keep the return of every episode."""
    kept = Statistics()
    return Subject(lambda: kept.add([float(index) for index in range(20)]), owners={"metrics": kept})


def writer() -> Subject:
    """Keep every scalar that was logged, a hundred in each cycle."""
    kept, rounds = Writer(), [0]

    def advance() -> None:
        for _ in range(100):
            rounds[0] += 1
            kept.add_scalar("loss", float(rounds[0]), rounds[0])

    return Subject(advance, steps=100, owners={"logger": kept})


def rollouts() -> Subject:
    """Keep every rollout."""
    kept = Buffer()
    return Subject(kept.finish, owners={"rollout": kept, "loop": Loop()})


def arrays() -> Subject:
    """Keep numpy arrays in a dict of a closure."""
    kept: dict = {}

    def advance() -> None:
        kept[len(kept)] = np.ones(512)

    return Subject(advance)


def cycles() -> Subject:
    """Keep objects that refer to each other, in a registry of their class."""

    class Node:
        """One that registers itself."""

        alive: list = []

        def __init__(self) -> None:
            self.self = self
            self.values = [0.0] * 50
            self.alive.append(self)

    return Subject(Node)


def graph() -> Subject:
    """Sum losses without detaching them, so that every step's graph stays."""
    weight = torch.ones(64, requires_grad=True)
    total = [weight.sum()]

    def advance() -> None:
        total[0] = total[0] + (weight * torch.ones(64)).tanh().sum()

    return Subject(advance, owners={"learner": total})


def malloc() -> Subject:
    """Lose 1,000 bytes of malloc at each step, as a C library may."""
    return Subject(lambda: ctypes.memset(_LIBC.malloc(1000), 1, 1000))


def mapped() -> Subject:
    """Map 64 KiB at each step, as a driver may, and let Python know nothing of it."""
    _LIBC.mmap.restype, protection, private = ctypes.c_void_p, mmap.PROT_READ | mmap.PROT_WRITE, 0x22
    _LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]

    def advance() -> None:
        ctypes.memset(_LIBC.mmap(None, 65536, protection, private, -1, 0), 1, 65536)

    return Subject(advance)


_OPENED: List[int] = []


def descriptors() -> Subject:
    """Make an environment in each iteration that leaves a file open."""

    def advance() -> None:
        env = make_pointmass()
        _OPENED.append(os.open(os.devnull, os.O_RDONLY))
        env.close()

    return Subject(advance, owners={"loop": Loop()})


def _close_all() -> None:
    while _OPENED:
        os.close(_OPENED.pop())


_STOP = threading.Event()
_WORKERS: List[threading.Thread] = []


def threads() -> Subject:
    """Close an environment in each iteration whose thread goes on."""

    def advance() -> None:
        env = make_pointmass()
        _WORKERS.append(threading.Thread(target=_STOP.wait, name=f"worker-{len(_WORKERS)}", daemon=True))
        _WORKERS[-1].start()
        env.close()

    return Subject(advance)


def _stop_all() -> None:
    _STOP.set()
    while _WORKERS:
        _WORKERS.pop().join()
    _STOP.clear()


_STARTED: List[subprocess.Popen[bytes]] = []


def processes() -> Subject:
    """Start a process in each iteration, and wait for none when it has ended."""
    return Subject(lambda: _STARTED.append(subprocess.Popen(["true"])))


def _wait_for_all() -> None:
    while _STARTED:
        _STARTED.pop().wait()


def frames() -> Subject:
    """Keep exceptions, and so the frames that they passed through, with a large local variable each."""
    kept: Deque[BaseException] = collections.deque()

    def fail() -> None:
        batch = np.ones(512)
        raise ValueError(batch[0])

    def advance() -> None:
        try:
            fail()
        except ValueError as error:
            kept.append(error)

    return Subject(advance)


def callbacks() -> Subject:
    """Register a new function at each step, which keeps what it has captured."""

    class Hooks:
        """Calls what was registered."""

        def __init__(self) -> None:
            self.registered: List[Callable[[], Any]] = []

    hooks = Hooks()

    def advance() -> None:
        captured = np.ones(64)
        hooks.registered.append(lambda: captured)

    return Subject(advance)


def texts() -> Subject:
    """Keep every line of the console."""

    class Console:
        """Remembers."""

        def __init__(self) -> None:
            self.lines: List[str] = []

    console = Console()
    return Subject(lambda: console.lines.append(f"step {len(console.lines)} " * 20), owners={"logger": console})


def environments() -> Subject:
    """Make environments that are kept after they were closed."""
    kept = []

    def advance() -> None:
        kept.append(make_pointmass())
        kept[-1].reset()

    return Subject(advance)


LEAKS = {
    "tensors": Leak(tensors, 2000, "Cache.entries"),
    "statistics": Leak(statistics, 500, "metrics.returns"),
    "writer": Leak(writer, 200, "logger.scalars"),
    "rollouts": Leak(rollouts, 300, "rollout.rollouts"),
    "arrays": Leak(arrays, 300, "arrays.<locals>.advance"),
    "cycles": Leak(cycles, 400, "Node"),
    "graph": Leak(graph, 400, "learner"),
    "host-memory-leak": Leak(malloc, 1000, "malloc"),
    "mapped": Leak(mapped, 200, "outside malloc and Python"),
    "open-file-leak": Leak(descriptors, 50, "open files /dev/null", _close_all),
    "thread-leak": Leak(threads, 50, "threads worker-N", _stop_all),
    "processes": Leak(processes, 50, "child processes true", _wait_for_all),
    "frames": Leak(frames, 300, "frames.<locals>.advance"),
    "callbacks": Leak(callbacks, 300, "Hooks.registered"),
    "texts": Leak(texts, 500, "logger.lines"),
    "environments": Leak(environments, 100, "environments.<locals>.advance"),
}
"""Of each owner, and of sizes from 165 bytes to 64 KiB per step; three are bugs of `harness.faults`."""


def find(leak: Leak, gpu: Optional[DriverMeter] = None) -> SoakReport:
    """Soak a leak for the cycles within which it must be found."""
    report = soak(leak.make, WARM_UP, leak.cycles, gpu=gpu, close_timeout=0.0)
    leak.clean_up()
    gc.collect()
    return report


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaks", description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="leaks of a GPU")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these leaks alone")
    parser.add_argument("--repeats", type=int, default=1, help="soaks of each (default 1)")
    options = parser.parse_args(argv)
    gpu = DriverMeter() if options.gpu else None
    leaks = LEAKS
    if options.gpu:
        from benchmarks.gpu_leaks import LEAKS as leaks
    caught, named = [], []
    for name in options.only or leaks:
        for _ in range(options.repeats):
            report = find(leaks[name], gpu)
            caught.append(report.kind == LEAK)
            named.append(caught[-1] and leaks[name].owner in report.owners[0])
            _print(
                name, {"caught": caught[-1], "named": named[-1], "cycles": leaks[name].cycles, "share": report.share}
            )
            if not named[-1]:
                print(report, flush=True)
    _print("all", {"soaks": len(caught), "caught": sum(caught), "named": sum(named)})
    return 0 if all(caught) and sum(named) >= NAMED * len(named) else 1


def _print(name: str, metrics: Dict[str, float]) -> None:
    for metric, value in metrics.items():
        print(f"leaks.{name}.{metric} {float(value):.3g}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
