"""Contracts of the isolation of crashes: whatever kills a process is reported in plain words."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from programs import GROWING, LONG, LOOP, MIB, PYTHON, SHORT, run_all

from harness.process.console import MAX_LINES, OutputTail
from harness.process.isolate import Limits, call, run
from harness.process.memory_curve import MAX_SAMPLES, MemoryCurve
from harness.process.processes import examine
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness

FORK_DEADLOCK = """
import os, threading, time
lock = threading.Lock()
def hold():
    with lock:
        time.sleep(100)
threading.Thread(target=hold, daemon=True).start()
time.sleep(0.1)
pid = os.fork()
if pid == 0:
    with lock:
        os._exit(0)
os.waitpid(pid, 0)
"""
BUS_ERROR = """
import mmap, tempfile
file = tempfile.TemporaryFile()
file.truncate(8192)
view = mmap.mmap(file.fileno(), 8192)
file.truncate(0)
view[5000]
"""
CUDA_ABORT = """
import os, sys
sys.stderr.write("terminate called after throwing an instance of 'c10::Error'\\n")
sys.stderr.write("  what():  CUDA error: an illegal memory access was encountered\\n")
sys.stderr.flush()
os.abort()
"""
PROGRESS_BAR = "import sys, time\nprint(1)\nwhile True:\n    sys.stderr.write('\\r50 %')\n    time.sleep(0.05)"
WAIT = "import time; time.sleep(100)"
STOP = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
STOP_SUPERVISOR = "import os, signal, sys, time; os.kill(os.getppid(), signal.SIGSTOP); "
SHARED_LOCK = """
import multiprocessing, os
lock = multiprocessing.get_context("fork").Lock()
lock.acquire()
pid = os.fork()
if pid == 0:
    lock.acquire()
os.waitpid(pid, 0)
"""
IDLE_WORKERS = """
import multiprocessing, threading, time
threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
context = multiprocessing.get_context("fork")
pool = context.Pool(2)
context.Process(target=time.sleep, args=(99,)).start()
time.sleep(99)
"""
CPU_LIMIT = "CPU time limit passed: 1 s"
ENDINGS = [  # program, limits, beginning of the report, exit code
    ("print('done')", LONG, "ended well", 0),
    ("import ctypes; ctypes.string_at(0)", LONG, "segmentation fault: SIGSEGV", 139),
    ("import os; os.abort()", LONG, "abort: SIGABRT", 134),
    (BUS_ERROR, LONG, "bus error: SIGBUS", 135),
    ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", LONG, "illegal instruction: SIGILL", 132),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", LONG, "killed by SIGKILL", 137),
    ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", LONG, "killed by SIGTERM", 143),
    ("import os, signal; os.killpg(0, signal.SIGKILL)", LONG, "killed by SIGKILL (after", 137),
    ("import os; os._exit(3)", LONG, "exit without an exception: exit code 3", 3),
    ("raise ValueError('bad')", LONG, "exception: ValueError: bad", 1),
    ("import os; os.system('kill -SEGV $$') and os._exit(139)", LONG, "segmentation fault: SIGSEGV", 139),
    ("bytearray(10**11)", Limits(address_space=2**30), "memory limit passed: 1.0 GiB of address space", 1),
    (GROWING, Limits(timeout=30.0, memory=100 * MIB), "memory limit passed: 0.", 137),
    (LOOP, Limits(timeout=30.0, cpu=1), CPU_LIMIT, 128 + signal.SIGXCPU),
    (PROGRESS_BAR, Limits(silence=0.5), "hang: nothing printed within 0.5 s", 124),
    (LOOP, SHORT, "hang: no end within 3 s", 124),
    (WAIT, SHORT, "hang: no end within 3 s", 124),
    (STOP, SHORT, "hang: no end within 3 s", 124),
    (STOP_SUPERVISOR + "sys.exit(3)", LONG, "exit without an exception: exit code 3", 3),
    (STOP_SUPERVISOR + "time.sleep(100)", SHORT, "hang: no end within 3 s", 124),
    (SHARED_LOCK, SHORT, "hang: no end within 3 s", 124),
    (IDLE_WORKERS, Limits(timeout=5.0), "hang: no end within 5 s", 124),
    (FORK_DEADLOCK, SHORT, "deadlock at fork, probably", 124),
    (CUDA_ABORT, LONG, "illegal memory access on the GPU: ", 134),
    ("raise RuntimeError('CUDA error: an illegal memory access was encountered')", LONG, "illegal memory access", 1),
    ("raise Exception('Warp CUDA error 700: an illegal memory access was encountered')", LONG, "illegal memory", 1),
]


@pytest.fixture(scope="module")
def endings():
    """Run all of `ENDINGS` in parallel, because most of them wait."""
    return run_all(ENDINGS)


@pytest.mark.parametrize("index, begins, code", [(index, case[2], case[3]) for index, case in enumerate(ENDINGS)])
def test_first_line_of_the_report_names_the_ending(endings, index, begins, code):
    """The report begins with the kind of ending, and the exit code is the one that a shell would return."""
    ending = endings[index]
    assert str(ending).startswith(begins), str(ending)
    assert ending.exit_code == code
    assert ending.ok == (code == 0)


def test_process_with_a_busy_thread_computes(monkeypatch):
    """A process counts as computing if any of its threads runs, even if its first thread waits."""
    source = "import threading\ndef busy():\n    print(1, flush=True)\n    while True: pass\n"
    source += "thread = threading.Thread(target=busy)\nthread.start()\nthread.join()"
    monkeypatch.setattr(psutil.Process, "cpu_percent", lambda process: 0.0)
    with subprocess.Popen(PYTHON + [source], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        (seen,) = examine([psutil.Process(process.pid)])
        process.kill()
    assert seen.computes, seen


def test_stacks_of_all_threads_are_kept():
    """A crash and a hang both show where every Python thread was."""
    source = "import ctypes, threading, time\ndef waits(): time.sleep(100)\ndef {0}(): {1}\n"
    source += "threading.Thread(target=waits, daemon=True).start()\n{0}()"
    for name, body, limits in (("crashes", "ctypes.string_at(0)", LONG), ("hangs", "time.sleep(100)", SHORT)):
        ending = run(PYTHON + [source.format(name, body)], limits)
        stacks = "\n".join(ending.evidence.stacks)
        assert "in waits" in stacks, str(ending)
        assert "in " + name in stacks, str(ending)
        assert "in waits" in str(ending)
        assert "in " + name in str(ending)
        assert not any("in waits" in line for line in ending.evidence.lines)


@pytest.mark.parametrize(
    "source, said", [(LOOP, "endless loop"), (WAIT, "it waits: for a lock"), (STOP, "was stopped")]
)
def test_cause_of_a_hang_says_what_the_process_does(endings, source, said):
    """An endless loop, a wait and a stopped process are three different causes, and each shows its stack."""
    ending = endings[[case[:2] for case in ENDINGS].index((source, SHORT))]
    assert said in ending.cause
    assert ending.evidence.processes[0].stack


def test_only_what_waits_for_a_lost_lock_is_a_deadlock_at_fork(endings):
    """Idle workers, a forked process that sleeps, and one whose parent has a single thread are no deadlock at fork."""
    kinds = {case[0]: ending.kind for case, ending in zip(ENDINGS, endings)}
    assert (kinds[IDLE_WORKERS], kinds[SHARED_LOCK]) == ("hang", "hang")
    assert kinds[FORK_DEADLOCK] == "deadlock at fork, probably"
    workers = endings[[case[0] for case in ENDINGS].index(IDLE_WORKERS)]
    assert len(workers.evidence.processes) == 4


def squares(count, start=0):
    """Return some squares."""
    return [number**2 for number in range(start, start + count)]


def leave():
    """End the process with exit code 0 before the function returns."""
    os._exit(0)


def crash():
    """Read address 0."""
    ctypes.string_at(0)


def test_function_returns_its_result():
    """The result of a function in a different process is returned."""
    ending = call(squares, 3, start=2)
    assert ending.ok
    assert ending.result == [4, 9, 16]


@pytest.mark.parametrize(
    "function, args, begins",
    [
        (leave, (), "exit without an exception: exit code 0"),
        (crash, (), "segmentation fault: SIGSEGV"),
        (squares, ("x",), "exception: TypeError"),
    ],
)
def test_function_that_does_not_return_has_failed(function, args, begins):
    """A function whose process ends before it returns is reported, even if the exit code is 0."""
    ending = call(function, *args)
    assert not ending.ok
    assert ending.result is None
    assert str(ending).startswith(begins), str(ending)
    assert function.__name__ in ending.evidence.command[0]


@pytest.mark.parametrize(
    "limit", [{"timeout": 0}, {"silence": -1.0}, {"timeout": float("inf")}, {"memory": 2.5}, {"cpu": "1"}]
)
def test_invalid_limit_is_refused(limit):
    """A limit that is not positive, not finite or not a number is an error of the caller."""
    with pytest.raises(ConfigError, match=next(iter(limit))):
        Limits(**limit)


@pytest.mark.parametrize("command", [[], "true"])
def test_invalid_command_is_refused(command):
    """A command is a list of at least one word."""
    with pytest.raises(ConfigError, match="command"):
        run(command)


def test_process_with_many_open_files_runs_commands():
    """Commands can be run with more open files than `select` supports."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"no more than {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1100):
                stack.enter_context(open(os.devnull))
            assert run(PYTHON + ["print(1)"]).ok
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_isolation_leaves_no_descriptors_open():
    """Running commands repeatedly leaves no descriptor open."""
    run(PYTHON + ["pass"])
    before = psutil.Process().num_fds()
    for _ in range(3):
        run(PYTHON + ["pass"])
    assert psutil.Process().num_fds() == before


def test_console_is_bounded():
    """However much is printed, only the last lines are kept, complete and without colours."""
    console = OutputTail()
    for number in range(10_000):
        console.feed(0, f"\x1b[31mline {number}\x1b[0m\n".encode())
        console.feed(1, b"half ")
    console.feed(0, b"x" * 10**6)
    console.finish()
    assert len(console.lines) == MAX_LINES
    assert "line 9999" in console.lines
    assert max(map(len, console.lines)) < 2001


def test_memory_curve_is_bounded():
    """For any duration there are few samples, in order, and evenly spread."""
    clock = [0.0]
    sizes = [7] * 9_999 + [11] + [3] * 10_000  # the peak lies between two samples that are kept
    process = SimpleNamespace(
        pid=2, num_threads=lambda: 1, memory_info=lambda: SimpleNamespace(rss=sizes[int(clock[0]) - 1])
    )
    curve = MemoryCurve(clock=lambda: clock[0], processes=lambda pid: [process])
    for _ in sizes:
        clock[0] += 1.0
        curve.sample(1)
    assert (curve.rss, curve.peak) == (3, 11)
    assert 11 not in [sample.rss for sample in curve.samples]
    times = [sample.seconds for sample in curve.samples]
    assert 50 < len(times) <= MAX_SAMPLES
    assert times == sorted(times)
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert times[0] < 10
    assert times[-1] > 19_000
    assert max(gaps) < 4 * min(gaps)


WITHOUT_FORK = """
import os, signal, sys
import psutil  # needs `resource` itself where it runs on Linux
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None
del os.fork, signal.SIGHUP
from harness.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_run_without_fork_is_refused_in_one_message():
    """On Windows, `harness run` says that it cannot isolate the command, and exits with 2."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_FORK, "run", "--", "true"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: processes cannot be isolated on this system")
    assert "Traceback" not in done.stderr


def test_check_without_fork_runs_in_this_process_and_says_so():
    """On Windows, `harness check` checks without a child process, and a note says what that means."""
    words = ["check", "harness.toys:make_pointmass", "--contracts", "spaces"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_FORK, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "note: this system cannot isolate processes" in done.stdout
    assert "1 of 1 contracts judged: 0 broken, 1 hold" in done.stdout
