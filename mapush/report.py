"""Write a page about training runs, from the contents of their folders: `python -m mapush.report RUN [RUN ...]`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

import tyro

from mapush.errors import ConfigError, MapushError, unknown
from mapush.run import command_line
from mapush.run.shown_progress import ShownProgress, SilentProgress

if TYPE_CHECKING:
    from mapush.reports.run_data import RunData

PAGE = "report.html"
SUFFIXES = (".html", ".htm")


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Write a page about training runs; several runs are compared."""

    runs: tyro.conf.Positional[Tuple[Path, ...]]
    """Folders of runs."""
    out: Optional[Path] = None
    """The page, .html. Default: report.html in the folder of the first run."""
    overwrite: bool = False
    """Replace --out even if it is a different page."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("no run to report on", fix="name the folder of a run: python -m mapush.report RUN")
        if self.out is not None and self.out.suffix not in SUFFIXES:
            error = unknown("suffix", self.out.suffix, SUFFIXES)
            error.where = str(self.out)
            raise error

    @property
    def page(self) -> Path:
        """The page: `out`, or its default."""
        return self.out or self.runs[0] / PAGE


def report(folders: Sequence[Path], path: Path, progress: Optional[SilentProgress] = None) -> Path:
    """Write the report on the runs in `folders` to `path`, and return it.

    Args:
      folders: folders of runs.
      path: the page.
      progress: gets the runs that are read, and the sections of the page.

    Raises:
      ConfigError: a folder holds no run, or the page cannot be written.
    """
    from mapush.reports.formatting import short_names
    from mapush.reports.run_data import read_run
    from mapush.reports.training_report import write_training

    names = short_names([str(folder.resolve()) for folder in folders])
    progress = progress or SilentProgress()
    runs: List[RunData] = []
    for folder, name in zip(folders, names):
        progress.stage(f"reading {name}")
        runs.append(read_run(folder, name))
    progress.stage("drawing the page", unit="sections")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_training(runs, path, progress)
    except OSError as error:
        fix = "name a different page with --out FILE"
        raise ConfigError("the report cannot be written", where=str(path), got=error.strerror, fix=fix) from error


def _require_own_page(config: ReportConfig) -> None:
    """Refuse to replace a page that the user names and that is no report on runs.

    Raises:
      ConfigError: there is such a page.
    """
    from mapush.reports.training_report import is_training_report

    if config.out is not None and not is_training_report(config.out):
        from mapush.evaluation.kept_files import require_absent

        require_absent(config.out, config.overwrite, "report")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and write the report.

    Returns:
      0; 2 after an error.
    """
    try:
        config = command_line.parse(ReportConfig, argv, "report")
        with ShownProgress() as progress:
            progress.stage("report: loading")
            _require_own_page(config)
            page = report(config.runs, config.page, progress)
        print(f"report: {page}")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
