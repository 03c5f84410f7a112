"""The catalogue of known crashes: how each one shows itself, its most likely cause, and how to fix it.

There is one table for each place in which a crash can show itself: what the command printed (`CRASHES`), the signal
that ended it (`SIGNALS`), and what `harness.process.diagnosis` has recognised from the outside (`SITUATIONS`).
Explanations that belong to other packages, such as error messages of a GPU, are added with `register`. Exceptions and
signals that the lines of code explain are in `harness.causes.known_errors`, which is asked first.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, NamedTuple, Optional

from harness.causes.cause import Cause


class KnownCrash(NamedTuple):
    """A crash that is recognised by what the command printed.

    Attributes:
      pattern: regular expression that is searched in the last lines and in the stacks.
      cause: the most likely reason.
      fix: what to do about it.
    """

    pattern: str
    cause: str
    fix: str


Explainer = Callable[[str], Optional[Cause]]
"""Explains one printed line; returns None if it does not recognise the line."""

NO_MEMORY = r"(?m)^[\w.]*(?<!OutOf)MemoryError\b|bad_alloc|can't allocate memory|Cannot allocate memory"

# Fixes that the doctor proposes, too.
FIX_HARL_NEEDS = "pip install absl-py setproctitle pyyaml tensorboardX cloudpickle"
FIX_HARL_PYTHON = "use Python 3.12 or older"
FIX_ISAAC_PYTHON = "use Python 3.8, for example: conda create -n isaac python=3.8"
FIX_MQE = "pip uninstall mqe; export MAPUSH_DIR=MAPush (a git checkout)"
FIX_NINJA = "pip install ninja"
FIX_NUMPY_ALIASES = "pip install 'numpy<1.24', or replace np.float by float in isaacgym/torch_utils.py"
FIX_SHM = "start the container with --shm-size 2g or --ipc host, or use fewer worker processes"

CRASHES = (  # the first match counts, so specific patterns stand before general ones
    # Isaac Gym and MQE
    KnownCrash(  # isaac-sim/IsaacGymEnvs#33
        r"Gym cuda error: no kernel image is available",
        "Isaac Gym was not built for this card: the card is older or newer than those that its kernels know",
        "use a different card, or --sim mujoco, which needs no Isaac Gym",
    ),
    KnownCrash(  # GuyTevet/CLoSD#3, PKU-MARL/HARL#72
        r"Gym cuda error: invalid device ordinal",
        "Isaac Gym asks for a card that this process does not see",
        "CUDA_VISIBLE_DEVICES renumbers the cards: the first visible one is cuda:0; give simulation, learner and "
        "graphics the same device",
    ),
    KnownCrash(
        r"PxgDynamicsMemoryConfig|(Contact|Patch) buffer overflow detected|foundLost\w*PairsCapacity",
        "the GPU buffers of PhysX are too small for so many contact pairs",
        "lower num_envs, or double max_gpu_contact_pairs in a copy of the configuration (changed in place, it doubles "
        "again with every environment)",
    ),
    KnownCrash(
        r"PxgCudaDeviceMemoryAllocator|PhysX\b.*\balloc\w*.* fail|"
        r"(Gym cuda|PhysX Internal CUDA) error: out of memory",
        "PhysX could not allocate the GPU memory that it reserves for contact pairs",
        "halve max_gpu_contact_pairs or lower num_envs; nvidia-smi shows who else uses the card",
    ),
    KnownCrash(
        r"PhysX Internal CUDA error|fail(ed)? to launch kernel|Gym cuda error|GymPhysX\w*\.c",
        "PhysX lost its GPU context: too few contact pairs reserved, too little GPU memory, or a NaN written into the "
        "simulation",
        "look at the first error, not the last: if it mentions 'capacity', raise max_gpu_contact_pairs, otherwise "
        "lower num_envs and max_gpu_contact_pairs; check actions and resets for NaN",
    ),
    KnownCrash(  # leggedrobotics/legged_gym#18
        r"\*\*\* Failed to load '|\[carb\.gym\.plugin\] .*Failed to (parse|import|load) ",
        "Isaac Gym could not read the file of a robot or an object, said so, and went on without it",
        "check the folder and the name in the first such line; the format must be URDF or MJCF, and meshes must exist",
    ),
    KnownCrash(
        r"carb\.windowing-glfw|Failed to create Window|GLFW (initialization|window creation) failed",
        "Isaac Gym tries to open a window, but there is no display",
        "pass --headless, or run under xvfb-run with a working Vulkan driver",
    ),
    KnownCrash(
        r"vkCreateInstance|VK_ERROR_|VkResult|libvulkan|carb\.graphics-vulkan|Vulkan.*(not found|fail)",
        "Vulkan does not start: there is no Vulkan driver, or it chose the driver of a different card",
        "install libvulkan1 and the driver's libGLX_nvidia; export VK_ICD_FILENAMES="
        "/usr/share/vulkan/icd.d/nvidia_icd.json; without rendering, pass --headless and record no video",
    ),
    KnownCrash(
        r"libpython3\.\d+m?\.so[.\d]*: cannot open shared object",
        "the loader does not find the shared library of Python, which Isaac Gym's bindings need",
        'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib:$LD_LIBRARY_PATH", or install libpython3.8',
    ),
    KnownCrash(
        r"No module named 'isaacgym\._bindings|gym_\d+.*(cannot open|No such file)|No gym module .* found",
        "Isaac Gym has no bindings for this version of Python",
        FIX_ISAAC_PYTHON,
    ),
    KnownCrash(
        r"PyTorch was imported before isaacgym",
        "torch was imported before isaacgym",
        "import isaacgym first, also in every module that is imported earlier",
    ),
    KnownCrash(
        r"removed in the NumPy 2\.0|'numpy' has no attribute '(bool8|product|cumproduct|alltrue|sometrue|in1d|trapz)'",
        "numpy 2 removed names that this code uses",
        "pip install 'numpy<2', or use the new name, given in the message or in numpy's migration guide",
    ),
    KnownCrash(
        r"module 'numpy' has no attribute '(float|int|bool|object|complex|str)\d?'",
        "numpy 1.24 removed the aliases np.float, np.int ..., which Isaac Gym's torch_utils uses",
        FIX_NUMPY_ALIASES,
    ),
    KnownCrash(
        r"file_baton\.py",
        "torch waits until a different process has built an extension such as gymtorch; a killed build leaves its lock",
        "if no other process builds it, delete the file lock below ~/.cache/torch_extensions and start again",
    ),
    KnownCrash(r"Ninja is required", "torch builds gymtorch with ninja, which is not installed", FIX_NINJA),
    KnownCrash(
        r"GLIBCXX_[\d.]+' not found|CXXABI_[\d.]+' not found",
        "conda's libstdc++ is older than the compiler that built an extension module",
        "conda install -c conda-forge libstdcxx-ng, or put the system's libstdc++ first in LD_LIBRARY_PATH",
    ),
    KnownCrash(
        r"GLIBC_[\d.]+' not found",
        "a library is built for a newer Linux than this one",
        "install the build for this system, or use a container with a newer one; ldd --version shows its glibc",
    ),
    KnownCrash(
        r"libcudnn\S*: cannot open shared object",
        "cuDNN is missing, or its version differs from the one that a library was built with",
        "reinstall torch with its own cuDNN (pip install --force-reinstall torch), or add the folder of cuDNN to "
        "LD_LIBRARY_PATH",
    ),
    KnownCrash(
        r"No module named 'mqe|cannot import name '\w+' from 'mqe",
        "MAPush's package mqe is not installed; the package mqe on PyPI is unrelated",
        FIX_MQE,
    ),
    KnownCrash(
        r"No module named '(absl|setproctitle|yaml|tensorboardX|cloudpickle)'",
        "HARL needs packages that it does not declare",
        FIX_HARL_NEEDS,
    ),
    KnownCrash(r"No module named 'uu'", "HARL uses a module that Python 3.13 removed", FIX_HARL_PYTHON),
    KnownCrash(
        r"No module named '(isaacgym|harl|openrl)'",
        "this package is not installed; Isaac Gym and HARL are on no package registry and are installed by hand",
        "python -m harness doctor --upstream lists what is missing; mapush.train --sim mujoco needs none of them",
    ),
    # rendering
    KnownCrash(
        r"eglQueryString|libEGL(?! warning)|EGL_(BAD|NOT)_\w+|Cannot initialize a EGL device",
        "MUJOCO_GL=egl, but EGL does not work here, or a renderer is used in a thread that did not create it",
        "apt install libegl1, or MUJOCO_GL=osmesa (libosmesa6), or unset MUJOCO_GL where there is a display",
    ),
    KnownCrash(
        r"libGL\.so\S*: cannot open shared object",
        "the OpenGL library is missing, which OpenCV, among others, needs",
        "apt install libgl1, or pip install opencv-python-headless instead of opencv-python",
    ),
    KnownCrash(
        r"an OpenGL platform library has not been loaded|gladLoadGL|GLFWError|X11: The DISPLAY",
        "there is no display to render to",
        "MUJOCO_GL=egl (libegl1) or MUJOCO_GL=osmesa (libosmesa6) renders without a display",
    ),
    KnownCrash(
        r'(?m)^ +(Binary f|F)ile ".*(mujoco/viewer|mjviser|libfilament)',
        "the native viewer: two viewers in one process, a viewer that was not closed, or no display",
        "open one viewer per process and close it before the end; recording a video needs no display",
    ),
    # memory and limits of the system
    KnownCrash(
        r"dataloader's workers are out of shared memory|unable to open shared memory|"
        r"(No space|full|Bus error).*/dev/shm|/dev/shm.*(No space|full|Bus error)",
        "/dev/shm is full",
        FIX_SHM,
    ),
    KnownCrash(
        r"Too many open files",
        "there are no file descriptors left",
        "ulimit -n 65536; if it happens again, something leaks descriptors, such as environments that are never closed",
    ),
    KnownCrash(
        r"No space left on device",
        "the disk is full",
        "free space (df -h), or keep fewer checkpoints; earlier checkpoints are complete",
    ),
    KnownCrash(
        r"can't start new thread|Thread creation failed|pthread_create.*(failed|unavailable)",
        "the system allows no more threads",
        "raise ulimit -u or the container's pids limit; OMP_NUM_THREADS=1 if many processes compute",
    ),
    KnownCrash(
        NO_MEMORY + "|Unable to allocate",
        "memory is full, or limited (ulimit -v)",
        "lower num_envs or num_steps; free -h shows what is available, the curve below whether memory grew",
    ),
    KnownCrash(  # google-deepmind/mujoco_warp#766, #425
        r"operation not permitted when stream is capturing|STREAM_CAPTURE_INVALIDATED",
        "a kernel was loaded, or memory was allocated, while Warp recorded a CUDA graph",
        "take one step before the recording, so that every kernel is loaded; newer drivers allow it during one",
    ),
    # processes and native code
    KnownCrash(
        r"Argument list too long",
        "the command line, or one of its words, is longer than the system allows",
        "pass the text in a file",
    ),
    KnownCrash(
        r"Exec format error",
        "the file is not a program: its first line is not #!/bin/sh or similar, or it was built for a different "
        "processor",
        "name its interpreter: sh FILE, python FILE",
    ),
    KnownCrash(
        r"Cannot re-initialize CUDA in forked subprocess",
        "a process that uses CUDA was forked",
        "multiprocessing.get_context('spawn')",
    ),
    KnownCrash(
        r"OMP: Error #15|libiomp5.*already initialized",
        "two OpenMP libraries are loaded in one process",
        "install torch and numpy from the same source, pip or conda",
    ),
    KnownCrash(
        r"malloc\(\)|free\(\): |double free|corrupted (size|double)|munmap_chunk",
        "native code corrupted the heap; the bug is earlier than the crash",
        "python -m harness doctor finds incompatible versions; otherwise run with MALLOC_CHECK_=3",
    ),
    KnownCrash(
        r"Cannot recover from stack overflow|maximum recursion depth",
        "endless recursion",
        "look for the frames that repeat in the stack below",
    ),
)

SIGNALS = {
    "SIGSEGV": Cause(
        "native code accessed invalid memory: a bug in a simulator, an extension or a driver, or incompatible versions",
        "the innermost line of the stack names the library that was called; python -m harness doctor checks versions",
    ),
    "SIGABRT": Cause(
        "native code gave up: an assertion failed, or a C++ exception was not caught",
        "the last lines give the reason",
    ),
    "SIGBUS": Cause(
        "a memory-mapped file was truncated, or the disk behind it is full: /dev/shm, a disk or a network share",
        "df -h /dev/shm; start the container with --shm-size 2g; do not overwrite files that are in use",
    ),
    "SIGILL": Cause(
        "a library was built for a different processor",
        "install the build for this processor; lscpu lists what it supports",
    ),
    "SIGFPE": Cause("native code divided an integer by zero", "the innermost line of the stack names the library"),
    "SIGXCPU": Cause("it used more CPU time than allowed", "raise the limit; ulimit -t shows the limit of the shell"),
}

SITUATIONS: Dict[str, Cause] = {
    "memory limit": Cause(
        "too much at once, or a leak",
        "lower num_envs or num_steps, or raise the limit; the curve shows whether memory grew",
    ),
    "memory full": Cause(
        "the kernel's out-of-memory killer",
        "lower num_envs, num_steps or the number of processes, or give the container more memory; dmesg names the "
        "killed process",
    ),
    "killed": Cause(
        "kill -9, a batch system whose limit of time or memory was reached, or a container that was stopped",
        "find out who sent the signal; most batch systems send SIGTERM first, on which a training can save",
    ),
    "signal": Cause("a different process sent this signal", "find out who sent it"),
    "computes": Cause("it computes: an endless loop, or work that takes longer than allowed"),
    "disk-sleep": Cause("it waits for a disk, a network share or a driver that does not answer"),
    "stopped": Cause("a process was stopped (SIGSTOP, Ctrl-Z or a debugger)"),
    "waits": Cause("it waits: for a lock, a different process, a network, or input"),
    "hang": Cause("", "the stacks show where; if it is only slow, raise the limit"),
    "deadlock at fork": Cause(
        "fork copies only the thread that forks; a lock that a different thread held stays locked in the child",
        "multiprocessing.get_context('spawn') or 'forkserver', or fork before any thread is started "
        "(torch, OpenMP, TensorBoard and logging start threads)",
    ),
    "endless recursion": Cause("endless recursion", "look for the frames that repeat in the stack below"),
    "child crashed": Cause(
        "one of its processes crashed in native code first",
        "the innermost line of the stack names the library that was called",
    ),
    "no program": Cause(
        "there is no such program, or it is not executable", "check the name, the PATH and the permissions"
    ),
    "no interpreter": Cause(
        "the file exists, but the interpreter named in its first line, or its loader, does not", "head -1 FILE"
    ),
    "wrong command line": Cause(
        "the command line is wrong", "check the command, the folder in which it runs, and PYTHONPATH"
    ),
    "silent exit": Cause(
        "it called os._exit or sys.exit, or a library did",
        "look at the last lines, and for os._exit, sys.exit and exit() in the code that it calls",
    ),
}

_EXPLAINERS: List[Explainer] = []


def register(explainer: Explainer) -> None:
    """Let `explainer` explain lines that no pattern of `CRASHES` matches.

    Args:
      explainer: is called with one printed line after the other; registering it again changes nothing.
    """
    if explainer not in _EXPLAINERS:
        _EXPLAINERS.append(explainer)


def likely_cause(output: str, signal_name: Optional[str] = None) -> Optional[Cause]:
    """Return the most likely cause of a crash; None if nothing is known.

    Args:
      output: what the command printed, and its stacks.
      signal_name: the signal that ended it, as in `SIGNALS`.
    """
    for crash in CRASHES:
        if re.search(crash.pattern, output):
            return Cause(crash.cause, crash.fix)
    for line in output.splitlines():
        for explainer in _EXPLAINERS:
            explained = explainer(line)
            if explained is not None:
                return explained
    return SIGNALS.get(signal_name or "")
