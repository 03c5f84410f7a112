"""No command is silent in a terminal for more than two seconds: each is driven under a pseudo-terminal.

The commands, and what prepares their input, are those of `benchmarks/silence.py`, which measures them.
"""

from __future__ import annotations

import os
import sys

import pytest
from terminal_runs import run_in_terminal

from benchmarks import silence
from harness.__main__ import COMMANDS as HARNESS_COMMANDS
from mapush.__main__ import COMMANDS as MAPUSH_COMMANDS

pytestmark = [pytest.mark.harness, pytest.mark.mujoco]

MOST_SILENT_S = 2.0
EVERY = {**silence.COMMANDS, **silence.SLOW, **silence.NEED_HARL}
MAY_FAIL = ("doctor", "replay", "harness_replay", "faults", "harl")  # they find what is wrong, on some machines


def test_every_command_is_driven():
    """A new command of `mapush` or `harness` has its line in the table."""
    driven = set()
    for line in EVERY.values():
        driven.add(" ".join(line.split()[:2]))
    wanted = {f"mapush {name}" for name in MAPUSH_COMMANDS} | {f"harness {name}" for name in HARNESS_COMMANDS}
    assert wanted <= driven
    assert "pytest -p" in driven


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a run, and with what a run that failed has left."""
    made = tmp_path_factory.mktemp("silence")
    silence.prepare(made)
    assert (made / "run" / "config.json").exists()
    assert (made / "failed" / "nonfinite.pt").exists()
    return made


@pytest.mark.slow  # minutes: commands as they are, on a machine with nothing else to do
@pytest.mark.parametrize("name", [name for name in EVERY if name not in silence.NEED_HARL])
def test_command_in_a_terminal_is_never_silent(name, folder):
    """From its start to its end, something appears at least every other second."""
    require_never_silent(name, folder)


@pytest.mark.slow
@pytest.mark.harl
def test_harl_in_a_terminal_is_never_silent(folder):
    """The same for the command that runs a runner of HARL."""
    require_never_silent("harl", folder)


def require_never_silent(name, folder):
    """Drive a command of the table; fail if it is silent for too long."""
    command = silence.typed(EVERY[name])
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = run_in_terminal(command, env, str(folder), timeout=900.0)
    if name not in MAY_FAIL:
        assert run.code == 0, run.text
    longest = max(run.silences)
    at = run.silences.index(longest)
    before = "".join(text for _, text in run.output[:at])
    assert longest < MOST_SILENT_S, f"silent for {longest:.1f} s of {run.seconds:.1f} s, after {before[-300:]!r}"
