"""What a process of the harness is doing in somebody else's code, told to the process that watches it.

A call that never returns cannot be told from a slow one by waiting alone, so the watched process writes each call of a
factory, `reset` or `step` to a small file that both map into memory: when the call began, and how long calls took.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Optional

import psutil

LAYOUT = struct.Struct("=qqqqdd")
COUNT = struct.Struct("=q")  # of writes, before and after a state: equal unless the state is only half written
NOTHING, BUILD, RESET, STEP = range(4)
NAMES = ("nothing", "the factory", "reset", "step")
IDLE_S = 30.0  # without work, after which a call hangs
BUSY_S = 120.0  # of work after which one of the first calls hangs: some compile their kernels there
SLOWER = 10.0  # times the slowest call, after which a later one hangs although it works
MIN_WORK_S = 0.3  # of processor time; one that waits uses none, however busy the machine is


class CallState(NamedTuple):
    """What a process does.

    Attributes:
      pid: its process id.
      call: index in `NAMES`.
      builds: how many times a factory was called.
      calls: how many steps have returned since the last build.
      since: when the call began, or the last one returned (`time.monotonic`) [s].
      slowest: the longest step that returned [s].
    """

    pid: int = 0
    call: int = NOTHING
    builds: int = 0
    calls: int = 0
    since: float = 0.0
    slowest: float = 0.0

    @classmethod
    def read(cls, path: Path) -> CallState:
        """Return what a file says; nothing at all if nothing has been written yet, or a write is not complete."""
        try:
            content = path.read_bytes()
        except OSError:
            return cls()
        first, last = content[: COUNT.size], content[COUNT.size + LAYOUT.size :]
        if len(last) != COUNT.size or first != last:
            return cls()
        return cls(*LAYOUT.unpack_from(content, COUNT.size))


class _Writer:
    """Writes the state of this process, and of copies of it, to a file."""

    def __init__(self, path: Path) -> None:
        size = COUNT.size + LAYOUT.size + COUNT.size
        path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)

    @contextlib.contextmanager
    def during(self, call: int) -> Iterator[None]:
        """Write that a call runs."""
        before = CallState(*LAYOUT.unpack_from(self._memory, COUNT.size))
        began = time.monotonic()
        builds, calls = before.builds, before.calls
        if call == BUILD:
            builds, calls = builds + 1, 0
        slowest = before.slowest
        self._write(CallState(os.getpid(), call, builds, calls, began, slowest))
        try:
            yield
        finally:
            now = time.monotonic()
            if call == STEP:
                calls += 1
                slowest = max(slowest, now - began)
            self._write(CallState(os.getpid(), NOTHING, builds, calls, now, slowest))

    def _write(self, state: CallState) -> None:
        [count] = COUNT.unpack_from(self._memory)
        self._memory[: COUNT.size] = COUNT.pack(count + 1)
        self._memory[COUNT.size : -COUNT.size] = LAYOUT.pack(*state)
        self._memory[-COUNT.size :] = COUNT.pack(count + 1)


_writer: Optional[_Writer] = None


def write_to(path: Path) -> None:
    """Write what this process does to a file from now on."""
    global _writer
    _writer = _Writer(path)


def during(call: int) -> contextlib.AbstractContextManager[None]:
    """Say that a call runs, for as long as the context lasts; does nothing if nobody watches."""
    if _writer is None:
        return contextlib.nullcontext()
    return _writer.during(call)


class StallWatch:
    """Looks at a file again and again, and tells when a call does not return.

    Args:
      path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = CallState()
        self._work_before = 0.0

    def stalled(self) -> Optional[str]:
        """Return in words what does not return; None if nothing hangs."""
        state = CallState.read(self._path)
        if state.call == NOTHING:
            return None
        if (state.call, state.since) != (self._seen.call, self._seen.since):
            self._seen = state
            self._work_before = _work(state.pid)
        seconds = time.monotonic() - state.since
        if seconds <= max(IDLE_S, SLOWER * state.slowest):
            return None
        works = _work(state.pid) - self._work_before > MIN_WORK_S
        if works and state.calls == 0 and seconds <= BUSY_S:
            return None
        return f"{NAMES[state.call]} has not returned for {seconds:.0f} s"


def _work(pid: int) -> float:
    """Return the processor time of a process and all below it [s]."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system
    return total
