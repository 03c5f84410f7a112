"""Contracts of the diagnosis: the cause comes from stacks and last lines, not from what the command survived."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from programs import GROWING, LONG, LOOP, MIB, PYTHON, SHORT, run_all

from harness.process.isolate import Limits, run
from harness.process.known_crashes import CRASHES, SIGNALS, SITUATIONS, likely_cause
from harness.stack import training_hints

pytestmark = pytest.mark.harness

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
MISLEADING = [  # program, limits, beginning of the report, words of the cause
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
        "it waits: for a lock, a different process, a network, or input; perhaps MUJOCO_GL=egl",
    ),
    ("print('12:01 Too many open files, trying again')\n" + LOOP, SHORT, "hang: no end", "it computes"),
    (
        "import ctypes; print('hint: python -m mujoco.viewer'); ctypes.string_at(0)",
        LONG,
        "segm",
        "invalid memory",
    ),
    ("import ctypes; print('note: MemoryError, halved'); ctypes.string_at(0)", LONG, "segm", "invalid memory"),
    ("import ctypes; print('see /dev/shm in README'); ctypes.string_at(0)", LONG, "segm", "invalid memory"),
    (
        "import ctypes\nprint('No space left on device')\nfor _ in range(30): print('on it goes')\nctypes.string_at(0)",
        LONG,
        "segm",
        "invalid memory",
    ),
    (
        "import os\nprint('  what():  CUDA error: device-side assert triggered')\n"
        "for number in range(30): print('frame #{}: c10'.format(number), flush=True)\nos.abort()",
        LONG,
        "abort",
        "GPU failed",
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
def endings():
    """Run all of `MISLEADING` in parallel."""
    training_hints.activate()
    return run_all(MISLEADING)


@pytest.mark.parametrize("index, begins, named", [(index, case[2], case[3]) for index, case in enumerate(MISLEADING)])
def test_message_that_was_survived_is_not_the_cause(endings, index, begins, named):
    """A message printed long ago, logged or only quoted neither decides the kind nor hides the cause."""
    ending = endings[index]
    assert str(ending).startswith(begins), str(ending)
    assert named in (ending.cause or ""), str(ending)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs ExceptionGroup")
def test_exception_group_is_an_exception():
    """A group of exceptions is reported by the line that names the group."""
    ending = run(PYTHON + ["raise ExceptionGroup('two workers', [ValueError('a'), KeyError('b')])"])
    assert str(ending).startswith("exception: ExceptionGroup: two workers (2 sub-exceptions)"), str(ending)


@pytest.mark.parametrize("words", [["no-such-file.py"], ["-m", "no_such_module"]])
def test_wrong_command_line_of_the_command_is_quoted(words):
    """The first line quotes Python's message about a missing script or module."""
    ending = run([sys.executable, *words])
    assert words[-1] in str(ending).splitlines()[0], str(ending)
    assert "command line is wrong" in ending.cause


@pytest.mark.parametrize(
    "text, named",
    [("#!/no/such/interpreter\n", "interpret"), ("no program\n", "first line"), (None, "no such program")],
)
def test_program_that_cannot_start_has_its_own_cause(tmp_path, text, named):
    """A missing interpreter, a file that is not a program and a missing file have different causes."""
    path = tmp_path / "program"
    if text is not None:
        path.write_text(text)
        path.chmod(0o755)
    ending = run([str(path)])
    assert str(ending).startswith("cannot start"), str(ending)
    assert named in ending.cause


def test_command_line_that_is_too_long_cannot_start():
    """An argument that is too long for the system is reported, and no descriptor stays open."""
    before = psutil.Process().num_fds()
    ending = run(["true", "x" * 3 * MIB])
    assert str(ending).startswith("cannot start: true: "), str(ending)[:200]
    assert "longer than the system allows" in ending.cause
    assert ending.exit_code == 127
    assert psutil.Process().num_fds() == before


def test_lack_of_descriptors_is_reported():
    """If too many files are open to start a command, the report says so, and no descriptor stays open."""
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


def test_missing_program_is_named():
    """The report names a program that does not exist, and the exit code is 127 as in a shell."""
    ending = run(["no-such-program", "--flag"])
    assert str(ending).startswith("cannot start: no-such-program"), str(ending)
    assert ending.exit_code == 127


def test_error_that_states_its_cause_is_quoted():
    """The cause and the fix that an error has printed are used."""
    text = "SimulatorError: the physics diverged\n  where     env 3\n  cause     bad targets\n  fix       better ones"
    ending = run(PYTHON + [f"import sys; sys.stderr.write({text!r}); sys.exit(2)"])
    assert str(ending).startswith("exception: SimulatorError: the physics diverged"), str(ending)
    assert (ending.cause, ending.fix) == ("bad targets", "better ones")


def test_crash_of_a_child_is_named():
    """An exception caused by the crash of a child process names that crash as the cause."""
    source = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'import ctypes; ctypes.string_at(0)'], "
    )
    ending = run(PYTHON + [source + "check=True)"])
    assert str(ending).startswith("exception: subprocess.CalledProcessError"), str(ending)
    assert "crashed in native code first" in ending.cause


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="needs root and cgroup v1")
def test_out_of_memory_kill_is_suspected():
    """A process that the kernel killed because memory was full is recognised, with the number of such kills."""
    group = Path(f"/sys/fs/cgroup/memory/harness-{os.getpid()}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no cgroup can be made here")
    try:
        (group / "memory.limit_in_bytes").write_text(str(50 * MIB))
        enter = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        ending = run(PYTHON + [enter + GROWING], LONG)
        assert str(ending).startswith("killed because memory was full, probably: the kernel counted"), str(ending)
    finally:
        group.rmdir()


MESSAGES = [  # messages from public bug reports, words of the cause
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
    ("RuntimeError: CUDA error: device-side assert triggered", "GPU failed"),
    ("terminate called after throwing an instance of 'std::bad_alloc'", "memory is full"),
    ("double free or corruption (!prev)", "corrupted the heap"),
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
    """Known crashes of this stack are recognised by their messages."""
    training_hints.activate()
    cause = likely_cause(message)
    assert named in cause.cause
    assert cause.fix


def test_unknown_message_has_no_cause():
    """No cause is invented for an unknown message."""
    assert likely_cause("ValueError: not enough values to unpack (expected 2, got 1)") is None


def test_every_entry_of_the_catalogue_explains_something():
    """Every crash and signal has a cause and a fix; every situation has one of them."""
    for entry in (*CRASHES, *SIGNALS.values()):
        assert entry.cause, entry
        assert entry.fix, entry
    for situation in SITUATIONS.values():
        assert situation.cause or situation.fix


PUBLIC_RUN = """
import sys
import harness
source = "raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')"
print(harness.run([sys.executable, "-S", "-c", source]).cause)
"""


def test_public_run_explains_errors_of_the_gpu():
    """Who imports `run` from the package gets the explanations that mapush has."""
    done = subprocess.run([sys.executable, "-c", PUBLIC_RUN], stdout=subprocess.PIPE, text=True)
    assert done.stdout.startswith("the memory of the GPU is full")
