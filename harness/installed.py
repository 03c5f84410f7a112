"""The installed versions that a result may depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Dict, List, Mapping

PACKAGES = ("mapush-stack", "mujoco", "mujoco-warp", "warp-lang", "numpy", "torch", "isaacgym", "pytest", "hypothesis")
CORES = "cores"


def versions() -> Dict[str, str]:
    """Return the versions of Python, of the platform and of the installed packages, and the number of CPU cores."""
    found = {"python": platform.python_version(), "platform": platform.platform(), CORES: str(os.cpu_count())}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def changed(then: Mapping[str, str]) -> List[str]:
    """Return one line for each version that differs from those recorded earlier.

    The number of cores is left out: it decides the speed, not the result.

    Args:
      then: what `versions` returned earlier, perhaps on a different machine.
    """
    now = versions()
    lines = []
    for name in sorted({*then, *now} - {CORES}):
        before, after = then.get(name, "missing"), now.get(name, "missing")
        if before != after:
            lines.append(f"{name} was {before}, is {after}")
    return lines
