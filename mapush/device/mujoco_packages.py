"""The packages of MuJoCo and MuJoCo Warp: how to install them, and why Warp does not work here."""

from __future__ import annotations

import importlib.util
import sys
from typing import Optional, Tuple

from mapush.device.gpu_errors import why_no_gpu
from mapush.errors import SimulatorError

MUJOCO_DISTRIBUTION = "mujoco==4.0.0"
WARP_DISTRIBUTIONS = (("mujoco_warp", "mujoco-warp==4.0.0"), ("warp", "warp-lang==1.19.0"))  # module, distribution
MUJOCO_PYTHON = (3, 11)  # the oldest Python for which these distributions exist


def how_to_install(distribution: str, python: Tuple[int, ...] = sys.version_info[:2]) -> str:
    """Return how to install `distribution`, one of MuJoCo's, on this version of Python."""
    command = f"python -m pip install {distribution}"
    if python >= MUJOCO_PYTHON:
        return command
    this, needed = ".".join(map(str, python)), ".".join(map(str, MUJOCO_PYTHON))
    return (
        f"MuJoCo 4 needs Python {needed} or later, and this is Python {this}: create a virtual environment with "
        f"Python {needed} and run {command} in it; on Python 3.8, --sim isaacgym is the only simulator"
    )


def why_no_warp() -> Optional[SimulatorError]:
    """Return why MuJoCo Warp does not work on this machine, or None."""
    for package, distribution in WARP_DISTRIBUTIONS:
        if importlib.util.find_spec(package) is None:
            return SimulatorError(f"{package} is not installed", fix=how_to_install(distribution))
    return why_no_gpu()
