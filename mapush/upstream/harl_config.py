"""Read HARL's `happo.yaml`, or the `config.json` of a HARL run, into our configuration.

Every key of the file is accounted for: it sets a setting, it is refused by name, or it belongs to a feature of HARL
that is done differently here and needs no setting. A key that HARL does not have is an error.

Source: HARL@d539bad, `harl/configs/algos_cfgs/happo.yaml`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Mapping

from mapush.config import HappoConfig, RunConfig
from mapush.errors import ConfigError, unknown

RUN_SETTINGS = {
    "n_rollout_threads": "num_envs",
    "num_env_steps": "total_steps",
    "episode_length": "num_steps",
    "seed": "seed",
    "log_interval": "log_interval",
}
"""HARL's key: our setting of a run."""

REFUSED = {
    "use_recurrent_policy": "recurrent networks are",
    "use_naive_recurrent_policy": "recurrent networks are",
    "model_dir": "starting from other weights is",
}
"""Keys whose value must be false or empty: what they ask for."""

IGNORED = (
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
"""Keys of features that work differently here (evaluation, rendering) or need no setting."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One key of the file.

    Attributes:
      key: its name.
      value: its value.
      path: the file, for errors.
    """

    key: str
    value: Any
    path: Path

    def wrong_type(self, expected: str) -> ConfigError:
        """Return the error for a value of the wrong type."""
        what = f"{self.key} has the wrong type"
        return ConfigError(what, where=str(self.path), got=repr(self.value), expected=expected)


@dataclasses.dataclass
class _Settings:
    """The settings read so far.

    Attributes:
      run: fields of `RunConfig`.
      happo: fields of `HappoConfig`.
    """

    run: Dict[str, Any] = dataclasses.field(default_factory=dict)
    happo: Dict[str, Any] = dataclasses.field(default_factory=dict)


def apply(config: RunConfig, path: Path) -> RunConfig:
    """Return `config` with the settings of a HARL configuration.

    Args:
      config: the configuration to start from.
      path: a `happo.yaml`, or the `config.json` of a HARL run.

    Raises:
      ConfigError: the file is missing, has a key that HARL does not have, or asks for something unsupported.
    """
    settings = _Settings()
    for key, value in _leaves(_read(path), path).items():
        _place(_Entry(key, value, path), settings)
    try:
        happo = dataclasses.replace(config.happo, **settings.happo)
        return dataclasses.replace(config, happo=happo, **settings.run)
    except (ConfigError, TypeError) as error:
        raise ConfigError("a value in this file is out of range", where=str(path), got=str(error)) from error


def _place(entry: _Entry, settings: _Settings) -> None:
    """Add the setting of one key."""
    defaults = _happo_defaults()
    if entry.key in REFUSED:
        if entry.value:
            raise _refused(entry)
    elif entry.key in RUN_SETTINGS:
        settings.run[RUN_SETTINGS[entry.key]] = _number(entry, entry.value, int)
    elif entry.key == "cuda":
        settings.run["device"] = "cpu"
        if entry.value:
            settings.run["device"] = "auto"
    elif entry.key in defaults:
        settings.happo[entry.key] = _like(defaults[entry.key], entry)
    elif entry.key not in IGNORED:
        error = unknown("key", entry.key, [*defaults, *RUN_SETTINGS, *REFUSED, *IGNORED, "cuda"])
        error.add_where(str(entry.path))
        raise error


def _refused(entry: _Entry) -> ConfigError:
    cause, fix = "the native learner and the adapter have feed-forward networks only", "set it to False"
    if entry.key == "model_dir":
        cause = "HARL's files hold weights and value statistics; optimisers and step count are not in them"
        fix = "leave it empty; a run of mapush continues with --resume RUN, and mapush evaluate --checkpoint loads them"
    got = f"{entry.key}: {entry.value}"
    what = f"{REFUSED[entry.key]} not supported"
    return ConfigError(what, where=str(entry.path), got=got, cause=cause, fix=fix)


def _happo_defaults() -> Dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(HappoConfig)}


def _read(path: Path) -> Mapping[str, Any]:
    """Return the sections of the file."""
    if not path.is_file():
        raise ConfigError("HARL's configuration is missing", where=str(path))
    values = _parse(path)
    if not isinstance(values, dict):
        raise ConfigError("the configuration has no sections", where=str(path), got=type(values).__name__)
    if "algo_args" in values:  # the config.json of a run
        _require_happo(values, path)
        values = values["algo_args"]
    return values


def _parse(path: Path) -> Any:
    import yaml

    try:
        if path.suffix == ".json":
            return json.loads(path.read_text())
        return yaml.safe_load(path.read_text())
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError("the configuration does not parse", where=str(path), got=str(error)) from error


def _require_happo(values: Mapping[str, Any], path: Path) -> None:
    algo = values.get("main_args", {}).get("algo")
    state_type = values.get("env_args", {}).get("state_type", "EP")
    if algo != "happo":
        raise ConfigError("this is not a run of HAPPO", where=str(path), got=f"algo {algo}", expected="happo")
    if state_type != "EP":
        what = "per-agent states are not supported"
        raise ConfigError(what, where=str(path), got=f"state_type {state_type}", expected="EP")


def _leaves(values: Mapping[str, Any], path: Path) -> Dict[str, Any]:
    """Return the keys of all sections; in HARL a key has the same meaning in every section."""
    flat: Dict[str, Any] = {}
    for section, content in values.items():
        if not isinstance(content, dict):
            raise ConfigError("key outside a section", where=str(path), got=section, expected="train, model, algo, ...")
        flat.update(content)
    return flat


def _like(default: Any, entry: _Entry) -> Any:
    """Return the value as the type of the setting's default."""
    if isinstance(default, tuple):
        return tuple(_number(entry, item, int) for item in entry.value)
    if isinstance(default, (bool, str)):
        if not isinstance(entry.value, type(default)):
            raise entry.wrong_type(type(default).__name__)
        return entry.value
    return _number(entry, entry.value, type(default))


def _number(entry: _Entry, value: Any, kind: type) -> Any:
    """Return `value`, which is that of `entry` or a part of it, as a number; YAML reads `5e-4` as a string."""
    wrong_type = entry.wrong_type(kind.__name__)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise wrong_type from None
    if isinstance(value, bool) or (kind is int and not number.is_integer()):
        raise wrong_type
    return kind(number)
