"""How a command ended: the report for people, and the same as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from harness.installed import versions
from harness.process.evidence import Evidence
from harness.units import gib

SHOWN_LINES = 20
SHOWN_STACK_LINES = 60
CURVE_WIDTH = 40  # characters
BARS = "▁▂▃▄▅▆▇█"
ENDED_WELL, STOPPED_AS_ASKED = "ended well", "stopped as asked"


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a command ended; `str(ending)` is the report.

    Attributes:
      kind: how it ended, in a few words.
      details: what belongs to the kind, such as the text of the error.
      evidence: what was observed.
      exit_code: as a shell gives it: 128 + the number of a signal.
      cause: the most likely reason; None or "" if it is not known.
      fix: what to do about it.
      result: what a function returned.
    """

    kind: str
    details: str
    evidence: Evidence
    exit_code: int
    cause: Optional[str] = None
    fix: Optional[str] = None
    result: Any = None

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.kind == ENDED_WELL

    @property
    def as_asked(self) -> bool:
        """Whether it ended because a signal was forwarded to it."""
        return self.kind == STOPPED_AS_ASKED

    @property
    def summary(self) -> str:
        """The kind, and the details if there are any."""
        if self.details:
            return f"{self.kind}: {self.details}"
        return self.kind

    def __str__(self) -> str:
        evidence = self.evidence
        when = f"after {evidence.seconds:.1f} s"
        if evidence.announced.step is not None:
            when += f", at env step {evidence.announced.step:,}"
        lines = [f"{self.summary} ({when})"]
        for name, value in self._rows():
            if value:
                lines.append(f"  {name:<9} {value}")
        if not self.ok:
            lines.append("last lines:")
            for line in list(evidence.lines)[-SHOWN_LINES:]:
                lines.append(f"  | {line}")
            lines.append("Python stacks:")
            lines += _shortened(_stack_lines(evidence))
        return "\n".join(lines)

    def _rows(self) -> List[Tuple[str, Optional[str]]]:
        evidence = self.evidence
        processes = None
        if evidence.processes:
            processes = "\n            ".join(map(str, evidence.processes))
        elif evidence.left:
            processes = f"{evidence.left} still ran after its end and were killed"
        gpu = []
        for sample in evidence.memory:
            if sample.gpu is not None:
                gpu.append(sample.gpu)
        return [
            ("command", shlex.join(evidence.command)),
            ("cause", self.cause),
            ("fix", self.fix),
            ("memory", _curve([sample.rss for sample in evidence.memory], evidence.peak)),
            ("GPU", _curve(gpu, peak=0)),
            ("saved", evidence.announced.in_words()),
            ("processes", processes),
        ]

    def as_dict(self) -> Dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "kind": self.kind,
            "details": self.details,
            "exit_code": self.exit_code,
            "cause": self.cause,
            "fix": self.fix,
            "signal": self.evidence.signal,
            "evidence": self.evidence.as_dict(),
            "versions": versions(),
        }

    def write(self, folder: Path) -> Path:
        """Write crash.txt and crash.json to `folder`, and return the path of the text.

        Raises:
          OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        as_json = json.dumps(self.as_dict(), indent=2)
        (folder / "crash.json").write_text(as_json + "\n", encoding="utf-8")
        lines = [str(self), "", "all stacks:", *self.evidence.stacks, "", "all last lines:", *self.evidence.lines]
        path = folder / "crash.txt"
        text = "\n".join(lines) + "\n"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names need not be Unicode
        return path


def _stack_lines(evidence: Evidence) -> List[str]:
    """Return the stacks; those of processes that were asked for them follow the number of the process."""
    if not any(process.stack for process in evidence.processes):
        return _without(evidence.stacks, "Extension modules")
    lines = []
    for process in evidence.processes:
        if process.stack:
            lines.append(f"process {process.pid}:")
        else:
            lines.append(f"process {process.pid}: no stack was written")
        lines += _without(process.stack, "Fatal Python error", "Extension")
    return lines


def _without(lines: Sequence[str], *beginnings: str) -> List[str]:
    """Return the lines that are not empty and do not begin with any of some words."""
    return [line for line in lines if line and not line.startswith(beginnings)]


def _shortened(stack: List[str]) -> List[str]:
    if not stack:
        return ["  none were written"]
    more = len(stack) - SHOWN_STACK_LINES
    if more <= 0:
        return stack
    return [*stack[:SHOWN_STACK_LINES], f"  ... {more} more lines"]


def _curve(values: Sequence[int], peak: int) -> Optional[str]:
    """Draw memory [bytes] over time as one line of text; None if nothing was measured."""
    if not values:
        return f"peak {gib(peak)}" if peak else None
    top = max(*values, 1)
    width = min(len(values), CURVE_WIDTH)
    bars = ""
    for column in range(width):
        value = values[column * len(values) // width]
        height = int(len(BARS) * value / top)
        bars += BARS[min(height, len(BARS) - 1)]
    return f"{bars} {gib(values[0])} to {gib(values[-1])}, peak {gib(max(peak, top))}"
