"""What a command does and how far it is: a moving bar in a terminal, a line now and then elsewhere.

Both go to stderr, so that results on stdout can be piped. A command enters a `ShownProgress` before it loads anything
heavy; what has nobody to report to takes a `SilentProgress`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, TextIO

if TYPE_CHECKING:
    from types import TracebackType

LINE_EVERY_S = 10.0  # where there is no terminal
STAGE_EVERY_S = 2.0  # stages that follow one another faster share a line
REFRESH_HZ = 4.0  # of the bar; a thread redraws it, so it moves during a long computation as well
UPDATE_EVERY_S = 0.2  # what `due` allows


class SilentProgress:
    """Progress that nobody sees; the base of `ShownProgress`, and the default of functions that report progress."""

    def __enter__(self) -> SilentProgress:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Optional[TracebackType]) -> None:
        """Stop showing anything."""

    @property
    def due(self) -> bool:
        """Whether an update would be seen; ask before computing something costly for it."""
        return False

    def stage(self, name: str, total: Optional[int] = None, unit: str = "") -> None:
        """Begin something.

        Args:
          name: what it is, in a few words.
          total: how much there is to do, if that is known.
          unit: what `total` counts.
        """

    def update(self, done: int, note: str = "", total: Optional[int] = None) -> None:
        """Report how much of the stage is done.

        Args:
          done: how much.
          note: what else is known, in a few words.
          total: see `stage`; None leaves it as it is.
        """

    def finish(self, text: str) -> None:
        """Print a line that stays."""


class ShownProgress(SilentProgress):
    """Progress that a user sees while the `with` block lasts.

    Args:
      stream: where; by default stderr.
      lines: whether to print lines if the stream is no terminal.
      clock: returns seconds.
    """

    def __init__(
        self, stream: Optional[TextIO] = None, lines: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._lines = lines
        self._clock = clock
        self._bar: Any = None
        self._task: Any = None
        self._name, self._unit, self._note = "", "", ""
        self._done, self._total = 0, 0
        self._began = clock()
        self._last_line: Optional[float] = None
        self._last_update = -UPDATE_EVERY_S

    def __enter__(self) -> ShownProgress:
        if self._stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            self._bar = _bar(self._stream)
            self._bar.start()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Optional[TracebackType]) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def due(self) -> bool:
        """See `SilentProgress`."""
        if self._bar is None and not self._lines:
            return False
        return self._clock() - self._last_update >= UPDATE_EVERY_S

    def stage(self, name: str, total: Optional[int] = None, unit: str = "") -> None:
        """See `SilentProgress`."""
        self._name, self._unit, self._note = name, unit, ""
        self._done, self._total = 0, total or 0
        self._began = self._clock()
        self._last_update = -UPDATE_EVERY_S
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, counted=self._counted(), note="")
            self._bar.refresh()
        elif self._line_is_due(STAGE_EVERY_S):
            self._print(name)

    def update(self, done: int, note: str = "", total: Optional[int] = None) -> None:
        """See `SilentProgress`."""
        self._done, self._note = done, note
        self._total = total or self._total
        self._last_update = self._clock()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total or None, counted=self._counted(), note=note)
        elif self._line_is_due(LINE_EVERY_S):
            parts = [self._counted(), note, f"{self._clock() - self._began:.0f} s"]
            self._print(f"{self._name}: " + ", ".join(part for part in parts if part))

    def finish(self, text: str) -> None:
        """See `SilentProgress`."""
        text = f"{text}, {self._clock() - self._began:.0f} s"
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._print(text)

    def _counted(self) -> str:
        if not self._total:
            return ""
        return f"{self._done:,} of {self._total:,} {self._unit}".rstrip()

    def _line_is_due(self, every_s: float) -> bool:
        return self._last_line is None or self._clock() - self._last_line >= every_s

    def _print(self, text: str) -> None:
        self._last_line = self._clock()
        if self._lines:
            print(text, file=self._stream, flush=True)


def _bar(stream: TextIO) -> Any:
    """Return a bar of rich that has one task at a time; what is printed meanwhile appears above it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[counted]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=Console(file=stream, force_terminal=True),
        refresh_per_second=REFRESH_HZ,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
