"""`python -m harness run`, whose option --memory measures the command from outside.

The verdict is printed to stderr when the command has ended, or after --minutes. The exit code is that of the command if
it is not 0; otherwise 0 if nothing leaks, 1 for a leak, 2 if that could not be judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Optional, Sequence

from harness.memory.soak_report import SoakReport
from harness.pages.soak_page import make_writable, write_soak
from harness.process import run_command
from harness.process.descriptors import print_to_stderr
from harness.process.ending import Ending
from harness.process.run_command import RunOptions
from harness.soaking.tree_meters import TreeMeters
from harness.soaking.tree_verdict import exit_code_of, judge_tree


class TreeJudge:
    """Measures the processes of a command, and judges them.

    Args:
      options: of the command line.
      make_meters: makes the meters from the number of minutes.

    Attributes:
      meters: look at the command while it runs.

    Raises:
      ConfigError: the folder of the report cannot be written.
    """

    def __init__(self, options: RunOptions, make_meters: Callable[[Optional[float]], TreeMeters] = TreeMeters) -> None:
        if options.report is not None:
            make_writable(options.report)
        self._options = options
        self.meters = make_meters(options.minutes)

    def conclude(self, ending: Ending) -> int:
        """Print the verdict, write the report if one was asked for, and return the exit code."""
        stopped = self.meters.has_seen_enough and not ending.ok
        report = judge_tree(self.meters, self._options.warm_up, ending, stopped)
        print_to_stderr(f"\n{report}")
        if self._options.report is not None:
            print_to_stderr(self._write(report, self._options.report))
        return exit_code_of(report)

    def _write(self, report: SoakReport, folder: Path) -> str:
        """Write the report, and return a line that names it or says why it could not be written."""
        try:
            return f"report: {write_soak(report, folder)}"
        except (OSError, ImportError) as error:
            return f"the report cannot be written: {error}"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command, measure it if that was asked for, and return the exit code."""
    return run_command.main(argv, TreeJudge)
