"""Tests of the harness where the system lacks what only Unix has: modules, calls and signals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import without_unix

from harness.findings import Report
from harness.process import isolate
from harness.process.isolate import Limits, call

pytestmark = pytest.mark.harness

ROOT = Path(__file__).resolve().parents[2]
FACTORY = "harness.toys:make_pointmass"
COMMANDS = [
    (0, ["check", FACTORY, "--contracts", "spaces,finite", "--report", "report"]),
    (1, ["check", "test_harness_other_systems:missing", "--contracts", "spaces"]),
    (2, ["check", FACTORY, "--one-per-process"]),
    (2, ["run", "--memory", "--", "true"]),
    (2, ["replay", "nothing.json"]),
]


def test_commands_work_or_say_in_one_line_that_they_cannot(tmp_path):
    """`check` runs in its own process and writes its page; what needs a tree of processes is refused with a way out."""
    commands = [words for _, words in COMMANDS]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    command = [sys.executable, without_unix.__file__, json.dumps(commands)]
    done = subprocess.run(command, cwd=str(tmp_path), env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    codes = re.findall(r"^exit code (\d) of", done.stdout, re.MULTILINE)
    assert codes == [str(code) for code, _ in COMMANDS], done.stdout + done.stderr
    assert "note: this system cannot isolate processes" in done.stdout
    assert "unknown factory 'missing'" in done.stdout
    assert (tmp_path / "report" / "report.html").is_file()
    assert "ConfigError: this system cannot build each environment in a process of its own\n" in done.stderr
    assert "ConfigError: processes cannot be isolated on this system\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_examines_a_system_that_is_not_unix(tmp_path):
    """Every check has its line, also of what is loaded in a process of its own."""
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    commands = json.dumps([["doctor", "--no-measurement"]])
    command = [sys.executable, without_unix.__file__, commands]
    done = subprocess.run(command, cwd=str(tmp_path), env=env, capture_output=True, text=True, timeout=200)
    assert "Traceback" not in done.stderr
    assert "could not be checked" not in done.stdout
    assert "this machine " in done.stdout


@pytest.fixture
def no_fork(monkeypatch):
    """Start child processes as where there is no fork."""
    monkeypatch.setattr(isolate, "can_isolate", lambda: False)


def add(first, second):
    """Return a sum, and print something."""
    print("adding")
    return first + second


def fail():
    """Raise."""
    raise ValueError("planted")


def crash():
    """Crash as a broken library would."""
    import ctypes

    ctypes.string_at(0)


def hang():
    """Never return."""
    import threading

    print("waiting", flush=True)
    threading.Event().wait()


def test_function_is_called_in_a_plain_child_process(no_fork):
    """What it returns comes back, and what it printed is kept."""
    ending = call(add, 3, second=4)
    assert ending.ok
    assert ending.result == 7
    assert list(ending.evidence.lines) == ["adding"]


@pytest.mark.parametrize("function, summary", [(fail, "exception: ValueError: planted"), (crash, "segmentation fault")])
def test_end_of_a_plain_child_process_is_diagnosed(no_fork, function, summary):
    """An exception and a crash are told apart, with the stack."""
    ending = call(function)
    assert not ending.ok
    assert ending.summary.startswith(summary)
    assert function.__name__ in "\n".join([*ending.evidence.lines, *ending.evidence.stacks])


def test_plain_child_process_is_ended(no_fork):
    """At its time limit, or when the watcher has a reason."""
    ending = call(hang, limits=Limits(timeout=3.0))
    assert ending.evidence.stopped_for == "timeout"
    assert list(ending.evidence.lines) == ["waiting"]
    ending = call(hang, watcher=lambda: "stall")
    assert ending.evidence.stopped_for == "stall"


def test_report_is_returned_by_a_plain_child_process(no_fork):
    """The result may be anything that is pickled."""
    assert call(Report, [], ["spaces"]).result.passed == ["spaces"]
