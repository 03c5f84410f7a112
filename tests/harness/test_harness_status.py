"""Tests of what a command says while it works: a line in a terminal, a line now and then in a pipe."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import time

import pytest
from terminal_runs import COLUMNS, harness_in_terminal, run_in_terminal

from harness.status.shared_progress import FollowedProgress, Progress, ProgressWriter, read_progress
from harness.status.status_line import FIRST_LINE_S, StatusLine, duration

pytestmark = pytest.mark.harness

MOST_SILENT_S = 2.0


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Return that it is one."""
        return True


class Clock:
    """A time that a test sets [s]."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        """Return the time."""
        return self.now


def wait_for(condition):
    """Wait until a condition holds, at most ten seconds."""
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_line_in_a_terminal_is_rewritten_and_erased():
    """The line says what is done; at the end nothing of it is left, and what was printed stays."""
    stream = Terminal()
    with StatusLine("harness x", stream) as status:
        status.say("contract 3 of 7: values", 2 / 7)
        wait_for(lambda: "contract 3 of 7: values" in stream.getvalue())
        status.say("contract 4 of 7: reset")
        wait_for(lambda: "contract 4 of 7: reset" in stream.getvalue())
    assert "[#####...............]  29%" in stream.getvalue()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().split("\r")[-2].isspace()
    assert stream.getvalue().endswith("\r")


def test_what_is_over_soon_shows_nothing():
    """A command that ends at once leaves no trace in a terminal."""
    stream = Terminal()
    with StatusLine("harness x", stream):
        pass
    assert stream.getvalue() == ""


def test_pipe_gets_a_line_now_and_then():
    """The first line comes after ten seconds, and the pauses grow."""
    stream, clock = io.StringIO(), Clock()
    with StatusLine("harness x", stream, clock) as status:
        status.say("working")
        time.sleep(0.5)
        assert stream.getvalue() == ""
        clock.now += FIRST_LINE_S
        wait_for(lambda: stream.getvalue() == "harness x: working, 10 s\n")
        clock.now += 3.0
        time.sleep(0.5)
        assert stream.getvalue().count("\n") == 1
        clock.now += 4.0
        wait_for(lambda: stream.getvalue().endswith("\nharness x: working, 17 s\n"))


def test_closed_stream_disturbs_nothing(monkeypatch):
    """A command goes on when nobody reads its stderr any more, or there is none."""
    stream = Terminal()
    with StatusLine("harness x", stream) as status:
        stream.close()
        time.sleep(0.5)
        status.say("still working")
    monkeypatch.setattr(sys, "stderr", None)
    with StatusLine("harness x") as status:
        status.say("working")


def test_time_that_is_left_follows_from_the_share_that_is_done():
    """A fifth in 8 s leaves 32 s; nothing is said of work of unequal parts, or before five seconds."""
    for even, seconds, left in [(True, 8.0, ", about 32 s to go"), (False, 8.0, ""), (True, 4.0, "")]:
        clock = Clock()
        status = StatusLine("harness x", io.StringIO(), clock, even=even)
        clock.now += 30.0  # before anything is known
        status.say("working", 0.0)
        clock.now += seconds
        status.say("working", 0.2)
        assert status.text() == f"harness x: [####................]  20% working, {duration(30 + seconds)}{left}"


@pytest.mark.parametrize("seconds, text", [(0.9, "0 s"), (99, "99 s"), (100, "1 min 40 s"), (7300, "2 h 1 min")])
def test_durations_are_readable(seconds, text):
    """Seconds up to a minute and a half, then minutes, then hours."""
    assert duration(seconds) == text


def test_progress_of_a_process_is_read_by_a_different_one(tmp_path):
    """What is written replaces what was written before; a file that does not exist yet says nothing."""
    file = tmp_path / "progress"
    assert read_progress(file).doing == ""
    status = StatusLine("harness x", io.StringIO())
    follow = FollowedProgress(file, status)
    assert follow() is None
    assert "starting" in status.text()
    write = ProgressWriter(file)
    write("a long description " * 20)
    write("cycle 3 of 7", 0.4)
    assert read_progress(file) == Progress("cycle 3 of 7", 0.4)
    assert follow() is None
    assert "40% cycle 3 of 7" in status.text()
    write("closing")
    assert math.isnan(read_progress(file).done)


SLOW_MODULE = """
import time
time.sleep(3.0)
from harness.toys import make_pointmass
"""


def test_check_in_a_terminal_is_never_silent(tmp_path):
    """Its first output comes within a second, while a slow module is imported, too; the line leaves nothing behind."""
    (tmp_path / "slow_module.py").write_text(SLOW_MODULE)
    words = ("check", "slow_module:make_pointmass", "--contracts", "spaces,finite")
    run = harness_in_terminal(*words, cwd=str(tmp_path), env={"PYTHONPATH": ":".join(sys.path)})
    assert run.code == 0, run.text
    assert run.longest_silence < MOST_SILENT_S
    assert "importing slow_module" in run.text
    assert "contract 2 of 2: finite" in run.text
    assert all(len(part) < COLUMNS for part in run.text.replace("\n", "\r").split("\r"))
    assert not [line for line in run.lines if "harness check: " in line]
    assert run.lines[-2].startswith("2 of 2 contracts judged: 0 broken, 2 hold; ")


BREAKING_MODULE = """
import time
from harness.toys import PointMass, make_pointmass

class Slow(PointMass):
    def step(self, actions):
        actions *= 0.5
        time.sleep(0.002)
        return super().step(actions)

def make_slow(num_envs=5, seed=0):
    env = make_pointmass(num_envs=num_envs, seed=seed)
    env.__class__ = Slow
    return env
"""


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_check_in_pytest_says_how_far_it_is(capture, tmp_path):
    """`pytest --harness-env` shows the contracts as they run, past the capture; findings stay, the line does not."""
    (tmp_path / "slow_module.py").write_text(BREAKING_MODULE)
    words = ["-p", "pytest_mapush_harness", f"--capture={capture}", "--harness-env", "slow_module:make_slow"]
    command = [sys.executable, "-m", "pytest", *words, "-k", "spaces or actions-untouched"]
    env = {"PYTHONPATH": ":".join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = run_in_terminal(command, env, str(tmp_path))
    assert run.code == 1, run.text
    assert "seed 0: [" in run.text
    assert "contract 2 of 2: actions-untouched" in run.text
    assert not [line for line in run.lines if "contract 2 of 2" in line]
    assert [line for line in run.lines if line.startswith("found after ")]


def test_memory_in_pytest_says_how_far_it_is(tmp_path):
    """The test of the memory shows its progress, too."""
    words = ["-p", "pytest_mapush_harness", "-m", "harness_memory", "--harness-env", "harness.toys:make_pointmass"]
    command = [sys.executable, "-m", "pytest", *words, "--harness-soak=0.05"]
    env = {"PYTHONPATH": ":".join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = run_in_terminal(command, env, str(tmp_path))
    assert "harness memory: [" in run.text, run.text


def test_command_that_prints_nothing_is_measured_aloud():
    """`run --memory` says that it measures until the command prints; then the terminal belongs to the command."""
    code = "import time; time.sleep(1.2); print('mine', end=''); time.sleep(1.2); print(' alone')"
    run = harness_in_terminal("run", "--memory", "--", sys.executable, "-c", code)
    assert "which prints nothing yet" in run.text
    assert "mine alone" in run.lines
    assert run.text.split("mine")[1].count("harness run") == 0


def test_commands_in_a_pipe_print_the_same_as_before():
    """What ends within ten seconds writes nothing about its progress."""
    words = ["check", "harness.toys:make_pointmass", "--contracts", "spaces"]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, text=True)
    assert done.returncode == 0
    if time.monotonic() - started < FIRST_LINE_S:  # on a busy machine it may take longer
        assert done.stderr == ""
    assert "harness check" not in done.stdout


@pytest.mark.slow  # a minute: commands as they are
@pytest.mark.parametrize(
    "words",
    ["stack --contracts masks,factor", "faults --only rare-infinity", "memory own_loops:clean_function --minutes 0.1"],
)
def test_no_command_is_silent_for_long(words, tmp_path):
    """Every command says something at least every other second."""
    run = harness_in_terminal(*words.split(), env={"PYTHONPATH": ":".join(sys.path)}, cwd=str(tmp_path))
    assert run.longest_silence < MOST_SILENT_S, run.text
    assert run.output[0][0] < MOST_SILENT_S
