"""Starts the supervisor that runs a command, and opens the pipes to it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence, Tuple

from harness.process.descriptors import open_terminal
from harness.process.limits import Limits

SUPERVISOR = Path(__file__).with_name("supervisor.py")
STACKS_AND_PROMPT_OUTPUT = {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}


class Launched(NamedTuple):
    """A supervisor that has been started.

    Attributes:
      process: the supervisor.
      control: descriptor to which signals for the command are written; closing it kills everything.
      report: descriptor from which the supervisor's reports are read.
      outputs: descriptors from which the command's output is read: one terminal, or stdout and stderr.
    """

    process: subprocess.Popen
    control: int
    report: int
    outputs: Sequence[int]


def launch(command: Sequence[str], limits: Limits, attached: bool, env: Mapping[str, str]) -> Launched:
    """Start a command below a supervisor of its own.

    Args:
      command: program and arguments.
      limits: those that the system enforces are handed to the supervisor.
      attached: let the command read what is typed; give it a terminal if this process writes to one.
      env: environment variables in addition to those of this process.

    Raises:
      OSError: the system has no descriptor or process left, or the command line is too long.
      ValueError: a word of the command contains a null character.
    """
    with contextlib.ExitStack() as on_failure:

        def closed_on_failure(pair: Tuple[int, int]) -> Tuple[int, int]:
            for descriptor in pair:
                on_failure.callback(os.close, descriptor)
            return pair

        control_reader, control = closed_on_failure(os.pipe())
        report, report_writer = closed_on_failure(os.pipe())
        stdout, stdout_writer = closed_on_failure(_open_stdout(attached))
        outputs, writers = [stdout], [stdout_writer]
        if not os.isatty(stdout_writer):
            stderr, stderr_writer = closed_on_failure(os.pipe())
            outputs.append(stderr)
            writers.append(stderr_writer)
        settings = {
            "control": control_reader,
            "report": report_writer,
            "owner": os.getpid(),
            "limits": limits.enforced_by_system(),
        }
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), json.dumps(settings), *command],
            stdin=None if attached else subprocess.DEVNULL,
            stdout=writers[0],
            stderr=writers[-1],
            env={**STACKS_AND_PROMPT_OUTPUT, **os.environ, **env},
            pass_fds=(control_reader, report_writer),
            start_new_session=True,
        )
        on_failure.pop_all()
    for descriptor in (control_reader, report_writer, *writers):
        os.close(descriptor)
    return Launched(process, control, report, outputs)


def _open_stdout(attached: bool) -> Tuple[int, int]:
    """Return (reader, writer) of a terminal for stdout and stderr if this process writes to one, else of a pipe."""
    if attached and os.isatty(1) and os.isatty(2):
        return open_terminal()
    return os.pipe()
