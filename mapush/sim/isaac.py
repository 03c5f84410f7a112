"""Loading the user's own Isaac Gym and MQE, which are on no package index, and saying why that fails.

Isaac Gym insists on being imported before torch, so whoever chooses the simulator calls `why_not_here` first. MAPush
calls its distribution `mapush` as this project does, so pip would remove the one when it installs the other: MQE is
found on the path instead.
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
DOCS = "docs/isaacgym.md has every step"


class _Trap(NamedTuple):
    """A known failure: what its message matches, what it means and what helps."""

    message: str
    cause: str
    fix: str


TRAPS = (
    _Trap(
        r"PyTorch was imported before isaacgym",
        "torch was imported first, and Isaac Gym refuses to come second",
        "import isaacgym, or call mapush.sim.choose_backend('isaacgym'), before anything that imports torch",
    ),
    _Trap(
        r"No gym module found|isaacgym\._bindings",
        "Isaac Gym Preview 4 has bindings for Python 3.6 to 3.8 alone, and this is {}.{}".format(*sys.version_info[:2]),
        "conda create -n isaac python=3.8",
    ),
    _Trap(
        r"libpython",
        "the loader does not find the shared library of Python",
        "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib, or apt install libpython3.8",
    ),
    _Trap(
        r"numpy.*has no attribute",
        "Isaac Gym uses an alias, np.float, that numpy dropped in 1.24",
        "pip install 'numpy<1.24', or write float for np.float in isaacgym/python/isaacgym/torch_utils.py",
    ),
    _Trap(
        r"[Nn]inja|Error building extension",
        "gymtorch is compiled at its first import, which failed",
        "pip install ninja; apt install g++; then look at the first error of the compiler",
    ),
    _Trap(
        r"No module named '(?!isaacgym|mqe)",
        "MQE imports packages that it does not declare",
        "pip install openrl gym gymnasium==0.29.1 matplotlib treelib tensorboardX pettingzoo scipy",
    ),
)


def why_not_here() -> Optional[SimulatorError]:
    """Load Isaac Gym and MQE, in the order they need; return why that cannot be done, None if it is done."""
    return (
        _why_not("isaacgym", "Isaac Gym", GET_ISAAC_GYM) or _another_mqe() or _why_not("mqe.envs.utils", "MQE", GET_MQE)
    )


def _why_not(module: str, name: str, get_it: str) -> Optional[SimulatorError]:
    if module not in sys.modules and importlib.util.find_spec(module.split(".")[0]) is None:
        return SimulatorError(f"{name} is not installed", fix=f"{get_it}; {DOCS}")
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever their modules do while they are imported
        return _explained(name, error)
    return None


def _explained(name: str, error: Exception) -> SimulatorError:
    got = "{}: {}".format(type(error).__name__, str(error).splitlines()[0] if str(error) else "no message")
    for trap in TRAPS:
        if re.search(trap.message, str(error)):
            fix = f"{trap.fix}; {DOCS}"
            return SimulatorError(f"{name} cannot be loaded", got=got, cause=trap.cause, fix=fix)
    return SimulatorError(f"{name} cannot be loaded", got=got, fix=DOCS)


def _another_mqe() -> Optional[SimulatorError]:
    """Return what is wrong if the package `mqe` is not MAPush's, without loading it."""
    spec = importlib.util.find_spec("mqe")
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or []]
    if not folders or any((folder / "envs" / "utils.py").is_file() for folder in folders):
        return None
    return SimulatorError(
        "the package mqe that is installed is another one",
        got=f"{folders[0]} has no envs/utils.py",
        cause="pip install mqe gives an unrelated package of that name",
        fix=f"pip uninstall mqe; {GET_MQE}; {DOCS}",
    )
