"""What may measure a command while it runs, besides the session that watches over it."""

from __future__ import annotations

from typing_extensions import Protocol


class CommandOnlooker(Protocol):
    """Measures a command from the outside."""

    @property
    def due(self) -> float:
        """When it wants to look next, on the clock of `time.monotonic`."""

    @property
    def has_seen_enough(self) -> bool:
        """Whether the command may be ended."""

    def look(self, pid: int) -> None:
        """Measure the processes below `pid`, the supervisor of the command."""
