"""Our configuration as the nested dicts that HARL reads.

Source: HARL@d539bad, `harl/configs/algos_cfgs/happo.yaml`; `harl/runners/on_policy_base_runner.py` reads it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Mapping

from mapush.config import RunConfig, steps_per_decision

_SECTIONS = ("seed", "device", "train", "eval", "render", "model", "algo", "logger")
_FIXED = {
    "use_recurrent_policy": False,
    "use_naive_recurrent_policy": False,
    "recurrent_n": 1,
    "data_chunk_length": 10,
    "use_render": False,
    "model_dir": None,
}
"""Keys of features that are not supported; HARL still reads them."""


def iterations_of(config: RunConfig) -> int:
    """Return the number of rollouts of a run: the smallest number that reaches `total_steps`."""
    return math.ceil(config.total_steps / steps_of_iteration(config))


def steps_of_iteration(config: RunConfig) -> int:
    """Return the env steps of one rollout, summed over envs."""
    return config.num_envs * config.num_steps * steps_per_decision(config)


def num_eval_envs(config: RunConfig) -> int:
    """Return the number of envs of HARL's evaluation: one for each episode, but no more than the run has."""
    return min(config.num_envs, max(config.harl.eval_episodes, 1))


def algo_args(config: RunConfig, defaults: Mapping[str, Any], done: int = 0) -> Dict[str, Dict[str, Any]]:
    """Return HARL's settings by section.

    In HARL a key has the same meaning in every section, so every section holds all keys: a fork that reads a key from a
    different section finds it.

    Args:
      config: the run's configuration. HARL counts decisions instead of env steps, and saves whenever it evaluates.
      defaults: the keys of HARL's own `happo.yaml`; they matter for keys that only a fork has.
      done: rollouts that a continued run has done before; HARL's loop does the others.
    """
    keys = dict(defaults)
    keys.update(dataclasses.asdict(config.happo))
    keys.update(_FIXED)
    keys.update(
        hidden_sizes=list(config.happo.hidden_sizes),
        seed_specify=True,
        seed=config.seed,
        n_rollout_threads=config.num_envs,
        episode_length=config.num_steps,
        num_env_steps=(iterations_of(config) - done) * config.num_envs * config.num_steps,
        log_interval=config.log_interval,
        eval_interval=max(config.checkpoint_every // steps_of_iteration(config), 1),
        use_eval=config.harl.eval_episodes > 0,
        n_eval_rollout_threads=num_eval_envs(config),
        eval_episodes=config.harl.eval_episodes,
    )
    sections = {}
    for section in _SECTIONS:
        sections[section] = dict(keys)
    return sections
