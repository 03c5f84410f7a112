"""What a soak found."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Tuple

from harness.memory.verdict import CLEAN, ENDS, NOT_ENOUGH, MeterVerdict


@dataclasses.dataclass
class SoakReport:
    """What a soak found.

    Attributes:
      kind: `leak`, `growth that ends`, `clean` or `not enough data`.
      why: what showed it.
      owners: to whom what grew belongs, the likeliest first.
      findings: what each meter says.
      kept: what did not come back after the close, in words.
      peaks: the most that each meter showed.
      buffers: peak and limit of each buffer.
      blind: why meters could not be read, by name.
      notes: what a reader should know of how this was measured.
      sites: where what grew was allocated, if that was traced.
      steps: of the cycles.
      seconds: from the start to the close [s].
      share: part of the time that sampling took.
      cpu_share: part of the time for which sampling had a CPU.
      curves: points of (step, time [s], least, greatest), by meter.
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

    @property
    def ok(self) -> bool:
        """Whether nothing grows for ever and all came back."""
        return self.kind in (CLEAN, ENDS) and not self.kept

    def finding(self, meter: str) -> MeterVerdict:
        """Return what the meter of this name says."""
        return next(finding for finding in self.findings if finding.meter == meter)

    def __str__(self) -> str:
        rows = ["memory: {}{}".format(self.kind, " of " + self.owners[0] if self.owners else "")]
        rows.append(f"  why       {self.why}")
        rows += [f"  owner     {owner}" for owner in self.owners]
        rows += [f"  site      {site}" for site in self.sites]
        rows += [f"  kept      {text}" for text in self.kept]
        rows += ["  buffer    {}: {:.1f} of {:.0f}".format(name, *both) for name, both in self.buffers.items()]
        rows += [f"  blind     {name}: {why}" for name, why in self.blind.items()]
        rows += [f"  note      {note}" for note in self.notes]
        taken = f"{self.share:.2%} of {self.seconds:.1f} s ({self.cpu_share:.2%} on a CPU)"
        rows.append(f"  sampling  {taken}, {self.steps:,} steps")
        return "\n".join(rows)
