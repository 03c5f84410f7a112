"""Load the user's Isaac Gym and MQE, which no package index has, and explain why that fails.

Isaac Gym refuses to be imported after torch, so `load` has to be called before anything that imports torch. MQE is a
package in a checkout of MAPush, which has to be on `PYTHONPATH`: to install MAPush's distribution, `mapush`, would put
its top-level folders into the environment.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from mapush.errors import SimulatorError

GET_ISAAC_GYM = "download Isaac Gym Preview 4 from developer.nvidia.com/isaac-gym; pip install -e isaacgym/python"
GET_MQE = "git clone https://github.com/collaborative-mapush/MAPush; export PYTHONPATH=$PWD/MAPush"
DOCS = "see docs/isaacgym.md for all steps"


class _ImportFailure(NamedTuple):
    """A known failure.

    Attributes:
      pattern: regular expression that its message matches.
      cause: the reason.
      fix: what to do about it.
    """

    pattern: str
    cause: str
    fix: str


PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

IMPORT_FAILURES = (
    _ImportFailure(
        r"PyTorch was imported before isaacgym",
        "torch was imported first, and Isaac Gym refuses to be imported after it",
        "import isaacgym, or call mapush.sim.choose_backend('isaacgym'), before anything that imports torch",
    ),
    _ImportFailure(
        r"No gym module found|isaacgym\._bindings",
        f"Isaac Gym Preview 4 has bindings only for Python 3.6 to 3.8, and this is Python {PYTHON}",
        "conda create -n isaac python=3.8",
    ),
    _ImportFailure(
        r"libpython",
        "the dynamic loader does not find the shared library of Python",
        "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib, or apt install libpython3.8",
    ),
    _ImportFailure(
        r"numpy.*has no attribute",
        "Isaac Gym uses the alias np.float, which numpy 1.24 removed",
        "pip install 'numpy<1.24', or write float for np.float in isaacgym/python/isaacgym/torch_utils.py",
    ),
    _ImportFailure(
        r"[Nn]inja|Error building extension",
        "gymtorch is compiled when it is first imported, and the compilation failed",
        "pip install ninja; apt install g++; if that does not help, read the first error of the compiler",
    ),
    _ImportFailure(
        r"No module named '(?!isaacgym|mqe)",
        "MQE imports packages that it does not declare",
        "pip install openrl gym gymnasium==0.29.1 matplotlib treelib tensorboardX pettingzoo scipy",
    ),
)


def load() -> Optional[SimulatorError]:
    """Import Isaac Gym and MQE in the order they need, and return why that failed; None if both are loaded."""
    error = _import("isaacgym", "Isaac Gym", GET_ISAAC_GYM)
    if error is None:
        error = _unrelated_mqe()
    if error is None:
        error = _import("mqe.envs.utils", "MQE", GET_MQE)
    return error


def _import(module: str, name: str, how_to_get_it: str) -> Optional[SimulatorError]:
    package = module.split(".")[0]
    if module not in sys.modules and importlib.util.find_spec(package) is None:
        return SimulatorError(f"{name} is not installed", fix=f"{how_to_get_it}; {DOCS}")
    try:
        importlib.import_module(module)
    except Exception as error:  # their modules can raise anything while they are imported
        return _explained(name, error)
    return None


def _explained(name: str, error: Exception) -> SimulatorError:
    message = str(error) or "no message"
    what, got = f"{name} cannot be loaded", f"{type(error).__name__}: {message.splitlines()[0]}"
    for failure in IMPORT_FAILURES:
        if re.search(failure.pattern, message):
            return SimulatorError(what, got=got, cause=failure.cause, fix=f"{failure.fix}; {DOCS}")
    return SimulatorError(what, got=got, fix=DOCS)


def _unrelated_mqe() -> Optional[SimulatorError]:
    """Return an error if the package `mqe` is not MAPush's, without importing it; None if it is, or is missing."""
    spec = importlib.util.find_spec("mqe")
    if spec is None or not spec.submodule_search_locations:
        return None
    folders = list(spec.submodule_search_locations)
    for folder in folders:
        if Path(folder, "envs", "utils.py").is_file():
            return None
    return SimulatorError(
        "the package mqe that is installed is a different one",
        got=f"{folders[0]} has no envs/utils.py",
        cause="pip install mqe installs an unrelated package with the same name",
        fix=f"pip uninstall mqe; {GET_MQE}; {DOCS}",
    )
