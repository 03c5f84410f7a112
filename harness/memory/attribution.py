"""Whose it is: what grew between two moments, by the parts of the meters."""

from __future__ import annotations

import contextlib
import math
import tracemalloc
from typing import Dict, List, Sequence, Tuple

from harness.memory.meters import ALLOCATOR, BYTES, PART, PROCESS, Blind, Heap, Meter, Resident
from harness.memory.sampler import Sampler
from harness.memory.verdict import LEAK, MeterVerdict, amount

SITES = 8  # places of allocation that a trace names
EXPLAINS = 0.1  # of the bytes that leak: what a part must have grown by to be named
SMALL = 4096.0  # [bytes]; by how much it must have grown where no meter of bytes shows a leak
EXPLAINED = 0.5  # of what a driver or the system gave: what an allocator must have grown by to have taken it
BOOKKEEPING = 4.0  # times what leaks on a GPU: what the host keeps of it at most, 2 KiB for each 512 bytes

Leak = Tuple[Meter, float]  # and by how much it grew


class Reading:
    """What the meters are made of at one time.

    Args:
      recorder: whose meters are looked into.
      step: when.
      trace: whether allocations are traced.
    """

    def __init__(self, recorder: Sampler, step: int, trace: bool) -> None:
        self.step = step
        self.parts: Dict[str, Dict[str, float]] = {}
        with recorder.other_reading():
            for meter in recorder.meters:
                with contextlib.suppress(Blind, OSError):
                    self.parts[meter.name] = meter.parts()
            self._snapshot = tracemalloc.take_snapshot() if trace else None

    def sites_since(self, earlier: Reading) -> List[str]:
        """Return the lines that allocated most of what was not freed since, if that is traced."""
        if self._snapshot is None:
            return []
        ours = tracemalloc.Filter(False, tracemalloc.__file__)
        grown = self._snapshot.filter_traces([ours]).compare_to(earlier._snapshot.filter_traces([ours]), "lineno")
        return [str(site) for site in grown[:SITES] if site.size_diff > 0]


def parts_to_blame(
    findings: Sequence[MeterVerdict], meters: Sequence[Meter], begin: Reading, end: Reading
) -> List[str]:
    """Return the parts that grew, the most first: what leaks in units of its own, then what explains the bytes."""
    leaked = [finding.growth for finding in findings if finding.kind == LEAK and finding.unit == BYTES]
    least = EXPLAINS * min(leaked) if leaked else SMALL
    named: List[Tuple[float, str]] = []
    for meter, finding in zip(meters, findings):
        in_bytes = meter.unit == BYTES
        if meter.rank != PART or not (in_bytes or finding.kind == LEAK):
            continue
        first, last = begin.parts.get(meter.name, {}), end.parts.get(meter.name, {})
        for path, now in last.items():
            growth = now - first.get(path, 0.0)
            if growth > (least if in_bytes else 0.0):
                text = f"{meter.owner} {path}: +{amount(growth, meter.unit)}"
                named.append((growth if in_bytes else math.inf, text))
    return [text for _, text in sorted(named, key=lambda pair: -pair[0])]


def owners_to_blame(parts: Sequence[str], findings: Sequence[MeterVerdict], meters: Sequence[Meter]) -> List[str]:
    """Return all owners, the likeliest first: parts, then allocators, those nearest to the cause before the others.

    What leaks on a GPU comes before what leaks on the host, unless that is more than `BOOKKEEPING` times as much. If
    the GPU's allocators do not explain most of it, no part of Python can hold it, and the driver's meter comes first.
    What the process took on the host is malloc's if that explains most of it.

    Args:
      parts: that grew.
      findings: of the meters.
      meters: in the same order.
    """
    leaks = [
        (meter, finding.growth)
        for meter, finding in zip(meters, findings)
        if finding.kind == LEAK and meter.rank != PART
    ]
    gpu = [(meter, growth) for meter, growth in leaks if meter.on_gpu]
    host = _with_malloc([(meter, growth) for meter, growth in leaks if not meter.on_gpu], findings, meters)
    gpu_first = _most_bytes(host) <= BOOKKEEPING * _most_bytes(gpu)
    outside = [leak for leak in gpu if leak[0].rank == PROCESS and not _explained(leak[1], findings, meters)]
    inside = _nearest_first([leak for leak in gpu if leak not in outside])
    allocators = inside + _nearest_first(host) if gpu_first else _nearest_first(host) + outside + inside
    first = outside if gpu_first else []
    return _texts(first) + list(parts) + _texts(allocators)


def _explained(growth: float, findings: Sequence[MeterVerdict], meters: Sequence[Meter]) -> bool:
    """Return whether most of what the driver gave has become memory of an allocator, leak or not."""
    allocators = [
        finding.growth for meter, finding in zip(meters, findings) if meter.on_gpu and meter.rank == ALLOCATOR
    ]
    return any(each >= EXPLAINED * growth for each in allocators)


def _with_malloc(leaks: Sequence[Leak], findings: Sequence[MeterVerdict], meters: Sequence[Meter]) -> List[Leak]:
    """Return the same, but malloc for the process where it explains most of that, leak or not; each owner once."""
    heaps = [(meter, finding.growth) for meter, finding in zip(meters, findings) if isinstance(meter, Heap)]
    found: Dict[str, Leak] = {}
    for meter, growth in leaks:
        explain = [heap for heap in heaps if meter.owner == Resident.owner and heap[1] >= EXPLAINED * growth]
        leak = (explain + [(meter, growth)])[0]
        found.setdefault(leak[0].owner, leak)
    return list(found.values())


def _most_bytes(leaks: Sequence[Leak]) -> float:
    return max((growth for meter, growth in leaks if meter.unit == BYTES), default=0.0)


def _nearest_first(leaks: Sequence[Leak]) -> List[Leak]:
    return sorted(leaks, key=lambda leak: (leak[0].rank, -leak[1]))


def _texts(leaks: Sequence[Leak]) -> List[str]:
    return [f"{meter.owner}: +{amount(growth, meter.unit)}" for meter, growth in leaks]
