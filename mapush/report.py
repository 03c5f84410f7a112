"""Write a page about training runs, from the contents of their folders: `python -m mapush.report RUN [RUN ...]`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Optional, Sequence, Tuple

import tyro

from mapush.errors import ConfigError, MapushError
from mapush.run import command_line

PAGE = "report.html"


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Write a page about training runs; several runs are compared."""

    runs: tyro.conf.Positional[Tuple[Path, ...]]
    """Folders of runs."""
    out: Optional[Path] = None
    """The page. Default: report.html in the folder of the first run."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("no run to report on", fix="name the folder of a run: python -m mapush.report RUN")


def report(folders: Sequence[Path], path: Path) -> Path:
    """Write the report on the runs in `folders` to `path`, and return it.

    Raises:
      ConfigError: a folder holds no run, or the page cannot be written.
    """
    from mapush.reports.formatting import short_names
    from mapush.reports.run_data import read_run
    from mapush.reports.training_report import write_training

    names = short_names([str(folder.resolve()) for folder in folders])
    runs = [read_run(folder, name) for folder, name in zip(folders, names)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_training(runs, path)
    except OSError as error:
        fix = "name a different page with --out FILE"
        raise ConfigError("the report cannot be written", where=str(path), got=error.strerror, fix=fix) from error


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and write the report.

    Returns:
      0; 2 after an error.
    """
    try:
        config = command_line.parse(ReportConfig, argv, "report")
        page = config.out or config.runs[0] / PAGE
        print(f"report: {report(config.runs, page)}")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
