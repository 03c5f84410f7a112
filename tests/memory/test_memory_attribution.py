"""Contracts of blame: of all that grew, what is nearest to the cause comes first."""

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
    """Return the owners of a run in which meters grew by so many units per step, in the steps in which they move."""
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
def test_what_the_driver_keeps_on_the_host_comes_after_what_leaks_on_the_gpu(others):
    """2 KiB per step that only the driver sees come with 899 B of its records from malloc, as on an H100."""
    found = owners(driver=2048.0, heap=899.0, **others)
    assert found[0].startswith(OUTSIDE)
    assert found[1].startswith(Heap.owner)


def test_leak_of_the_host_beside_a_smaller_one_of_the_gpu_is_told():
    """Two leaks are two owners; the one that no bookkeeping explains comes first."""
    found = owners(driver=2048.0, heap=65536.0)
    assert found[0].startswith(Heap.owner)
    assert found[1].startswith(OUTSIDE)


def test_each_owner_says_how_much():
    """So a reader sees which leak matters."""
    assert owners(driver=2048.0, heap=899.0) == [
        OUTSIDE + ": +8.00 MiB",
        Heap.owner + ": +4.19 MiB",
    ]


def test_part_that_holds_tensors_comes_before_their_allocator():
    """Where the allocators of the GPU explain what the driver gave, the part that grew is nearest to the cause."""
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
    """A list that grows beside a leak of the driver's is named, but after what it cannot be the cause of."""
    found = owners(["metrics metrics.returns: +1 MiB"], driver=2048.0, heap=899.0)
    assert found[0].startswith(OUTSIDE)
    assert found[1].startswith("metrics")


def test_most_of_what_leaks_on_the_gpu_comes_first():
    """Few tensors leak, but most of what the driver gave is no tensor."""
    found = owners(["cache Cache.entries: +2,000"], driver=8192.0, torch=512.0)
    assert found[0].startswith(OUTSIDE)
    assert found[2].startswith(TorchAllocated.owner)


def test_tensors_come_before_what_the_host_keeps_of_them():
    """A tensor of 512 bytes whose own record on the host is larger leaks on the GPU."""
    found = owners(torch=512.0, heap=800.0)
    assert found[0].startswith(TorchAllocated.owner)


def test_leak_of_the_host_is_named_by_its_allocator():
    """What malloc gave out is not outside malloc; where it gave little, what grew is, and small objects are counted."""
    assert owners(heap=1000.0, rss=1000.0) == [Heap.owner + ": +4.69 MiB"]
    found = owners(heap=100.0, rss=1000.0)
    assert [text.split(": +")[0] for text in found] == [Heap.owner, Resident.owner]
    assert owners(python=20.0, rss=2.0 * MIB / STRIDE)[0] == "small objects of Python: +98,304 blocks"


def test_growth_of_malloc_in_few_jumps_is_named_where_the_process_leaks():
    """Malloc's own curve may be no leak; it is nearer to the cause all the same."""
    meters = [Heap(), Resident(), Unique()]
    findings = [MeterVerdict(each.name, each.unit, LEAK, growth=5e6) for each in meters]
    findings[0] = dataclasses.replace(findings[0], kind=NOT_ENOUGH)
    assert owners_to_blame([], findings, meters) == [Heap.owner + ": +4.77 MiB"]


def test_memory_outside_malloc_is_named_once():
    """All of the process, and what is its own, are one owner."""
    meters = [Heap(), Resident(), Unique()]
    findings = [MeterVerdict(each.name, each.unit, LEAK, growth=5e6) for each in meters]
    findings[0] = dataclasses.replace(findings[0], kind=CLEAN, growth=0.0)
    assert owners_to_blame([], findings, meters) == [Resident.owner + ": +4.77 MiB"]
