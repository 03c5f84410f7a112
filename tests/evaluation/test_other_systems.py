"""Contracts of mapush on systems that lack what only Unix has: modules, calls, signals, UTF-8."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import other_systems
import pytest

from mapush.run import stop_request

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web]

TINY = "--num-envs 3 --num-steps 4 --total-steps 120 --device cpu --sim.threads 1".split()
COMMANDS = [
    ["train", "cuboid", *TINY, "--run-dir", "run"],
    ["train", "--resume", "run", "--total-steps", "240"],
    ["evaluate", "cuboid", "--num-envs", "2", "--sim.threads", "1"],
    ["report", "run"],
    ["watch", "cuboid", "--viewer", "web", "--port", "0", "--record", "film.html", "--episodes", "1"],
]


@pytest.mark.slow
def test_commands_work_without_what_only_unix_has(tmp_path):
    """Training, resuming, evaluation, report, recorded page and live page need no fcntl, fork or SIGHUP.

    One process for all, as a new one imports for seconds; it plays three episodes of the shipped policy.
    """
    command = [sys.executable, other_systems.__file__, json.dumps(COMMANDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^exit code (\d) of (\w+)$", done.stdout, re.MULTILINE) == [
        ("0", words[0]) for words in COMMANDS
    ]
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "film.html").is_file()
    assert "watch at http://127.0.0.1:" in done.stdout


def test_helper_takes_away_what_it_says():
    """A process that has lost these things cannot fork, lock with fcntl, or name SIGHUP."""
    code = "import other_systems, signal, os; other_systems.take_away()\nprint(hasattr(os, 'fork'), signal.SIGINT.name)"
    code += "\ntry: import fcntl\nexcept ImportError: print('no fcntl')\nsignal.SIGHUP"
    env = dict(os.environ, PYTHONPATH=str(Path(other_systems.__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "SIGINT", "no", "fcntl"]
    assert "has no attribute 'SIGHUP'" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_table_is_printed_where_the_output_is_not_utf_8(tmp_path, encoding):
    """Windows encodes piped output in the code page of the country; a character that it lacks becomes `?`."""
    code = "import sys; from mapush.run import command_line; command_line.tolerate_narrow_encodings()"
    code += "; print(1, '\\u2500'); print('\\u2500', file=sys.stderr)"
    env = dict(os.environ, PYTHONIOENCODING=encoding)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == b"?"


def test_stop_request_takes_the_signals_that_the_system_has(monkeypatch):
    """Ctrl-Break, which only Windows has, stops a run as Ctrl-C does; a signal that is missing is left out."""
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    assert stop_request.stop_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    monkeypatch.delattr(signal, "SIGBREAK")
    assert stop_request.stop_signals() == [signal.SIGINT, signal.SIGTERM]
