"""Load the stand-in for Isaac Gym, which computes with MuJoCo, and MAPush's environment over it.

It needs neither Python 3.8 nor to be imported before torch.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Optional, Tuple

from mapush.errors import MapushError, SimulatorError
from mapush.sim import mapush_source

PYTHON = (3, 11)  # the oldest Python that it runs on, which is that of MuJoCo 4


def works_here() -> bool:
    """Return whether this Python has what the stand-in needs; MAPush may still be missing."""
    return sys.version_info[:2] >= PYTHON and importlib.util.find_spec("mujoco") is not None


def load(python: Tuple[int, ...] = sys.version_info[:2]) -> Optional[SimulatorError]:
    """Make `import isaacgym` find the stand-in and import MAPush's environment; return why that failed, or None.

    Args:
      python: the version of Python.
    """
    if python < PYTHON:
        got, fix = "Python " + ".".join(map(str, python)), "use Python 3.11 or later"
        return SimulatorError("the stand-in for Isaac Gym needs a newer Python", got=got, expected="3.11", fix=fix)
    for step in (mapush_source.find, _not_found, mapush_source.missing_packages, _installed, mapush_source.load):
        error = step()
        if error is not None:
            return error
    return None


def describe() -> str:
    """Return what computes, in a few words; `load` succeeded before."""
    from importlib.metadata import version

    from isaac_standin import install

    if install.choose_backend(install.settings()) == "gpu":
        import torch

        return f"{torch.cuda.get_device_name()}, mujoco-warp {version('mujoco-warp')}"
    return f"MuJoCo {version('mujoco')}"


def _not_found() -> Optional[SimulatorError]:
    """Return an error if there is no package `mqe`."""
    if "mqe" in sys.modules or importlib.util.find_spec("mqe") is not None:
        return None
    fix = f"{mapush_source.GET_MQE}; {mapush_source.DOCS}"
    return SimulatorError("no checkout of MAPush was found", expected="its folder in MAPUSH_DIR", fix=fix)


def _installed() -> Optional[SimulatorError]:
    from isaac_standin import install

    try:
        install.install()
    except MapushError as error:
        fix = error.fix
        if install.find_real() is not None:
            fix = "--sim isaacgym; or set ISAAC_STANDIN_ALLOW_REAL=True"
        return SimulatorError(error.what, where=error.where, got=error.got, cause=error.cause, fix=fix)
    return None
