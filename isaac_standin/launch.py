"""Start a program so that its `import isaacgym` finds the stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

import tyro

from isaac_standin.errors import StandinError
from isaac_standin.install import SHIM, Settings, refuse_real, settings
from mapush.errors import MapushError

EXIT_USAGE = 2
EXIT_CANNOT_RUN = 126
EXIT_NOT_FOUND = 127  # these two as of a shell

_USAGE = "python -m isaac_standin [flags] -- python train.py"
_HELP = """Run a program that was written for Isaac Gym on MuJoCo. Not affiliated with NVIDIA.

The program follows after --: python -m isaac_standin --threads 2 -- python train.py --headless"""


def main(argv: Sequence[str] | None = None) -> int:
    """Become the program that follows after `--`.

    Its signals and its exit code are the program's own, because it replaces this process (on Windows it is a child).

    Returns:
      The exit code, if the program cannot be started: 2 for a wrong command line or a real Isaac Gym, 127 if there is
      no such command, 126 if it cannot be executed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        chosen, command = parse(words)
        refuse_real(chosen)
    except MapushError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    return start(command, environment(chosen, os.environ))


def parse(words: Sequence[str]) -> tuple[Settings, list[str]]:
    """Return the settings of a command line, and the command that follows after `--`.

    What the command line does not set is as in the environment. A wrong flag ends the process with exit code 2.

    Raises:
      StandinError: no command.
      ConfigError: a value that is not possible.
    """
    flags = list(words)
    command: list[str] = []
    if "--" in flags:
        separator = flags.index("--")
        flags, command = flags[:separator], flags[separator + 1 :]
    if not command and "--help" not in flags and "-h" not in flags:
        got = " ".join(words) or "nothing"
        raise StandinError("no command after --", got=got, fix=_USAGE)
    chosen = tyro.cli(
        Settings,
        args=flags,
        prog="python -m isaac_standin",
        description=_HELP,
        default=settings(),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return chosen, command


def environment(chosen: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the program: `base`, the settings, and the shim first on Python's path."""
    environ = dict(base)
    chosen.export(environ)
    path = [str(SHIM)]
    for entry in environ.get("PYTHONPATH", "").split(os.pathsep):
        if entry and entry not in path:
            path.append(entry)
    environ["PYTHONPATH"] = os.pathsep.join(path)
    return environ


def start(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Replace this process by a command; return only if that fails, with an exit code."""
    if shutil.which(command[0], path=environ.get("PATH")) is None:
        print(_not_found(command[0]), file=sys.stderr)
        if os.path.isfile(command[0]):
            return EXIT_CANNOT_RUN
        return EXIT_NOT_FOUND
    try:
        if os.name == "nt":
            return subprocess.call(list(command), env=dict(environ))
        os.execvpe(command[0], list(command), dict(environ))
    except OSError as error:
        cause = error.strerror or str(error)
        print(StandinError("the program cannot be started", where=command[0], cause=cause), file=sys.stderr)
    return EXIT_CANNOT_RUN


def _not_found(program: str) -> StandinError:
    if program.endswith(".py"):
        return StandinError(
            "a Python file is no command", got=program, fix=f"python -m isaac_standin -- python {program}"
        )
    if os.path.isfile(program):
        return StandinError("the program is not executable", got=program, fix=f"chmod +x {program}")
    return StandinError("there is no such command", got=program, expected="a program on PATH, or a path to one")
