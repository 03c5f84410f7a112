"""Meters: each reads one number about this process, or says why it cannot. None of them waits for a GPU."""

from __future__ import annotations

import abc
import collections
import contextlib
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional

import psutil

from harness.memory.heap import bytes_in_use

MIB = 2**20
BYTES = "bytes"
DESCRIPTORS = Path("/proc/self/fd")
TASKS = Path("/proc/self/task")
FREE_LISTS = 4096.0  # objects that Python keeps for later: after each full collection it gathers them anew

PART, ALLOCATOR, PROCESS = range(3)  # how near to the cause a meter is, the nearest first


class Blind(Exception):
    """A meter that cannot be read; the text says why."""


class Meter(abc.ABC):
    """One number about the memory of this process.

    Attributes:
      name: of the number.
      unit: `bytes`, or what is counted, in the plural.
      owner: what is to blame if this grows and nothing nearer to the cause does.
      quantum: in what steps the number moves; smaller changes say nothing.
      rank: `PART`, `ALLOCATOR` or `PROCESS`.
      on_gpu: whether what it counts lies on a GPU.
      blind: why the last reading failed; None if it did not.
    """

    name: str
    unit: str = BYTES
    owner: str
    quantum: float = 1.0
    rank: int = ALLOCATOR
    on_gpu: bool = False
    blind: Optional[str] = None

    def read(self) -> Optional[float]:
        """Return the number now; None where the meter is blind."""
        try:
            value = float(self._read())
        except Blind as why:
            self.blind = str(why)
            return None
        except (OSError, psutil.Error) as error:
            self.blind = f"{type(error).__name__}: {error}"
            return None
        self.blind = None
        return value

    def parts(self) -> Dict[str, float]:
        """Return what the number is made of, by name; it may take long."""
        return {}

    @abc.abstractmethod
    def _read(self) -> float:
        """Return the number.

        Raises:
          Blind: it cannot be had.
        """


# -- the process -----------------------------------------------------------------------------------------------------


class Resident(Meter):
    """Memory of the process that is in RAM (RSS)."""

    name, owner, quantum, rank = "rss", "memory outside malloc and Python: mmap, a driver, a library", MIB, PROCESS

    def _read(self) -> float:
        return psutil.Process().memory_info().rss


class Unique(Meter):
    """Memory that would be free if the process ended (USS)."""

    name, owner, quantum, rank = "uss", Resident.owner, MIB, PROCESS

    def _read(self) -> float:
        return psutil.Process().memory_full_info().uss


class Shared(Meter):
    """Memory in RAM that other processes may share: libraries, shared memory."""

    name, owner, quantum, rank = "shared", "shared memory or mapped files", MIB, PROCESS

    def _read(self) -> float:
        used = psutil.Process().memory_info()
        if not hasattr(used, "shared"):
            raise Blind("this system does not tell")
        return used.shared


class Descriptors(Meter):
    """Open files, sockets and pipes."""

    name, unit, owner, rank = "descriptors", "descriptors", "open files", PART

    def _read(self) -> float:
        if not hasattr(psutil.Process, "num_fds"):
            raise Blind("this system does not tell")
        return psutil.Process().num_fds()

    def parts(self) -> Dict[str, float]:
        """Return how many descriptors lead where; digits in the names of files count as one."""
        found: Dict[str, float] = collections.defaultdict(float)
        for link in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
            with contextlib.suppress(OSError):
                found[re.sub(r"\d+", "N", os.readlink(str(link)))] += 1
        return dict(found)


class Threads(Meter):
    """Threads of the process, those of libraries included."""

    name, unit, owner, rank = "threads", "threads", "threads", PART

    def _read(self) -> float:
        return psutil.Process().num_threads()

    def parts(self) -> Dict[str, float]:
        """Return how many threads of Python bear which name; digits count as one."""
        names = (re.sub(r"\d+", "N", thread.name) for thread in threading.enumerate())
        return {name: float(count) for name, count in collections.Counter(names).items()}


class Children(Meter):
    """Processes that this one has started and that live, or have ended and nobody has waited for them."""

    name, unit, owner, rank = "children", "processes", "child processes", PART

    def _read(self) -> float:
        return len(_children())

    def parts(self) -> Dict[str, float]:
        """Return how many run which program; digits in its name count as one.

        Raises:
          Blind: the system does not tell.
        """
        found: Dict[str, float] = collections.defaultdict(float)
        for number in _children():
            with contextlib.suppress(psutil.Error):
                child = psutil.Process(number)
                ended = " (ended)" if child.status() == psutil.STATUS_ZOMBIE else ""
                found[re.sub(r"\d+", "N", child.name()) + ended] += 1
        return dict(found)


def _children() -> List[int]:
    """Return the ids of the processes that any thread of this one has started.

    Raises:
      Blind: the system does not tell.
    """
    found: Optional[List[int]] = None
    for started in TASKS.glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found = (found or []) + [int(number) for number in started.read_text().split()]
    if found is None:
        raise Blind("this system does not tell")
    return found


# -- allocators ------------------------------------------------------------------------------------------------------


class Heap(Meter):
    """What malloc has given out: numpy, torch on the CPU, C libraries, large objects of Python."""

    name, owner, quantum = "heap", "memory from malloc: numpy, torch on the CPU, or a C library", 64.0 * 1024

    def _read(self) -> float:
        try:
            return bytes_in_use()
        except NotImplementedError as error:
            raise Blind(str(error)) from error


class PythonBlocks(Meter):
    """Small objects of Python that are alive, whatever their type."""

    name, unit, owner, quantum = "python", "blocks", "small objects of Python", FREE_LISTS

    def _read(self) -> float:
        return sys.getallocatedblocks()


def _torch_on_gpu() -> Any:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        raise Blind("PyTorch does not use a GPU in this process")
    return torch


class TorchAllocated(Meter):
    """Bytes of living tensors on a GPU, as PyTorch's allocator rounds them."""

    name, owner, quantum = "torch", "tensors on the GPU", 512.0
    on_gpu = True

    def __init__(self, device: int = 0) -> None:
        self._device = device

    def _read(self) -> float:
        return _torch_on_gpu().cuda.memory_allocated(self._device)


class TorchReserved(TorchAllocated):
    """What PyTorch's allocator took from the driver, tensors and what it keeps for later."""

    name, owner, quantum = "torch-reserved", "tensors on the GPU, or the fragments between them", 2.0 * MIB

    def _read(self) -> float:
        return _torch_on_gpu().cuda.memory_reserved(self._device)


class TorchFragments(TorchAllocated):
    """Free pieces of blocks that PyTorch's allocator has split and cannot give back."""

    name, owner, quantum = "torch-fragments", "fragmentation in PyTorch's allocator", 2.0 * MIB

    def _read(self) -> float:
        return _torch_on_gpu().cuda.memory_stats(self._device).get("inactive_split_bytes.all.current", 0)


class WarpPool(Meter):
    """What is in use of Warp's memory pool."""

    name, owner, quantum = "warp", "arrays of Warp: the simulator", 512.0
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
    """Return the meters of the process itself, those nearest to the cause first."""
    return [Descriptors(), Threads(), Children(), Heap(), PythonBlocks(), Resident(), Unique(), Shared()]
