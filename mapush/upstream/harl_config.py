"""HARL's `happo.yaml` (or a run's `config.json`) as settings of ours.

Every key of the file is accounted for: it becomes a setting, it is refused by name, or it concerns what HARL does
elsewhere and we do not, which is said. A key that HARL does not have is an error.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Mapping

from mapush.config import HappoConfig, RunConfig
from mapush.errors import ConfigError, nearest

RENAMED = {"n_rollout_threads": "num_envs", "num_env_steps": "total_steps", "episode_length": "num_steps"}
"""HARL's names for settings of a run."""

SAME = ("seed", "log_interval")

REFUSED = {
    "use_recurrent_policy": "recurrent networks",
    "use_naive_recurrent_policy": "recurrent networks",
    "model_dir": "starting from other weights; use --resume",
}
"""Keys whose value has to be false or empty, and what they would ask for."""

WITHOUT_EFFECT = (
    "seed_specify",
    "cuda_deterministic",
    "torch_threads",
    "eval_interval",
    "recurrent_n",
    "data_chunk_length",
    "use_eval",
    "n_eval_rollout_threads",
    "eval_episodes",
    "use_render",
    "render_episodes",
    "log_dir",
)
"""Keys of features that are elsewhere here (evaluation, rendering) or need no setting."""


def apply(config: RunConfig, path: Path) -> RunConfig:
    """Return `config` with what the file says.

    Args:
      config: of the task that is to be trained.
      path: a `happo.yaml`, or the `config.json` that HARL leaves beside a run.
    Raises:
      ConfigError: no such file, a key that HARL does not have, or one that asks for what is not supported.
    """
    changes: Dict[str, Any] = {}
    happo: Dict[str, Any] = {}
    for key, value in _flatten(_read(path), path).items():
        _place(key, value, changes, happo, path)
    try:
        return dataclasses.replace(config, happo=dataclasses.replace(config.happo, **happo), **changes)
    except (ConfigError, TypeError) as error:
        raise ConfigError("a value in this file is out of range", where=str(path), got=str(error)) from error


def _place(key: str, value: Any, changes: Dict[str, Any], happo: Dict[str, Any], path: Path) -> None:
    fields = {field.name: field for field in dataclasses.fields(HappoConfig)}
    if key in REFUSED:
        if value:
            what = f"{REFUSED[key]} is not supported"
            raise ConfigError(what, where=str(path), got=f"{key}: {value}")
    elif key in RENAMED or key in SAME:
        changes[RENAMED.get(key, key)] = _number(key, value, int, path)
    elif key == "cuda":
        changes["device"] = "auto" if value else "cpu"
    elif key in fields:
        happo[key] = _like(key, fields[key].default, value, path)
    elif key not in WITHOUT_EFFECT:
        valid = tuple(fields) + tuple(RENAMED) + SAME + tuple(REFUSED) + WITHOUT_EFFECT + ("cuda",)
        raise ConfigError(f"unknown key {key!r}", where=str(path), fix=nearest(key, valid))


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ConfigError("there is no such configuration", where=str(path))
    import yaml

    try:
        values = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError("the configuration does not parse", where=str(path), got=str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError("the configuration has no sections", where=str(path), got=type(values).__name__)
    if "algo_args" in values:  # a run's config.json
        _require_happo(values, path)
        values = values["algo_args"]
    return values


def _require_happo(values: Mapping[str, Any], path: Path) -> None:
    algo = values.get("main_args", {}).get("algo")
    state_type = values.get("env_args", {}).get("state_type", "EP")
    if algo != "happo":
        raise ConfigError("this is not a run of HAPPO", where=str(path), got=f"algo {algo}", expected="happo")
    if state_type != "EP":
        what = "per-agent states are not supported"
        raise ConfigError(what, where=str(path), got=f"state_type {state_type}", expected="EP")


def _flatten(values: Mapping[str, Any], path: Path) -> Dict[str, Any]:
    """Return the leaves of the sections; HARL gives a leaf one meaning wherever it stands."""
    flat: Dict[str, Any] = {}
    for section, content in values.items():
        if not isinstance(content, dict):
            raise ConfigError("key outside a section", where=str(path), got=section, expected="train, model, algo, ...")
        flat.update(content)
    return flat


def _like(key: str, default: Any, value: Any, path: Path) -> Any:
    if isinstance(default, tuple):
        return tuple(_number(key, item, int, path) for item in value)
    if isinstance(default, (bool, str)):
        if not isinstance(value, type(default)):
            raise _wrong(key, value, type(default).__name__, path)
        return value
    return _number(key, value, type(default), path)


def _number(key: str, value: Any, kind: type, path: Path) -> Any:
    """Convert a number; YAML reads `5e-4`, without a dot, as a string."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _wrong(key, value, kind.__name__, path) from None
    if isinstance(value, bool) or (kind is int and number != int(number)):
        raise _wrong(key, value, kind.__name__, path)
    return kind(number)


def _wrong(key: str, value: Any, expected: str, path: Path) -> ConfigError:
    return ConfigError(f"{key} has the wrong type", where=str(path), got=repr(value), expected=expected)
