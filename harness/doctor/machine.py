"""The doctor's checks of the machine: display, libraries, disk, memory and limits."""

from __future__ import annotations

import ctypes.util
import errno
import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from harness.doctor.line import OK, WARNING, WRONG, Broken, Check, Line, probe
from harness.process.known_crashes import FIX_SHM
from harness.units import GIB, MIB, gib

LITTLE_DISK, LITTLE_MEMORY, LITTLE_SHM = 10 * GIB, 4 * GIB, 256 * MIB  # below it, a warning
TOO_LITTLE_DISK, TOO_LITTLE_MEMORY = GIB, GIB  # below it, wrong
FEW_OPEN_FILES, TOO_FEW_OPEN_FILES = 1024, 128
RENDERERS = {  # value of MUJOCO_GL: library, how to install it
    "egl": ("EGL", "apt install libegl1"),
    "osmesa": ("OSMesa", "apt install libosmesa6"),
}
LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD")
MEMINFO = Path("/proc/meminfo")
CONTAINER_MEMORY = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def checks() -> List[Check]:
    """Return the checks."""
    return [display, offscreen, ffmpeg, libraries, disk, memory, processors, files, shared_memory, address_space]


def display() -> Line:
    """Check that the display which the environment names exists."""
    name = os.environ.get("DISPLAY", "")
    if os.environ.get("WAYLAND_DISPLAY") and not name:
        return Line("display", OK, "Wayland")
    if not name:
        return Line("display", OK, "none; recording needs none")
    parts = re.fullmatch(r"(.*):(\d+)(\.\d+)?", name)
    if parts is None:
        return Line("display", WARNING, f"DISPLAY={name}, which is not the name of a display", "unset DISPLAY")
    host, number = parts.group(1), parts.group(2)
    if not host and not Path(f"/tmp/.X11-unix/X{number}").exists():
        return Line("display", WARNING, f"DISPLAY={name}, but no X server answers there", "unset DISPLAY")
    return Line("display", OK, f"DISPLAY={name}")


def offscreen() -> Line:
    """Check that a library is installed that renders without a display."""
    installed = []
    for name, (library, _) in RENDERERS.items():
        if ctypes.util.find_library(library):
            installed.append(name)
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked in RENDERERS and asked not in installed:
        found = f"MUJOCO_GL={asked}, but its library is not installed: import mujoco fails"
        return Line("rendering", WRONG, found, f"{RENDERERS[asked][1]}, or unset MUJOCO_GL")
    if installed:
        return Line("rendering", OK, f"without a display by {' or '.join(installed)}")
    fix = f"{RENDERERS['osmesa'][1]} (draws on the CPU), or {RENDERERS['egl'][1]}"
    return Line("rendering", WARNING, "neither EGL nor OSMesa: no videos without a display", fix)


def ffmpeg_facts() -> Dict[str, Any]:
    """Return the ffmpeg that recording would use."""
    import imageio_ffmpeg

    return {"program": str(imageio_ffmpeg.get_ffmpeg_exe())}


def ffmpeg() -> Line:
    """Check that videos can be written."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return Line("ffmpeg", WARNING, "no videos: imageio-ffmpeg is not installed", "pip install imageio-ffmpeg")
    try:
        program = probe("ffmpeg", ffmpeg_facts)["program"]
    except Broken as broken:
        fix = "pip install --force-reinstall imageio-ffmpeg"
        return Line("ffmpeg", WARNING, f"no videos: {broken.line.found}", fix)
    return Line("ffmpeg", OK, Path(program).name)


def libraries() -> Line:
    """Check that the folders and files in which libraries are searched first exist."""
    missing = []
    for name in LIBRARY_VARIABLES:
        for entry in os.environ.get(name, "").replace(" ", ":").split(":"):
            if entry.startswith("/") and not os.path.exists(entry):
                missing.append(f"{name}={entry}")
    if missing:
        fix = "remove what does not exist: it may have been meant for a different machine"
        return Line("libraries", WARNING, f"does not exist: {', '.join(missing)}", fix)
    path = os.environ.get("LD_LIBRARY_PATH") or "(unset)"
    return Line("libraries", OK, f"LD_LIBRARY_PATH={path}")


def disk() -> Line:
    """Check that runs can be written here."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return Line("disk", WRONG, "the current folder was removed", "cd to a folder that exists")
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            file.write(b"something")
    except OSError as error:
        fix = "work in a different folder, or pass --run-dir"
        if error.errno == errno.EFBIG:
            fix = "ulimit -f unlimited"
        return Line("disk", WRONG, f"{here} cannot be written: {error.strerror}", fix)
    scratch = tempfile.gettempdir()
    free, free_scratch = shutil.disk_usage(here).free, shutil.disk_usage(scratch).free
    found = f"{gib(free)} free here, {gib(free_scratch)} in {scratch}"
    fix = "free some space: a run of a day writes gigabytes"
    return _judged("disk", min(free, free_scratch), LITTLE_DISK, TOO_LITTLE_DISK, found, fix)


def memory() -> Line:
    """Check that enough memory is available, also by the limit of the container."""
    free, total = _memory()
    owner = "of this machine"
    allowed = _container_limit()
    if allowed is not None and allowed < total:
        free, total, owner = min(free, allowed), allowed, "of this container"
    found = f"{gib(free)} of {gib(total)} {owner} available"
    fix = "use fewer envs, close other programs, or give the container more memory"
    return _judged("memory", free, LITTLE_MEMORY, TOO_LITTLE_MEMORY, found, fix)


def _memory() -> Tuple[int, int]:
    """Return how much memory is available, and how much there is [bytes]."""
    if importlib.util.find_spec("psutil") is None and MEMINFO.exists():
        amounts = {}
        for line in MEMINFO.read_text().splitlines():
            name, _, rest = line.partition(":")
            amounts[name] = int(rest.split()[0]) * 1024
        return amounts["MemAvailable"], amounts["MemTotal"]

    import psutil

    machine = psutil.virtual_memory()
    return machine.available, machine.total


def _judged(name: str, free: int, little: int, too_little: int, found: str, fix: str) -> Line:
    """Return the line about something of which there should be enough."""
    if free < too_little:
        return Line(name, WRONG, found, fix)
    if free < little:
        return Line(name, WARNING, found, fix)
    return Line(name, OK, found)


def _container_limit() -> Optional[int]:
    """Return the memory that the container may use [bytes]; None if it is not limited."""
    for place in CONTAINER_MEMORY:
        try:
            text = Path(place).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def processors() -> Line:
    """Check that the container may use all the processors for which the simulator starts threads."""
    count = os.cpu_count() or 1
    usable = count
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    found = f"{usable} of {count} usable"
    share = _container_share()
    if share is not None and share < usable:
        fix = f"--sim.threads {max(int(share), 1)}: more threads only slow each other down"
        return Line("processors", WARNING, f"{found}, but the container gets {share:g}", fix)
    return Line("processors", OK, found)


def _container_share() -> Optional[float]:
    """Return how many processors the container may use; None if that is not limited."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def files() -> Line:
    """Check how many files a process may open."""
    limit = _soft_limit("RLIMIT_NOFILE")
    if limit is None:
        return Line("open files", OK, "not limited")
    found, fix = f"at most {limit}", "ulimit -n 65536"
    return _judged("open files", limit, FEW_OPEN_FILES, TOO_FEW_OPEN_FILES, found, fix)


def shared_memory() -> Line:
    """Check the shared memory, which worker processes need."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Line("/dev/shm", OK, "does not exist on this system")
    free = shutil.disk_usage(str(place)).free
    if free < LITTLE_SHM:
        return Line("/dev/shm", WARNING, f"{gib(free)} free: workers may die of bus errors", FIX_SHM)
    return Line("/dev/shm", OK, f"{gib(free)} free")


def address_space() -> Line:
    """Check that the address space is not limited: CUDA reserves far more addresses than it uses memory."""
    limit = _soft_limit("RLIMIT_AS")
    if limit is not None:
        return Line("address space", WARNING, f"limited to {gib(limit)}: CUDA may not start", "ulimit -v unlimited")
    return Line("address space", OK, "not limited")


def _soft_limit(name: str) -> Optional[int]:
    """Return a limit of this process; None if it is not limited, as on Windows, which has no such limits.

    Args:
      name: name of the limit in the module `resource`.
    """
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY else soft
