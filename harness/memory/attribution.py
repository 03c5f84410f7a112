"""Whose memory it is: which parts of the meters grew between two moments, and which of them to blame first."""

from __future__ import annotations

import contextlib
import math
import tracemalloc
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from harness.memory.meters import ALLOCATOR, BYTES, PART, PROCESS, Blind, Heap, Meter, Resident
from harness.memory.sampler import Sampler
from harness.memory.verdict import LEAK, MeterVerdict, amount

MAX_SITES = 8  # lines of code that a trace names
MIN_PART_SHARE = 0.1  # of the leaking bytes: a part that grew by less is not named
MIN_PART_GROWTH = 4096.0  # the same where no meter of bytes shows a leak [bytes]
EXPLAINED_SHARE = 0.5  # of the growth of a process meter: an allocator that grew by this much explains it
HOST_BYTES_PER_GPU_BYTE = 4.0
"""What the host needs at most to keep records of a leak on the GPU: 2 KiB for each tensor of 512 bytes."""


class MeterGrowth(NamedTuple):
    """A meter, and by how much it grew [unit of the meter]."""

    meter: Meter
    growth: float


class PartsReading:
    """The parts of all meters at one moment.

    Args:
      sampler: its meters are read, and the time counts as spent on sampling.
      step: the current step.
      trace: whether `tracemalloc` is running, so that allocations are recorded, too.

    Attributes:
      step: the step.
      parts: value of each part, by the name of the meter and the path of the part.
    """

    def __init__(self, sampler: Sampler, step: int, trace: bool) -> None:
        self.step = step
        self.parts: Dict[str, Dict[str, float]] = {}
        self._snapshot: Optional[tracemalloc.Snapshot] = None
        with sampler.other_reading():
            for meter in sampler.meters:
                with contextlib.suppress(Blind, OSError):
                    self.parts[meter.name] = meter.parts()
            if trace:
                self._snapshot = tracemalloc.take_snapshot()

    def sites_since(self, earlier: PartsReading) -> List[str]:
        """Return the lines that allocated most of the memory added since an earlier reading, if both were traced."""
        if self._snapshot is None or earlier._snapshot is None:
            return []
        not_tracemalloc = tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__)
        before = earlier._snapshot.filter_traces([not_tracemalloc])
        now = self._snapshot.filter_traces([not_tracemalloc])
        changes = now.compare_to(before, "lineno")[:MAX_SITES]
        return [str(change) for change in changes if change.size_diff > 0]


def parts_to_blame(
    findings: Sequence[MeterVerdict], meters: Sequence[Meter], begin: PartsReading, end: PartsReading
) -> List[str]:
    """Return the parts that grew, as text.

    Parts that are counted, such as threads, come first: they are named only if their meter leaks, and then they are the
    cause. Parts measured in bytes follow, the largest growth first, if they explain enough of the leaking bytes.

    Args:
      findings: the verdicts on the meters.
      meters: the meters, in the same order.
      begin: the parts after the warm-up.
      end: the parts at the end.
    """
    least = _least_growth(findings)
    named: List[Tuple[float, str]] = []
    for meter, finding in zip(meters, findings):
        if meter.rank != PART:
            continue
        growths = _part_growths(meter, begin, end)
        if meter.unit == BYTES:
            for path, growth in growths.items():
                if growth > least:
                    named.append((growth, _part_text(meter, path, growth)))
        elif finding.kind == LEAK:
            for path, growth in growths.items():
                if growth > 0.0:
                    named.append((math.inf, _part_text(meter, path, growth)))
    named.sort(key=lambda pair: -pair[0])
    return [text for _, text in named]


def _least_growth(findings: Sequence[MeterVerdict]) -> float:
    """Return the growth of a part below which it explains nothing [bytes]."""
    smallest = math.inf
    for finding in findings:
        if finding.kind == LEAK and finding.unit == BYTES:
            smallest = min(smallest, finding.growth)
    if smallest == math.inf:
        return MIN_PART_GROWTH
    return MIN_PART_SHARE * smallest


def _part_growths(meter: Meter, begin: PartsReading, end: PartsReading) -> Dict[str, float]:
    before = begin.parts.get(meter.name, {})
    now = end.parts.get(meter.name, {})
    return {path: value - before.get(path, 0.0) for path, value in now.items()}


def _part_text(meter: Meter, path: str, growth: float) -> str:
    return f"{meter.owner} {path}: +{amount(growth, meter.unit)}"


def owners_to_blame(parts: Sequence[str], findings: Sequence[MeterVerdict], meters: Sequence[Meter]) -> List[str]:
    """Return all owners of the growth, the most likely owner first.

    Parts come first, then allocators, then process meters. A leak on a GPU comes before a leak on the host, unless the
    host's leak is more than `HOST_BYTES_PER_GPU_BYTE` times as large: the host also keeps records of GPU memory. If the
    GPU's allocators do not explain most of the growth that the driver reports, no Python object can hold that memory,
    so the driver's meter comes even before the parts. Growth of the process on the host is attributed to malloc if
    malloc explains most of it.

    Args:
      parts: texts of the parts that grew.
      findings: the verdicts on the meters.
      meters: the meters, in the same order.
    """
    gpu: List[MeterGrowth] = []
    host: List[MeterGrowth] = []
    for meter, finding in zip(meters, findings):
        if finding.kind == LEAK and meter.rank != PART:
            leak = MeterGrowth(meter, finding.growth)
            if meter.on_gpu:
                gpu.append(leak)
            else:
                host.append(leak)
    host = _by_rank(_blame_malloc(host, findings, meters))
    outside: List[MeterGrowth] = []  # growth of the driver's meter that no allocator explains
    inside: List[MeterGrowth] = []
    for leak in gpu:
        if leak.meter.rank == PROCESS and not _is_explained(leak.growth, findings, meters):
            outside.append(leak)
        else:
            inside.append(leak)
    inside = _by_rank(inside)
    if _most_bytes(host) <= HOST_BYTES_PER_GPU_BYTE * _most_bytes(gpu):
        return _texts(outside) + list(parts) + _texts(inside + host)
    return list(parts) + _texts(host + outside + inside)


def _is_explained(growth: float, findings: Sequence[MeterVerdict], meters: Sequence[Meter]) -> bool:
    """Return whether an allocator of the GPU grew by most of what the driver's meter did, leaking or not."""
    for meter, finding in zip(meters, findings):
        if meter.on_gpu and meter.rank == ALLOCATOR and finding.growth >= EXPLAINED_SHARE * growth:
            return True
    return False


def _blame_malloc(
    leaks: Sequence[MeterGrowth], findings: Sequence[MeterVerdict], meters: Sequence[Meter]
) -> List[MeterGrowth]:
    """Return the leaks, one for each owner; malloc replaces the process where it explains most of the growth."""
    heap: Optional[MeterGrowth] = None
    for meter, finding in zip(meters, findings):
        if isinstance(meter, Heap) and heap is None:
            heap = MeterGrowth(meter, finding.growth)
    found: Dict[str, MeterGrowth] = {}
    for leak in leaks:
        of_process = leak.meter.owner == Resident.owner
        if heap is not None and of_process and heap.growth >= EXPLAINED_SHARE * leak.growth:
            leak = heap
        found.setdefault(leak.meter.owner, leak)
    return list(found.values())


def _most_bytes(leaks: Sequence[MeterGrowth]) -> float:
    most = 0.0
    for leak in leaks:
        if leak.meter.unit == BYTES:
            most = max(most, leak.growth)
    return most


def _by_rank(leaks: Sequence[MeterGrowth]) -> List[MeterGrowth]:
    """Return the leaks sorted from the closest to the cause to the most general, the largest first within a rank."""
    return sorted(leaks, key=lambda leak: (leak.meter.rank, -leak.growth))


def _texts(leaks: Sequence[MeterGrowth]) -> List[str]:
    texts: List[str] = []
    for leak in leaks:
        texts.append(f"{leak.meter.owner}: +{amount(leak.growth, leak.meter.unit)}")
    return texts
