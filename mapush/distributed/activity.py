"""What a rank does and since when, as the ranks tell each other."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from typing import Callable, Iterator, NamedTuple, Optional

_MAX_STEP_S = 2.0  # of time between two looks that counts; a process that was suspended did not hang


@dataclasses.dataclass(frozen=True)
class WatchLimits:
    """How long ranks are waited for.

    Attributes:
      beat_s: pause between two signs of life [s].
      silent_s: a process without a sign of life for so long is lost [s].
      busy_s: the same while it starts or saves, in which C code may hold Python's lock for long [s].
      work_s: a rank that the others wait for hangs after so long in one piece of work [s].
      slower: a piece of work may also take so many times the longest one before.
      start_s: the same limit until the first iterations are done: kernels compile for minutes [s].
      save_s: the same limit while a checkpoint may be written [s].
      leave_s: how long the ranks wait for each other when they leave because of a failure [s].
    """

    beat_s: float = 0.5
    silent_s: float = 15.0
    busy_s: float = 120.0
    work_s: float = 20.0
    slower: float = 5.0
    start_s: float = 900.0
    save_s: float = 300.0
    leave_s: float = 3.0


DEFAULT_LIMITS = WatchLimits()


def do_nothing() -> None:
    """Stand for a call that nobody has asked for."""


class WorkMoment(NamedTuple):
    """What a rank does at a moment.

    Attributes:
      marks: pieces of work begun so far; every rank has the same ones, so the rank with the fewest is behind.
      doing: the current piece of work, in words.
      seconds: for how long [s].
      limit: after how long it hangs if others wait for it [s].
      silent: after how long without a sign of life its process is lost [s].
    """

    marks: int
    doing: str
    seconds: float
    limit: float
    silent: float


class Activity:
    """What the main thread of this rank does. All ranks must note the same pieces of work in the same order.

    Args:
      limits: how long pieces of work may take.

    Attributes:
      on_less_patience: called when the others may wait less long for a sign of life than so far.
    """

    def __init__(self, limits: WatchLimits = DEFAULT_LIMITS) -> None:
        self.on_less_patience: Callable[[], None] = do_nothing
        self._limits = limits
        self._lock = threading.Lock()
        self._marks = 0
        self._doing = "starting"
        self._seconds = 0.0
        self._longest = 0.0
        self._starting = True
        self._saving = False
        self._waiting = False

    def mark(self, doing: str, *, saving: bool = False) -> None:
        """Begin a piece of work.

        Args:
          doing: what it is, in words that follow "rank 1 is".
          saving: a checkpoint may be written in it.
        """
        self._begin(doing, saving, waiting=False)

    def _begin(self, doing: str, saving: bool, waiting: bool) -> None:
        with self._lock:
            if not self._waiting and not self._saving:
                self._longest = max(self._longest, self._seconds)
            has_saved = self._saving and not saving
            self._marks += 1
            self._doing = doing
            self._seconds = 0.0
            self._saving = saving
            self._waiting = waiting
        if has_saved:
            self.on_less_patience()

    @contextlib.contextmanager
    def waiting(self, doing: str, *, then: Optional[str] = None, then_saving: bool = False) -> Iterator[None]:
        """Note that this rank waits for the others while the context lasts.

        Args:
          doing: what it waits in, such as "all-reduce".
          then: the piece of work afterwards; by default the one that comes after the wait.
          then_saving: a checkpoint may be written afterwards.
        """
        self._begin(f"waiting for the others in {doing}", saving=False, waiting=True)
        yield
        self._begin(then or f"at work after {doing}", saving=then_saving, waiting=False)

    def compiled(self) -> None:
        """Forget how long work took so far: kernels do not compile again."""
        with self._lock:
            self._longest = self._seconds = 0.0

    def started(self) -> None:
        """End the time in which everything may take long."""
        with self._lock:
            self._starting = False
        self.on_less_patience()

    def pass_time(self, seconds: float) -> None:
        """Let time pass; a longer pause is one of the process itself, and does not count.

        Args:
          seconds: since the last call [s].
        """
        with self._lock:
            self._seconds += min(seconds, _MAX_STEP_S)

    def now(self) -> WorkMoment:
        """Return the current piece of work."""
        limits = self._limits
        with self._lock:
            limit, silent = max(limits.work_s, limits.slower * self._longest), limits.silent_s
            if self._starting:
                limit, silent = max(limit, limits.start_s), limits.busy_s
            if self._saving:
                limit, silent = max(limit, limits.save_s), limits.busy_s
            return WorkMoment(self._marks, self._doing, self._seconds, limit, silent)
