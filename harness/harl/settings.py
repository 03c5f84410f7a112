"""The settings of a small run: those that the user's own script would read, with smaller sizes."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from mapush.errors import ConfigError, unknown

Section = Dict[str, Any]

NUM_ENVS, NUM_STEPS, NUM_ROLLOUTS = 5, 12, 4
SMALL: Dict[str, Section] = {
    "train": {
        "n_rollout_threads": NUM_ENVS,
        "episode_length": NUM_STEPS,
        "num_env_steps": NUM_ENVS * NUM_STEPS * NUM_ROLLOUTS,
        "log_interval": 1,
        "eval_interval": 2,
        "model_dir": None,
    },
    "eval": {"n_eval_rollout_threads": 4, "eval_episodes": 3},
    "render": {"use_render": False},
    "model": {"hidden_sizes": [16, 14]},
    "algo": {"ppo_epoch": 2, "critic_epoch": 2},
}
"""What the small run sets, whatever the user's files say."""
OF_OFF_POLICY = {"warmup_steps": 20, "buffer_size": 500, "batch_size": 20, "train_interval": 12}
"""What it sets if the algorithm has such a setting."""


@dataclasses.dataclass
class Settings:
    """What HARL's runner takes.

    Attributes:
      main_args: algorithm, environment and name of the experiment.
      algo_args: settings of the algorithm, by section.
      env_args: settings of the environment.
      evaluation_is_asked_for: whether the user set `use_eval` on purpose, rather than by HARL's own default.
      missing: why the settings of the environment are not HARL's file of it, if they are not.
    """

    main_args: Dict[str, str]
    algo_args: Dict[str, Any]
    env_args: Dict[str, Any]
    evaluation_is_asked_for: bool = False
    missing: Optional[str] = None

    @property
    def train(self) -> Section:
        """The section of training."""
        return self.algo_args["train"]

    @property
    def state_type(self) -> str:
        """HARL's `state_type`."""
        return str(self.env_args.get("state_type", "EP"))


def read_settings(harl: Path, env: str, algo: str, config: Optional[Path], changes: Mapping[str, Any]) -> Settings:
    """Return the settings as HARL's own `examples/train.py` collects them.

    Args:
      harl: the folder of the package `harl`.
      env: name of the environment.
      algo: name of the algorithm.
      config: a run's `config.json`, or a yaml file with the sections of the algorithm; None for HARL's own files.
      changes: values by key, written wherever the key occurs, as HARL does.

    Raises:
      ConfigError: a file is missing or unreadable, or there is no such algorithm.
    """
    folder = harl / "configs"
    settings = _from_file(config, env, algo)
    algo = settings.main_args["algo"]
    defaults = _algorithm(folder / "algos_cfgs", algo)
    given = settings.algo_args
    settings.algo_args = copy.deepcopy(defaults)
    for name, section in given.items():
        settings.algo_args.setdefault(name, {}).update(section)
    if not settings.env_args:
        settings.env_args, settings.missing = _environment(folder / "envs_cfgs", settings.main_args["env"])
    if config is not None:
        settings.evaluation_is_asked_for = bool(given.get("eval", {}).get("use_eval", False))
    for key, value in changes.items():
        _change(settings, key, value)
    return settings


def _from_file(config: Optional[Path], env: str, algo: str) -> Settings:
    main_args = {"algo": algo, "env": env, "exp_name": "harness"}
    settings = Settings(main_args, {}, {})
    if config is None:
        return settings
    values = _parse(config)
    if "algo_args" in values:  # the config.json of a run
        main_args.update(values.get("main_args", {}), exp_name="harness")
        settings.algo_args, settings.env_args = values["algo_args"], values.get("env_args", {})
        return settings
    for name, section in values.items():
        if not isinstance(section, dict):
            settings.env_args[name] = section
        else:
            settings.algo_args[name] = section
    return settings


def _parse(path: Path) -> Dict[str, Any]:
    import yaml

    if not path.is_file():
        raise ConfigError("the configuration is missing", where=str(path))
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise ConfigError("the configuration does not parse", where=str(path), got=str(error)) from None
    if not isinstance(values, dict):
        raise ConfigError("the configuration has no sections", where=str(path), got=type(values).__name__)
    return values


def _algorithm(folder: Path, algo: str) -> Dict[str, Any]:
    path = folder / f"{algo}.yaml"
    if not path.is_file():
        names = [file.stem for file in folder.glob("*.yaml")]
        if not names:
            raise ConfigError("this HARL has no settings of algorithms", where=str(folder))
        error = unknown("algorithm", str(algo), names)
        error.add_where(str(folder))
        raise error
    return _parse(path)


def _environment(folder: Path, env: str) -> Tuple[Dict[str, Any], Optional[str]]:
    """Return the settings of an environment; {} and the missing file if HARL has none."""
    path = folder / f"{env}.yaml"
    if path.is_file():
        return _parse(path), None
    return {}, str(path)


def _change(settings: Settings, key: str, value: Any) -> None:
    """Write a value wherever its key occurs.

    Raises:
      ConfigError: the key occurs nowhere.
    """
    found = 0
    known: List[str] = []
    sections = [settings.env_args, settings.algo_args]
    while sections:
        section = sections.pop()
        for name, old in section.items():
            known.append(name)
            if isinstance(old, dict):
                sections.append(old)
            elif name == key:
                section[name] = value
                found += 1
    if not found:
        raise unknown("setting", key, known)
    if key == "use_eval":
        settings.evaluation_is_asked_for = True


def made_small(settings: Settings, log_dir: str, num_envs: Optional[int] = None, keep_device: bool = False) -> Settings:
    """Return the settings of the small run.

    Args:
      settings: the user's.
      log_dir: where the run writes.
      num_envs: how many environments train; None for `NUM_ENVS`.
      keep_device: whether the user's own device is kept; otherwise networks compute on the CPU.
    """
    small = copy.deepcopy(settings)
    for name, section in SMALL.items():
        small.algo_args.setdefault(name, {}).update(copy.deepcopy(section))
    for section in small.algo_args.values():
        for key in OF_OFF_POLICY.keys() & section.keys():
            section[key] = OF_OFF_POLICY[key]
    if num_envs:
        small.train["n_rollout_threads"] = num_envs
        small.train["num_env_steps"] = num_envs * NUM_STEPS * NUM_ROLLOUTS
    small.algo_args.setdefault("logger", {})["log_dir"] = log_dir
    small.algo_args.setdefault("seed", {}).update(seed_specify=True, seed=7)
    if not keep_device:
        small.algo_args.setdefault("device", {})["cuda"] = False
    small.algo_args["device"]["torch_threads"] = 1
    return small
