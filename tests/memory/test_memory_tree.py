"""Tests of `python -m harness run --memory`: a command is measured from outside, and judged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from interrupts import interruptible
from leaking_commands import PROGRAMS, command

from harness.memory.verdict import CLEAN, ENDS, LEAK, NOT_JUDGED
from harness.process.isolate import Limits, run
from harness.soaking.run_with_meters import main
from harness.soaking.tree_meters import MAX_SNAPSHOTS, TreeMeters
from harness.soaking.tree_verdict import exit_code_of, judge_tree

pytestmark = [pytest.mark.memory, pytest.mark.slow]

WARM_UP_S = 0.5
HARNESS = [sys.executable, "-m", "harness", "run", "--memory"]


def measured(words, warm_up=WARM_UP_S, minutes=None):
    """Run a command under the meters, and return the report and how the command ended."""
    meters = TreeMeters(minutes)
    ending = run(words, Limits(timeout=120.0), onlooker=meters)
    return judge_tree(meters, warm_up, ending, stopped=meters.has_seen_enough), ending


def measured_together(cases):
    """Measure several programs at a time, because most of the time they sleep; return their reports.

    Args:
      cases: name of the program, whether it leaks, and how long it turns [s].
    """
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda case: measured(command(*case))[0], cases))


@pytest.fixture(scope="module")
def reports():
    """The reports on each program that leaks and on its clean twin."""
    cases = []
    for name in PROGRAMS:
        cases += [(name, True), (name, False)]
    return dict(zip(cases, measured_together(cases)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_leak_of_a_command_is_found_and_named(reports, name):
    """The meter of what the program keeps shows a leak, whose first owner says what it is."""
    program, leaking = PROGRAMS[name], reports[name, True]
    assert leaking.kind == LEAK, leaking
    assert leaking.finding(program.meter).kind == LEAK, leaking
    assert program.owner in leaking.owners[0], leaking
    assert leaking.finding(program.meter).interval[0] > 0.0
    assert exit_code_of(leaking) == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_clean_twin_of_a_leaking_command_is_clean(reports, name):
    """The same work without keeping anything is no leak."""
    clean = reports[name, False]
    assert clean.kind in (CLEAN, ENDS), clean
    assert exit_code_of(clean) == 0
    assert not clean.owners


def test_clean_commands_raise_no_alarm():
    """Twenty clean runs: none leaks, whatever it does and however slowly it starts."""
    names = (list(PROGRAMS) * 3)[:20]
    for name, report in zip(names, measured_together([(name, False, 2.5) for name in names])):
        assert report.kind != LEAK, f"{name}: {report}"


def test_report_states_floor_interval_and_curve():
    """A reader sees how fast it grows, how sure that is, what was too slow to be seen, and the curve."""
    report, _ = measured(command("array", leaks=True))
    text = str(report)
    assert text.startswith("memory: leak of memory of process ")
    assert "per second in [" in text
    assert ", floor " in text
    assert "per hour is invisible" in text
    assert "▁" in report.sketches["rss"]
    assert "descriptors" not in report.sketches  # it did not move


def test_command_that_ends_early_is_not_judged():
    """A second says nothing, and neither does a start that is not over: the message says what would do."""
    report, _ = measured([sys.executable, "-c", "pass"], warm_up=None)
    assert report.kind == NOT_JUDGED
    assert "at least 60 s are needed, or --warm-up SECONDS" in report.why
    assert exit_code_of(report) == 2
    report, _ = measured([sys.executable, "-c", "import time; time.sleep(1)"], warm_up=500.0)
    assert report.kind == NOT_JUDGED
    assert "0 times after the warm-up" in report.why


def test_command_that_leaves_a_daemon_is_not_judged_and_the_daemon_is_ended(tmp_path):
    """What works in the background after the end of the command is killed, and the report says so."""
    file = str(tmp_path / "pid")
    source = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
    source += f"        open({file!r}, 'w').write(str(os.getpid()))\n        time.sleep(600)\n    os._exit(0)\n"
    source += f"while not (os.path.exists({file!r}) and open({file!r}).read()): time.sleep(0.01)"
    report, ending = measured([sys.executable, "-c", source], warm_up=None)
    assert ending.evidence.left == 1
    assert report.kind == NOT_JUDGED
    assert "1 of its processes still ran after its end and were killed: let it run in the foreground" in report.why
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_daemon_of_a_command_that_goes_on_is_measured():
    """A process that left its session and lost its parent still counts, and its leak is found."""
    name = "array"
    leaking = command(name, leaks=True)
    source = f"import os, subprocess, time\nif os.fork() == 0:\n    os.setsid()\n    subprocess.Popen({leaking!r})\n"
    source += "    os._exit(0)\nos.wait()\n"
    source += "import psutil\nme = psutil.Process().parent()\n"
    source += "while len(me.children()) > 1: time.sleep(0.05)"
    report, _ = measured([sys.executable, "-c", source])
    assert report.kind == LEAK, report
    assert "memory of process" in report.owners[0]


def test_minutes_end_a_command_that_goes_on_for_ever():
    """After --minutes the command is asked to end, and the verdict decides the exit code."""
    words = ["--memory", "--minutes", "0.08", "--warm-up", str(WARM_UP_S), "--"]
    done = subprocess.run(HARNESS[:-1] + words + command("array", True, 600.0), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "memory: leak of memory of process" in done.stderr
    assert done.stdout == ""


def test_minutes_end_a_command_that_ignores_to_be_asked(monkeypatch):
    """A command that ignores SIGTERM is killed after a while, with its children."""
    monkeypatch.setattr("harness.process.session.TERM_GRACE_S", 0.2)
    source = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(0.1)"
    meters = TreeMeters(minutes=0.03)
    ending = run([sys.executable, "-c", source], Limits(timeout=60.0), onlooker=meters)
    assert ending.evidence.seconds < 50.0
    assert ending.evidence.stopped_for is None
    assert meters.has_seen_enough


def test_exit_code_of_a_command_that_fails_is_its_own():
    """A command that fails is reported as ever, followed by the verdict on its memory."""
    done = subprocess.run(
        HARNESS + ["--", sys.executable, "-c", "raise RuntimeError('No CUDA GPUs are available')"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "exception: RuntimeError: No CUDA GPUs are available" in done.stderr
    assert "memory: not judged" in done.stderr
    assert "Traceback" not in done.stderr.partition("exception: ")[2].partition("last lines")[0]


@pytest.mark.parametrize(
    "words, message",
    [
        ("--minutes 3", "--minutes needs --memory"),
        ("--warm-up 3", "--warm-up needs --memory"),
        ("--memory --minutes -1", "invalid --minutes"),
        ("--memory --warm-up nan", "invalid --warm-up"),
    ],
)
def test_invalid_options_are_refused(capfd, words, message):
    """They are one message and exit code 2, and nothing runs."""
    assert main([*words.split(), "--", sys.executable, "-c", "print('ran')"]) == 2
    seen = capfd.readouterr()
    assert message in seen.err
    assert "ran" not in seen.out


def test_command_may_follow_the_flag_directly(capfd):
    """--memory has no value: the word after it is the command."""
    assert main(["--memory", sys.executable, "-c", "print('ran')"]) == 2  # too short to be judged
    assert "ran" in capfd.readouterr().out


def test_command_without_the_flag_is_not_measured(capfd):
    """Nothing changes for those who do not ask."""
    assert main(["--", sys.executable, "-c", "pass"]) == 0
    assert "memory" not in capfd.readouterr().err


def test_report_is_written_next_to_the_verdict(tmp_path, capfd):
    """With --report, curves and verdict are there for programs, too."""
    pytest.importorskip("matplotlib")
    folder = tmp_path / "new"
    words = ["--memory", "--warm-up", str(WARM_UP_S), "--report", str(folder), "--"]
    assert main(words + command("array", leaks=True)) == 1
    content = json.loads((folder / "soak.json").read_text())
    assert content["kind"] == LEAK
    assert content["axis"] == "second"
    assert f"report: {folder / 'soak.html'}" in capfd.readouterr().err


def test_fall_at_the_end_does_not_hide_a_leak():
    """A program that takes a second to release everything leaked all the same."""
    words = command("array", leaks=True)
    words[2] += "\nwhile kept:\n    kept.pop()\n    time.sleep(0.004)\n"
    report, _ = measured(words)
    assert report.finding("rss").kind == LEAK, report


def test_ctrl_c_ends_the_command_and_is_followed_by_the_verdict():
    """The exit code is that of the signal; the verdict is printed nevertheless."""
    source = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
    with interruptible():
        process = subprocess.Popen(
            HARNESS + ["--", sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "memory: not judged" in errors


class FakeClock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 50.0

    def __call__(self):
        """Return the time [s]."""
        return self.now


def test_storage_is_bounded_and_looking_stays_rare():
    """Ten hours of looks keep a bounded number of snapshots, and no look comes before it is due."""
    clock = FakeClock()
    me = psutil.Process()
    meters = TreeMeters(clock=clock, processes=lambda pid: [me])
    for _ in range(700):
        clock.now = max(meters.due, clock.now + 51.0)
        meters.look(0)
    assert 8 <= len(meters.snapshots) < MAX_SNAPSHOTS
    assert meters.due > clock.now
    assert len(meters.series["rss"].points()) <= 512
