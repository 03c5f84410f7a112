"""What was observed of a command, before anybody concludes anything from it."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any, Dict, List, Optional, Sequence, Tuple

from harness.process.announcement import Announcement
from harness.process.memory_curve import MemorySample
from harness.process.processes import ProcessState

CLOSING_LINES = 10  # a crash or a hang is explained by these; the command survived what it printed before


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was observed of a command.

    Attributes:
      command: program and arguments.
      status: as `os.wait` returns it; None if the command was killed for passing a limit or could not be started.
      start_error: why it could not be started.
      stopped_for: the limit that it passed: "timeout", "silence", "memory", or what a watcher said.
      asked: number of the signal that was forwarded to it.
      seconds: how long it ran [s].
      limits: what it was allowed, by name.
      lines: the last lines that it printed.
      stacks: Python stacks as `faulthandler` wrote them.
      processes: what its processes did when it passed a limit.
      left: how many of its processes were still running after its end and were killed.
      oom_kills: how many processes the kernel killed meanwhile because memory was full.
      memory: memory over time.
      peak: largest resident memory [bytes].
      announced: what it reported about its own progress.
      result_lost: it was a function that did not return.
    """

    command: Tuple[str, ...]
    status: Optional[int] = None
    start_error: Optional[str] = None
    stopped_for: Optional[str] = None
    asked: Optional[int] = None
    seconds: float = 0.0
    limits: Dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: Sequence[str] = ()
    stacks: Sequence[str] = ()
    processes: Sequence[ProcessState] = ()
    left: int = 0
    oom_kills: int = 0
    memory: Sequence[MemorySample] = ()
    peak: int = 0
    announced: Announcement = Announcement()
    result_lost: bool = False

    @property
    def signal(self) -> Optional[str]:
        """Name of the signal that ended it, also where a shell reports it by an exit code; None if there was none."""
        code = self.exit_code
        if code is None or code - 128 not in set(signal.Signals):
            return None
        return signal.Signals(code - 128).name

    @property
    def exit_code(self) -> Optional[int]:
        """Exit code as a shell gives it: 128 + the number of a signal; None if it did not end by itself."""
        if self.status is None:
            return None
        signal_number = self.status & 0x7F
        if signal_number:
            return 128 + signal_number
        return self.status >> 8

    @property
    def output(self) -> str:
        """All that was kept of what it printed, and the stacks."""
        return "\n".join([*self.lines, *self.stacks])

    @property
    def closing(self) -> List[str]:
        """The last lines, without the C++ frames that torch appends to an error, and the stacks."""
        lines = [line for line in self.lines if not line.startswith("frame #")]
        return [*lines[-CLOSING_LINES:], *self.stacks]

    def as_dict(self) -> Dict[str, Any]:
        """Return everything as JSON types."""
        content = dataclasses.asdict(self)
        announced = content.pop("announced")
        content["step"] = announced["step"]
        content["run"] = announced["folder"]
        content["checkpoint"] = announced["checkpoint"]
        content["resume"] = announced["resume"]
        content["memory"] = [sample._asdict() for sample in self.memory]
        content["processes"] = [process._asdict() for process in self.processes]
        return content
