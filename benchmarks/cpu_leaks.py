"""Leaks on the CPU, for `python -m benchmarks.leaks`: of every owner, and of 165 bytes to 64 KiB per step."""

from __future__ import annotations

import collections
import ctypes
import mmap
import os
import subprocess
import threading
from typing import Any, Callable, Deque, Dict, List, Tuple

import numpy as np
import torch

from benchmarks.planted_leak import PlantedLeak
from harness.memory.soak import Subject
from harness.toys import make_pointmass

MAP_PRIVATE_ANONYMOUS = 0x22

_LIBC = ctypes.CDLL(None)
_LIBC.malloc.restype, _LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]


class Statistics:
    """Keeps the outcomes of all episodes."""

    def __init__(self) -> None:
        self.returns: List[float] = []

    def add(self, values: List[float]) -> None:
        """Keep the returns of some episodes."""
        self.returns += values


class Writer:
    """A log writer that keeps every scalar."""

    def __init__(self) -> None:
        self.scalars: Dict[str, List[Tuple[int, float]]] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Keep (step, value); this takes about 165 bytes."""
        self.scalars.setdefault(tag, []).append((step, value))


class Buffer:
    """A rollout buffer that makes new arrays and keeps the old ones."""

    def __init__(self) -> None:
        self.rollouts: List[torch.Tensor] = []

    def finish(self) -> None:
        """Begin the next rollout of 4 KiB."""
        self.rollouts.append(torch.zeros(1024))


class Loop:
    """Allocates and releases memory, but keeps nothing, so that the leak is not the only activity."""

    def __init__(self) -> None:
        self.last = torch.zeros(64)

    def turn(self) -> None:
        """Compute something."""
        self.last = torch.tanh(self.last + 1.0)
        np.sort(np.arange(500)[::-1]).tolist()


class Cache:
    """A cache without a bound, which is not among the owners of its soak."""

    def __init__(self) -> None:
        self.entries: List[torch.Tensor] = []


def tensors() -> Subject:
    """Keep a tensor of 512 bytes at each step, in a part that no owner leads to."""
    cache = Cache()
    return Subject(lambda: cache.entries.append(torch.zeros(128)), owners={"loop": Loop()})


def statistics() -> Subject:
    """Keep the return of every episode."""
    kept = Statistics()
    return Subject(lambda: kept.add(list(map(float, range(20)))), owners={"metrics": kept})


def writer() -> Subject:
    """Keep every scalar that was logged, a hundred in each cycle."""
    kept = Writer()
    step = 0

    def advance() -> None:
        nonlocal step
        for _ in range(100):
            step += 1
            kept.add_scalar("loss", float(step), step)

    return Subject(advance, steps=100, owners={"logger": kept})


def rollouts() -> Subject:
    """Keep every rollout."""
    kept = Buffer()
    return Subject(kept.finish, owners={"rollout": kept, "loop": Loop()})


def arrays() -> Subject:
    """Keep numpy arrays in a dict of a closure."""
    kept: Dict[int, np.ndarray] = {}

    def advance() -> None:
        kept[len(kept)] = np.ones(512)

    return Subject(advance)


def cycles() -> Subject:
    """Keep objects that refer to themselves, in a registry of their class."""

    class Node:
        """Registers itself."""

        alive: List[Any] = []

        def __init__(self) -> None:
            self.self = self
            self.values = [0.0] * 50
            self.alive.append(self)

    return Subject(Node)


def graph() -> Subject:
    """Sum losses without detaching them, so that the autograd graph of every step stays."""
    weight = torch.ones(64, requires_grad=True)
    total = [weight.sum()]

    def advance() -> None:
        total[0] = total[0] + (weight * torch.ones(64)).tanh().sum()

    return Subject(advance, owners={"learner": total})


def malloc() -> Subject:
    """Lose 1,000 bytes of malloc at each step, as a C library may."""
    return Subject(lambda: ctypes.memset(_LIBC.malloc(1000), 1, 1000))


def mapped() -> Subject:
    """Map 64 KiB at each step without Python's knowledge, as a driver may."""

    def advance() -> None:
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address = _LIBC.mmap(None, 65536, protection, MAP_PRIVATE_ANONYMOUS, -1, 0)
        ctypes.memset(address, 1, 65536)

    return Subject(advance)


_OPENED: List[int] = []


def descriptors() -> Subject:
    """Make an environment in each cycle that leaves a file open."""

    def advance() -> None:
        env = make_pointmass()
        _OPENED.append(os.open(os.devnull, os.O_RDONLY))
        env.close()

    return Subject(advance, owners={"loop": Loop()})


def _close_files() -> None:
    while _OPENED:
        os.close(_OPENED.pop())


_STOP = threading.Event()
_WORKERS: List[threading.Thread] = []


def threads() -> Subject:
    """Close an environment in each cycle whose thread keeps running."""

    def advance() -> None:
        env = make_pointmass()
        worker = threading.Thread(target=_STOP.wait, name=f"worker-{len(_WORKERS)}", daemon=True)
        _WORKERS.append(worker)
        worker.start()
        env.close()

    return Subject(advance)


def _stop_workers() -> None:
    _STOP.set()
    while _WORKERS:
        _WORKERS.pop().join()
    _STOP.clear()


_STARTED: List[subprocess.Popen[bytes]] = []


def processes() -> Subject:
    """Start a process in each cycle, and wait for none of them."""
    return Subject(lambda: _STARTED.append(subprocess.Popen(["true"])))


def _wait_for_processes() -> None:
    while _STARTED:
        _STARTED.pop().wait()


def frames() -> Subject:
    """Keep exceptions, and with them frames that have a large local variable each."""
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
        """A list of functions to call."""

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
        """Keeps its lines."""

        def __init__(self) -> None:
            self.lines: List[str] = []

    console = Console()
    return Subject(lambda: console.lines.append(f"step {len(console.lines)} " * 20), owners={"logger": console})


def environments() -> Subject:
    """Make environments and keep them."""
    kept = []

    def advance() -> None:
        kept.append(make_pointmass())
        kept[-1].reset()

    return Subject(advance)


LEAKS = {
    "tensors": PlantedLeak(tensors, 2000, "Cache.entries"),
    "statistics": PlantedLeak(statistics, 500, "metrics.returns"),
    "writer": PlantedLeak(writer, 200, "logger.scalars"),
    "rollouts": PlantedLeak(rollouts, 300, "rollout.rollouts"),
    "arrays": PlantedLeak(arrays, 300, "arrays.<locals>.advance"),
    "cycles": PlantedLeak(cycles, 400, "Node"),
    "graph": PlantedLeak(graph, 400, "learner"),
    "host-memory-leak": PlantedLeak(malloc, 1000, "malloc"),
    "mapped": PlantedLeak(mapped, 200, "outside malloc and Python"),
    "open-file-leak": PlantedLeak(descriptors, 50, "open files /dev/null", _close_files),
    "thread-leak": PlantedLeak(threads, 50, "threads worker-N", _stop_workers),
    "processes": PlantedLeak(processes, 50, "child processes true", _wait_for_processes),
    "frames": PlantedLeak(frames, 300, "frames.<locals>.advance"),
    "callbacks": PlantedLeak(callbacks, 300, "Hooks.registered"),
    "texts": PlantedLeak(texts, 500, "logger.lines"),
    "environments": PlantedLeak(environments, 100, "environments.<locals>.advance"),
}
"""The leaks by name; three names are those of bugs of `harness.faults`."""
