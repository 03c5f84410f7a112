"""The doctor's checks of the upstream stack, which is installed by hand: Isaac Gym, MQE, HARL and what they need."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

from harness.doctor.line import OK, WARNING, WRONG, Broken, Check, Line, missing_modules, once, probe
from harness.process.known_crashes import (
    FIX_HARL_PYTHON,
    FIX_ISAAC_PYTHON,
    FIX_MQE,
    FIX_NINJA,
    FIX_NUMPY_ALIASES,
)
from mapush.errors import LearnerError
from mapush.sim import mapush_source
from mapush.upstream.harl.harl_source import follow_harl_dir

ISAAC_PYTHONS = ((3, 6), (3, 8))  # the first and the last for which Isaac Gym Preview 4 has bindings
NUMPY_WITHOUT_ALIASES = (1, 24)
PYTHON_WITHOUT_UU = (3, 13)
MQE_NEEDS = ("openrl", "gym", "gymnasium", "matplotlib", "treelib", "tensorboardX", "pettingzoo", "scipy")
HARL_NEEDS = {  # module: distribution
    "absl": "absl-py",
    "setproctitle": "setproctitle",
    "yaml": "pyyaml",
    "tensorboardX": "tensorboardX",
    "cloudpickle": "cloudpickle",
}
VULKAN_PLACES = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")
HARL_VARIABLE = "HARL_DIR"
EXTENSIONS = "~/.cache/torch_extensions"
MQE_PATH = "export MAPUSH_DIR=MAPush (a git checkout)"


def checks(only_found: bool = False) -> List[Check]:
    """Return the checks.

    Args:
      only_found: leave out what nothing on this machine points to, neither an installed package nor a variable that
        names a checkout. Somebody who has Isaac Gym wants all of them.
    """
    isaac = once(isaac_gym)
    of_isaac: List[Check] = [isaac, gymtorch, vulkan]
    of_mqe: List[Check] = [functools.partial(mqe, isaac), mqe_needs]
    of_harl: List[Check] = [harl, harl_needs]
    if not only_found or _is_installed("isaacgym"):
        return of_isaac + of_mqe + of_harl
    found: List[Check] = []
    if os.environ.get(mapush_source.VARIABLE) or _is_installed("mqe"):
        found += of_mqe
    if os.environ.get(HARL_VARIABLE) or _is_installed("harl"):
        found += of_harl
    return found


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# -- Isaac Gym -------------------------------------------------------------------------------------------------------


def isaac_facts() -> Dict[str, Any]:
    """Load Isaac Gym with its bindings and its use of numpy."""
    import isaacgym
    from isaacgym import gymapi, gymtorch, torch_utils

    return _facts(isaacgym, gymapi, gymtorch, torch_utils)


def isaac_gym() -> Line:
    """Check that this Python can load Isaac Gym."""
    if importlib.util.find_spec("isaacgym") is None:
        fix = "download Preview 4 from developer.nvidia.com/isaac-gym, then pip install -e isaacgym/python"
        return Line("Isaac Gym", WRONG, "not installed", fix)
    major, minor = sys.version_info[:2]
    if not ISAAC_PYTHONS[0] <= (major, minor) <= ISAAC_PYTHONS[1]:
        found = f"installed for Python {major}.{minor}, for which it has no bindings"
        return Line("Isaac Gym", WRONG, found, FIX_ISAAC_PYTHON)
    return _loaded("Isaac Gym", isaac_facts)


def gymtorch() -> Line:
    """Check what the first import of Isaac Gym needs to build gymtorch, and that no killed build has left a lock."""
    missing = []
    if shutil.which("ninja") is None:
        missing.append("ninja")
    if shutil.which("c++") is None and shutil.which("g++") is None:
        missing.append("a C++ compiler")
    if missing:
        found = f"missing to build it: {', '.join(missing)}"
        return Line("gymtorch", WRONG, found, f"{FIX_NINJA}; apt install g++")
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or EXTENSIONS).expanduser()
    locks = sorted(folder.glob("**/gymtorch/lock"))
    if locks:
        found = "a build is running, or was killed: importing Isaac Gym then waits forever"
        return Line("gymtorch", WRONG, found, f"if no process builds it: rm {locks[0]}")
    return Line("gymtorch", OK, "can be built")


def vulkan() -> Line:
    """Check for a Vulkan driver, which the cameras of MQE need even without a window."""
    import ctypes.util

    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES") or ""
    for name in named.split(":"):
        if name and not Path(name).exists():
            fix = f"unset VK_ICD_FILENAMES, or name a file of {VULKAN_PLACES[0]}"
            return Line("Vulkan", WRONG, f"VK_ICD_FILENAMES names {name}, which does not exist", fix)
    if not ctypes.util.find_library("vulkan"):
        return Line("Vulkan", WRONG, "libvulkan is not installed", "apt install libvulkan1")
    drivers = []
    for place in VULKAN_PLACES:
        drivers += sorted(Path(place).glob("*.json"))
    if not drivers and not named:
        fix = "install the Vulkan driver of NVIDIA, or apt install mesa-vulkan-drivers"
        return Line("Vulkan", WRONG, "there is no driver for it", fix)
    return Line("Vulkan", OK, named or ", ".join(path.name for path in drivers))


# -- MQE -------------------------------------------------------------------------------------------------------------


def mqe_facts() -> Dict[str, Any]:
    """Load MQE as training does: after Isaac Gym, which must be imported before torch."""
    mapush_source.find()
    import isaacgym
    import mqe
    from mqe.envs import utils

    return _facts(mqe, utils, isaacgym)


def mqe(isaac: Check) -> Line:
    """Check for MAPush's copy of MQE, and for the unrelated package of that name.

    Args:
      isaac: checks whether Isaac Gym can be loaded, without which MQE cannot be tried.
    """
    error = mapush_source.find()
    if error is not None and error.what.startswith(mapush_source.VARIABLE):
        return Line("MQE", WRONG, f"{error.what}: {error.got}", str(error.fix))
    folder = _folder("mqe")
    if folder is not None and (folder / "envs" / "utils.py").is_file():
        if isaac().status != OK:
            return Line("MQE", WARNING, f"{folder}, not tried, because Isaac Gym cannot be loaded")
        return _loaded("MQE", mqe_facts)
    try:
        summary = importlib.metadata.metadata("mqe")["Summary"] or "without a summary"
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        found = f"the installed package mqe is the unrelated one from PyPI: {summary}"
        return Line("MQE", WRONG, found, FIX_MQE)
    if folder is not None:
        return Line("MQE", WRONG, f"{folder} has no envs/utils.py", MQE_PATH)
    return Line("MQE", WRONG, "not installed", f"git clone MAPush; {MQE_PATH}; never pip install mqe")


def mqe_needs() -> Line:
    """Check what importing MQE needs, declared or not, and whether Isaac Gym works with this numpy."""
    missing = missing_modules(MQE_NEEDS)
    if missing:
        return Line("MQE's needs", WRONG, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    numpy = importlib.metadata.version("numpy")
    major, minor = numpy.split(".")[:2]
    if (int(major), int(minor)) >= NUMPY_WITHOUT_ALIASES:
        user = _user_of_aliases()
        if user is not None:
            return Line("MQE's needs", WRONG, f"numpy {numpy} has no np.float, which {user} uses", FIX_NUMPY_ALIASES)
    return Line("MQE's needs", OK, f"all installed, numpy {numpy}")


def _user_of_aliases() -> Optional[Path]:
    """Return the file of Isaac Gym that uses np.float, which newer versions of numpy lack; None if it does not."""
    folder = _folder("isaacgym")
    if folder is None:
        return None
    file = folder / "torch_utils.py"
    if file.is_file() and re.search(r"np\.float\b", file.read_text(errors="replace")):
        return file
    return None


# -- HARL ------------------------------------------------------------------------------------------------------------


def harl_facts() -> Dict[str, Any]:
    """Load HARL with the runner that trains."""
    import harl
    from harl.runners import on_policy_ha_runner

    return _facts(harl, on_policy_ha_runner)


def harl() -> Line:
    """Check that HARL can be loaded, from `HARL_DIR` if that is set, and has the files that only a checkout has."""
    try:
        follow_harl_dir()
    except LearnerError as error:
        return Line("HARL", WRONG, f"{error.what}: {error.got}", str(error.fix))
    folder = _folder("harl")
    if folder is None:
        fix = "git clone HARL; pip install -e HARL (it is on no package registry)"
        return Line("HARL", WRONG, "not installed", fix)
    if sys.version_info >= PYTHON_WITHOUT_UU:
        return Line("HARL", WRONG, "imports uu, which Python 3.13 removed", FIX_HARL_PYTHON)
    if not (folder / "configs" / "algos_cfgs").is_dir():
        found = f"{folder} has no configs/algos_cfgs"
        fix = "install it from its git checkout with pip install -e: wheels do not contain this folder"
        return Line("HARL", WRONG, found, fix)
    return _loaded("HARL", harl_facts)


def harl_needs() -> Line:
    """Check what importing HARL needs, declared or not."""
    missing = [HARL_NEEDS[module] for module in missing_modules(HARL_NEEDS)]
    if missing:
        return Line("HARL's needs", WRONG, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Line("HARL's needs", OK, "all installed")


# -- all of them -----------------------------------------------------------------------------------------------------


def _folder(package: str) -> Optional[Path]:
    """Return the folder of a package without loading it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(list(spec.submodule_search_locations)[0])


def _facts(package: ModuleType, *parts: ModuleType) -> Dict[str, Any]:
    folder = Path(str(package.__file__)).parent
    return {"folder": str(folder), "parts": [part.__name__ for part in parts]}


def _loaded(name: str, facts: Callable[[], Dict[str, Any]]) -> Line:
    """Return the line of a package that is loaded in a process of its own."""
    try:
        return Line(name, OK, probe(name, facts)["folder"])
    except Broken as broken:
        return broken.line
