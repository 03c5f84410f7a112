"""What a result may depend on besides its configuration."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Dict, List, Mapping

PACKAGES = ("mapush", "mujoco", "mujoco-warp", "warp-lang", "numpy", "torch", "isaacgym", "pytest", "hypothesis")
CORES = "cores"


def versions() -> Dict[str, str]:
    """Return the versions of Python, of the platform and of the packages installed, and the number of CPU cores."""
    found = {"python": platform.python_version(), "platform": platform.platform(), CORES: str(os.cpu_count())}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def changed(then: Mapping[str, str]) -> List[str]:
    """Say in which versions this machine differs from those that were kept; cores decide speed, not results."""
    now = versions()
    names = sorted(name for name in {**then, **now} if then.get(name) != now.get(name) and name != CORES)
    return ["{} was {}, is {}".format(name, then.get(name, "missing"), now.get(name, "missing")) for name in names]
