"""When a run saves: after so many env steps, and after so many minutes since the last checkpoint."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Callable, Optional

from mapush.config import RunConfig


class CheckpointSchedule:
    """Decides when a checkpoint is due, and removes those that were due only by the clock once a newer one exists.

    So a slow run loses minutes if it is killed, and its folder still has one checkpoint for each `checkpoint_every`.

    Args:
      config: `checkpoint_every` and `checkpoint_minutes` are used.
      clock: returns the time [s].
    """

    def __init__(self, config: RunConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = config.checkpoint_every
        self._seconds = 60.0 * config.checkpoint_minutes
        self._clock = clock
        self._saved_at = clock()
        self._by_clock: Optional[Path] = None

    def due_by_steps(self, before: int, after: int) -> bool:
        """Return whether an iteration from `before` to `after` env steps passes a multiple of `checkpoint_every`."""
        return after // self._every > before // self._every

    def due_by_clock(self) -> bool:
        """Return whether `checkpoint_minutes` are over since the last checkpoint, or since the start of the run."""
        return self._seconds > 0.0 and self._clock() - self._saved_at >= self._seconds

    def saved(self, path: Path, by_clock: bool = False) -> None:
        """Note a complete checkpoint, and remove the one before if only the clock had asked for it.

        Args:
          path: the checkpoint.
          by_clock: only the clock has asked for this one.
        """
        self._saved_at = self._clock()
        older, self._by_clock = self._by_clock, None
        if by_clock:
            self._by_clock = path
        if older is not None and older != path:
            with contextlib.suppress(OSError):
                older.unlink()
