"""`python -m harness run [--timeout SECONDS] [--memory-limit SIZE] [--report DIR] -- COMMAND ...`.

What is typed and printed passes through, Ctrl-C reaches the command once, and the exit code is the command's: 128 + its
number after a signal, 124 after a hang, 127 if there is no such command. A wrong command line exits with 2.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated

from harness.process.descriptors import open_closed_standard_streams, print_to_stderr
from harness.process.ending import Ending
from harness.process.isolate import run
from harness.process.limits import Limits
from harness.units import bytes_of
from mapush.errors import ConfigError, MapushError

Seconds = Annotated[Optional[float], tyro.conf.arg(metavar="SECONDS")]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Run a command; if it crashes or hangs, report why."""

    timeout: Seconds = None
    """Treat the command as hung if it has not ended after SECONDS."""

    silence: Seconds = None
    """Treat the command as hung after SECONDS without a new line of output."""

    memory_limit: Annotated[Optional[str], tyro.conf.arg(metavar="SIZE")] = None
    """Resident memory of all its processes together, such as 8GiB."""

    cpu_limit: Annotated[Optional[int], tyro.conf.arg(metavar="SECONDS")] = None
    """CPU time of each of its processes."""

    report: Annotated[Optional[Path], tyro.conf.arg(metavar="DIR")] = None
    """Write crash.txt and crash.json to this folder if the command ends badly."""

    def limits(self) -> Limits:
        """Return the limits.

        Raises:
          ConfigError: a limit is not positive, or the size of memory is not a size.
        """
        memory = None
        if self.memory_limit is not None:
            memory = bytes_of(self.memory_limit)
        return Limits(self.timeout, self.silence, memory, cpu=self.cpu_limit)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command, report how it ended if it did not end well, and return its exit code."""
    open_closed_standard_streams()
    if argv is None:
        argv = sys.argv[1:]
    words, command = _split(argv)
    options = tyro.cli(RunOptions, args=words, prog="python -m harness run", description=_HELP)
    try:
        if not command:
            raise ConfigError("no command", fix="python -m harness run -- python -m mapush.train ...")
        ending = run(command, options.limits(), attached=True)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    if not ending.ok and not ending.as_asked:
        print_to_stderr(f"\n{ending}")
        if options.report is not None:
            print_to_stderr(_write(ending, options.report))
    return ending.exit_code


_HELP = """Run a command; if it crashes or hangs, report why.

The command follows after --: python -m harness run --timeout 600 -- python -m mapush.train cuboid"""


def _split(words: Sequence[str]) -> Tuple[Sequence[str], Sequence[str]]:
    """Separate the options of `run` from the command, which begins after `--` or at the first word without a dash."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        word = words[index]
        if word == "--":
            return words[:index], words[index + 1 :]
        index += 1
        if "=" not in word and word not in ("-h", "--help"):
            index += 1  # its value
    return words[:index], words[index:]


def _write(ending: Ending, folder: Path) -> str:
    """Write the report to a folder, and return a line that names it or says why it could not be written."""
    try:
        return f"report: {ending.write(folder)}"
    except OSError as error:
        fix = "name a folder that you can write to with --report"
        return str(ConfigError("the report cannot be written", where=str(folder), cause=str(error), fix=fix))
