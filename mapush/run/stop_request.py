"""Stopping a run on request: Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from typing import Any, List, Optional, Tuple

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Ctrl-Break, which only Windows has


def stop_signals() -> List[signal.Signals]:
    """Return the signals of this system that ask a run to stop."""
    found = []
    for name in _STOP_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None:
            found.append(number)
    return found


class StopRequest:
    """A context in which the first Ctrl-C or SIGTERM asks the loop to stop; a second one acts immediately.

    If a stop was requested and no error occurred, leaving the context exits with 128 + the signal's number, as a shell
    does.
    """

    def __init__(self) -> None:
        self._signal: Optional[signal.Signals] = None
        self._previous: List[Tuple[signal.Signals, Any]] = []

    @property
    def name(self) -> Optional[str]:
        """Name of the signal that asked to stop, or None."""
        if self._signal is None:
            return None
        return self._signal.name

    def requested(self) -> bool:
        """Return whether a signal asked to stop."""
        return self._signal is not None

    def before_decision(self, step: int) -> bool:
        """Return whether a signal asked to stop; a run of several ranks agrees here.

        Args:
          step: env steps taken so far.
        """
        return self.requested()

    def __enter__(self) -> StopRequest:
        for number in stop_signals():
            self._previous.append((number, signal.signal(number, self._note)))
        return self

    def __exit__(self, error: Optional[type], *_: object) -> None:
        self._restore_handlers()
        if self._signal is not None and error is None:
            raise SystemExit(128 + self._signal)

    def _note(self, number: int, _: object) -> None:
        self._signal = signal.Signals(number)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)
