"""Find MAPush's checkout, whose package `mqe` is on no package index, and explain why it cannot be imported.

The checkout is the folder that `MAPUSH_DIR` names, or one on `PYTHONPATH`. To install MAPush's distribution, `mapush`,
would put its top-level folders into the environment.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import warnings
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from mapush.errors import SimulatorError

VARIABLE = "MAPUSH_DIR"
GET_MQE = f"git clone https://github.com/collaborative-mapush/MAPush; export {VARIABLE}=$PWD/MAPush"
DOCS = "see docs/isaacgym.md for all steps"

NEEDS = {  # module: how pip calls what `mqe.envs.utils` imports and MAPush does not declare
    "gym": "gym",
    "gymnasium": "gymnasium==0.29.1",
    "scipy": "scipy",
    "treelib": "treelib",
    "matplotlib": "matplotlib",
    "treevalue": "treevalue",
    "openrl": "openrl",
}
_WITHOUT_ITS_NEEDS = ("openrl",)
"""OpenRL declares a great deal that neither MQE nor Python 3.11 has a use for: it is installed with --no-deps."""


class ImportFailure(NamedTuple):
    """A known failure.

    Attributes:
      pattern: regular expression that its message matches.
      cause: the reason.
      fix: what to do about it.
    """

    pattern: str
    cause: str
    fix: str


def find() -> Optional[SimulatorError]:
    """Make MAPush importable, without importing it; return why that failed, or None.

    Nothing is changed if the package can be imported already.
    """
    folder = os.environ.get(VARIABLE)
    if folder:
        if not (Path(folder) / "mqe" / "envs" / "utils.py").is_file():
            return _no_checkout(folder)
        path = str(Path(folder).resolve())
        if path not in sys.path:
            sys.path.insert(0, path)
    return _unrelated_mqe()


def load(failures: Sequence[ImportFailure] = ()) -> Optional[SimulatorError]:
    """Import MQE, which `find` found, and return why that failed; None if it is loaded.

    Args:
      failures: what is known to go wrong.
    """
    return imported("mqe.envs.utils", "MQE", GET_MQE, failures)


def missing_packages() -> Optional[SimulatorError]:
    """Return an error that names the packages that MQE imports and that are not installed; None if there are none."""
    absent = [module for module in NEEDS if importlib.util.find_spec(module) is None]
    if not absent:
        return None
    return SimulatorError(
        "MQE needs packages that are not installed",
        got="no module named " + ", ".join(absent),
        cause="MAPush does not declare them",
        fix=pip_command(absent),
    )


def pip_command(modules: Sequence[str]) -> str:
    """Return one line for the shell that installs some of `NEEDS`."""
    ordinary: List[str] = []
    bare: List[str] = []
    for module in modules:
        if module in _WITHOUT_ITS_NEEDS:
            bare.append(NEEDS[module])
        else:
            ordinary.append(NEEDS[module])
    commands: List[str] = []
    if ordinary:
        commands.append("python -m pip install " + " ".join(ordinary))
    if bare:
        commands.append("python -m pip install --no-deps " + " ".join(bare))
    return " && ".join(commands)


def imported(module: str, name: str, how_to_get_it: str, failures: Sequence[ImportFailure]) -> Optional[SimulatorError]:
    """Import a module of other people; return why that failed, or None.

    Args:
      module: its name.
      name: what people call it.
      how_to_get_it: commands.
      failures: what is known to go wrong.
    """
    package = module.split(".")[0]
    if module not in sys.modules and importlib.util.find_spec(package) is None:
        return SimulatorError(f"{name} is not installed", fix=f"{how_to_get_it}; {DOCS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            importlib.import_module(module)
    except Exception as error:  # their modules can raise anything while they are imported
        return _explained(name, error, failures)
    return None


def _explained(name: str, error: Exception, failures: Sequence[ImportFailure]) -> SimulatorError:
    message = str(error) or "no message"
    what, got = f"{name} cannot be loaded", f"{type(error).__name__}: {message.splitlines()[0]}"
    for failure in failures:
        if re.search(failure.pattern, message):
            return SimulatorError(what, got=got, cause=failure.cause, fix=f"{failure.fix}; {DOCS}")
    return SimulatorError(what, got=got, fix=DOCS)


def _no_checkout(folder: str) -> SimulatorError:
    return SimulatorError(
        f"{VARIABLE} is not a checkout of MAPush",
        got=folder,
        expected="a folder with mqe/envs/utils.py",
        fix=f"{GET_MQE}; {DOCS}",
    )


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
