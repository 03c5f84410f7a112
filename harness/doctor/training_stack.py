"""What the doctor checks of the software that training needs: Python, torch, MuJoCo, Warp and the GPU."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

from harness.doctor.line import OK, WARNING, WRONG, Broken, Check, Line, once, probe

FIRST_PYTHON, MUJOCO_PYTHON = (3, 8), (3, 11)
MUJOCO, WARP = "4.0.0", {"mujoco-warp": "4.0.0", "warp-lang": "1.19.0"}
Facts = Callable[[], Dict[str, Any]]  # of `torch_facts`, or it raises `Broken`
DRIVER = Path("/proc/driver/nvidia/version")


def checks(upstream: bool) -> List[Check]:
    """Return the checks; with `upstream`, a Python of Isaac Gym's is as good as one of MuJoCo's."""
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
    """Check the version of Python: MuJoCo 4.0 needs a new one, Isaac Gym an old one."""
    found = "{}.{}.{} ({})".format(*sys.version_info[:3], sys.executable)
    if sys.version_info >= MUJOCO_PYTHON or (old and sys.version_info >= FIRST_PYTHON):
        return Line("Python", OK, found)
    return Line("Python", WRONG, found, "use Python 3.11 or later; only Isaac Gym (doctor --upstream) wants 3.8")


def dependencies() -> Line:
    """Check that all packages that the project declares are there, in versions that it allows."""
    try:
        declared = importlib.metadata.requires("mapush") or []
    except importlib.metadata.PackageNotFoundError:
        return Line(
            "dependencies", WARNING, "mapush is not installed, so nothing says what it needs", "pip install -e ."
        )
    missing = []
    for text in declared:
        name, _, pinned, newest = re.match(r"([\w.-]+)\s*(\(?==\s*([\w.]+)\)?)?([^;]*)", text).groups()
        if "extra ==" in text or ("python_version" in text and sys.version_info < MUJOCO_PYTHON):
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name + ("==" + pinned if pinned else ""))
            continue
        if pinned and version != pinned:
            missing.append(f"{name}=={pinned} (it is {version})")
    if missing:
        return Line("dependencies", WRONG, "missing: " + ", ".join(missing), "pip install -e . -c constraints.txt")
    return Line("dependencies", OK, "all that mapush declares are installed")


def torch_facts() -> Dict[str, Any]:
    """Return what torch knows of itself and of the GPU, and what fits there, in plain types; this loads torch."""
    import torch

    from mapush.device.gpu_errors import why_no_gpu
    from mapush.run import capacity

    facts: Dict[str, Any] = {"version": str(torch.__version__), "cuda": torch.version.cuda}
    obstacle = why_no_gpu()
    if obstacle is not None:
        return dict(facts, gpu=None, obstacle=obstacle.what, fix=obstacle.fix)
    free, total = torch.cuda.mem_get_info()
    capability = "{}.{}".format(*torch.cuda.get_device_capability())
    facts.update(gpu=torch.cuda.get_device_name(), capability=capability, free=free, total=total)
    return dict(facts, count=torch.cuda.device_count(), fits=_fits(free + capacity.BARE_CONTEXT))


def _fits(limit: int) -> Dict[str, int]:
    """Return how many envs of each task fit into `limit` [bytes] with the preset gpu; {} without MuJoCo."""
    import dataclasses

    if importlib.util.find_spec("mujoco") is None:
        return {}

    from mapush.objects import OBJECTS
    from mapush.presets import preset
    from mapush.run import capacity

    configs = {name: preset(name, "gpu") for name in OBJECTS}
    many = {name: dataclasses.replace(config, num_envs=1 << 20) for name, config in configs.items()}
    return {name: capacity.largest_num_envs(config, limit) for name, config in many.items()}


def torch(gpu: Facts) -> Line:
    """Check that torch can be loaded."""
    try:
        facts = gpu()
    except Broken as broken:
        return broken.line
    built = "for CUDA " + facts["cuda"] if facts["cuda"] else "for the CPU"
    return Line("torch", OK, "{} {}".format(facts["version"], built))


def gpu_line(gpu: Facts) -> Line:
    """Check that torch can compute on the GPU, if a driver says that there is one."""
    try:
        facts = gpu()
    except Broken:
        return Line("GPU", WARNING, "not known, for torch cannot be loaded")
    if facts["gpu"]:
        others = "" if facts["count"] == 1 else ", the first of {}".format(facts["count"])
        return Line("GPU", OK, "{} (compute capability {}){}".format(facts["gpu"], facts["capability"], others))
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Line("GPU", WARNING, "CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    if not DRIVER.exists():
        return Line("GPU", OK, "none; the CPU computes")
    status = WARNING if facts["cuda"] is None else WRONG  # a build for the CPU may be meant
    return Line("GPU", status, "the driver is there, but {}".format(facts["obstacle"]), facts["fix"] or "")


def vram(gpu: Facts) -> Line:
    """Say how much memory of the GPU is free, and how many envs fit there."""
    from harness.units import gib

    try:
        facts = gpu()
    except Broken:
        facts = {"gpu": None}
    if not facts["gpu"]:
        return Line("VRAM", OK, "none is needed on the CPU")
    fits = ", ".join(f"{name} {count:,} envs" for name, count in facts["fits"].items())
    found = "{} of {} free".format(gib(facts["free"]), gib(facts["total"]))
    found += f"; with --preset gpu fit {fits}" if fits else ""
    if 0 in facts["fits"].values():
        return Line("VRAM", WRONG, found, "nvidia-smi shows who uses the card; --sim mujoco computes on the CPU")
    if facts["free"] < 0.8 * facts["total"]:
        return Line("VRAM", WARNING, found, "others use the card, too: nvidia-smi shows who")
    return Line("VRAM", OK, found)


def nvml_facts() -> Dict[str, Any]:
    """Ask the driver for its version."""
    import pynvml

    pynvml.nvmlInit()
    version = pynvml.nvmlSystemGetDriverVersion()
    return {"driver": version if isinstance(version, str) else version.decode()}


def nvml() -> Line:
    """Check that the driver tells how much memory is in use: the main meter of leaks."""
    if not DRIVER.exists():
        return Line("NVML", OK, "not needed without an NVIDIA driver")
    if importlib.util.find_spec("pynvml") is None:
        return Line("NVML", WARNING, "no package pynvml: leaks on the GPU stay unseen", "pip install nvidia-ml-py")
    try:
        return Line("NVML", OK, "driver {}".format(probe("NVML", nvml_facts)["driver"]))
    except Broken as broken:
        fix = "the driver's libnvidia-ml.so.1 has to be visible in the container: --gpus all"
        return Line("NVML", WARNING, f"cannot be read: {broken.line.found}", fix)


def mujoco_facts() -> Dict[str, Any]:
    """Load MuJoCo, take one step, and return the version."""
    import mujoco
    from mujoco.batch import Batch

    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    mujoco.mj_step(model, mujoco.MjData(model))
    return {"version": mujoco.__version__, "batch": Batch.__name__}


def mujoco(old: bool) -> Line:
    """Check that the simulator on the CPU can be loaded and steps."""
    if importlib.util.find_spec("mujoco") is None:
        fix = f"pip install mujoco=={MUJOCO} (Python 3.11 or later)"
        return Line("MuJoCo", WARNING if old else WRONG, "not installed", fix)
    try:
        version = probe("mujoco", mujoco_facts)["version"]
    except Broken as broken:
        fix = "unset MUJOCO_GL" if "variable MUJOCO_GL" in broken.line.found else broken.line.fix
        return Line("MuJoCo", WRONG, broken.line.found, fix)
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
    try:
        needed = bool(gpu()["gpu"])
    except Broken:
        needed = False
    fix = "pip install " + " ".join(f"{name}=={version}" for name, version in WARP.items())
    found = {name: _version(name) for name in WARP}
    text = ", ".join("{} {}".format(name, version or "missing") for name, version in found.items())
    if found != WARP:
        there = any(found.values())
        return Line("Warp", WRONG if needed else WARNING if there else OK, text, fix if needed or there else "")
    if needed:
        try:
            probe("warp", warp_facts)
        except Broken as broken:
            return Line("Warp", WRONG, broken.line.found, broken.line.fix)
    return Line("Warp", OK, text)


def _version(name: str) -> Any:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
