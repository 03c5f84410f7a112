"""One line on stderr that says what a command does, how far it is and since when.

    with StatusLine("harness stack") as status:
        for index, name in enumerate(names):
            status.say(f"contract {index + 1} of {len(names)}: {name}", index / len(names))
            ...

In a terminal the line is rewritten several times a second, by a thread, and erased at the end. Elsewhere it is printed
now and then: the first time after `FIRST_LINE_S`, so that a short command prints nothing. It is written with the
standard library only: a display that fills caches would be seen by the meters, and the doctor has nothing else.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from typing import Callable, Iterator, Optional, TextIO

FIRST_DRAW_S = 0.3
"""Time after which a terminal shows the line; what takes less prints nothing [s]."""
REDRAW_S = 0.2
FIRST_LINE_S, LONGEST_PAUSE_S = 10.0, 60.0
"""First line elsewhere, and the longest time between two; the pauses grow with the time that has passed [s]."""
PAUSE_GROWTH = 1.5
BAR_WIDTH = 20
USUAL_COLUMNS = 80  # of a terminal that does not say how wide it is
MIN_ETA_S = 5.0
"""Time before which nothing is said about the time that is left [s]."""


class StatusLine:
    """Says what a command does; a context manager.

    Args:
      name: of the command.
      stream: where to write; by default stderr, as it is now.
      clock: returns the time [s].
      even: whether equal shares take equal times, so that the time that is left can be said.

    Attributes:
      is_terminal: whether the line is rewritten in a terminal.
    """

    def __init__(
        self,
        name: str,
        stream: Optional[TextIO] = None,
        clock: Callable[[], float] = time.monotonic,
        even: bool = False,
    ) -> None:
        self._name = name
        self._even = even
        self._stream = stream
        if stream is None:
            self._stream = sys.stderr
        self._clock = clock
        self.is_terminal = _is_terminal(self._stream)
        self._doing = "starting"
        self._done = math.nan
        self._started = clock()
        self._done_from = (math.nan, 0.0)
        self._line_due = FIRST_LINE_S
        self._width = 0  # of what the terminal shows
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def __enter__(self) -> StatusLine:
        thread = threading.Thread(target=self._refresh, name="status line", daemon=True)
        if self._stream is not None:
            with contextlib.suppress(RuntimeError):  # the system allows no more threads
                thread.start()
                self._thread = thread
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Erase the line and show nothing any more; further calls do nothing."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._erase()

    def say(self, doing: str, done: float = math.nan) -> None:
        """Say what the command does from now on.

        Args:
          doing: in a few words.
          done: share of it that is done, 0 to 1; nan if that is not known.
        """
        if math.isnan(self._done_from[0]) or done < self._done:
            self._done_from = (done, self._clock())
        self._doing = doing
        self._done = done

    def print(self, text: str) -> None:
        """Print a line to stdout that stays."""
        with self._lock:
            self._erase()
            print(text, flush=True)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Leave the terminal to others in this context."""
        with self._lock:
            self._erase()
            yield

    def text(self) -> str:
        """Return the line."""
        now = self._clock()
        words = f"{self._name}: {self._doing}"
        if not math.isnan(self._done):
            full = int(self._done * BAR_WIDTH)
            words = f"{self._name}: [{'#' * full}{'.' * (BAR_WIDTH - full)}] {self._done:4.0%} {self._doing}"
        return f"{words}, {duration(now - self._started)}{self._time_left(now)}"

    def _time_left(self, now: float) -> str:
        """Return how long the rest will take if it goes on as since the share that was known first."""
        first_done, since = self._done_from
        gained = self._done - first_done
        if not self._even or not gained > 0.0 or now - since < MIN_ETA_S or self._done >= 1.0:
            return ""
        seconds = (now - since) * (1.0 - self._done) / gained
        return f", about {duration(seconds)} to go"

    def _refresh(self) -> None:
        pause = FIRST_DRAW_S
        while not self._over.wait(pause):
            pause = REDRAW_S
            with self._lock, contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
                if self.is_terminal:
                    self._draw()
                elif self._clock() - self._started >= self._line_due:
                    self._add_line()

    def _draw(self) -> None:
        text = self.text()[: max(_columns(self._stream) - 1, 1)]
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)

    def _add_line(self) -> None:
        passed = self._clock() - self._started
        self._line_due = min(passed * PAUSE_GROWTH, passed + LONGEST_PAUSE_S)
        self._write(self.text() + "\n")

    def _erase(self) -> None:
        if self._width:
            with contextlib.suppress(OSError, ValueError):
                self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def duration(seconds: float) -> str:
    """Return a time [s] as text, such as 12 s or 3 min 20 s."""
    whole = int(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _columns(stream: Optional[TextIO]) -> int:
    columns = 0
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(stream.fileno()).columns
    return columns or USUAL_COLUMNS


def _is_terminal(stream: Optional[TextIO]) -> bool:
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return stream is not None and stream.isatty()
    return False
