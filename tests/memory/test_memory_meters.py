"""Tests of the meters: each shows what was taken, or says why it cannot."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import threading
import types

import psutil
import pytest
import torch

from harness.memory import meters
from harness.memory.meters import (
    MIB,
    Blind,
    Children,
    Descriptors,
    Heap,
    PythonBlocks,
    Resident,
    Shared,
    Threads,
    TorchAllocated,
    TorchFragments,
    TorchReserved,
    Unique,
    WarpPool,
    process_meters,
)

pytestmark = pytest.mark.memory

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype, LIBC.malloc.argtypes, LIBC.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]


def grown(meter, take):
    """Return by how much a meter grew while `take` ran; the result of `take` is kept until then."""
    before = meter.read()
    kept = take()
    after = meter.read()
    del kept
    return after - before


def filled(area):
    """Write to all of a mapped area, in pieces so small that malloc keeps nothing worth counting."""
    for _ in range(len(area) // MIB):
        area.write(b"x" * MIB)
    return area


@pytest.mark.parametrize("meter", [Resident(), Unique()], ids=lambda meter: meter.name)
def test_memory_that_was_mapped_and_written_shows(meter):
    """32 MiB of private memory show as 32 MiB more in RAM."""

    def take():
        area = mmap.mmap(-1, 32 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return filled(area)

    meter.read()
    assert grown(meter, take) == pytest.approx(32 * MIB, abs=2 * MIB)


def test_shared_memory_shows():
    """Memory that other processes may map counts as shared."""

    def take():
        area = mmap.mmap(-1, 32 * MIB)
        return filled(area)

    assert grown(Shared(), take) == pytest.approx(32 * MIB, abs=2 * MIB)


@pytest.mark.skipif(Heap().read() is None, reason="the C library has no mallinfo2")
@pytest.mark.parametrize("size", [1000, 64 * 1024, 4 * MIB])
def test_memory_from_malloc_shows(size):
    """Small blocks, large blocks and blocks that malloc maps separately all count."""
    addresses = [LIBC.malloc(size) for _ in range(2)]  # until malloc has settled
    count = 50
    taken = grown(Heap(), lambda: addresses.extend(LIBC.malloc(size) for _ in range(count)))
    for address in addresses:
        LIBC.free(address)
    assert taken == pytest.approx(count * size, rel=0.1)


@pytest.mark.skipif(Heap().read() is None, reason="the C library has no mallinfo2")
def test_tensor_on_the_cpu_shows_on_the_heap():
    """PyTorch's memory on the CPU comes from malloc."""
    assert grown(Heap(), lambda: torch.empty(MIB, dtype=torch.uint8)) == pytest.approx(MIB, rel=0.1)


def test_c_library_without_mallinfo2_makes_the_heap_blind():
    """The reason names the missing function of the C library."""

    def refuse():
        raise NotImplementedError("the C library has no mallinfo2")

    meter = Heap(bytes_in_use=refuse)
    assert meter.read() is None
    assert "mallinfo2" in meter.blind


def test_small_objects_of_python_show():
    """Ten thousand numbers are ten thousand blocks."""
    assert grown(PythonBlocks(), lambda: [float(value) for value in range(10_000)]) == pytest.approx(10_000, abs=100)


def test_descriptors_are_counted_and_named():
    """Each open file counts, under its target."""
    meter = Descriptors()
    opened = []
    assert grown(meter, lambda: opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(3))) == 3
    assert not meters.PROC_DESCRIPTORS.is_dir() or meter.parts()[os.devnull] >= 3
    for descriptor in opened:
        os.close(descriptor)


def test_children_are_counted_and_named():
    """Processes count while they run, and after they have ended until they are waited for."""
    meter = Children()
    before = meter.read()
    living = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    ended = [subprocess.Popen(["true"]) for _ in range(2)]
    for process in ended:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert meter.read() - before == 5
        assert meter.parts()["true (ended)"] == 2
    finally:
        for process in living:
            process.kill()
        for process in living + ended:
            process.wait()
    assert meter.read() == before
    assert "true (ended)" not in meter.parts()


def test_children_are_blind_where_the_system_does_not_report_them(monkeypatch, tmp_path):
    """On a system without /proc the meter is blind."""
    monkeypatch.setattr(meters, "PROC_TASKS", tmp_path / "none")
    meter = Children()
    assert meter.read() is None
    assert meter.blind
    with pytest.raises(Blind):
        meter.parts()


def test_threads_are_counted_and_named():
    """Threads count until they end; digits in their names are replaced."""
    meter, wait = Threads(), threading.Event()
    workers = [threading.Thread(target=wait.wait, name=f"worker-{index}") for index in range(3)]
    assert grown(meter, lambda: [worker.start() for worker in workers]) == 3
    assert meter.parts()["worker-N"] == 3
    wait.set()
    for worker in workers:
        worker.join()


@pytest.mark.parametrize(
    "kind, stats", [(TorchAllocated, "allocated"), (TorchReserved, "reserved"), (TorchFragments, "fragments")]
)
def test_meters_of_torch_show_its_statistics(monkeypatch, kind, stats):
    """The values come from the statistics of PyTorch's allocator, for the right device."""
    asked = []

    def answer(value):
        return lambda device: asked.append(device) or value

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_allocated", answer(11))
    monkeypatch.setattr(torch.cuda, "memory_reserved", answer(22))
    monkeypatch.setattr(torch.cuda, "memory_stats", answer({"inactive_split_bytes.all.current": 33}))
    assert kind(3).read() == {"allocated": 11, "reserved": 22, "fragments": 33}[stats]
    assert asked == [3]


@pytest.mark.parametrize("kind", [TorchAllocated, TorchReserved, TorchFragments])
def test_meters_of_torch_are_blind_without_a_gpu(kind):
    """A process that uses no GPU has no such memory; the value is None, not 0."""
    meter = kind()
    assert meter.read() is None
    assert "GPU" in meter.blind


def test_meter_of_warp_shows_its_pool_or_says_why(monkeypatch):
    """Warp's error is the reason; the meter never loads Warp."""
    monkeypatch.setitem(sys.modules, "warp", None)
    meter = WarpPool(2)
    assert meter.read() is None
    assert "not loaded" in meter.blind

    def refuse(device):
        raise RuntimeError(f"Device {device} does not support memory pools")

    monkeypatch.setitem(sys.modules, "warp", types.SimpleNamespace(get_mempool_used_mem_current=refuse))
    assert meter.read() is None
    assert "cuda:2" in meter.blind
    pool = types.SimpleNamespace(get_mempool_used_mem_current=lambda device: {"cuda:2": 44}[device])
    monkeypatch.setitem(sys.modules, "warp", pool)
    assert meter.read() == 44
    assert meter.blind is None


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), PermissionError("no")])
def test_process_that_may_not_be_read_makes_a_meter_blind(monkeypatch, error):
    """A missing permission is a reason, not an exception."""

    def refuse(self):
        raise error

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    meter = Resident()
    assert meter.read() is None
    assert type(error).__name__ in meter.blind


def test_meters_have_different_names_and_an_owner_each():
    """Each meter has a name of its own, an owner and a quantum."""
    names = [meter.name for meter in process_meters()]
    assert len(set(names)) == len(names)
    assert all(meter.owner and meter.quantum > 0 for meter in process_meters())
