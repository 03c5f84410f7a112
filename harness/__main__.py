"""`python -m harness COMMAND ...`, also installed as `mapush-harness`: the command line of the harness."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import List, NamedTuple, Optional

from harness.stack import training_hints
from harness.status.status_line import StatusLine
from mapush.errors import unknown

EXIT_BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends


class Command(NamedTuple):
    """A command of the harness.

    Attributes:
      module: where its `main(arguments)` is; imported only when the command is used.
      about: what it does, in one line.
    """

    module: str
    about: str


COMMANDS = {
    "check": Command(
        "harness.checking.check_command", "check an environment against every contract, in a process of its own"
    ),
    "doctor": Command("harness.doctor", "list what this machine lacks, and what to do about it"),
    "faults": Command("harness.faults.faults_command", "plant bugs, and show which contract finds each of them"),
    "harl": Command(
        "harness.harl.harl_command", "run your own HARL runner small, and judge tables, logger and rollouts"
    ),
    "memory": Command("harness.stack.training_soak", "train for a while, and judge whether memory leaks"),
    "replay": Command("harness.stack.replay_command", "replay what a finding or a failure left"),
    "run": Command(
        "harness.soaking.run_with_meters", "run any command; a crash, a hang, a full memory or a leak becomes a report"
    ),
    "stack": Command("harness.stack.stack_command", "check learner, logger, configuration and checkpoint"),
    "train": Command("harness.stack.guarded_training", "train as mapush.train does, with every transition checked"),
}


TRANSPARENT = ("run",)
"""Commands whose terminal belongs to the command that they run."""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command, whose reader may leave before its end, as `head` does.

    Args:
      arguments: name of the command, and its arguments; by default those of this process.

    Returns:
      The exit code: that of the command; 2 if there is no such command.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    try:
        status = _dispatch(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what is still to be flushed at exit
        return EXIT_BROKEN_PIPE


def _dispatch(arguments: List[str]) -> int:
    if not arguments:
        print(_help(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(_version())
        return 0
    if name not in COMMANDS:
        print(unknown("command", name, COMMANDS), file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        if name not in TRANSPARENT:
            stack.enter_context(StatusLine(f"harness {name}")).say("loading")
        training_hints.activate()
        module = importlib.import_module(COMMANDS[name].module)
    return int(module.main(rest) or 0)


def _help() -> str:
    lines = ["usage: python -m harness COMMAND ...", "", "commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<8} {command.about}")
    lines += ["", "`python -m harness COMMAND --help` lists the options of a command; --version prints the version."]
    return "\n".join(lines)


def _version() -> str:
    from importlib import metadata

    try:
        version = metadata.version("mapush-stack")
    except metadata.PackageNotFoundError:
        version = "not installed"
    return f"mapush {version}, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    sys.exit(main())
