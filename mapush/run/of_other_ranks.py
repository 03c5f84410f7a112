"""What ranks other than 0 have in place of the run's folder and its log: they write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Union

from mapush.config import RunConfig
from mapush.distributed.ranks import Ranks
from mapush.run.folder import RunFolder

if TYPE_CHECKING:
    from mapush.run.logger import RunLogger


class NoFolder:
    """Stands for the folder that rank 0 holds; it has the methods of `RunFolder` that a training calls.

    Args:
      path: the folder.
      config: configuration of the run.
    """

    newest: Optional[Path] = None

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    def require_same_run(self, config: RunConfig) -> None:
        """Leave the check to rank 0."""

    def write(self, config: RunConfig) -> None:
        """Write nothing."""

    def changes(self) -> List[str]:
        """Return no lines."""
        return []

    def close(self) -> None:
        """Do nothing."""


class NoLogger:
    """Takes what a `RunLogger` takes, and writes nothing."""

    def say(self, *_: Any) -> None:
        """Write nothing."""

    def tick(self, *_: Any) -> None:
        """Write nothing."""

    def report(self, *_: Any) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Do nothing."""


def new_folder(config: RunConfig, path: Path, ranks: Ranks) -> Union[RunFolder, NoFolder]:
    """Make the folder of a new run on rank 0; when this returns on any rank, it exists.

    Raises:
      ConfigError: see `RunFolder.create`.
    """
    folder: Union[RunFolder, NoFolder] = NoFolder(path, config)
    if ranks.is_main:
        folder = RunFolder.create(config, path)
    ranks.barrier()
    return folder


def old_folder(config: RunConfig, path: Path, ranks: Ranks) -> Union[RunFolder, NoFolder]:
    """Open the folder of a run that is resumed on rank 0.

    Raises:
      ConfigError: see `RunFolder.reopen`.
    """
    if ranks.is_main:
        return RunFolder.reopen(path)
    return NoFolder(path, config)


def logger_of(ranks: Ranks, make_logger: Callable[[], RunLogger]) -> Union[RunLogger, NoLogger]:
    """Return the log of the run on rank 0, and on the others one that writes nothing."""
    if ranks.is_main:
        return make_logger()
    return NoLogger()
