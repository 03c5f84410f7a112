"""Tests of the attribution of growth: the owner that is closest to the cause comes first."""

from __future__ import annotations

import dataclasses
import math

import pytest

from harness.memory.attribution import owners_to_blame
from harness.memory.driver import DriverMeter
from harness.memory.meters import MIB, Heap, PythonBlocks, Resident, TorchAllocated, TorchReserved, Unique, WarpPool
from harness.memory.sampler import Series
from harness.memory.verdict import CLEAN, LEAK, NOT_ENOUGH, MeterVerdict, judge

pytestmark = pytest.mark.memory

OUTSIDE = "memory outside the allocators of PyTorch and Warp"
STEPS, STRIDE = 5000, 20


def owners(parts=(), **rates):
    """Return the owners of a run whose meters grew at the given rates [unit per step], in steps of their quantum."""
    kinds = (DriverMeter, TorchAllocated, TorchReserved, Unique, WarpPool, Heap, PythonBlocks, Resident)
    meters = [kind() for kind in kinds]
    for meter in meters:
        meter.blind = None
    findings = [judge(meter, stairs(rates.get(meter.name, 0.0), meter.quantum), -1.0) for meter in meters]
    assert {each.meter for each in findings if each.kind == LEAK} == set(rates)
    return owners_to_blame(list(parts), findings, meters)


def stairs(rate, quantum):
    series = Series()
    for step in range(0, STEPS, STRIDE):
        series.add(step, 0.01 * step, quantum * math.floor(rate * step / quantum))
    return series


@pytest.mark.parametrize("others", [{}, {"rss": 1500.0}], ids=["heap", "heap and rss"])
def test_records_of_the_driver_on_the_host_come_after_the_leak_on_the_gpu(others):
    """A leak of 2 KiB per step that only the driver sees comes with 899 B of records on the heap, as on an H100."""
    found = owners(driver=2048.0, heap=899.0, **others)
    assert found[0].startswith(OUTSIDE)
    assert found[1].startswith(Heap.owner)


def test_leak_of_the_host_and_smaller_leak_of_the_gpu_are_both_named():
    """Two leaks are two owners; the leak that no bookkeeping explains comes first."""
    found = owners(driver=2048.0, heap=65536.0)
    assert found[0].startswith(Heap.owner)
    assert found[1].startswith(OUTSIDE)


def test_each_owner_says_how_much():
    """Every owner is reported with its growth."""
    assert owners(driver=2048.0, heap=899.0) == [
        OUTSIDE + ": +8.00 MiB",
        Heap.owner + ": +4.19 MiB",
    ]


def test_part_that_holds_tensors_comes_before_their_allocator():
    """If the GPU's allocators explain the growth of the driver's meter, the part that grew is closest to the cause."""
    found = owners(["rollout rollout.old: +80 MiB"], driver=16384.0, torch=16384.0, heap=700.0)
    assert [text.split(": +")[0] for text in found] == [
        "rollout rollout.old",
        TorchAllocated.owner,
        OUTSIDE,
        Heap.owner,
    ]
    found = owners(["rollout rollout.old: +80 MiB"], driver=16384.0, **{"torch-reserved": 16384.0})
    assert found[0].startswith("rollout")


def test_part_of_the_host_cannot_hold_what_leaks_outside_the_allocators():
    """A list that grows while the driver's memory leaks is named, but after the leak that it cannot have caused."""
    found = owners(["metrics metrics.returns: +1 MiB"], driver=2048.0, heap=899.0)
    assert found[0].startswith(OUTSIDE)
    assert found[1].startswith("metrics")


def test_most_of_what_leaks_on_the_gpu_comes_first():
    """A few tensors leak, but most of the driver's growth is not from tensors."""
    found = owners(["cache Cache.entries: +2,000"], driver=8192.0, torch=512.0)
    assert found[0].startswith(OUTSIDE)
    assert found[2].startswith(TorchAllocated.owner)


def test_tensors_come_before_what_the_host_keeps_of_them():
    """A leak of tensors of 512 bytes is a leak on the GPU, even if their records on the host are larger."""
    found = owners(torch=512.0, heap=800.0)
    assert found[0].startswith(TorchAllocated.owner)


def test_leak_of_the_host_is_named_by_its_allocator():
    """Growth of the process is attributed to malloc if malloc explains most of it; small objects are counted."""
    assert owners(heap=1000.0, rss=1000.0) == [Heap.owner + ": +4.69 MiB"]
    found = owners(heap=100.0, rss=1000.0)
    assert [text.split(": +")[0] for text in found] == [Heap.owner, Resident.owner]
    assert owners(python=20.0, rss=2.0 * MIB / STRIDE)[0] == "small objects of Python: +98,304 blocks"


def test_growth_of_malloc_in_few_jumps_is_named_where_the_process_leaks():
    """If the process leaks, malloc is named even though its own curve is not a leak."""
    meters = [Heap(), Resident(), Unique()]
    findings = [MeterVerdict(each.name, each.unit, LEAK, growth=5e6) for each in meters]
    findings[0] = dataclasses.replace(findings[0], kind=NOT_ENOUGH)
    assert owners_to_blame([], findings, meters) == [Heap.owner + ": +4.77 MiB"]


def test_memory_outside_malloc_is_named_once():
    """RSS and USS have the same owner, which is named once."""
    meters = [Heap(), Resident(), Unique()]
    findings = [MeterVerdict(each.name, each.unit, LEAK, growth=5e6) for each in meters]
    findings[0] = dataclasses.replace(findings[0], kind=CLEAN, growth=0.0)
    assert owners_to_blame([], findings, meters) == [Resident.owner + ": +4.77 MiB"]
