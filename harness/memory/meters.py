"""Meters: each reads one number about the memory of this process, or says why it cannot. No meter waits for a GPU."""

from __future__ import annotations

import abc
import collections
import contextlib
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import psutil

from harness.memory.heap import bytes_in_use
from harness.units import MIB

BYTES = "bytes"
PROC_DESCRIPTORS = Path("/proc/self/fd")
PROC_TASKS = Path("/proc/self/task")
FREE_LIST_BLOCKS = 4096.0
"""Blocks that Python keeps for reuse. A full collection returns them, so their number says nothing about a leak."""

PART, ALLOCATOR, PROCESS = range(3)
"""Ranks of meters, from the closest to the cause of a leak to the most general."""


class Blind(Exception):
    """A meter that cannot be read; the text says why."""


class Meter(abc.ABC):
    """One number about the memory of this process.

    Attributes:
      name: name of the number in reports.
      unit: `bytes`, or the plural of what is counted.
      owner: what to blame if this number grows and no meter closer to the cause does.
      quantum: step in which the number moves [unit]; smaller changes mean nothing.
      rank: `PART`, `ALLOCATOR` or `PROCESS`.
      on_gpu: whether the memory is on a GPU.
      blind: why the last reading failed; None if it succeeded.
    """

    name: str
    unit: str = BYTES
    owner: str
    quantum: float = 1.0
    rank: int = ALLOCATOR
    on_gpu: bool = False
    blind: Optional[str] = None

    def read(self) -> Optional[float]:
        """Return the current value; None if the meter is blind."""
        try:
            value = float(self._read())
        except Blind as reason:
            self.blind = str(reason)
            return None
        except (OSError, psutil.Error) as error:
            self.blind = f"{type(error).__name__}: {error}"
            return None
        self.blind = None
        return value

    def parts(self) -> Dict[str, float]:
        """Return the components of the number by name; this may take long."""
        return {}

    @abc.abstractmethod
    def _read(self) -> float:
        """Return the current value.

        Raises:
          Blind: the value is not available.
        """


# -- the process -----------------------------------------------------------------------------------------------------


class Resident(Meter):
    """Memory of the process that is in RAM (RSS)."""

    name = "rss"
    owner = "memory outside malloc and Python: mmap, a driver, a library"
    quantum = MIB
    rank = PROCESS

    def _read(self) -> float:
        return psutil.Process().memory_info().rss


class Unique(Meter):
    """Memory that would be free if the process ended (USS)."""

    name = "uss"
    owner = Resident.owner
    quantum = MIB
    rank = PROCESS

    def _read(self) -> float:
        return psutil.Process().memory_full_info().uss


class Shared(Meter):
    """Memory in RAM that other processes may share: libraries and shared memory."""

    name = "shared"
    owner = "shared memory or mapped files"
    quantum = MIB
    rank = PROCESS

    def _read(self) -> float:
        used = psutil.Process().memory_info()
        if not hasattr(used, "shared"):
            raise Blind("this operating system does not report shared memory")
        return used.shared


class Descriptors(Meter):
    """Open files, sockets and pipes."""

    name = "descriptors"
    unit = "descriptors"
    owner = "open files"
    rank = PART

    def _read(self) -> float:
        if not hasattr(psutil.Process, "num_fds"):
            raise Blind("this operating system does not report descriptors")
        return psutil.Process().num_fds()

    def parts(self) -> Dict[str, float]:
        """Return the number of descriptors by target, with digits in the target replaced by `N`."""
        found: Dict[str, float] = collections.defaultdict(float)
        if not PROC_DESCRIPTORS.is_dir():
            return {}
        for link in PROC_DESCRIPTORS.iterdir():
            with contextlib.suppress(OSError):  # the file was closed meanwhile
                found[_without_digits(os.readlink(str(link)))] += 1
        return dict(found)


class Threads(Meter):
    """Threads of the process, including threads of libraries."""

    name = "threads"
    unit = "threads"
    owner = "threads"
    rank = PART

    def _read(self) -> float:
        return psutil.Process().num_threads()

    def parts(self) -> Dict[str, float]:
        """Return the number of Python's threads by name, with digits in the name replaced by `N`."""
        found: Dict[str, float] = collections.defaultdict(float)
        for thread in threading.enumerate():
            found[_without_digits(thread.name)] += 1
        return dict(found)


class Children(Meter):
    """Child processes that run, or that have ended and were not waited for."""

    name = "children"
    unit = "processes"
    owner = "child processes"
    rank = PART

    def _read(self) -> float:
        return len(_child_ids())

    def parts(self) -> Dict[str, float]:
        """Return the number of children by program, with digits in its name replaced by `N`.

        Raises:
          Blind: the operating system does not report children.
        """
        found: Dict[str, float] = collections.defaultdict(float)
        for process_id in _child_ids():
            with contextlib.suppress(psutil.Error):  # the child is gone meanwhile
                child = psutil.Process(process_id)
                program = _without_digits(child.name())
                if child.status() == psutil.STATUS_ZOMBIE:
                    program += " (ended)"
                found[program] += 1
        return dict(found)


def _without_digits(name: str) -> str:
    return re.sub(r"\d+", "N", name)


def _child_ids() -> List[int]:
    """Return the ids of the processes that any thread of this process has started.

    Raises:
      Blind: the operating system does not report children.
    """
    found: List[int] = []
    readable = False
    for children in PROC_TASKS.glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += map(int, children.read_text().split())
            readable = True
    if not readable:
        raise Blind("this operating system does not report child processes")
    return found


# -- allocators ------------------------------------------------------------------------------------------------------


class Heap(Meter):
    """Memory in use from malloc: numpy, torch on the CPU, C libraries, large Python objects.

    Args:
      bytes_in_use: returns the bytes in use; raises `NotImplementedError` if the C library does not report them.
    """

    name = "heap"
    owner = "memory from malloc: numpy, torch on the CPU, or a C library"
    quantum = 64.0 * 1024

    def __init__(self, bytes_in_use: Callable[[], int] = bytes_in_use) -> None:
        self._bytes_in_use = bytes_in_use

    def _read(self) -> float:
        try:
            return self._bytes_in_use()
        except NotImplementedError as error:
            raise Blind(str(error)) from error


class PythonBlocks(Meter):
    """Small Python objects that are alive, of any type."""

    name = "python"
    unit = "blocks"
    owner = "small objects of Python"
    quantum = FREE_LIST_BLOCKS

    def _read(self) -> float:
        return sys.getallocatedblocks()


class _TorchMeter(Meter):
    """A counter of PyTorch's allocator.

    Args:
      device: index of the GPU.
    """

    on_gpu = True

    def __init__(self, device: int = 0) -> None:
        self._device = device

    @property
    def _cuda(self) -> Any:
        """`torch.cuda`, once this process uses a GPU."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            raise Blind("PyTorch does not use a GPU in this process")
        return torch.cuda


class TorchAllocated(_TorchMeter):
    """Bytes of living tensors on a GPU, rounded up by PyTorch's allocator."""

    name = "torch"
    owner = "tensors on the GPU"
    quantum = 512.0

    def _read(self) -> float:
        return self._cuda.memory_allocated(self._device)


class TorchReserved(_TorchMeter):
    """Memory that PyTorch's allocator took from the driver: tensors, and blocks it keeps for reuse."""

    name = "torch-reserved"
    owner = "tensors on the GPU, or the fragments between them"
    quantum = 2.0 * MIB

    def _read(self) -> float:
        return self._cuda.memory_reserved(self._device)


class TorchFragments(_TorchMeter):
    """Free pieces of blocks that PyTorch's allocator has split and cannot return to the driver."""

    name = "torch-fragments"
    owner = "fragmentation in PyTorch's allocator"
    quantum = 2.0 * MIB

    def _read(self) -> float:
        return self._cuda.memory_stats(self._device).get("inactive_split_bytes.all.current", 0)


class WarpPool(Meter):
    """Memory in use in Warp's memory pool.

    Args:
      device: index of the GPU.
    """

    name = "warp"
    owner = "arrays of Warp: the simulator"
    quantum = 512.0
    on_gpu = True

    def __init__(self, device: int = 0) -> None:
        self._device = f"cuda:{device}"

    def _read(self) -> float:
        warp = sys.modules.get("warp")
        if warp is None:
            raise Blind("Warp is not loaded")
        try:
            return warp.get_mempool_used_mem_current(self._device)
        except (RuntimeError, ValueError) as error:
            raise Blind(f"Warp: {error}") from error


def process_meters() -> List[Meter]:
    """Return the meters of the process itself, the closest to a cause first."""
    return [Descriptors(), Threads(), Children(), Heap(), PythonBlocks(), Resident(), Unique(), Shared()]
