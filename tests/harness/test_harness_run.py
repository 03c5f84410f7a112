"""Contracts of `python -m harness run`: no process outlives the command, and the command runs unchanged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from programs import LONG, MIB, PYTHON

from harness.process.isolate import Limits, run
from harness.process.memory_curve import MemoryCurve
from harness.process.processes import alive, descendants
from harness.process.run_command import main

pytestmark = pytest.mark.harness

HARNESS = [sys.executable, "-m", "harness", "run"]


def test_no_process_outlives_an_error_of_the_harness(monkeypatch):
    """If watching fails, the command is killed, and no descriptor stays open."""
    run(PYTHON + ["pass"])
    before, children = psutil.Process().num_fds(), []

    def fail(curve, pid):
        children[:] = descendants(pid)
        if len(children) == 2:
            raise KeyboardInterrupt

    source = "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])"
    monkeypatch.setattr(MemoryCurve, "sample", fail)
    with pytest.raises(KeyboardInterrupt):
        run(PYTHON + [source])
    assert not any(child.is_running() for child in children)
    assert psutil.Process().num_fds() == before


def test_no_process_outlives_a_supervisor_that_is_stopped_repeatedly(monkeypatch, tmp_path):
    """A supervisor that cannot work is killed, and so are all processes below it."""
    stopper = "import os, signal, sys, time\nos.setsid()\nsignal.signal(signal.SIGABRT, signal.SIG_IGN)\n"
    stopper += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    stopper += "signal.alarm(60)\nwhile True:\n    try: os.kill(int(sys.argv[1]), signal.SIGSTOP)\n"
    stopper += "    except ProcessLookupError: time.sleep(0.1)"
    source = "import os, subprocess, sys\n"
    source += f"subprocess.run([sys.executable, '-S', '-c', {stopper!r}, str(os.getppid())])"
    monkeypatch.setattr("harness.process.session.KILL_TIMEOUT_S", 0.5)
    ending = run(PYTHON + [source], Limits(timeout=2.5))
    assert str(ending).startswith("hang: no end within 2.5 s"), str(ending)
    deadline = time.monotonic() + 20.0
    while alive(int((tmp_path / "pid").read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline


def test_no_process_outlives_the_command(tmp_path):
    """Descendants that left the process group and whose parent has ended are killed and counted."""
    file = str(tmp_path / "pid")
    daemon = f"import os, time\nopen({file!r}, 'w').write(str(os.getpid()))\ntime.sleep(100)"
    source = "import os, subprocess, sys, time\nif os.fork() == 0:\n    os.setsid()\n"
    source += f"    subprocess.Popen([sys.executable, '-S', '-c', {daemon!r}])\n    os._exit(0)\n"
    source += f"while not (os.path.exists({file!r}) and open({file!r}).read()): time.sleep(0.01)"
    ending = run(PYTHON + [source], LONG)
    assert ending.ok
    assert ending.evidence.left == 1
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_no_process_outlives_the_owner(tmp_path):
    """When the process that started the command is killed, the command and its children are killed, too."""
    child = "import subprocess, sys\n"
    child += "process = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])\n"
    child += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(process.pid))\nprocess.wait()"
    owner = subprocess.Popen(HARNESS + ["--", *PYTHON, child], stdin=subprocess.DEVNULL)
    grandchild = psutil.Process(int(wait_for(tmp_path / "pid")))
    below = [grandchild, grandchild.parent(), grandchild.parent().parent()]
    owner.kill()
    owner.wait()
    gone, left = psutil.wait_procs(below, timeout=10)
    assert not left
    assert len(gone) == 3


def wait_for(path, seconds=20.0):
    """Wait until something is written to a file, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {path}")


def test_command_line_passes_everything_through():
    """Input reaches the command, its output arrives on the same stream, and its exit code is returned."""
    source = "import sys; text = sys.stdin.read(); print(text.upper()); sys.stderr.write('aside\\n'); sys.exit(7)"
    done = subprocess.run(HARNESS + ["--", *PYTHON, source], input=b"typed", capture_output=True)
    assert done.returncode == 7
    assert done.stdout == b"TYPED\n"
    assert done.stderr.startswith(b"aside\n\nexit without an exception: exit code 7")


def test_interrupt_reaches_the_command_once(tmp_path):
    """Ctrl-C, which a terminal sends to the process group, reaches the command as one SIGINT; its exit code counts."""
    source = "import os, signal, sys, time\ncount = []\nsignal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
    source += f"open({str(tmp_path / 'ready')!r}, 'w').write('ready')\nwhile not count: time.sleep(0.01)\n"
    source += "time.sleep(0.3)\nprint(len(count), 'interrupts')\nsys.exit(130)"
    harness = subprocess.Popen(
        HARNESS + ["--", *PYTHON, source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(tmp_path / "ready")
    os.killpg(harness.pid, signal.SIGINT)
    out, err = harness.communicate(timeout=20)
    assert (out, err, harness.returncode) == (b"1 interrupts\n", b"", 130)


def test_terminal_stays_a_terminal():
    """In a terminal, the command also sees a terminal, so that progress bars and colours stay."""
    reader, writer = os.openpty()
    source = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    subprocess.run(
        HARNESS + ["--", *PYTHON, source], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, check=True
    )
    os.close(writer)
    assert os.read(reader, 1000).split() == [b"True", b"True"]
    os.close(reader)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--"],
        ["--memory-limit", "much", "--", "true"],
        ["--timeout", "-1", "--", "true"],
        ["--timeout", "nan", "--", "true"],
        ["--silence", "0", "--", "true"],
        ["--cpu-limit", "-5", "--", "true"],
        ["--cpu-limit", "1" + 30 * "0", "--", "true"],
    ],
)
def test_wrong_command_line_is_refused(words, capsys):
    """Without a command or with an invalid limit, nothing runs and the exit code is 2."""
    try:
        assert main(words) == 2
    except SystemExit as refused:
        assert refused.code == 2
    assert capsys.readouterr().err


def test_report_is_written(tmp_path, capfd):
    """`--report DIR` leaves the report as text and as JSON, with the memory curve."""
    source = "import time; kept = b'x' * 50 * 2**20; time.sleep(0.4); print('last words'); raise ValueError('bad')"
    assert main(["--report", str(tmp_path / "report"), "--", *PYTHON, source]) == 1
    text = (tmp_path / "report" / "crash.txt").read_text()
    content = json.loads((tmp_path / "report" / "crash.json").read_text())
    assert text.startswith("exception: ValueError: bad")
    assert "last words" in text
    assert (content["kind"], content["exit_code"]) == ("exception", 1)
    assert max(sample["rss"] for sample in content["evidence"]["memory"]) > 50 * MIB
    assert "exception: ValueError: bad" in capfd.readouterr().err


def test_report_that_cannot_be_written_keeps_message_and_exit_code(tmp_path, capfd):
    """If `--report` does not name a folder, one message after the report on stderr says so."""
    (tmp_path / "file").write_text("")
    assert main(["--report", str(tmp_path / "file"), "--", *PYTHON, "raise SystemExit(7)"]) == 7
    printed = capfd.readouterr().err
    assert printed.count("exit without an exception: exit code 7") == 1
    assert "ConfigError: the report cannot be written" in printed
    assert str(tmp_path / "file") in printed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_stderr_keeps_the_exit_code():
    """If the report cannot be printed, the exit code is still that of the command."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(HARNESS + ["--", *PYTHON, "raise SystemExit(7)"], stdout=full, stderr=full)
    assert done.returncode == 7


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_command_runs_with_closed_standard_streams(closed, tmp_path):
    """With `1>&- 2>&-` the command still does its work and returns its exit code."""
    source = "import os\nfor stream in (1, 2):\n    os.write(stream, b'1' * 99)\n"
    source += f"open({str(tmp_path / 'file')!r}, 'w').write('done')\nos._exit(7)"
    close = " ".join(f"{descriptor}>&-" for descriptor in closed)
    done = subprocess.run(["sh", "-c", '"$@" ' + close, "sh", *HARNESS, "--", *PYTHON, source], timeout=60)
    assert (done.returncode, wait_for(tmp_path / "file")) == (7, "done")
