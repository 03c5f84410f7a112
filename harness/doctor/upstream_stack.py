"""What the doctor checks of the upstream stack, which is installed by hand: Isaac Gym, MQE, HARL and their needs."""

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

from harness.doctor.line import OK, WARNING, WRONG, Broken, Check, Line, once, probe
from mapush.errors import LearnerError
from mapush.upstream.harl.harl_source import follow_harl_dir

ISAAC_PYTHONS = ((3, 6), (3, 8))  # the first and the last that Isaac Gym Preview 4 has bindings for
MQE_NEEDS = ("openrl", "gym", "gymnasium", "matplotlib", "treelib", "tensorboardX", "pettingzoo", "scipy")
HARL_NEEDS = {  # module: distribution
    "absl": "absl-py",
    "setproctitle": "setproctitle",
    "yaml": "pyyaml",
    "tensorboardX": "tensorboardX",
    "cloudpickle": "cloudpickle",
}
VULKAN_PLACES = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")
EXTENSIONS = "~/.cache/torch_extensions"


def checks() -> List[Check]:
    """Return the checks."""
    isaac = once(isaac_gym)
    return [isaac, gymtorch, vulkan, functools.partial(mqe, isaac), mqe_needs, harl, harl_needs]


def isaac_facts() -> Dict[str, Any]:
    """Load Isaac Gym with its bindings and its use of numpy."""
    import isaacgym
    from isaacgym import gymapi, gymtorch, torch_utils

    return _facts(isaacgym, gymapi, gymtorch, torch_utils)


def isaac_gym() -> Line:
    """Check that Isaac Gym can be loaded by this Python."""
    if importlib.util.find_spec("isaacgym") is None:
        fix = "download Preview 4 from developer.nvidia.com/isaac-gym, then pip install -e isaacgym/python"
        return Line("Isaac Gym", WRONG, "not installed", fix)
    if not ISAAC_PYTHONS[0] <= sys.version_info[:2] <= ISAAC_PYTHONS[1]:
        found = "installed for Python {}.{}, for which it has no bindings".format(*sys.version_info[:2])
        return Line("Isaac Gym", WRONG, found, "conda create -n isaac python=3.8")
    return _loaded("Isaac Gym", isaac_facts)


def gymtorch() -> Line:
    """Check what building gymtorch at the first import needs, and that no lock of a killed build is in its way."""
    missing = [name for name in ("ninja",) if shutil.which(name) is None]
    missing += [] if shutil.which("c++") or shutil.which("g++") else ["a C++ compiler"]
    if missing:
        return Line(
            "gymtorch", WRONG, "missing to build it: " + ", ".join(missing), "pip install ninja; apt install g++"
        )
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or EXTENSIONS).expanduser()
    locks = sorted(folder.glob("**/gymtorch/lock"))
    if locks:
        found = "a build is going on, or was killed: importing Isaac Gym then waits forever"
        return Line("gymtorch", WRONG, found, f"if nothing builds it: rm {locks[0]}")
    return Line("gymtorch", OK, "can be built")


def vulkan() -> Line:
    """Check for a Vulkan driver, which MQE's cameras need even without a window."""
    import ctypes.util

    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES") or ""
    missing = [name for name in named.split(":") if name and not Path(name).exists()]
    drivers = [path for place in VULKAN_PLACES for path in sorted(Path(place).glob("*.json"))]
    if missing:
        found = f"VK_ICD_FILENAMES names {missing[0]}, which is not there"
        return Line("Vulkan", WRONG, found, f"unset VK_ICD_FILENAMES, or name one of {VULKAN_PLACES[0]}")
    if not ctypes.util.find_library("vulkan"):
        return Line("Vulkan", WRONG, "no libvulkan", "apt install libvulkan1")
    if not (drivers or named):
        return Line(
            "Vulkan", WRONG, "no driver for it", "install the NVIDIA driver's, or apt install mesa-vulkan-drivers"
        )
    return Line("Vulkan", OK, named or ", ".join(path.name for path in drivers))


def mqe_facts() -> Dict[str, Any]:
    """Load MQE as training does: after Isaac Gym, which has to come before torch."""
    import isaacgym
    import mqe
    from mqe.envs import utils

    return _facts(mqe, utils, isaacgym)


def mqe(isaac: Check) -> Line:
    """Check for MAPush's copy of MQE, and for the unrelated package of that name.

    Args:
      isaac: says whether Isaac Gym, without which MQE cannot be tried, can be loaded.
    """
    folder = _folder("mqe")
    if folder is not None and (folder / "envs" / "utils.py").is_file():
        if isaac().status != OK:
            return Line("MQE", WARNING, f"{folder}, not tried, for Isaac Gym cannot be loaded")
        return _loaded("MQE", mqe_facts)
    try:
        summary = importlib.metadata.metadata("mqe")["Summary"] or "without a summary"
        found = f"the package mqe of PyPI is another one: {summary}"
        return Line("MQE", WRONG, found, "pip uninstall mqe; export PYTHONPATH=MAPush (a checkout)")
    except importlib.metadata.PackageNotFoundError:
        pass
    if folder is not None:
        return Line("MQE", WRONG, f"{folder} holds no envs/utils.py", "export PYTHONPATH=MAPush (a checkout)")
    return Line("MQE", WRONG, "not installed", "git clone MAPush; export PYTHONPATH=MAPush; never pip install mqe")


def mqe_needs() -> Line:
    """Check what importing MQE needs, declared or not, and numpy's version by what Isaac Gym still asks of it."""
    missing = [name for name in MQE_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return Line("MQE's needs", WRONG, "missing: " + ", ".join(missing), "pip install " + " ".join(missing))
    numpy = importlib.metadata.version("numpy")
    folder = _folder("isaacgym")
    helper = folder / "torch_utils.py" if folder is not None else Path("none")
    new = tuple(map(int, numpy.split(".")[:2])) >= (1, 24)
    if new and helper.is_file() and re.search(r"np\.float\b", helper.read_text(errors="replace")):
        found = f"numpy {numpy} has no np.float, which {helper} uses"
        return Line("MQE's needs", WRONG, found, "pip install 'numpy<1.24', or write float for np.float there")
    return Line("MQE's needs", OK, f"all there, numpy {numpy}")


def harl_facts() -> Dict[str, Any]:
    """Load HARL with what trains."""
    import harl
    from harl.runners import on_policy_ha_runner

    return _facts(harl, on_policy_ha_runner)


def harl() -> Line:
    """Check that HARL can be loaded, from `HARL_DIR` if that is set, and has what only a checkout has."""
    try:
        follow_harl_dir()
    except LearnerError as error:
        return Line("HARL", WRONG, f"{error.what}: {error.got}", str(error.fix))
    folder = _folder("harl")
    if folder is None:
        return Line("HARL", WRONG, "not installed", "git clone HARL; pip install -e HARL (it is on no registry)")
    if sys.version_info >= (3, 13):
        return Line("HARL", WRONG, "imports uu, which Python 3.13 dropped", "use Python 3.12 or older")
    if not (folder / "configs" / "algos_cfgs").is_dir():
        found = f"{folder} has no configs/algos_cfgs"
        return Line("HARL", WRONG, found, "install it from its checkout with pip install -e: wheels leave them out")
    return _loaded("HARL", harl_facts)


def harl_needs() -> Line:
    """Check what HARL imports, declared or not."""
    missing = [name for module, name in HARL_NEEDS.items() if importlib.util.find_spec(module) is None]
    if missing:
        return Line("HARL's needs", WRONG, "missing: " + ", ".join(missing), "pip install " + " ".join(missing))
    return Line("HARL's needs", OK, "all there")


def _folder(package: str) -> Optional[Path]:
    """Return where a package lies, without loading it; None if it is not here."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) if places else None


def _facts(package: ModuleType, *parts: ModuleType) -> Dict[str, Any]:
    return {"folder": str(Path(str(package.__file__)).parent), "parts": [part.__name__ for part in parts]}


def _loaded(name: str, facts: Callable[[], Dict[str, Any]]) -> Line:
    try:
        return Line(name, OK, probe(name, facts)["folder"])
    except Broken as broken:
        return broken.line
