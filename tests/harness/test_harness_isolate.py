"""Contracts of the isolation of crashes: whatever kills a process is told in plain words, and nothing outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.causes import CAUSES, likely
from harness.isolate import Limits, call, main, run
from harness.watch import LINES, SAMPLES, Console, MemoryCurve, alive, descendants, examine
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness

PYTHON = [sys.executable, "-S", "-c"]
HARNESS = [sys.executable, "-m", "harness", "run"]
SHORT = Limits(timeout=3.0)
LONG = Limits(timeout=30.0)
MIB = 2**20

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
FORK_AFTER_THREAD = """
import os, threading, time
lock, held = threading.Lock(), threading.Event()
def hold():
    with lock:
        held.set()
        time.sleep(1)
threading.Thread(target=hold, daemon=True).start()
held.wait()
time.sleep(0.5)
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
GROWING = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * 10**7)\n    time.sleep(0.01)"
LOOP = "while True: pass"
WAIT = "import time; time.sleep(100)"
STOP = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
STOP_KEEPER = "import os, signal, sys, time; os.kill(os.getppid(), signal.SIGSTOP); "
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

ENDINGS = [  # what is run, what it may take, how the report begins, exit code
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
    (STOP_KEEPER + "sys.exit(3)", LONG, "exit without an exception: exit code 3", 3),
    (STOP_KEEPER + "time.sleep(100)", SHORT, "hang: no end within 3 s", 124),
    (SHARED_LOCK, SHORT, "hang: no end within 3 s", 124),
    (IDLE_WORKERS, Limits(timeout=5.0), "hang: no end within 5 s", 124),
    (FORK_DEADLOCK, SHORT, "deadlock at fork, probably", 124),
    (CUDA_ABORT, LONG, "illegal memory access on the GPU: ", 134),
    ("raise RuntimeError('CUDA error: an illegal memory access was encountered')", LONG, "illegal memory access", 1),
    ("raise Exception('Warp CUDA error 700: an illegal memory access was encountered')", LONG, "illegal memory", 1),
]


@pytest.fixture(scope="module")
def endings():
    """Run all of `ENDINGS`, side by side, because most of them wait."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda case: run(PYTHON + [case[0]], case[1]), ENDINGS))


@pytest.mark.parametrize("index, begins, code", [(index, case[2], case[3]) for index, case in enumerate(ENDINGS)])
def test_ending_is_told_in_the_first_line(endings, index, begins, code):
    """The report begins with the kind of ending, and the exit code is that of a shell."""
    ending = endings[index]
    assert str(ending).startswith(begins), str(ending)
    assert ending.exit_code == code
    assert ending.ok == (code == 0)


TOLD = [  # what is run, what it may take, how the report begins, what the cause names
    (
        "import os, traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()\n"
        "print('a good hour later')\nos._exit(3)",
        LONG,
        "exit without an exception: exit code 3",
        "os._exit",
    ),
    (
        "import logging, sys\ntry:\n    try: {}[1]\n    finally: 1 / 0\n"
        "except ZeroDivisionError: logging.exception('on it goes')\nsys.exit('the reward is too low')",
        LONG,
        "exit without an exception: exit code 1",
        "sys.exit",
    ),
    (
        "import sys, traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()\n"
        "for _ in range(40): print('on it goes')\nsys.exit(1)",
        LONG,
        "exit without an exception: exit code 1",
        "sys.exit",
    ),
    ("import sys; sys.stderr.write('UserWarning: old\\n'); sys.exit(1)", LONG, "exit without an exception", "sys.exit"),
    ("raise RuntimeError('CUDA error: an assert\\nFor debugging, see\\nCompile with')", LONG, "exception: Runtime", ""),
    ("import warnings; raise UserWarning('no reset')", LONG, "exception: UserWarning: no reset", ""),
    (
        "import argparse; argparse.ArgumentParser().parse_args(['--nope'])",
        LONG,
        "exit without an exception: ",
        "line is",
    ),
    (
        "import threading\nprint('libEGL: no device')\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        SHORT,
        "hang: no end",
        "it waits: for a lock, another process, a network, or input; perhaps MUJOCO_GL=egl",
    ),
    ("print('12:01 Too many open files, trying again')\n" + LOOP, SHORT, "hang: no end", "it computes"),
    ("import ctypes; print('hint: python -m mujoco.viewer'); ctypes.string_at(0)", LONG, "segm", "native code used"),
    ("import ctypes; print('note: MemoryError, halved'); ctypes.string_at(0)", LONG, "segm", "native code used"),
    ("import ctypes; print('see /dev/shm in README'); ctypes.string_at(0)", LONG, "segm", "native code used"),
    (
        "import ctypes\nprint('No space left on device')\nfor _ in range(30): print('on it goes')\nctypes.string_at(0)",
        LONG,
        "segm",
        "native code used",
    ),
    (
        "import os\nprint('  what():  CUDA error: device-side assert triggered')\n"
        "for number in range(30): print('frame #{}: c10'.format(number), flush=True)\nos.abort()",
        LONG,
        "abort",
        "GPU gave up",
    ),
    (
        "import ctypes, sys\nsys.setrecursionlimit(10**8)\ndef deeper(): return again()\n"
        "again = ctypes.CFUNCTYPE(ctypes.c_int)(deeper)\nagain()",
        LONG,
        "segmentation fault",
        "endless recursion",
    ),
    (FORK_AFTER_THREAD, Limits(timeout=5.0), "deadlock at fork, probably", "only the thread that forks"),
]


@pytest.fixture(scope="module")
def told():
    """Run all of `TOLD`, side by side."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda case: run(PYTHON + [case[0]], case[1]), TOLD))


@pytest.mark.parametrize("index, begins, named", [(index, case[2], case[3]) for index, case in enumerate(TOLD)])
def test_what_was_said_and_survived_is_no_cause(told, index, begins, named):
    """What was printed long ago, logged or only mentioned neither decides the kind nor hides the cause."""
    ending = told[index]
    assert str(ending).startswith(begins), str(ending)
    assert named in (ending.cause or ""), str(ending)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs ExceptionGroup")
def test_exception_group_is_an_exception():
    """Several exceptions at once are told with the line that names their group."""
    ending = run(PYTHON + ["raise ExceptionGroup('two workers', [ValueError('a'), KeyError('b')])"])
    assert str(ending).startswith("exception: ExceptionGroup: two workers (2 sub-exceptions)"), str(ending)


@pytest.mark.parametrize("words", [["no-such-file.py"], ["-m", "no_such_module"]])
def test_wrong_command_line_of_the_command_is_told_with_its_words(words):
    """What Python says of a script or a module that is not there stands in the first line."""
    ending = run([sys.executable, *words])
    assert words[-1] in str(ending).splitlines()[0], str(ending)
    assert "command line is wrong" in ending.cause


def test_busy_thread_computes(monkeypatch):
    """A process whose first thread waits for one that computes computes, however little of a processor it gets."""
    source = "import threading\ndef busy():\n    print(1, flush=True)\n    while True: pass\n"
    source += "thread = threading.Thread(target=busy)\nthread.start()\nthread.join()"
    monkeypatch.setattr(psutil.Process, "cpu_percent", lambda process: 0.0)
    with subprocess.Popen(PYTHON + [source], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        (seen,) = examine([psutil.Process(process.pid)])
        process.kill()
    assert seen.computes, seen


@pytest.mark.parametrize(
    "text, named",
    [("#!/no/such/interpreter\n", "interpret"), ("no program\n", "first line"), (None, "no such program")],
)
def test_program_that_cannot_start_is_told_apart(tmp_path, text, named):
    """A file whose interpreter is missing, one that is no program, and none at all have their own causes."""
    path = tmp_path / "program"
    if text is not None:
        path.write_text(text)
        path.chmod(0o755)
    ending = run([str(path)])
    assert str(ending).startswith("cannot start"), str(ending)
    assert named in ending.cause


def test_command_line_that_is_too_long_cannot_start():
    """An argument that the system does not take is no error of ours, and nothing stays open."""
    before = psutil.Process().num_fds()
    ending = run(["true", "x" * 3 * MIB])
    assert str(ending).startswith("cannot start: true: "), str(ending)[:200]
    assert "longer than the system takes" in ending.cause and ending.exit_code == 127
    assert psutil.Process().num_fds() == before


def test_lack_of_descriptors_is_told():
    """If so many files are open that no command can be started, the report says so, and nothing stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = psutil.Process().num_fds()
    with open(os.devnull) as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 6, hard))
        try:
            ending = run(PYTHON + ["pass"])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(ending).startswith("cannot start"), str(ending)
    assert "descriptors" in ending.cause
    assert psutil.Process().num_fds() == before


def test_missing_program_is_told_with_its_name():
    """A command that is not there ends with a shell's 127, and the report names it."""
    ending = run(["no-such-program", "--flag"])
    assert str(ending).startswith("cannot start: no-such-program"), str(ending)
    assert ending.exit_code == 127


def test_stacks_of_all_threads_are_kept():
    """A crash and a hang both show where every Python thread was."""
    source = "import ctypes, threading, time\ndef waits(): time.sleep(100)\ndef {0}(): {1}\n"
    source += "threading.Thread(target=waits, daemon=True).start()\n{0}()"
    for name, body, limits in (("crashes", "ctypes.string_at(0)", LONG), ("hangs", "time.sleep(100)", SHORT)):
        ending = run(PYTHON + [source.format(name, body)], limits)
        stacks = "\n".join(ending.evidence.stacks)
        assert "in waits" in stacks and "in " + name in stacks, str(ending)
        assert "in waits" in str(ending) and "in " + name in str(ending)
        assert not any("in waits" in line for line in ending.evidence.lines)


@pytest.mark.parametrize(
    "source, said", [(LOOP, "endless loop"), (WAIT, "it waits: for a lock"), (STOP, "was stopped")]
)
def test_hang_tells_what_the_process_does(endings, source, said):
    """An endless loop, a wait and a stopped process are three different causes, and each shows its stack."""
    ending = endings[[case[:2] for case in ENDINGS].index((source, SHORT))]
    assert said in ending.cause
    assert ending.evidence.processes[0].stack


def test_only_what_waits_for_a_lost_lock_is_a_deadlock_at_fork(endings):
    """Idle workers, a forked process that sleeps, and one that waits for a lock of a parent without threads are not."""
    kinds = {case[0]: ending.kind for case, ending in zip(ENDINGS, endings)}
    assert (kinds[IDLE_WORKERS], kinds[SHARED_LOCK]) == ("hang", "hang")
    assert kinds[FORK_DEADLOCK] == "deadlock at fork, probably"
    workers = endings[[case[0] for case in ENDINGS].index(IDLE_WORKERS)]
    assert len(workers.evidence.processes) == 4


def test_nothing_outlives_an_error_of_ours(monkeypatch):
    """If watching fails, the command is killed, and nothing stays open."""
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


def test_nothing_outlives_a_keeper_that_is_stopped_again_and_again(monkeypatch, tmp_path):
    """A keeper that cannot do its work is given up, and what it was to kill is killed without it."""
    stopper = "import os, signal, sys, time\nos.setsid()\nsignal.signal(signal.SIGABRT, signal.SIG_IGN)\n"
    stopper += "open({!r}, 'w').write(str(os.getpid()))\n".format(str(tmp_path / "pid"))
    stopper += "signal.alarm(60)\nwhile True:\n    try: os.kill(int(sys.argv[1]), signal.SIGSTOP)\n"
    stopper += "    except ProcessLookupError: time.sleep(0.1)"
    source = "import os, subprocess, sys\n"
    source += "subprocess.run([sys.executable, '-S', '-c', {!r}, str(os.getppid())])".format(stopper)
    monkeypatch.setattr("harness.isolate.PATIENCE", 0.5)
    ending = run(PYTHON + [source], Limits(timeout=2.5))
    assert str(ending).startswith("hang: no end within 2.5 s"), str(ending)
    deadline = time.monotonic() + 20.0
    while alive(int((tmp_path / "pid").read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline


def test_nothing_outlives_the_command(tmp_path):
    """Descendants that left the process group, and whose parent is gone, are killed and counted."""
    daemon = "import os, time\nopen({!r}, 'w').write(str(os.getpid()))\ntime.sleep(100)".format(str(tmp_path / "pid"))
    source = "import os, subprocess, sys, time\nif os.fork() == 0:\n    os.setsid()\n"
    source += "    subprocess.Popen([sys.executable, '-S', '-c', {!r}])\n    os._exit(0)\n".format(daemon)
    source += "while not (os.path.exists({0!r}) and open({0!r}).read()): time.sleep(0.01)".format(str(tmp_path / "pid"))
    ending = run(PYTHON + [source], LONG)
    assert ending.ok and ending.evidence.left == 1
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_nothing_outlives_the_owner(tmp_path):
    """When the process that asked for the command is killed, the command and its children die with it."""
    child = "import subprocess, sys\n"
    child += "process = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(99)'])\n"
    child += "open({!r}, 'w').write(str(process.pid))\nprocess.wait()".format(str(tmp_path / "pid"))
    owner = subprocess.Popen(HARNESS + ["--", *PYTHON, child], stdin=subprocess.DEVNULL)
    grandchild = psutil.Process(int(wait_for(tmp_path / "pid")))
    below = [grandchild, grandchild.parent(), grandchild.parent().parent()]
    owner.kill()
    owner.wait()
    gone, left = psutil.wait_procs(below, timeout=10)
    assert not left and len(gone) == 3


def wait_for(path, seconds=20.0):
    """Return what is written to a file, as soon as it is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError("nothing was written to {}".format(path))


def test_command_line_passes_everything_through():
    """What is typed reaches the command, what it prints comes out where it was printed, and its exit code is ours."""
    source = "import sys; text = sys.stdin.read(); print(text.upper()); sys.stderr.write('aside\\n'); sys.exit(7)"
    done = subprocess.run(HARNESS + ["--", *PYTHON, source], input=b"typed", capture_output=True)
    assert done.returncode == 7
    assert done.stdout == b"TYPED\n"
    assert done.stderr.startswith(b"aside\n\nexit without an exception: exit code 7")


def test_interrupt_reaches_the_command_once(tmp_path):
    """Ctrl-C, which a terminal sends to the whole group, is one SIGINT for the command, which may end as it likes."""
    source = "import os, signal, sys, time\ncount = []\nsignal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
    source += "open({!r}, 'w').write('ready')\nwhile not count: time.sleep(0.01)\n".format(str(tmp_path / "ready"))
    source += "time.sleep(0.3)\nprint(len(count), 'interrupts')\nsys.exit(130)"
    harness = subprocess.Popen(
        HARNESS + ["--", *PYTHON, source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(tmp_path / "ready")
    os.killpg(harness.pid, signal.SIGINT)
    out, err = harness.communicate(timeout=20)
    assert (out, err, harness.returncode) == (b"1 interrupts\n", b"", 130)


def test_terminal_stays_a_terminal():
    """In a terminal, the command sees one, too, so that progress bars and colours stay."""
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
    """Without a command, or with a limit that is none, nothing runs and the exit code is 2."""
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
    assert text.startswith("exception: ValueError: bad") and "last words" in text
    assert (content["kind"], content["exit_code"]) == ("exception", 1)
    assert max(sample["rss"] for sample in content["evidence"]["memory"]) > 50 * MIB
    assert "exception: ValueError: bad" in capfd.readouterr().err


def test_report_that_cannot_be_written_costs_neither_message_nor_exit_code(tmp_path, capfd):
    """If `--report` names no folder, one message says so, after the report on stderr."""
    (tmp_path / "file").write_text("")
    assert main(["--report", str(tmp_path / "file"), "--", *PYTHON, "raise SystemExit(7)"]) == 7
    printed = capfd.readouterr().err
    assert printed.count("exit without an exception: exit code 7") == 1
    assert "ConfigError: the report cannot be written" in printed and str(tmp_path / "file") in printed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_stderr_does_not_cost_the_exit_code():
    """If the report cannot even be printed, the exit code is the command's."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(HARNESS + ["--", *PYTHON, "raise SystemExit(7)"], stdout=full, stderr=full)
    assert done.returncode == 7


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_standard_streams_keep_nothing_from_running(closed, tmp_path):
    """A shell's `1>&- 2>&-` leaves the command its work and its exit code."""
    source = "import os\nfor stream in (1, 2):\n    os.write(stream, b'1' * 99)\n"
    source += "open({!r}, 'w').write('done')\nos._exit(7)".format(str(tmp_path / "file"))
    close = " ".join("{}>&-".format(descriptor) for descriptor in closed)
    done = subprocess.run(["sh", "-c", '"$@" ' + close, "sh", *HARNESS, "--", *PYTHON, source], timeout=60)
    assert (done.returncode, wait_for(tmp_path / "file")) == (7, "done")


def squares(count, start=0):
    """Return some squares."""
    return [number**2 for number in range(start, start + count)]


def leave():
    """End the process as if all were well."""
    os._exit(0)


def crash():
    """Read address 0."""
    ctypes.string_at(0)


def test_function_returns_its_result():
    """What a function returns in its process comes back."""
    ending = call(squares, 3, start=2)
    assert ending.ok and ending.result == [4, 9, 16]


@pytest.mark.parametrize(
    "function, args, begins",
    [
        (leave, (), "exit without an exception: exit code 0"),
        (crash, (), "segmentation fault: SIGSEGV"),
        (squares, ("x",), "exception: TypeError"),
    ],
)
def test_function_that_does_not_return_is_no_success(function, args, begins):
    """A function whose process ends before it returns is reported, even if the exit code is 0."""
    ending = call(function, *args)
    assert not ending.ok and ending.result is None
    assert str(ending).startswith(begins), str(ending)
    assert function.__name__ in ending.evidence.command[0]


@pytest.mark.parametrize(
    "limit", [{"timeout": 0}, {"silence": -1.0}, {"timeout": float("inf")}, {"memory": 2.5}, {"cpu": "1"}]
)
def test_limit_that_is_none_is_refused(limit):
    """A limit that no command could keep, or that the system cannot, is an error of the caller."""
    with pytest.raises(ConfigError, match=next(iter(limit))):
        Limits(**limit)


@pytest.mark.parametrize("command", [[], "true"])
def test_command_that_is_none_is_refused(command):
    """A command is a list of words with at least one in it."""
    with pytest.raises(ConfigError, match="command"):
        run(command)


def test_many_open_files_are_no_obstacle():
    """A process with more open files than `select` can count still runs commands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("no more than {} files may be open here".format(hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1100):
                stack.enter_context(open(os.devnull))
            assert run(PYTHON + ["print(1)"]).ok
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_isolation_leaves_no_descriptors_open():
    """Running a command again and again opens nothing that stays open."""
    run(PYTHON + ["pass"])
    before = psutil.Process().num_fds()
    for _ in range(3):
        run(PYTHON + ["pass"])
    assert psutil.Process().num_fds() == before


def test_console_is_bounded():
    """However much is printed, the last lines are kept, whole, without colours, and no more."""
    console = Console()
    for number in range(10_000):
        console.feed(0, "\x1b[31mline {}\x1b[0m\n".format(number).encode())
        console.feed(1, b"half ")
    console.feed(0, b"x" * 10**6)
    console.finish()
    assert len(console.lines) == LINES
    assert "line 9999" in console.lines
    assert max(map(len, console.lines)) < 2001


def test_memory_curve_is_bounded(monkeypatch):
    """Samples of any length of time are few, in order, and spread over all of it."""
    clock = [0.0]
    monkeypatch.setattr("harness.watch.time.monotonic", lambda: clock[0])
    sizes = [7] * 9_999 + [11] + [3] * 10_000  # the peak between two samples that are kept
    process = SimpleNamespace(
        pid=2, num_threads=lambda: 1, memory_info=lambda: SimpleNamespace(rss=sizes[int(clock[0]) - 1])
    )
    monkeypatch.setattr("harness.watch.descendants", lambda pid: [process])
    curve = MemoryCurve()
    for _ in sizes:
        clock[0] += 1.0
        curve.sample(1)
    assert (curve.rss, curve.peak) == (3, 11) and 11 not in [sample.rss for sample in curve.samples]
    times = [sample.seconds for sample in curve.samples]
    assert 50 < len(times) <= SAMPLES and times == sorted(times)
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert times[0] < 10 and times[-1] > 19_000 and max(gaps) < 4 * min(gaps)


def test_training_is_told_with_its_last_step(tmp_path):
    """Of a training run, the report says how far it was and how to continue it."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_000000004000.pt").write_text("")
    lines = "training cuboid in {}: simulator mujoco\n".format(tmp_path)
    lines += "Env mapush Task cuboid Algo happo Exp quick updates 3/9 episodes, total num timesteps 4321/9000, FPS 9."
    ending = run(PYTHON + ["import os; print({!r}, flush=True); os.abort()".format(lines)])
    assert "at env step 4,321" in str(ending).splitlines()[0]
    assert "step_000000004000.pt; continue with: python -m mapush.train --resume {}".format(tmp_path) in str(ending)


def test_errors_of_ours_speak_for_themselves():
    """An error that was printed with cause and fix is told with these."""
    text = "SimulatorError: the physics diverged\n  where     env 3\n  cause     bad targets\n  fix       better ones"
    ending = run(PYTHON + ["import sys; sys.stderr.write({!r}); sys.exit(2)".format(text)])
    assert str(ending).startswith("exception: SimulatorError: the physics diverged"), str(ending)
    assert (ending.cause, ending.fix) == ("bad targets", "better ones")


def test_crash_of_a_child_is_named():
    """An exception that a crashed worker has caused is told as such."""
    source = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'import ctypes; ctypes.string_at(0)'], "
    )
    ending = run(PYTHON + [source + "check=True)"])
    assert str(ending).startswith("exception: subprocess.CalledProcessError"), str(ending)
    assert "crashed in native code first" in ending.cause


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="needs root and cgroup v1")
def test_out_of_memory_kill_is_suspected():
    """A process that the kernel really killed because memory was full is told so, with the count."""
    group = Path("/sys/fs/cgroup/memory/harness-{}".format(os.getpid()))
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no cgroup can be made here")
    try:
        (group / "memory.limit_in_bytes").write_text(str(50 * MIB))
        enter = "import os; open('{}/cgroup.procs', 'w').write(str(os.getpid()))\n".format(group)
        ending = run(PYTHON + [enter + GROWING], LONG)
        assert str(ending).startswith("killed because memory was full, probably: the kernel counted"), str(ending)
    finally:
        group.rmdir()


MESSAGES = [  # as they were reported in public, and what the cause has to name
    ("the application need to increase the PxgDynamicsMemoryConfig::foundLostPairsCapacity parameter", "contact pairs"),
    (
        "internal error : Contact buffer overflow detected, please increase its size to at least 8649690",
        "contact pairs",
    ),
    ("[Error] [carb.gym.plugin] Gym cuda error: an illegal memory access: GymPhysX.cpp: 4202", "PhysX"),
    ("NpScene.cpp (3509) : internal error : PhysX Internal CUDA error. Simulation can not continue!", "PhysX"),
    ("[Error] [carb.windowing-glfw.plugin] GLFW initialization failed.", "display"),
    ("ERROR: [Loader Message] vkCreateInstance failed", "Vulkan"),
    ("ImportError: libpython3.8.so.1.0: cannot open shared object file: No such file or directory", "shared library"),
    ("AttributeError: module 'numpy' has no attribute 'float'.", "aliases"),
    ("ImportError: PyTorch was imported before isaacgym modules.  Please import torch after isaacgym.", "before"),
    ("ModuleNotFoundError: No module named 'mqe'", "PyPI"),
    ("ModuleNotFoundError: No module named 'setproctitle'", "HARL"),
    ("ModuleNotFoundError: No module named 'isaacgym'", "by hand"),
    ("RuntimeError: Ninja is required to load C++ extensions", "ninja"),
    ("libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by gymtorch.so)", "libstdc++"),
    ("AttributeError: 'NoneType' object has no attribute 'eglQueryString'", "EGL"),
    ("mujoco.FatalError: an OpenGL platform library has not been loaded into this process", "display"),
    ("OSError: [Errno 24] Too many open files", "descriptors"),
    ("OSError: [Errno 28] No space left on device", "disk"),
    ("DataLoader worker killed. It is possible that dataloader's workers are out of shared memory", "/dev/shm"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "memory of the GPU"),
    ("RuntimeError: CUDA error: device-side assert triggered", "GPU gave up"),
    ("terminate called after throwing an instance of 'std::bad_alloc'", "memory is full"),
    ("double free or corruption (!prev)", "wrote where"),
    ("AttributeError: `np.float_` was removed in the NumPy 2.0 release. Use `np.float64` instead.", "numpy 2"),
    ("AttributeError: module 'numpy' has no attribute 'product'", "numpy 2"),
    ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "OpenGL"),
    ("ImportError: libcudnn.so.8: cannot open shared object file: No such file or directory", "cuDNN"),
    ("ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /x/y.so)", "newer Linux"),
    ("OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'", "/dev/shm"),
    ('  File "/x/mujoco/viewer.py", line 9 in launch', "viewer"),
]


@pytest.mark.parametrize("message, named", MESSAGES)
def test_known_message_has_its_cause_and_fix(message, named):
    """What is known to kill this stack is recognised by what it prints."""
    cause = likely(message)
    assert named in cause.cause and cause.fix


def test_unknown_message_has_no_cause():
    """Nothing is made up about what is not known."""
    assert likely("ValueError: not enough values to unpack (expected 2, got 1)") is None
    assert all(cause.cause and cause.fix for cause in CAUSES)
