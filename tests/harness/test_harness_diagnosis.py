"""What is said of an ending: its cause from stacks and last words, and no cause from what was survived."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import psutil
import pytest
from programs import GROWING, LONG, LOOP, MIB, PYTHON, SHORT, run_all

from harness.process.isolate import Limits, run
from harness.process.known_crashes import CAUSES, likely

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
def told():
    """Run all of `TOLD`, side by side."""
    return run_all(TOLD)


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
    assert "longer than the system takes" in ending.cause
    assert ending.exit_code == 127
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


def test_training_is_told_with_its_last_step(tmp_path):
    """Of a training run, the report says how far it was and how to continue it."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_000000004000.pt").write_text("")
    lines = f"training cuboid in {tmp_path}: simulator mujoco\n"
    lines += "Env mapush Task cuboid Algo happo Exp quick updates 3/9 episodes, total num timesteps 4321/9000, FPS 9."
    ending = run(PYTHON + [f"import os; print({lines!r}, flush=True); os.abort()"])
    assert "at env step 4,321" in str(ending).splitlines()[0]
    assert f"step_000000004000.pt; continue with: python -m mapush.train --resume {tmp_path}" in str(ending)


def test_errors_of_ours_speak_for_themselves():
    """An error that was printed with cause and fix is told with these."""
    text = "SimulatorError: the physics diverged\n  where     env 3\n  cause     bad targets\n  fix       better ones"
    ending = run(PYTHON + [f"import sys; sys.stderr.write({text!r}); sys.exit(2)"])
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
    ("RuntimeError: CUDA error: device-side assert triggered", "GPU failed"),
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
    assert named in cause.cause
    assert cause.fix


def test_unknown_message_has_no_cause():
    """Nothing is made up about what is not known."""
    assert likely("ValueError: not enough values to unpack (expected 2, got 1)") is None
    assert all(cause.cause and cause.fix for cause in CAUSES)
