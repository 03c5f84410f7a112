"""What runs where: tests of this repository that cannot run here, or only on request, are deselected with a reason."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set

import pytest

from harness.plugin import deselect, note_reasons

MARKERS = {
    "sim": "tests of the simulators and of walking",
    "evaluation": "tests of evaluation, viewer and shipped policies",
    "adapters": "tests of what connects to HARL, MQE and OpenRL",
    "harness": "tests of the harness itself",
    "packaging": "builds the wheel, and runs pytest in other projects where it is installed",
    "mujoco": "needs MuJoCo, and so Python 3.11",
    "warp": "needs mujoco-warp; runs its kernels on the CPU (they compile for a minute at first use)",
    "gpu": "needs an NVIDIA GPU and the gpu extra; run by make gpu",
    "harl": "needs upstream HARL: installed, or in the folder that HARL_DIR names",
    "render": "needs an OpenGL library that draws without a display",
    "web": "needs viser, which serves the page in the browser",
    "browser": "needs chromium or google-chrome, and Python's playwright",
    "display": "needs Xvfb, and an OpenGL library that draws on it",
    "slow": "takes minutes; run by make",
}
SELECTED_BY_NAME = {"slow": "takes minutes: run it with -m slow"}
READ_ALONE = ("contracts", "memory")  # markers of folders; no test elsewhere bears one
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# marker: what its files import
PACKAGES = {"mujoco": "mujoco", "warp": "mujoco_warp", "gpu": "mujoco_warp", "web": "viser"}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and let torch use one thread: more of them get in each other's way on tiny networks."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> Optional[bool]:
    """Leave out, unread, the folders that cannot hold what is asked for, and the files whose packages are missing."""
    asked_for = config.getoption("markexpr")
    if asked_for in READ_ALONE and collection_path.parent == config.rootpath / "tests" and collection_path.is_dir():
        return True if collection_path.name != asked_for else None
    missing = {name: package for name, package in PACKAGES.items() if importlib.util.find_spec(package) is None}
    if not missing or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    left_out = {name: package for name, package in missing.items() if "pytest.mark." + name in text}
    note_reasons(config, {name: f"{left_out[name]} is not installed (it needs Python 3.11)" for name in left_out})
    return True if left_out else None


class _NoTorch:
    """A finder that skips the test file that wants torch, or what writes logs with it, wherever on its way it does."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Find nothing."""
        if name in ("torch", "tensorboard"):
            pytest.skip("torch is not installed", allow_module_level=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Without torch, collect the tests that do without it."""
    finder = _NoTorch()
    if isinstance(collector, pytest.Module) and importlib.util.find_spec("torch") is None:
        sys.meta_path.insert(0, finder)
    yield
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Deselect what cannot run here, and what runs on request alone unless its marker is asked for."""
    marked = {mark.name for item in items for mark in item.iter_markers()}
    reasons = _reasons(marked, str(config.getoption("markexpr")))
    dropped = [item for item in items if any(item.get_closest_marker(name) for name in reasons)]
    if dropped:
        deselect(config, items, dropped, reasons)


def _reasons(marked: Set[str], asked_for: str) -> Dict[str, str]:
    """Return why tests do not run, under those of the markers `marked` of which none does."""
    reasons = {name: reason for name, reason in SELECTED_BY_NAME.items() if name not in asked_for}
    reasons.update({"render": _why_no_rendering(), "gpu": _why_no_gpu() if "gpu" in marked else None})
    reasons.update({"browser": _why_no_browser(), "display": _why_no_display()})
    reasons["harl"] = _why_no_harl() if "harl" in marked else None
    reasons["packaging"] = _why_no_wheel()
    return {name: reason for name, reason in reasons.items() if name in marked and reason is not None}


def _why_no_rendering() -> Optional[str]:
    if find_library("OSMesa") or find_library("EGL"):
        return None
    return "no OpenGL library that draws without a display: apt-get install libosmesa6"


def _why_no_browser() -> Optional[str]:
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    return None if any(map(shutil.which, BROWSERS)) else "there is no browser: apt-get install chromium"


def _why_no_display() -> Optional[str]:
    if shutil.which("Xvfb") and find_library("GL"):
        return None
    return "there is no display to make: apt-get install xvfb libgl1 libgl1-mesa-dri"


def _why_no_harl() -> Optional[str]:
    from mapush.errors import LearnerError
    from mapush.upstream.harl.harl_source import locate

    try:
        locate()
    except LearnerError as error:
        return f"{error.what}: {error.fix}"
    return None


def _why_no_wheel() -> Optional[str]:
    for package in ("pip", "setuptools"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: it builds the wheel"
    if importlib.util.find_spec("setuptools.command.bdist_wheel") or importlib.util.find_spec("wheel"):
        return None
    return "this setuptools builds no wheels: pip install 'setuptools>=70.1'"


def _why_no_gpu() -> Optional[str]:
    from mapush.sim import choose_backend

    backend, reason = choose_backend("auto")
    return None if backend == "warp" else reason
