"""Selects the tests of this repository that can run here, and deselects the others with a reason."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from ctypes.util import find_library
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Set

import pytest

from pytest_mapush_harness import deselect, note_reasons

MARKERS = {
    "memory": "what may grow, and what may not",
    "sim": "tests of the simulators and of walking",
    "evaluation": "tests of evaluation, viewer and shipped policies",
    "adapters": "tests of the adapters to HARL, MQE and OpenRL",
    "harness": "tests of the harness itself",
    "distributed": "tests of training with several processes",
    "packaging": "builds the wheel, and runs pytest in other projects where it is installed",
    "mujoco": "needs MuJoCo, and so Python 3.11",
    "warp": "needs mujoco-warp; runs its kernels on the CPU (they compile for a minute at first use)",
    "gpu": "needs an NVIDIA GPU and the gpu extra; run by make gpu",
    "two_gpus": "needs two NVIDIA GPUs of one host",
    "harl": "needs upstream HARL: installed, or in the folder HARL_DIR",
    "upstream": "needs a checkout of MAPush in the folder MAPUSH_DIR, and the packages that MQE imports",
    "python310": "needs a Python that parses match statements",
    "robots": "needs the checkouts MAPUSH_DIR, LEGGED_GYM_DIR and ISAACGYMENVS_DIR",
    "stubs": "needs isaacgym-stubs, the signatures of Isaac Gym's API",
    "onnx": "needs onnx and onnxruntime, the extra export",
    "gymnasium": "needs gymnasium 1.1 or later",
    "mpe": "needs mpe2, PettingZoo's MPE",
    "wandb": "needs wandb, the package of Weights & Biases",
    "render": "needs an OpenGL library that draws without a display",
    "web": "needs viser, which serves the page in the browser",
    "browser": "needs chromium or google-chrome, and Python's playwright",
    "display": "needs Xvfb, and an OpenGL library that draws on it",
    "slow": "takes minutes; run by make",
}
SELECTED_BY_NAME = {"slow": "takes minutes: run it with -m slow"}
OWN_FOLDERS = ("contracts", "memory")  # `-m NAME` reads only the folder of this name; no test elsewhere has the marker
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# for each marker, the package that its files import
PACKAGES = {"mujoco": "mujoco", "warp": "mujoco_warp", "gpu": "mujoco_warp", "web": "viser", "stubs": "isaacgym-stubs"}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and let torch use one thread: on tiny networks, more threads are slower."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> Optional[bool]:
    """Do not read folders without a test of the wanted marker, nor files whose packages are missing."""
    wanted = config.getoption("markexpr")
    in_tests = collection_path.parent == config.rootpath / "tests" and collection_path.is_dir()
    if wanted in OWN_FOLDERS and in_tests:
        return _true_or_none(collection_path.name != wanted)
    if collection_path.suffix != ".py":
        return None
    reasons = _missing_packages(collection_path)
    note_reasons(config, reasons)
    return _true_or_none(bool(reasons))


def _true_or_none(ignored: bool) -> Optional[bool]:
    """Return what `pytest_ignore_collect` must: True, or None so that other plugins decide."""
    if ignored:
        return True
    return None


def _missing_packages(path: Path) -> Dict[str, str]:
    """Return for each marker in a test file whose package is missing, why the file cannot be read."""
    reasons = {}
    for marker, package in PACKAGES.items():
        if importlib.util.find_spec(package) is None and f"pytest.mark.{marker}" in path.read_text(encoding="utf-8"):
            reasons[marker] = f"{package} is not installed (it needs Python 3.11)"
    return reasons


class _NoTorch:
    """A finder that skips the test file whose imports, direct or not, need torch or TensorBoard."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Find nothing."""
        if name in ("torch", "tensorboard"):
            pytest.skip("torch is not installed", allow_module_level=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Without torch, collect only the test files that do not need it."""
    finder = _NoTorch()
    if isinstance(collector, pytest.Module) and importlib.util.find_spec("torch") is None:
        sys.meta_path.insert(0, finder)
    yield
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Deselect the tests that cannot run here, and those that run only on request."""
    marked: Set[str] = set()
    for item in items:
        marked.update(mark.name for mark in item.iter_markers())
    reasons = _reasons(marked, str(config.getoption("markexpr")))
    dropped = []
    for item in items:
        if reasons.keys() & {mark.name for mark in item.iter_markers()}:
            dropped.append(item)
    if dropped:
        deselect(config, items, dropped, reasons)


def _reasons(marked: Set[str], wanted: str) -> Dict[str, str]:
    """Return why tests do not run, for each of the markers `marked` whose tests do not."""
    reasons = {}
    for name, reason in SELECTED_BY_NAME.items():
        if name in marked and name not in wanted:
            reasons[name] = reason
    for name, why_not in REQUIREMENTS.items():
        reason_or_none = None
        if name in marked:
            reason_or_none = why_not()
        if reason_or_none is not None:
            reasons[name] = reason_or_none
    return reasons


def _why_no_rendering() -> Optional[str]:
    if find_library("OSMesa") or find_library("EGL"):
        return None
    return "no OpenGL library that draws without a display: apt-get install libosmesa6"


def _why_no_browser() -> Optional[str]:
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    if any(map(shutil.which, BROWSERS)):
        return None
    return "no browser is installed: apt-get install chromium"


def _why_no_display() -> Optional[str]:
    if shutil.which("Xvfb") and find_library("GL"):
        return None
    return "no virtual display can be started: apt-get install xvfb libgl1 libgl1-mesa-dri"


def _why_no_harl() -> Optional[str]:
    from mapush.errors import LearnerError
    from mapush.upstream.harl.harl_source import locate

    try:
        locate()
    except LearnerError as error:
        return f"{error.what}: {error.fix}"
    return None


def _why_no_upstream() -> Optional[str]:
    from mapush.sim import mapush_source, standin

    if not standin.works_here():
        return "the stand-in for Isaac Gym needs Python 3.11 and MuJoCo"
    if not os.environ.get(mapush_source.VARIABLE):
        return f"{mapush_source.VARIABLE} names no checkout of MAPush: {mapush_source.GET_MQE}"
    error = mapush_source.find() or mapush_source.missing_packages()
    if error is not None:
        return f"{error.what}: {error.fix}"
    return None


def _why_no_python310() -> Optional[str]:
    if sys.version_info < (3, 10):
        return "this Python cannot parse match statements: use 3.10 or later"
    return None


def _why_no_robots() -> Optional[str]:
    variables = ("MAPUSH_DIR", "LEGGED_GYM_DIR", "ISAACGYMENVS_DIR")
    missing = [variable for variable in variables if not os.environ.get(variable)]
    if missing:
        return f"no checkout is named by {', '.join(missing)}"
    return None


def _why_no_gymnasium() -> Optional[str]:
    try:
        version = metadata.version("gymnasium")
    except metadata.PackageNotFoundError:
        return "gymnasium is not installed: pip install gymnasium"
    if version.startswith("0.") or version.startswith("1.0"):
        return f"gymnasium {version} has no autoreset modes: pip install 'gymnasium>=1.1'"
    return None


def _why_no_onnx() -> Optional[str]:
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install onnx onnxruntime"
    return None


def _why_no_mpe() -> Optional[str]:
    if importlib.util.find_spec("mpe2") is None:
        return "mpe2 is not installed: pip install mpe2"
    return None


def _why_no_wheel() -> Optional[str]:
    for package in ("pip", "setuptools"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed; it builds the wheel"
    major, minor = metadata.version("setuptools").split(".")[:2]
    if (int(major), int(minor)) >= (70, 1) or importlib.util.find_spec("wheel") is not None:
        return None
    return "this setuptools builds no wheels: pip install 'setuptools>=70.1'"


def _why_no_gpu() -> Optional[str]:
    from mapush.sim import choose_backend

    backend, reason = choose_backend("auto")
    if backend == "warp":
        return None
    return reason


def _why_no_two_gpus() -> Optional[str]:
    import torch

    count = torch.cuda.device_count()
    if count >= 2:
        return None
    return f"two NVIDIA GPUs are needed, and there are {count}"


def _why_no_wandb() -> Optional[str]:
    if importlib.util.find_spec("wandb") is None:
        return "wandb is not installed: pip install wandb"
    return None


REQUIREMENTS: Dict[str, Callable[[], Optional[str]]] = {
    "onnx": _why_no_onnx,
    "render": _why_no_rendering,
    "gpu": _why_no_gpu,
    "two_gpus": _why_no_two_gpus,
    "browser": _why_no_browser,
    "display": _why_no_display,
    "harl": _why_no_harl,
    "upstream": _why_no_upstream,
    "packaging": _why_no_wheel,
    "python310": _why_no_python310,
    "robots": _why_no_robots,
    "gymnasium": _why_no_gymnasium,
    "mpe": _why_no_mpe,
    "wandb": _why_no_wandb,
}
"""For each marker: returns why its tests cannot run here, or None."""
