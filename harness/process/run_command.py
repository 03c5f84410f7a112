"""`python -m harness run [--timeout SECONDS] [--memory] [--memory-limit SIZE] [--report DIR] -- COMMAND ...`.

What is typed and printed passes through, Ctrl-C reaches the command once, and the exit code is the command's: 128 + its
number after a signal, 124 after a hang, 127 if there is no such command. A wrong command line exits with 2.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Callable, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated, Protocol

from harness.process.command_onlooker import CommandOnlooker
from harness.process.descriptors import open_closed_standard_streams, print_to_stderr
from harness.process.ending import Ending
from harness.process.isolate import run
from harness.process.limits import Limits
from harness.status.status_line import StatusLine
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
    """Write crash.txt and crash.json to this folder if the command ends badly; with --memory, soak.html, too."""

    memory: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Measure all its processes from outside, and judge at the end whether they leak."""

    minutes: Annotated[Optional[float], tyro.conf.arg(metavar="MINUTES")] = None
    """With --memory: end the command after MINUTES, and judge."""

    warm_up: Seconds = None
    """With --memory: judge from SECONDS on; by default from 30 s on, or a third of the run if that is longer."""

    def limits(self) -> Limits:
        """Return the limits.

        Raises:
          ConfigError: a limit is not positive, the size of memory is not a size, or --memory is missing.
        """
        for name in ("minutes", "warm_up"):
            flag, value = f"--{name.replace('_', '-')}", getattr(self, name)
            if value is not None and not self.memory:
                raise ConfigError(f"{flag} needs --memory", fix=f"python -m harness run --memory {flag} ... -- COMMAND")
            if value is not None and not 0.0 < value < math.inf:
                raise ConfigError(f"invalid {flag}", got=str(value), expected="a finite number above 0")
        memory = None
        if self.memory_limit is not None:
            memory = bytes_of(self.memory_limit)
        return Limits(self.timeout, self.silence, memory, cpu=self.cpu_limit)


class MemoryJudge(Protocol):
    """Measures the memory of a command, and judges it."""

    @property
    def meters(self) -> CommandOnlooker:
        """What looks at the command while it runs."""

    def conclude(self, ending: Ending) -> int:
        """Print the verdict, and return the exit code."""


def main(
    argv: Optional[Sequence[str]] = None, judge_memory: Optional[Callable[[RunOptions], MemoryJudge]] = None
) -> int:
    """Run a command, report how it ended if it did not end well, and return its exit code.

    Args:
      argv: the words after the command's name; by default those of this process.
      judge_memory: returns what judges the memory; None where --memory is not offered.
    """
    open_closed_standard_streams()
    if argv is None:
        argv = sys.argv[1:]
    words, command = _split(argv)
    options = tyro.cli(RunOptions, args=words, prog="python -m harness run", description=_HELP)
    try:
        if not command:
            raise ConfigError("no command", fix="python -m harness run -- python -m mapush.train ...")
        limits = options.limits()
        judge: Optional[MemoryJudge] = None
        onlooker: Optional[CommandOnlooker] = None
        if options.memory and judge_memory is not None:
            judge = judge_memory(options)
            onlooker = judge.meters
        ending = _run(command, limits, onlooker)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    if judge is not None and judge.meters.has_seen_enough and not ending.evidence.stopped_for:
        return judge.conclude(ending)
    if not ending.ok and not ending.as_asked:
        print_to_stderr(f"\n{ending}")
        if options.report is not None:
            print_to_stderr(_write(ending, options.report))
    if judge is None:
        return ending.exit_code
    verdict = judge.conclude(ending)
    return ending.exit_code or verdict


def _run(command: Sequence[str], limits: Limits, onlooker: Optional[CommandOnlooker]) -> Ending:
    """Run the command; while it is measured in a terminal and prints nothing, say so there."""
    status = StatusLine("harness run")
    if onlooker is None or not status.is_terminal:
        return run(command, limits, attached=True, onlooker=onlooker)
    with status:
        status.say("measuring every process of the command, which prints nothing yet")
        return run(command, limits, attached=True, onlooker=onlooker, on_output=status.end)


FLAGS = ("-h", "--help", "--memory")
"""The options that have no value."""

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
        if "=" not in word and word not in FLAGS:
            index += 1  # its value
    return words[:index], words[index:]


def _write(ending: Ending, folder: Path) -> str:
    """Write the report to a folder, and return a line that names it or says why it could not be written."""
    try:
        return f"report: {ending.write(folder)}"
    except OSError as error:
        fix = "name a folder that you can write to with --report"
        return str(ConfigError("the report cannot be written", where=str(folder), cause=str(error), fix=fix))
