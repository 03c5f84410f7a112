"""Load the user's Isaac Gym and MQE, which no package index has, and explain why that fails.

Isaac Gym refuses to be imported after torch, so `load` has to be called before anything that imports torch.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Optional

from mapush.errors import SimulatorError
from mapush.sim import mapush_source
from mapush.sim.mapush_source import ImportFailure, imported

GET_ISAAC_GYM = "download Isaac Gym Preview 4 from developer.nvidia.com/isaac-gym; pip install -e isaacgym/python"

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

IMPORT_FAILURES = (
    ImportFailure(
        r"PyTorch was imported before isaacgym",
        "torch was imported first, and Isaac Gym refuses to be imported after it",
        "import isaacgym, or call mapush.sim.choose_backend('isaacgym'), before anything that imports torch",
    ),
    ImportFailure(
        r"No gym module found|isaacgym\._bindings",
        f"Isaac Gym Preview 4 has bindings only for Python 3.6 to 3.8, and this is Python {PYTHON}",
        "conda create -n isaac python=3.8",
    ),
    ImportFailure(
        r"libpython",
        "the dynamic loader does not find the shared library of Python",
        "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib, or apt install libpython3.8",
    ),
    ImportFailure(
        r"numpy.*has no attribute",
        "Isaac Gym uses the alias np.float, which numpy 1.24 removed",
        "pip install 'numpy<1.24', or write float for np.float in isaacgym/python/isaacgym/torch_utils.py",
    ),
    ImportFailure(
        r"[Nn]inja|Error building extension",
        "gymtorch is compiled when it is first imported, and the compilation failed",
        "pip install ninja; apt install g++; if that does not help, read the first error of the compiler",
    ),
    ImportFailure(
        r"No module named '(?!isaacgym|mqe)",
        "MQE imports packages that it does not declare",
        "pip install openrl gym gymnasium==0.29.1 matplotlib treelib tensorboardX pettingzoo scipy",
    ),
)


def load() -> Optional[SimulatorError]:
    """Import Isaac Gym and MQE in the order they need, and return why that failed; None if both are loaded."""
    error = _standin()
    if error is None:
        error = imported("isaacgym", "Isaac Gym", GET_ISAAC_GYM, IMPORT_FAILURES)
    if error is None:
        error = mapush_source.find()
    if error is None:
        error = mapush_source.load(IMPORT_FAILURES)
    return error


def _standin() -> Optional[SimulatorError]:
    """Return an error if the package `isaacgym` is the stand-in for it; None if it is not, or is missing."""
    spec = importlib.util.find_spec("isaacgym")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).resolve().parent
    if folder.parent.parent.name != "isaac_standin":
        return None
    return SimulatorError(
        "the package isaacgym that is imported here is the stand-in for Isaac Gym",
        got=str(folder),
    )
