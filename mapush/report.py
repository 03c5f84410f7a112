"""A page about training runs, from what their folders hold: `python -m mapush.report RUN [RUN ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from mapush.errors import ConfigError, MapushError

PAGE = "report.html"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and write the report.

    Returns:
      0; 2 after an error.
    """
    parser = argparse.ArgumentParser(prog="python -m mapush.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run; several are compared")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: {PAGE} in the first RUN)")
    options = parser.parse_args(argv)
    try:
        print(f"report: {report(options.runs, options.out or options.runs[0] / PAGE)}")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def report(folders: Sequence[Path], path: Path) -> Path:
    """Write the report of the runs in `folders` to `path`, and return it.

    Raises:
      ConfigError: a folder without a run, or a page that cannot be written.
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
        fix = "name another page with --out FILE"
        raise ConfigError("the report cannot be written", where=str(path), got=error.strerror, fix=fix) from error


if __name__ == "__main__":
    sys.exit(main())
