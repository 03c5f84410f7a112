"""What a result may depend on besides its configuration."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Dict

PACKAGES = ("mapush", "mujoco", "mujoco-warp", "warp-lang", "numpy", "torch", "isaacgym")


def versions() -> Dict[str, str]:
    """Return the versions of Python, of the platform and of the packages installed, and the number of CPU cores."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "cores": str(os.cpu_count())}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found
