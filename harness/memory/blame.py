"""Whose it is: what grew between two moments, by the parts of the meters."""

from __future__ import annotations

import contextlib
import math
import tracemalloc
from typing import Dict, List, Sequence, Tuple

from harness.memory.meters import BYTES, PART, Blind, Meter
from harness.memory.recorder import Recorder
from harness.memory.verdict import LEAK, Finding, amount

SITES = 8  # places of allocation that a trace names
EXPLAINS = 0.1  # of the bytes that leak: what a part must have grown by to be named
SMALL = 4096.0  # [bytes]; by how much it must have grown where no meter of bytes shows a leak


class Moment:
    """What the meters are made of at one time.

    Args:
      recorder: whose meters are looked into.
      step: when.
      trace: whether allocations are traced.
    """

    def __init__(self, recorder: Recorder, step: int, trace: bool) -> None:
        self.step = step
        self.parts: Dict[str, Dict[str, float]] = {}
        with recorder.other_reading():
            for meter in recorder.meters:
                with contextlib.suppress(Blind, OSError):
                    self.parts[meter.name] = meter.parts()
            self._snapshot = tracemalloc.take_snapshot() if trace else None

    def sites_since(self, earlier: Moment) -> List[str]:
        """Return the lines that allocated most of what was not freed since, if that is traced."""
        if self._snapshot is None:
            return []
        ours = tracemalloc.Filter(False, tracemalloc.__file__)
        grown = self._snapshot.filter_traces([ours]).compare_to(earlier._snapshot.filter_traces([ours]), "lineno")
        return [str(site) for site in grown[:SITES] if site.size_diff > 0]


def parts_to_blame(findings: Sequence[Finding], meters: Sequence[Meter], begin: Moment, end: Moment) -> List[str]:
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
                text = "{} {}: +{}".format(meter.owner, path, amount(growth, meter.unit))
                named.append((growth if in_bytes else math.inf, text))
    return [text for _, text in sorted(named, key=lambda pair: -pair[0])]


def allocators_to_blame(findings: Sequence[Finding], meters: Sequence[Meter]) -> List[str]:
    """Return who else may have it, by the meters that leak, those nearest to the cause first."""
    leaking = [(meter.rank, -finding.growth, meter) for meter, finding in zip(meters, findings) if finding.kind == LEAK]
    return [meter.owner for _, _, meter in sorted(leaking, key=lambda each: each[:2]) if meter.rank != PART]
