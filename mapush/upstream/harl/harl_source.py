"""Finds HARL, and refuses in words what is not HARL or what calls its parts in another way."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List, Tuple

from mapush.errors import LearnerError

VERSION = "PKU-MARL/HARL at d539bad"
_INSTALL = "git clone https://github.com/PKU-MARL/HARL; then pip install -e HARL, or set HARL_DIR to that folder"
_PACKAGES = {"uu": "", "absl": "absl-py", "setproctitle": "setproctitle"}  # that HARL imports: what pip calls them
_DEFAULTS = Path("configs", "algos_cfgs", "happo.yaml")

_PARTS = {  # class: its module, and what it is called with
    "HAPPO": ("harl.algorithms.actors.happo", ("args", "obs_space", "act_space", "device")),
    "VCritic": ("harl.algorithms.critics.v_critic", ("args", "cent_obs_space", "device")),
    "OnPolicyActorBuffer": ("harl.common.buffers.on_policy_actor_buffer", ("args", "obs_space", "act_space")),
    "OnPolicyCriticBufferEP": ("harl.common.buffers.on_policy_critic_buffer_ep", ("args", "share_obs_space")),
    "ValueNorm": ("harl.common.valuenorm", ("input_shape", "device")),
    "OnPolicyHARunner": ("harl.runners.on_policy_ha_runner", ("args", "algo_args", "env_args")),
}
_METHODS = {"run": (), "compute": (), "train": (), "save": (), "warmup": (), "collect": ("step",), "insert": ("data",)}


@dataclasses.dataclass(frozen=True)
class Upstream:
    """The classes of HARL that the adapter uses.

    Attributes:
      defaults: the leaves of HARL's own `happo.yaml`; {} if its package was installed without them.
    """

    HAPPO: Any
    VCritic: Any
    OnPolicyActorBuffer: Any
    OnPolicyCriticBufferEP: Any
    ValueNorm: Any
    OnPolicyHARunner: Any
    defaults: Dict[str, Any]


def locate() -> Path:
    """Make HARL importable and return its package's folder; neither HARL nor torch is loaded.

    Raises:
      LearnerError: `HARL_DIR` is not a checkout, nothing named `harl` is installed, or a package that it needs is not.
    """
    follow_harl_dir()
    spec = importlib.util.find_spec("harl")
    if spec is None:
        raise LearnerError("HARL is not installed", expected=VERSION, fix=_INSTALL + "; or use --learner native")
    folder = Path(list(spec.submodule_search_locations or [""])[0])
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise _missing(absent, folder)
    return folder


def follow_harl_dir() -> None:
    """Let HARL be imported from the checkout that `HARL_DIR` names, if it names one.

    Raises:
      LearnerError: it is not a checkout.
    """
    named = os.environ.get("HARL_DIR")
    if not named:
        return
    if not (Path(named) / "harl" / "__init__.py").is_file():
        raise LearnerError(
            "HARL_DIR is not a checkout of HARL", got=named, expected="a folder with harl/__init__.py", fix=_INSTALL
        )
    if str(Path(named).resolve()) not in sys.path:
        sys.path.insert(0, str(Path(named).resolve()))


def load() -> Upstream:
    """Import HARL and make sure that its parts can be called as the adapter calls them.

    Raises:
      LearnerError: HARL, a package that it needs, or one of its parts is missing, or takes other arguments.
    """
    folder = locate()
    classes = {name: _import(module, name, folder) for name, (module, _) in _PARTS.items()}
    for name, (_, arguments) in _PARTS.items():
        _require_call(classes[name], name, arguments, folder)
    for name, arguments in _METHODS.items():
        method = getattr(classes["OnPolicyHARunner"], name, None)
        _require_call(method, "OnPolicyHARunner." + name, ("self",) + arguments, folder)
    return Upstream(defaults=_defaults(folder / _DEFAULTS), **classes)


def _import(module: str, name: str, folder: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # HARL imports uu, on its way out of Python
            return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise _missing([str(error.name)], folder) from error
    except AttributeError as error:
        what = f"this HARL has no {name}"
        raise LearnerError(what, where=str(folder), expected=f"{name} in {module}", fix=_use(VERSION)) from error


def _missing(modules: List[str], folder: Path) -> LearnerError:
    if modules[0].split(".")[0] == "harl":
        what = f"the package named harl is not HARL, or a fork without {modules[0]}"
        return LearnerError(what, where=str(folder), expected=VERSION, fix=_INSTALL)
    if "uu" in modules:
        what, fix = "this Python is too new for HARL", "use Python 3.12 or older, or --learner native"
        got = "Python {}.{}, which has no module uu".format(*sys.version_info[:2])
        return LearnerError(what, where=str(folder), got=got, fix=fix)
    return LearnerError(
        "HARL needs packages that are not installed",
        where=str(folder),
        got="no module named {}".format(" and ".join(modules)),
        cause="setup.py of HARL does not name them all, and a checkout installs none",
        fix="python -m pip install {}".format(" ".join(_PACKAGES.get(name, name) for name in modules)),
    )


def _require_call(part: Any, name: str, arguments: Tuple[str, ...], folder: Path) -> None:
    wanted = "{}({})".format(name, ", ".join(arguments))
    if part is None:
        raise LearnerError(f"this HARL has no {name}", where=str(folder), expected=wanted, fix=_use(VERSION))
    signature, by_name = inspect.signature(part), "device" in arguments
    try:
        signature.bind(*(name for name in arguments if name != "device"), **{"device": None} if by_name else {})
    except TypeError as error:
        raise LearnerError(
            f"this HARL calls {name} with other arguments",
            where=str(folder),
            got=f"{name}{signature}",
            expected=wanted,
            cause="it is a fork, or another version",
            fix=_use(VERSION),
        ) from error


def _use(version: str) -> str:
    return f"use {version}, or --learner native"


def _defaults(path: Path) -> Dict[str, Any]:
    """Return the leaves of HARL's configuration, so that the keys that a fork has added keep its values."""
    if not path.is_file():
        return {}
    import yaml

    sections: List[Dict[str, Any]] = list(yaml.safe_load(path.read_text()).values())
    return {key: value for section in sections for key, value in section.items()}
