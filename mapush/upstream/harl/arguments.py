"""Our configuration as the nested dicts that HARL reads."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Mapping

from mapush.config import RunConfig, steps_per_decision

_SECTIONS = ("seed", "device", "train", "eval", "render", "model", "algo", "logger")
_NEVER = {
    "use_recurrent_policy": False,
    "use_naive_recurrent_policy": False,
    "recurrent_n": 1,
    "data_chunk_length": 10,
    "use_render": False,
    "model_dir": None,
}


def iterations_of(config: RunConfig) -> int:
    """Return how many rollouts a run takes: the smallest number that reaches `total_steps`."""
    return math.ceil(config.total_steps / steps_of_iteration(config))


def steps_of_iteration(config: RunConfig) -> int:
    """Return the env steps of one rollout, summed over envs."""
    return config.num_envs * config.num_steps * steps_per_decision(config)


def num_eval_envs(config: RunConfig) -> int:
    """Return how many envs HARL evaluates in: one for each episode, if the run has as many."""
    return min(config.num_envs, max(config.harl.eval_episodes, 1))


def algo_args(config: RunConfig, defaults: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Return HARL's settings by section.

    HARL gives a leaf one meaning wherever it stands, so every section holds all leaves: a fork that looks one up in
    another section finds it.

    Args:
      config: of the run. HARL counts decisions, not env steps, and saves whenever it evaluates.
      defaults: leaves of HARL's own `happo.yaml`, for keys that only a fork has.
    """
    happo = dataclasses.asdict(config.happo)
    leaves = dict(defaults, **dict(happo, hidden_sizes=list(config.happo.hidden_sizes)), **_NEVER)
    leaves.update(
        seed_specify=True,
        seed=config.seed,
        n_rollout_threads=config.num_envs,
        episode_length=config.num_steps,
        num_env_steps=iterations_of(config) * config.num_envs * config.num_steps,
        log_interval=config.log_interval,
        eval_interval=max(config.checkpoint_every // steps_of_iteration(config), 1),
        use_eval=config.harl.eval_episodes > 0,
        n_eval_rollout_threads=num_eval_envs(config),
        eval_episodes=config.harl.eval_episodes,
    )
    return {section: dict(leaves) for section in _SECTIONS}
