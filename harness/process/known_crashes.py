"""What is known of crashes of this stack: how each shows itself, what causes it, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional, Sequence

from mapush.device.gpu_errors import explain


class Cause(NamedTuple):
    """A known crash.

    Attributes:
      pattern: regular expression, searched in the last lines and in the stacks.
      cause: the likely reason.
      fix: what to do about it.
    """

    pattern: str
    cause: str
    fix: str


NO_MEMORY = r"(?m)^[\w.]*(?<!OutOf)MemoryError\b|bad_alloc|can't allocate memory|Cannot allocate memory"

ENDLESS_RECURSION = Cause(
    r"Cannot recover from stack overflow|maximum recursion depth",
    "endless recursion",
    "the stack below repeats itself: that is the circle",
)

CAUSES = (  # the first that fits counts: what is specific stands before what is general
    # Isaac Gym and MQE
    Cause(
        r"PxgDynamicsMemoryConfig|(Contact|Patch) buffer overflow detected|foundLost\w*PairsCapacity",
        "PhysX' GPU buffers for contact pairs are too small for so many contacts",
        "double max_gpu_contact_pairs (in a copy of the configuration: in place, it grows with every environment), or "
        "lower num_envs",
    ),
    Cause(
        r"PxgCudaDeviceMemoryAllocator|Gym cuda error: out of memory|PhysX Internal CUDA error: out of memory",
        "PhysX could not get the GPU memory that it reserves for contact pairs",
        "halve max_gpu_contact_pairs or lower num_envs; nvidia-smi shows who else uses the card",
    ),
    Cause(
        r"PhysX Internal CUDA error|fail(ed)? to launch kernel|Gym cuda error|GymPhysX\w*\.c",
        "PhysX lost its GPU context: too few contact pairs reserved, too little GPU memory for those that are, or NaN "
        "written into the simulation",
        "look for the first error, not the last: with 'capacity' in it raise max_gpu_contact_pairs, otherwise lower "
        "num_envs and run on a smaller max_gpu_contact_pairs; check actions and resets for NaN",
    ),
    Cause(
        r"carb\.windowing-glfw|Failed to create Window|GLFW (initialization|window creation) failed",
        "Isaac Gym wants to open a window, and there is no display",
        "pass --headless, or run under xvfb-run with a working Vulkan driver",
    ),
    Cause(
        r"vkCreateInstance|VK_ERROR_|VkResult|libvulkan|carb\.graphics-vulkan|Vulkan.*(not found|fail)",
        "Vulkan does not start: there is no driver for it here, or it picked that of another card",
        "install libvulkan1 and the driver's libGLX_nvidia; export VK_ICD_FILENAMES="
        "/usr/share/vulkan/icd.d/nvidia_icd.json; if nothing is to be seen, pass --headless and record no video",
    ),
    Cause(
        r"libpython3\.\d+m?\.so[.\d]*: cannot open shared object",
        "Isaac Gym's bindings need the shared library of the Python that runs them, and the loader does not find it",
        'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib:$LD_LIBRARY_PATH", or install libpython3.8',
    ),
    Cause(
        r"No module named 'isaacgym\._bindings|gym_\d+.*(cannot open|No such file)|No gym module .* found",
        "Isaac Gym has no bindings for this version of Python",
        "use Python 3.8 (3.6 to 3.8 are there)",
    ),
    Cause(
        r"PyTorch was imported before isaacgym",
        "torch was imported before isaacgym",
        "import isaacgym first, also in modules that are imported earlier",
    ),
    Cause(
        r"removed in the NumPy 2\.0|'numpy' has no attribute '(bool8|product|cumproduct|alltrue|sometrue|in1d|trapz)'",
        "numpy 2 dropped names that this code uses",
        "pip install 'numpy<2', or write the new name, which the message or numpy's migration guide says",
    ),
    Cause(
        r"module 'numpy' has no attribute '(float|int|bool|object|complex|str)\d?'",
        "numpy 1.24 dropped the aliases np.float, np.int ..., which Isaac Gym's torch_utils uses",
        "pip install 'numpy<1.24', or write float for np.float in isaacgym/torch_utils.py",
    ),
    Cause(
        r"file_baton\.py",
        "torch waits for another process to build an extension such as gymtorch; one that was killed leaves its lock",
        "if nothing else builds it, delete the file lock below ~/.cache/torch_extensions and start again",
    ),
    Cause(r"Ninja is required", "torch builds gymtorch with ninja, which is not here", "pip install ninja"),
    Cause(
        r"GLIBCXX_[\d.]+' not found|CXXABI_[\d.]+' not found",
        "conda's libstdc++ is older than the compiler that built an extension",
        "conda install -c conda-forge libstdcxx-ng, or put the system's libstdc++ first in LD_LIBRARY_PATH",
    ),
    Cause(
        r"GLIBC_[\d.]+' not found",
        "a library is built for a newer Linux than this one",
        "install the build for this system, or run it in a container of a newer one; ldd --version shows what is here",
    ),
    Cause(
        r"libcudnn\S*: cannot open shared object",
        "cuDNN is not here, or in another version than the one that a library was built with",
        "install torch again with its own cuDNN (pip install --force-reinstall torch), or put cuDNN's folder into "
        "LD_LIBRARY_PATH",
    ),
    Cause(
        r"No module named 'mqe|cannot import name '\w+' from 'mqe",
        "MAPush's package mqe is not installed; mqe on PyPI has nothing to do with it",
        "pip uninstall mqe; export PYTHONPATH=MAPush (a checkout)",
    ),
    Cause(
        r"No module named '(absl|setproctitle|yaml|tensorboardX|cloudpickle)'",
        "HARL needs packages that it does not all declare",
        "pip install absl-py setproctitle pyyaml tensorboardX cloudpickle",
    ),
    Cause(r"No module named 'uu'", "HARL uses a module that Python 3.13 dropped", "use Python 3.12 or older"),
    Cause(
        r"No module named '(isaacgym|harl|openrl)'",
        "this package of the upstream stack is not here; Isaac Gym and HARL are on no registry, but installed by hand",
        "python -m harness doctor --upstream says what is missing; --sim mujoco needs none of it",
    ),
    # rendering
    Cause(
        r"eglQueryString|libEGL(?! warning)|EGL_(BAD|NOT)_\w+|Cannot initialize a EGL device",
        "MUJOCO_GL=egl, but EGL does not work here, or a renderer is used in another thread than it was made in",
        "apt install libegl1, or MUJOCO_GL=osmesa (libosmesa6), or unset MUJOCO_GL where there is a display",
    ),
    Cause(
        r"libGL\.so\S*: cannot open shared object",
        "there is no OpenGL library, which OpenCV, for one, needs",
        "apt install libgl1, or pip install opencv-python-headless instead of opencv-python",
    ),
    Cause(
        r"an OpenGL platform library has not been loaded|gladLoadGL|GLFWError|X11: The DISPLAY",
        "there is no display to render to",
        "MUJOCO_GL=egl (libegl1) or MUJOCO_GL=osmesa (libosmesa6) renders without one",
    ),
    Cause(
        r'(?m)^ +(Binary f|F)ile ".*(mujoco/viewer|mjviser|libfilament)',
        "the native viewer: two of them in one process, one that was not closed, or no display",
        "one viewer in a process, closed before the end; --record FILE.mp4 needs no display",
    ),
    # memory and limits of the system
    Cause(
        r"dataloader's workers are out of shared memory|unable to open shared memory|"
        r"(No space|full|Bus error).*/dev/shm|/dev/shm.*(No space|full|Bus error)",
        "/dev/shm is full",
        "start the container with --shm-size 2g or --ipc host; fewer worker processes",
    ),
    Cause(
        r"Too many open files",
        "there are no file descriptors left",
        "ulimit -n 65536; if it comes back, something leaks them: environments that are made and not closed",
    ),
    Cause(
        r"No space left on device",
        "the disk is full",
        "free space (df -h), fewer checkpoints; earlier checkpoints are whole",
    ),
    Cause(
        r"can't start new thread|Thread creation failed|pthread_create.*(failed|unavailable)",
        "the system allows no more threads",
        "ulimit -u, or the container's pids limit; OMP_NUM_THREADS=1 where many processes compute",
    ),
    Cause(
        NO_MEMORY + "|Unable to allocate",
        "memory is full, or limited (ulimit -v)",
        "lower num_envs or num_steps; free -h shows what is there; the curve below whether it grew",
    ),
    # processes and native code
    Cause(
        r"Argument list too long",
        "the command line, or one of its words, is longer than the system takes",
        "hand it over in a file",
    ),
    Cause(
        r"Exec format error",
        "it is no program: it has no first line such as #!/bin/sh, or is built for another processor",
        "name the interpreter in front of it: sh FILE, python FILE",
    ),
    Cause(
        r"Cannot re-initialize CUDA in forked subprocess",
        "a process that uses CUDA was forked",
        "multiprocessing.get_context('spawn')",
    ),
    Cause(
        r"OMP: Error #15|libiomp5.*already initialized",
        "two OpenMP libraries in one process",
        "install torch and numpy from the same source, pip or conda",
    ),
    Cause(
        r"malloc\(\)|free\(\): |double free|corrupted (size|double)|munmap_chunk",
        "native code wrote where it should not; the crash comes later than the fault",
        "python -m harness doctor: versions that do not fit each other; otherwise run with MALLOC_CHECK_=3",
    ),
    ENDLESS_RECURSION,
)

OF_A_CHILD = Cause(
    "",
    "one of its processes crashed in native code first",
    "the innermost line of the stack names the library that was called",
)

BY_SIGNAL = {
    "SIGSEGV": Cause(
        "",
        "native code used memory that is not its own: a simulator, an extension, a driver, or versions that do not fit",
        "the innermost line of the stack names the library that was called; python -m harness doctor checks versions",
    ),
    "SIGABRT": Cause(
        "",
        "native code gave up: a failed assertion or an exception that nobody caught",
        "it says why in the last lines",
    ),
    "SIGBUS": Cause(
        "",
        "a file that is mapped into memory became shorter, or its place is full: /dev/shm, a disk, a network share",
        "df -h /dev/shm; start the container with --shm-size 2g; do not overwrite files that are in use",
    ),
    "SIGILL": Cause(
        "",
        "a library is built for another processor",
        "install the builds for this one; lscpu shows what it knows",
    ),
    "SIGFPE": Cause("", "native code divided an integer by zero", "the innermost line of the stack names the library"),
}


def likely(text: str, signal_name: Optional[str] = None) -> Optional[Cause]:
    """Return what probably caused a crash; None if nothing is known.

    Args:
      text: what the command printed, and its stacks.
      signal_name: what ended it, as in `BY_SIGNAL`.
    """
    for cause in CAUSES:
        if re.search(cause.pattern, text):
            return cause
    return _of_gpu(text.splitlines()) or BY_SIGNAL.get(signal_name or "")


def _of_gpu(lines: Sequence[str]) -> Optional[Cause]:
    for line in lines:
        explained = explain(RuntimeError(line))
        if explained is not None:
            return Cause("", f"{explained.what}: {explained.cause or explained.got}", explained.fix or "")
    return None
