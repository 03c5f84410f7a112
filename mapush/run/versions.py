"""Everything besides its configuration that a result may depend on: platform and package versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from typing import Dict, List, Mapping

PACKAGES = ("mapush-stack", "mujoco", "mujoco-warp", "warp-lang", "numpy", "torch", "isaacgym", "pytest", "hypothesis")
CORES = "cores"


def versions() -> Dict[str, str]:
    """Return the versions of Python, the platform and the installed packages, and the number of CPU cores."""
    found = {"python": platform.python_version(), "platform": platform.platform(), CORES: str(os.cpu_count())}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def changed(then: Mapping[str, str]) -> List[str]:
    """Return a line for each version that differs on this machine; the number of cores does not count.

    Args:
      then: an earlier result of `versions`.
    """
    now = versions()
    lines = []
    for name in sorted({**then, **now}):
        before = then.get(name, "missing")
        after = now.get(name, "missing")
        if before != after and name != CORES:
            lines.append(f"{name} was {before}, is {after}")
    return lines
