"""Commands under a pseudo-terminal: what they print, when, and how they end."""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

COLUMNS, ROWS = 90, 30


class TerminalRun(NamedTuple):
    """A command that ran in a terminal.

    Attributes:
      code: its exit code.
      output: the parts of its output, each with the time since the start [s].
      seconds: how long it ran [s].
      waits: before each part, and before the end: how long the process was kept from computing by others [s].
    """

    code: int
    output: List[Tuple[float, str]]
    seconds: float
    waits: List[float]

    @property
    def text(self) -> str:
        """Everything that it printed."""
        return "".join(text for _, text in self.output)

    @property
    def lines(self) -> List[str]:
        """The lines as the terminal shows them at the end: what was written over is gone."""
        shown = []
        for line in self.text.split("\n"):
            shown.append(line.rstrip("\r").rpartition("\r")[2])
        return shown

    @property
    def longest_silence(self) -> float:
        """The longest time without output, from the first output on [s]."""
        times = [when for when, _ in self.output] + [self.seconds]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    @property
    def silences(self) -> List[float]:
        """The times without output from the start to the end, less what a busy machine adds to each [s]."""
        times = [0.0, *(when for when, _ in self.output), self.seconds]
        found = []
        for earlier, later, wait in zip(times, times[1:], self.waits):
            found.append(later - earlier - wait)
        return found


class QueueWaits:
    """How long the threads of a process, and this thread, have been ready to run while all cores were taken; Linux.

    Args:
      pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._before: Dict[str, float] = {}
        self.since_last()

    def since_last(self) -> float:
        """Return the longest wait of a thread since the last call [s]; threads wait at the same time."""
        now: Dict[str, float] = {"reader": _queue_wait(Path("/proc/thread-self/schedstat"))}
        with contextlib.suppress(OSError):  # it has ended
            for task in self._tasks.iterdir():
                now[task.name] = _queue_wait(task / "schedstat")
        longest = 0.0
        for name, wait in now.items():
            longest = max(longest, wait - self._before.get(name, 0.0))
        self._before = {**self._before, **now}
        return longest


def _queue_wait(path: Path) -> float:
    try:
        return int(path.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def run_in_terminal(
    command: Sequence[str], env: Optional[Dict[str, str]] = None, cwd: Optional[str] = None, timeout: float = 200.0
) -> TerminalRun:
    """Run a command under a pseudo-terminal to its end.

    Args:
      command: program and arguments.
      env: environment variables in addition to those of this process.
      cwd: folder to run it in.
      timeout: when it is killed [s].
    """
    import fcntl
    import termios

    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    started = time.monotonic()
    variables = {**os.environ, **(env or {})}
    process = subprocess.Popen(
        command, stdin=writer, stdout=writer, stderr=writer, env=variables, cwd=cwd, start_new_session=True
    )
    os.close(writer)
    output, waits = [], []
    queue = QueueWaits(process.pid)
    with contextlib.suppress(OSError):  # the terminal is closed once nobody has it open any more
        while time.monotonic() - started < timeout:
            if select.select([reader], [], [], 0.5)[0]:
                text = os.read(reader, 65536).decode(errors="replace")
                if not text:
                    break
                output.append((time.monotonic() - started, text))
                waits.append(queue.since_last())
    waits.append(queue.since_last())
    seconds = time.monotonic() - started
    if seconds >= timeout:
        process.kill()
    code = process.wait()
    os.close(reader)
    return TerminalRun(code, output, seconds, waits)


def harness_in_terminal(*words: str, **options: Any) -> TerminalRun:
    """Run a command of the harness under a pseudo-terminal; see `run_in_terminal`."""
    return run_in_terminal([sys.executable, "-m", "harness", *words], **options)
