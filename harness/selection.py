"""What runs where: tests of this repository that cannot run here, or only on request, are deselected with a reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Dict, List, Optional, Set

import pytest

from harness.plugin import deselect, tell

MARKERS = {
    "mujoco": "needs MuJoCo, and so Python 3.11",
    "warp": "needs mujoco-warp; runs its kernels on the CPU (they compile for a minute at first use)",
    "gpu": "needs an NVIDIA GPU and the gpu extra; run by make gpu",
    "render": "needs an OpenGL library that draws without a display",
    "slow": "takes minutes; run by make",
}
SELECTED_BY_NAME = {"slow": "takes minutes: run it with -m slow"}
PACKAGES = {"mujoco": "mujoco", "warp": "mujoco_warp", "gpu": "mujoco_warp"}  # marker: what its files import


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", "{}: {}".format(name, meaning))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> Optional[bool]:
    """Leave out, unread, the test files whose packages are missing (there are none for Python before 3.11)."""
    missing = {name: package for name, package in PACKAGES.items() if importlib.util.find_spec(package) is None}
    if not missing or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    left_out = {name: package for name, package in missing.items() if "pytest.mark." + name in text}
    tell(config, {name: "{} is not installed (it needs Python 3.11)".format(left_out[name]) for name in left_out})
    return True if left_out else None


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
    return {name: reason for name, reason in reasons.items() if name in marked and reason is not None}


def _why_no_rendering() -> Optional[str]:
    from ctypes.util import find_library

    if find_library("OSMesa") or find_library("EGL"):
        return None
    return "no OpenGL library that draws without a display: apt-get install libosmesa6"


def _why_no_gpu() -> Optional[str]:
    from mapush.sim import choose_backend

    backend, reason = choose_backend("auto")
    return None if backend == "warp" else reason
