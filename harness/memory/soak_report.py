"""The result of a soak."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Tuple

from harness.memory.verdict import CLEAN, ENDS, NOT_ENOUGH, MeterVerdict


@dataclasses.dataclass
class SoakReport:
    """The result of a soak.

    Attributes:
      kind: `leak`, `growth that ends`, `clean`, `not enough data` or `not judged`.
      why: what led to this verdict.
      owners: what the growth belongs to, the most likely owner first.
      findings: the verdicts on the meters.
      kept: what was not released after the close, one text each.
      peaks: largest value of each meter [unit of the meter].
      buffers: peak and limit of each buffer.
      blind: why meters could not be read, by name.
      notes: remarks on how the measurement was made.
      sites: lines that allocated what grew, if allocations were traced.
      steps: steps of the judged cycles.
      seconds: time from the start to the close [s].
      share: share of the time that sampling took.
      cpu_share: share of the time in which sampling had a CPU.
      curves: points of (step, time [s], minimum, maximum) by meter.
      axis: what a step is: "step", or "second" for a command that is measured from outside.
      sketches: curves as one line of text each, by meter.
    """

    kind: str = NOT_ENOUGH
    why: str = ""
    owners: List[str] = dataclasses.field(default_factory=list)
    findings: List[MeterVerdict] = dataclasses.field(default_factory=list)
    kept: List[str] = dataclasses.field(default_factory=list)
    peaks: Dict[str, Optional[float]] = dataclasses.field(default_factory=dict)
    buffers: Dict[str, Tuple[float, float]] = dataclasses.field(default_factory=dict)
    blind: Dict[str, str] = dataclasses.field(default_factory=dict)
    notes: List[str] = dataclasses.field(default_factory=list)
    sites: List[str] = dataclasses.field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    share: float = 0.0
    cpu_share: float = 0.0
    curves: Dict[str, List[Tuple[float, ...]]] = dataclasses.field(default_factory=dict)
    axis: str = "step"
    sketches: Dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing leaks and everything was released after the close."""
        return self.kind in (CLEAN, ENDS) and not self.kept

    def finding(self, meter: str) -> MeterVerdict:
        """Return the verdict on the meter of this name.

        Raises:
          KeyError: the soak had no meter of this name.
        """
        for finding in self.findings:
            if finding.meter == meter:
                return finding
        raise KeyError(meter)

    def __str__(self) -> str:
        rows = [f"memory: {self.kind}"]
        if self.owners:
            rows[0] += f" of {self.owners[0]}"
        rows.append(_row("why", self.why))
        for owner in self.owners:
            rows.append(_row("owner", owner))
        for name, sketch in self.sketches.items():
            rows.append(_row("curve", f"{name} {sketch}"))
        for site in self.sites:
            rows.append(_row("site", site))
        for text in self.kept:
            rows.append(_row("kept", text))
        for name, (peak, limit) in self.buffers.items():
            rows.append(_row("buffer", f"{name}: {peak:.1f} of {limit:.0f}"))
        for name, reason in self.blind.items():
            rows.append(_row("blind", f"{name}: {reason}"))
        for note in self.notes:
            rows.append(_row("note", note))
        taken = f"{self.share:.2%} of {self.seconds:.1f} s ({self.cpu_share:.2%} on a CPU)"
        rows.append(_row("sampling", f"{taken}, {self.steps:,} {self.axis}s"))
        return "\n".join(rows)


def _row(label: str, text: str) -> str:
    return f"  {label:<9} {text}"
