"""Commands under a pseudo-terminal: what they print, when, and how they end."""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

COLUMNS, ROWS = 90, 30


class TerminalRun(NamedTuple):
    """A command that ran in a terminal.

    Attributes:
      code: its exit code.
      output: the parts of its output, each with the time since the start [s].
      seconds: how long it ran [s].
    """

    code: int
    output: List[Tuple[float, str]]
    seconds: float

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
    output = []
    with contextlib.suppress(OSError):  # the terminal is closed once nobody has it open any more
        while time.monotonic() - started < timeout:
            if select.select([reader], [], [], 0.5)[0]:
                text = os.read(reader, 65536).decode(errors="replace")
                if not text:
                    break
                output.append((time.monotonic() - started, text))
    seconds = time.monotonic() - started
    if seconds >= timeout:
        process.kill()
    code = process.wait()
    os.close(reader)
    return TerminalRun(code, output, seconds)


def harness_in_terminal(*words: str, **options: Any) -> TerminalRun:
    """Run a command of the harness under a pseudo-terminal; see `run_in_terminal`."""
    return run_in_terminal([sys.executable, "-m", "harness", *words], **options)
