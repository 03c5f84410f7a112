"""Leaks on a GPU, for `python -m benchmarks.leaks --gpu`: of PyTorch, of Warp, and of memory only the driver sees."""

from __future__ import annotations

import ctypes
import gc
from typing import Any, List

import torch

from benchmarks.planted_leak import WARM_UP_CYCLES, PlantedLeak
from harness.memory.soak import Subject

MAX_ADDRESSES = 10_000
DRIVER_BYTES = 2048  # that the leak of the driver takes at each step


class Work:
    """Computes on the GPU, so that the leak is not the only activity."""

    def __init__(self) -> None:
        self.last = torch.zeros(256, 256, device="cuda")

    def turn(self) -> None:
        """Compute something."""
        self.last = torch.tanh(self.last @ self.last + 1.0)


def tensors() -> Subject:
    """Keep a tensor of 512 bytes at each step."""
    work = Work()
    kept: List[torch.Tensor] = []

    def advance() -> None:
        work.turn()
        kept.append(torch.zeros(128, device="cuda"))

    return Subject(advance, owners={"work": work})


def rollouts() -> Subject:
    """Keep every rollout of 64 KiB."""
    work = Work()

    class Rollout:
        """Keeps memory that it should reuse."""

        def __init__(self) -> None:
            self.old: List[torch.Tensor] = []

    rollout = Rollout()

    def advance() -> None:
        work.turn()
        rollout.old.append(work.last[:64].clone())

    return Subject(advance, owners={"rollout": rollout, "work": work})


_ADDRESSES = (ctypes.c_uint64 * MAX_ADDRESSES)()  # not a list, which would grow as well


def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def driver_level() -> Subject:
    """Take 2 KiB from the driver at each step and never return them: no allocator of the process knows of them."""
    work, cuda = Work(), _driver()
    next_index = list(_ADDRESSES).index(0)

    def advance() -> None:
        nonlocal next_index
        work.turn()
        place = ctypes.byref(_ADDRESSES, next_index * ctypes.sizeof(ctypes.c_uint64))
        next_index += 1
        status = cuda.cuMemAlloc_v2(place, ctypes.c_size_t(DRIVER_BYTES))
        assert status == 0, f"cuMemAlloc failed with {status}"

    return Subject(advance, owners={"work": work})


def _free_addresses() -> None:
    torch.cuda.synchronize()
    for index, address in enumerate(_ADDRESSES):
        if address:
            _driver().cuMemFree_v2(ctypes.c_uint64(address))
            _ADDRESSES[index] = 0


def arrays() -> Subject:
    """Keep an array of Warp of 4 KiB at each step."""
    import warp

    work = Work()
    kept: List[Any] = []

    def advance() -> None:
        work.turn()
        kept.append(warp.zeros(1024, dtype=float, device="cuda:0"))

    return Subject(advance, owners={"work": work})


def _empty_cache() -> None:
    gc.collect()
    torch.cuda.empty_cache()


LEAKS = {
    "tensors": PlantedLeak(tensors, 2000, "tensors.<locals>.advance", _empty_cache),
    "rollouts": PlantedLeak(rollouts, 300, "rollout.old", _empty_cache),
    "driver-level-leak": PlantedLeak(driver_level, 5000 - WARM_UP_CYCLES, "outside the allocators", _free_addresses),
    "arrays": PlantedLeak(arrays, 1000, "arrays.<locals>.advance", _empty_cache),
}
"""The leaks by name; one name is that of a bug of `harness.faults`."""
