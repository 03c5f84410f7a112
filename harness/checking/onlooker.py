"""What a check has found so far: told by the process that checks, seen and kept by the one that watches it.

A finding is told when it is made, so that it is printed at once, and nothing is lost if the environment dies later.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from harness.findings import Finding, Report
from harness.process.pulse import BUILD, NAMES, NOTHING, CallState, StallWatch

LONG_CALL_S = 2.0  # after which what shows the progress also names the call
LEAST_OVERTIME_S, OVERTIME = 8.0, 0.1  # of the budget, after which a check is ended
END_PAUSE_S = 0.25  # between two looks
OUT_OF_TIME = "time"
SECOND = 2


class Event(NamedTuple):
    """Something that a check tells.

    Attributes:
      kind: "importing", "began", "found", "holds", "not judged" or "shortening".
      contract: the contract that it is about.
      detail: the finding, or the reason.
    """

    kind: str
    contract: str
    detail: Any = None


def say_nothing(doing: str, done: float = math.nan) -> None:
    """Show nobody what is done."""


class Teller:
    """Tells what a check does, into a file.

    Args:
      file: the file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def tell(self, kind: str, contract: str, detail: Any = None) -> None:
        """Add an event to the file."""
        if kind == "found":
            detail = dataclasses.replace(detail, actions=None)  # shortened later, and large
        with self._file.open("ab") as file:
            file.write(pickle.dumps(Event(kind, contract, detail)))


class Onlooker:
    """Watches a check: prints what it finds, keeps it, and says when it must be ended.

    Args:
      folder: where the check writes its events and its pulse.
      budget_s: the time for all contracts [s]; None for as long as it takes.
      show: prints a line about a new finding.
      say: called at each look with what is done, in words, and the share of the contracts that have run.
      contracts: how many contracts run.
    """

    def __init__(
        self,
        folder: Path,
        budget_s: Optional[float],
        show: Callable[[str], Any],
        say: Callable[..., Any] = say_nothing,
        contracts: int = 0,
    ) -> None:
        self.file, self.pulse = folder / "events", folder / "pulse"
        self.events: List[Event] = []
        self.stall: Optional[str] = None
        self._stalls = StallWatch(self.pulse)
        self._show = show
        self._say = say
        self._contracts = contracts
        self._started = time.monotonic()
        self._end_at: Optional[float] = None
        if budget_s is not None:
            self._end_at = self._started + budget_s + max(LEAST_OVERTIME_S, OVERTIME * budget_s)
        self._read_bytes = 0
        self._due = 0.0

    def __call__(self) -> Optional[str]:
        """Look, and return why the check must be ended; None if it may go on."""
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = now + END_PAUSE_S
        self.look()
        self._say_what_is_done()
        self.stall = self._stalls.stalled()
        if self.stall is not None:
            return "stall"
        if self._end_at is not None and now > self._end_at:
            return OUT_OF_TIME
        return None

    def look(self) -> None:
        """Read the events that are new, and show findings."""
        if not self.file.exists():
            return
        with self.file.open("rb") as file:
            file.seek(self._read_bytes)
            while True:
                try:
                    event = pickle.load(file)
                except Exception:  # the end, or an event that is not complete yet
                    return
                self._read_bytes = file.tell()
                self.events.append(event)
                if event.kind == "found":
                    seconds = time.monotonic() - self._started
                    self._show(f"{seconds:.0f} s: {event.contract}: {event.detail.what}")

    def _say_what_is_done(self) -> None:
        """Say which contract of how many runs, and in which call of the environment it has been for long."""
        began = []
        for event in self.events:
            if event.kind in ("importing", "began", "shortening"):
                began.append(event)
        if not began:
            return
        kind, name = began[-1].kind, began[-1].contract
        words, done = f"{kind} {name}", math.nan
        if kind == "began":
            number = [event.kind for event in began].count("began")
            words, done = f"contract {number} of {self._contracts}: {name}", (number - 1) / max(self._contracts, 1)
        found = len({event.contract for event in self.events if event.kind == "found"})
        if found:
            words += f", {found} broken"
        call = CallState.read(self.pulse)
        seconds = time.monotonic() - call.since
        if call.call != NOTHING and seconds > LONG_CALL_S:
            words += f", in {NAMES[call.call]} for {seconds:.0f} s"
        self._say(words, done)

    @property
    def running(self) -> str:
        """The contract that runs, or ran last."""
        began = [event.contract for event in self.events if event.kind == "began"]
        return (began or ["factory"])[-1]

    @property
    def dies_at_second_build(self) -> bool:
        """Whether the process was about to build its second environment, when it wrote for the last time."""
        state = CallState.read(self.pulse)
        return state.call == BUILD and state.builds == SECOND

    def so_far(self, wanted: Sequence[str], reason: str) -> Report:
        """Return what was found before the check ended too early.

        Args:
          wanted: names of the contracts that were to run.
          reason: why those are not judged that did not come to a verdict.
        """
        self.look()
        findings: Dict[str, Finding] = {}
        held, unjudged = [], {}
        for event in self.events:
            if event.kind == "found":
                findings.setdefault(event.contract, event.detail)
            elif event.kind == "holds":
                held.append(event.contract)
            elif event.kind == "not judged":
                unjudged[event.contract] = event.detail
        for name in wanted:
            if name not in held:
                unjudged.setdefault(name, reason)
        passed = [name for name in held if name not in findings]
        for name in findings:
            unjudged.pop(name, None)
        seconds = time.monotonic() - self._started
        return Report(list(findings.values()), passed, unjudged, seconds=seconds)
