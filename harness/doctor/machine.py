"""What the doctor checks of the machine: display, libraries, disk, memory and limits."""

from __future__ import annotations

import ctypes.util
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

from harness.doctor.line import OK, WARNING, WRONG, Broken, Check, Line, probe
from harness.units import GIB, MIB, gib

LITTLE_DISK, LITTLE_MEMORY, LITTLE_SHM = 10 * GIB, 4 * GIB, 256 * MIB
NO_DISK, NO_MEMORY = GIB, GIB
FEW_FILES, NO_FILES = 1024, 128
GL = {"egl": ("EGL", "apt install libegl1"), "osmesa": ("OSMesa", "apt install libosmesa6")}


def checks() -> List[Check]:
    """Return the checks."""
    return [display, offscreen, ffmpeg, libraries, disk, memory, processors, files, shared_memory, address_space]


def display() -> Line:
    """Check that the display that is named is there."""
    name = os.environ.get("DISPLAY", "")
    if os.environ.get("WAYLAND_DISPLAY") and not name:
        return Line("display", OK, "Wayland")
    if not name:
        return Line("display", OK, "none; recording needs none")
    parts = re.fullmatch(r"(.*):(\d+)(\.\d+)?", name)
    if parts is None:
        return Line("display", WARNING, f"DISPLAY={name}, which names no display", "unset DISPLAY")
    host, number = parts.group(1), parts.group(2)
    if not host and not Path(f"/tmp/.X11-unix/X{number}").exists():
        return Line("display", WARNING, f"DISPLAY={name}, but nobody answers there", "unset DISPLAY")
    return Line("display", OK, f"DISPLAY={name}")


def offscreen() -> Line:
    """Check that there is a library that renders without a display."""
    there = [name for name, (library, _) in GL.items() if ctypes.util.find_library(library)]
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked in GL and asked not in there:
        found = f"MUJOCO_GL={asked}, but its library is not here: import mujoco fails"
        return Line("rendering", WRONG, found, f"{GL[asked][1]}, or unset MUJOCO_GL")
    if there:
        return Line("rendering", OK, "without a display by " + " or ".join(there))
    fix = "{} (draws on the CPU), or {}".format(GL["osmesa"][1], GL["egl"][1])
    return Line("rendering", WARNING, "neither EGL nor OSMesa: no videos without a display", fix)


def ffmpeg_facts() -> Dict[str, Any]:
    """Return the ffmpeg that recording would take."""
    import imageio_ffmpeg

    return {"program": str(imageio_ffmpeg.get_ffmpeg_exe())}


def ffmpeg() -> Line:
    """Check that videos can be written."""
    try:
        program = probe("ffmpeg", ffmpeg_facts)["program"]
    except Broken as broken:
        fix = "pip install --force-reinstall imageio-ffmpeg"
        return Line("ffmpeg", WARNING, f"no videos: {broken.line.found}", fix)
    return Line("ffmpeg", OK, Path(program).name)


def libraries() -> Line:
    """Check that the places where libraries are looked for first exist."""
    missing = [
        f"{name}={entry}"
        for name in ("LD_LIBRARY_PATH", "LD_PRELOAD")
        for entry in os.environ.get(name, "").replace(" ", ":").split(":")
        if entry.startswith("/") and not os.path.exists(entry)
    ]
    if missing:
        fix = "leave out what is not there: it may have been meant for another machine"
        return Line("libraries", WARNING, "not there: " + ", ".join(missing), fix)
    return Line("libraries", OK, "LD_LIBRARY_PATH={}".format(os.environ.get("LD_LIBRARY_PATH", "") or "(unset)"))


def disk() -> Line:
    """Check that runs can be written here."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return Line("disk", WRONG, "the present folder was removed", "cd to one that is there")
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            file.write(b"something")
    except OSError as error:
        fix = "ulimit -f unlimited" if error.errno == errno.EFBIG else "work elsewhere, or name --run-dir"
        return Line("disk", WRONG, f"{here} cannot be written: {error.strerror}", fix)
    free = shutil.disk_usage(here).free
    scratch = shutil.disk_usage(tempfile.gettempdir()).free
    found = f"{gib(free)} free here, {gib(scratch)} in {tempfile.gettempdir()}"
    if min(free, scratch) < NO_DISK:
        return Line("disk", WRONG, found, "free some: a run of a day writes gigabytes")
    if min(free, scratch) < LITTLE_DISK:
        return Line("disk", WARNING, found, "free some: a run of a day writes gigabytes")
    return Line("disk", OK, found)


def memory() -> Line:
    """Check that there is memory left, also by the container's measure."""
    import psutil

    now = psutil.virtual_memory()
    free, total, source = now.available, now.total, "of this machine"
    allowed = _container_limit()
    if allowed is not None and allowed < total:
        free, total, source = min(free, allowed), allowed, "of this container"
    found = f"{gib(free)} of {gib(total)} {source} available"
    if free < NO_MEMORY:
        return Line("memory", WRONG, found, "close what takes it, or allow the container more")
    if free < LITTLE_MEMORY:
        return Line("memory", WARNING, found, "fewer envs, or close what takes it")
    return Line("memory", OK, found)


def _container_limit() -> Optional[int]:
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(place).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def processors() -> Line:
    """Check that the threads of the simulator find processors."""
    there = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    found = f"{usable} of {there} usable"
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        share = there if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        share = there
    if share < usable:
        fix = f"--sim.threads {max(int(share), 1)}: more only hinder each other"
        return Line("processors", WARNING, f"{found}, but the container gets {share:g}", fix)
    return Line("processors", OK, found)


def files() -> Line:
    """Check how many files a process may have open."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FEW_FILES:
        return Line("open files", WRONG if soft < NO_FILES else WARNING, f"at most {soft}", "ulimit -n 65536")
    return Line("open files", OK, f"at most {soft}")


def shared_memory() -> Line:
    """Check the memory that processes share, for worker processes."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Line("/dev/shm", OK, "not of this system")
    free = shutil.disk_usage(str(place)).free
    if free < LITTLE_SHM:
        return Line("/dev/shm", WARNING, f"{gib(free)} free: bus errors of workers", "docker run --shm-size 2g")
    return Line("/dev/shm", OK, f"{gib(free)} free")


def address_space() -> Line:
    """Check that addresses are not limited: CUDA reserves far more of them than it uses."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        return Line("address space", WARNING, f"limited to {gib(soft)}: CUDA may not start", "ulimit -v unlimited")
    return Line("address space", OK, "not limited")
