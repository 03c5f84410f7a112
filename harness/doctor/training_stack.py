"""The doctor's checks of the software that training needs: Python, torch, MuJoCo, Warp and the GPU."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from harness.doctor.ability import INDEX, install
from harness.doctor.line import OK, WARNING, WRONG, Broken, Check, Line, missing_modules, once, probe
from harness.units import gib

OLDEST_PYTHON, MUJOCO_PYTHON = (3, 8), (3, 11)
MUJOCO, WARP = "4.0.0", {"mujoco-warp": "4.0.0", "warp-lang": "1.19.0"}
NEEDED_MODULES = ("numpy", "torch", "tyro", "rich", "psutil", "yaml", "jinja2")
FREE_SHARE = 0.8  # of the GPU's memory; with less, other programs use the card
DISTRIBUTION = "mapush-stack"
DRIVER = Path("/proc/driver/nvidia/version")
Facts = Callable[[], Dict[str, Any]]
"""Returns what `torch_facts` returns, or raises `Broken`."""


def checks(upstream: bool) -> List[Check]:
    """Return the checks; with `upstream`, the Python of Isaac Gym is as good as that of MuJoCo."""
    gpu = once(functools.partial(probe, "torch", torch_facts))
    old = upstream and sys.version_info < MUJOCO_PYTHON
    return [
        functools.partial(python, old),
        dependencies,
        functools.partial(torch, gpu),
        functools.partial(gpu_line, gpu),
        functools.partial(vram, gpu),
        nvml,
        functools.partial(mujoco, old),
        functools.partial(warp, gpu),
    ]


def python(old: bool) -> Line:
    """Check the version of Python: MuJoCo 4.0 needs a new one, Isaac Gym an old one.

    Args:
      old: whether the Python of Isaac Gym is accepted.
    """
    major, minor, micro = sys.version_info[:3]
    found = f"{major}.{minor}.{micro} ({sys.executable})"
    oldest = OLDEST_PYTHON if old else MUJOCO_PYTHON
    if sys.version_info >= oldest:
        return Line("Python", OK, found)
    return Line("Python", WRONG, found, "use Python 3.11 or later; only Isaac Gym (doctor --upstream) needs 3.8")


def dependencies() -> Line:
    """Check that all packages that mapush declares are installed, in versions that it allows."""
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return _needed_modules()
    problems = []
    for text in declared:
        requirement = _requirement(text)
        if requirement is None:
            continue
        name, pinned = requirement
        version = _version(name)
        if version is None:
            problems.append(text.partition(";")[0].strip())
        elif pinned and version != pinned:
            problems.append(f"{name}=={pinned} (it is {version})")
    if problems:
        fix = install()
        return Line("dependencies", WRONG, f"missing: {', '.join(problems)}", fix)
    return Line("dependencies", OK, "all that mapush declares are installed")


def _needed_modules() -> Line:
    """Check the modules without which nothing works, where mapush is not installed and declares nothing."""
    missing = missing_modules(NEEDED_MODULES)
    if missing:
        return Line("dependencies", WRONG, f"mapush is not installed, missing: {', '.join(missing)}", install())
    found = "mapush is not installed, so its requirements cannot be compared"
    return Line("dependencies", WARNING, found, install())


def _requirement(text: str) -> Optional[Tuple[str, Optional[str]]]:
    """Return name and pinned version of a declared requirement; None if it does not apply here.

    Args:
      text: a requirement such as "mujoco==4.0.0; python_version >= '3.11'".
    """
    if "extra ==" in text or ("python_version" in text and sys.version_info < MUJOCO_PYTHON):
        return None
    parts = re.match(r"([\w.-]+)\s*(?:\(?==\s*([\w.]+))?", text)
    if parts is None:
        return None
    return parts.group(1), parts.group(2)


def torch_facts() -> Dict[str, Any]:
    """Return what torch reports about itself and the GPU, and how many envs fit there, as plain types.

    This loads torch.
    """
    import torch

    from mapush.device.gpu_errors import why_no_gpu
    from mapush.run import capacity

    facts: Dict[str, Any] = {"version": str(torch.__version__), "cuda": torch.version.cuda}
    obstacle = why_no_gpu()
    if obstacle is not None:
        facts.update(gpu=None, obstacle=obstacle.what, fix=obstacle.fix)
        return facts
    free, total = torch.cuda.mem_get_info()
    major, minor = torch.cuda.get_device_capability()
    facts.update(gpu=torch.cuda.get_device_name(), capability=f"{major}.{minor}", free=free, total=total)
    facts.update(count=torch.cuda.device_count(), fits=fitting_envs(free + capacity.BARE_CONTEXT))
    return facts


def fitting_envs(limit: int) -> Dict[str, int]:
    """Return for each task how many envs fit into the memory of a GPU with the preset "gpu"; {} without MuJoCo.

    Args:
      limit: memory of the GPU [bytes].
    """
    import dataclasses

    if importlib.util.find_spec("mujoco") is None:
        return {}

    from mapush.objects import OBJECTS
    from mapush.presets import preset
    from mapush.run import capacity

    fits = {}
    for name in OBJECTS:
        more_than_fit = dataclasses.replace(preset(name, "gpu"), num_envs=1 << 20)
        fits[name] = capacity.largest_num_envs(more_than_fit, limit)
    return fits


def torch(gpu: Facts) -> Line:
    """Check that torch can be loaded."""
    if importlib.util.find_spec("torch") is None:
        return Line("torch", WRONG, "not installed", f"pip install torch --index-url {INDEX}/cpu")
    try:
        facts = gpu()
    except Broken as broken:
        return broken.line
    if facts["cuda"]:
        return Line("torch", OK, f"{facts['version']} for CUDA {facts['cuda']}")
    return Line("torch", OK, f"{facts['version']} for the CPU")


def gpu_line(gpu: Facts) -> Line:
    """Check that torch can compute on the GPU, if there is a driver for one."""
    try:
        facts = gpu()
    except Broken:
        return Line("GPU", WARNING, "unknown, because torch cannot be loaded")
    if facts["gpu"]:
        found = f"{facts['gpu']} (compute capability {facts['capability']})"
        if facts["count"] > 1:
            found += f", the first of {facts['count']}"
        return Line("GPU", OK, found)
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Line("GPU", WARNING, "CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    if not DRIVER.exists():
        return Line("GPU", OK, "none; the CPU computes")
    built_for_cpu = facts["cuda"] is None  # perhaps on purpose
    status = WARNING if built_for_cpu else WRONG
    return Line("GPU", status, f"a driver is installed, but {facts['obstacle']}", facts["fix"] or "")


def vram(gpu: Facts) -> Line:
    """Report how much memory of the GPU is free, and how many envs fit there."""
    try:
        facts = gpu()
    except Broken:
        facts = {"gpu": None}
    if not facts["gpu"]:
        return Line("VRAM", OK, "none is needed on the CPU")
    found = f"{gib(facts['free'])} of {gib(facts['total'])} free"
    if facts["fits"]:
        fits = ", ".join(f"{name} {count:,} envs" for name, count in facts["fits"].items())
        found += f"; with --preset gpu fit {fits}"
    if 0 in facts["fits"].values():
        return Line("VRAM", WRONG, found, "nvidia-smi shows who uses the card; --sim mujoco computes on the CPU")
    if facts["free"] < FREE_SHARE * facts["total"]:
        return Line("VRAM", WARNING, found, "other programs use the card: nvidia-smi shows which")
    return Line("VRAM", OK, found)


def nvml_facts() -> Dict[str, Any]:
    """Ask the driver for its version."""
    import pynvml

    pynvml.nvmlInit()
    version = pynvml.nvmlSystemGetDriverVersion()
    if isinstance(version, bytes):
        version = version.decode()
    return {"driver": version}


def nvml() -> Line:
    """Check that the driver reports how much memory is in use, from which leaks on the GPU are found."""
    if not DRIVER.exists():
        return Line("NVML", OK, "not needed without an NVIDIA driver")
    if importlib.util.find_spec("pynvml") is None:
        found = "the package pynvml is missing: leaks on the GPU cannot be found"
        return Line("NVML", WARNING, found, "pip install nvidia-ml-py")
    try:
        return Line("NVML", OK, f"driver {probe('NVML', nvml_facts)['driver']}")
    except Broken as broken:
        fix = "start the container with --gpus all, so that it sees the driver's libnvidia-ml.so.1"
        return Line("NVML", WARNING, f"cannot be read: {broken.line.found}", fix)


def mujoco_facts() -> Dict[str, Any]:
    """Load MuJoCo, take one step, and return the version."""
    import mujoco
    from mujoco.batch import Batch

    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    mujoco.mj_step(model, mujoco.MjData(model))
    return {"version": mujoco.__version__, "batch": Batch.__name__}


def mujoco(old: bool) -> Line:
    """Check that the simulator on the CPU can be loaded and steps.

    Args:
      old: whether this is the Python of Isaac Gym, for which MuJoCo does not exist.
    """
    if importlib.util.find_spec("mujoco") is None:
        fix = f"pip install mujoco=={MUJOCO} (Python 3.11 or later)"
        return Line("MuJoCo", WARNING if old else WRONG, "not installed", fix)
    try:
        version = probe("mujoco", mujoco_facts)["version"]
    except Broken as broken:
        fix = broken.line.fix
        if "variable MUJOCO_GL" in broken.line.found:
            fix = "unset MUJOCO_GL"
        return Line("MuJoCo", broken.line.status, broken.line.found, fix)
    if version != MUJOCO:
        return Line("MuJoCo", WRONG, version, f"pip install mujoco=={MUJOCO}")
    return Line("MuJoCo", OK, version)


def warp_facts() -> Dict[str, Any]:
    """Load MuJoCo Warp."""
    import mujoco_warp
    import warp

    return {"warp": warp.config.version, "mujoco_warp": mujoco_warp.__name__}


def warp(gpu: Facts) -> Line:
    """Check the simulator on the GPU; without a GPU it is not needed."""
    needed = _has_gpu(gpu)
    installed: Dict[str, Optional[str]] = {}
    states, pins = [], []
    for name, pinned in WARP.items():
        installed[name] = _version(name)
        states.append(f"{name} {installed[name] or 'missing'}")
        pins.append(f"{name}=={pinned}")
    found = ", ".join(states)
    if installed != WARP:
        fix = f"pip install {' '.join(pins)}"
        if needed:
            return Line("Warp", WRONG, found, fix)
        if any(installed.values()):
            return Line("Warp", WARNING, found, fix)
    elif needed:
        try:
            probe("warp", warp_facts)
        except Broken as broken:
            return Line("Warp", broken.line.status, broken.line.found, broken.line.fix)
    return Line("Warp", OK, found)


def _has_gpu(gpu: Facts) -> bool:
    try:
        return bool(gpu()["gpu"])
    except Broken:
        return False


def _version(name: str) -> Optional[str]:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
