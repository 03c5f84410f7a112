"""Find HARL, and refuse with one message what is not HARL or has different interfaces.

Source: PKU-MARL/HARL@d539bad; `_CLASSES` lists the classes that the adapter uses, with their modules.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from mapush.errors import LearnerError

VERSION = "PKU-MARL/HARL at d539bad"
USE_VERSION = f"use {VERSION}, or --learner native"
_INSTALL = "git clone https://github.com/PKU-MARL/HARL; then pip install -e HARL, or set HARL_DIR to that folder"
_PIP_NAMES = {"uu": "", "absl": "absl-py", "setproctitle": "setproctitle"}
"""Modules that HARL imports: their names for pip; uu belongs to Python."""
_DEFAULTS = Path("configs", "algos_cfgs", "happo.yaml")


class _Class(NamedTuple):
    """A class of HARL: its module, and the arguments that the adapter calls it with."""

    module: str
    arguments: Tuple[str, ...]


_CLASSES = {
    "HAPPO": _Class("harl.algorithms.actors.happo", ("args", "obs_space", "act_space", "device")),
    "VCritic": _Class("harl.algorithms.critics.v_critic", ("args", "cent_obs_space", "device")),
    "OnPolicyActorBuffer": _Class("harl.common.buffers.on_policy_actor_buffer", ("args", "obs_space", "act_space")),
    "OnPolicyCriticBufferEP": _Class("harl.common.buffers.on_policy_critic_buffer_ep", ("args", "share_obs_space")),
    "ValueNorm": _Class("harl.common.valuenorm", ("input_shape", "device")),
    "OnPolicyHARunner": _Class("harl.runners.on_policy_ha_runner", ("args", "algo_args", "env_args")),
}
_RUNNER_METHODS: Dict[str, Tuple[str, ...]] = {
    "run": (),
    "compute": (),
    "train": (),
    "save": (),
    "warmup": (),
    "after_update": (),
    "collect": ("step",),
    "insert": ("data",),
}
"""Methods of the runner that the adapter overrides or that its loop calls, with their arguments."""


@dataclasses.dataclass(frozen=True)
class HarlClasses:
    """The classes of HARL that the adapter uses.

    Attributes:
      HAPPO: an actor and its update, `harl/algorithms/actors/happo.py`.
      VCritic: the critic and its update, `harl/algorithms/critics/v_critic.py`.
      OnPolicyActorBuffer: rollout of one agent, `harl/common/buffers/on_policy_actor_buffer.py`.
      OnPolicyCriticBufferEP: rollout of the critic with one state for all agents,
        `harl/common/buffers/on_policy_critic_buffer_ep.py`.
      ValueNorm: statistics of the returns, `harl/common/valuenorm.py`.
      OnPolicyHARunner: the training loop, `harl/runners/on_policy_ha_runner.py`.
      defaults: the keys of HARL's own `happo.yaml`; {} if its package was installed without them.
    """

    HAPPO: Any
    VCritic: Any
    OnPolicyActorBuffer: Any
    OnPolicyCriticBufferEP: Any
    ValueNorm: Any
    OnPolicyHARunner: Any
    defaults: Dict[str, Any]


def locate() -> Path:
    """Make HARL importable and return the folder of its package, without importing HARL or torch.

    Raises:
      LearnerError: `HARL_DIR` is not a checkout, nothing named `harl` is installed, or a package that HARL needs is
        missing.
    """
    follow_harl_dir()
    spec = importlib.util.find_spec("harl")
    if spec is None:
        raise LearnerError("HARL is not installed", expected=VERSION, fix=f"{_INSTALL}; or use --learner native")
    folder = Path()
    if spec.submodule_search_locations:
        folder = Path(list(spec.submodule_search_locations)[0])
    absent = [name for name in _PIP_NAMES if importlib.util.find_spec(name) is None]
    if absent:
        raise _missing(absent, folder)
    return folder


def follow_harl_dir() -> None:
    """Make HARL importable from the checkout that the environment variable `HARL_DIR` names, if it is set.

    Raises:
      LearnerError: `HARL_DIR` is not a checkout.
    """
    harl_dir = os.environ.get("HARL_DIR")
    if not harl_dir:
        return
    if not (Path(harl_dir) / "harl" / "__init__.py").is_file():
        expected = "a folder with harl/__init__.py"
        raise LearnerError("HARL_DIR is not a checkout of HARL", got=harl_dir, expected=expected, fix=_INSTALL)
    path = str(Path(harl_dir).resolve())
    if path not in sys.path:
        sys.path.insert(0, path)


def load() -> HarlClasses:
    """Import HARL, and check that its classes can be called as the adapter calls them.

    Raises:
      LearnerError: HARL, a package that it needs, or one of its classes is missing, or has different arguments.
    """
    folder = locate()
    classes: Dict[str, Any] = {}
    for name, (module, arguments) in _CLASSES.items():
        classes[name] = _import(module, name, folder)
        _require_call(classes[name], name, arguments, folder)
    runner = classes["OnPolicyHARunner"]
    for name, arguments in _RUNNER_METHODS.items():
        _require_call(getattr(runner, name, None), f"OnPolicyHARunner.{name}", ("self", *arguments), folder)
    return HarlClasses(defaults=_defaults(folder / _DEFAULTS), **classes)


def _import(module: str, name: str, folder: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # HARL imports uu, which Python 3.13 removed
            return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise _missing([str(error.name)], folder) from error
    except AttributeError as error:
        what = f"this HARL has no {name}"
        raise LearnerError(what, where=str(folder), expected=f"{name} in {module}", fix=USE_VERSION) from error


def _missing(modules: List[str], folder: Path) -> LearnerError:
    """Return the error for modules that cannot be imported."""
    if modules[0].split(".")[0] == "harl":
        what = f"the package named harl is not HARL, or a fork without {modules[0]}"
        return LearnerError(what, where=str(folder), expected=VERSION, fix=_INSTALL)
    if "uu" in modules:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return LearnerError(
            "this Python is too new for HARL",
            where=str(folder),
            got=f"Python {version}, which has no module uu",
            fix="use Python 3.12 or older, or --learner native",
        )
    pip_names = [_PIP_NAMES.get(name, name) for name in modules]
    return LearnerError(
        "HARL needs packages that are not installed",
        where=str(folder),
        got="no module named " + " and ".join(modules),
        cause="setup.py of HARL does not name them all, and a checkout installs none",
        fix="python -m pip install " + " ".join(pip_names),
    )


def _require_call(part: Any, name: str, arguments: Tuple[str, ...], folder: Path) -> None:
    """Check that a class or method of HARL exists and can be called with these arguments.

    The adapter passes `device` by name and the others by position.
    """
    call = f"{name}({', '.join(arguments)})"
    if part is None:
        raise LearnerError(f"this HARL has no {name}", where=str(folder), expected=call, fix=USE_VERSION)
    signature = inspect.signature(part)
    positional = [argument for argument in arguments if argument != "device"]
    by_name: Dict[str, Any] = {}
    if "device" in arguments:
        by_name["device"] = None
    try:
        signature.bind(*positional, **by_name)
    except TypeError as error:
        raise LearnerError(
            f"this HARL calls {name} with other arguments",
            where=str(folder),
            got=f"{name}{signature}",
            expected=call,
            cause="it is a fork, or a different version",
            fix=USE_VERSION,
        ) from error


def _defaults(path: Path) -> Dict[str, Any]:
    """Return the keys of HARL's own configuration, so that a key that only a fork has keeps the fork's value."""
    if not path.is_file():
        return {}
    import yaml

    keys: Dict[str, Any] = {}
    for section in yaml.safe_load(path.read_text()).values():
        keys.update(section)
    return keys
