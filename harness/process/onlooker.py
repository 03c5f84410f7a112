"""What may measure a command while it runs, besides the session that watches over it."""

from __future__ import annotations

from typing_extensions import Protocol


class Onlooker(Protocol):
    """Measures a command from the outside.

    Attributes:
      due: when it wants to look next, on the clock of `time.monotonic`.
      has_seen_enough: whether the command may be ended.
    """

    due: float
    has_seen_enough: bool

    def look(self, pid: int) -> None:
        """Measure the processes below `pid`, the supervisor of the command."""
