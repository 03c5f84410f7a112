"""What a run says before its log exists: one line at once, and in a terminal a sign of life until it trains."""

from __future__ import annotations

from typing import Optional

from rich.console import Console
from rich.status import Status

from mapush.config import RunConfig


class Startup:
    """A context from the first line of a run to its log; a terminal shows what is being done meanwhile.

    It loads neither torch nor a simulator, which take seconds.

    Args:
      line: the first line; it stays.
      shown: whether anything is printed; of several ranks, only rank 0 prints.
    """

    def __init__(self, line: str, shown: bool = True) -> None:
        self._console = Console(highlight=False, quiet=not shown)
        self._line = line
        self._status: Optional[Status] = None

    def __enter__(self) -> Startup:
        self._console.print(self._line, markup=False, soft_wrap=True)
        self._console.file.flush()
        if self._console.is_terminal:
            self._status = self._console.status("loading PyTorch and the simulator")
            self._status.start()
        return self

    def doing(self, text: str) -> None:
        """Show what is being done now; only a terminal shows it."""
        if self._status is not None:
            self._status.update(text)

    def close(self) -> None:
        """Remove the sign of life; further calls do nothing."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __exit__(self, *_: object) -> None:
        self.close()


def first_line(config: RunConfig, resumed_from: Optional[int] = None) -> str:
    """Return the line with which a run begins.

    Args:
      config: configuration of the run, not yet resolved.
      resumed_from: env steps of the checkpoint from which it continues; None for a new run.
    """
    what = f"{config.task_name}, preset {config.preset}: {config.num_envs:,} envs, {config.total_steps:,} env steps"
    if resumed_from is not None:
        what = f"{what}, continued from {resumed_from:,}"
    return f"{what}; loading PyTorch and the simulator"
