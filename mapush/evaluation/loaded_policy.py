"""The policies that an evaluation asks for: where they are saved, and how to load one together with its environment."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple

from mapush.assembly import make_agent, make_env, sizes_of
from mapush.config import PushRunConfig, RunConfig
from mapush.errors import ConfigError
from mapush.evaluation import policy_formats
from mapush.evaluation.policy_formats import GIVEN, LoadedPolicy, LoadOptions, is_run, with_quirks
from mapush.evaluation.shipped_policies import shipped_for
from mapush.presets import preset
from mapush.run import checkpoint as checkpoints

if TYPE_CHECKING:
    from mapush.env.vec_env import VecEnv
    from mapush.evaluation.evaluate_config import EvaluateConfig


@dataclasses.dataclass(frozen=True)
class PolicyInEnv:
    """A policy and the environment that it is evaluated in.

    Attributes:
      policy: the policy; its configuration has the simulator of the evaluation.
      env: the task that it was trained for.
    """

    policy: LoadedPolicy
    env: VecEnv


def named_paths(config: EvaluateConfig) -> Dict[str, List[Optional[Path]]]:
    """Return the checkpoints of each policy or run that `config` asks for, by its name, oldest first.

    The one path of untrained weights is None.

    Raises:
      CheckpointError: a run has no checkpoint, or no shipped policy fits.
    """
    if config.untrained:
        return {"untrained": [None]}
    if not config.checkpoint:
        shipped = shipped_for(config)
        return {shipped.name: [shipped.path]}
    found: Dict[str, List[Optional[Path]]] = {}
    for path in config.checkpoint:
        if is_run(path):
            found[str(path)] = list(checkpoints.all_of(path))
        else:
            found[str(path)] = [path]
    return found


def checkpoint_paths(config: EvaluateConfig) -> List[Path]:
    """Return the checkpoints that `config` asks for; those of a run are sorted, oldest first.

    Raises:
      CheckpointError: a run has no checkpoint, or no shipped policy fits.
    """
    found: List[Path] = []
    for paths in named_paths(config).values():
        found += [path for path in paths if path is not None]
    return found


def require_readable(paths: Sequence[Optional[Path]], task_name: str) -> None:
    """Check that every checkpoint can be evaluated, before the first one is.

    Raises:
      CheckpointError: one is missing, damaged or was trained for a different task.
    """
    for path in paths:
        if path is not None:
            policy_formats.load(path, LoadOptions(task_name))


def load_in_env(
    config: EvaluateConfig, path: Optional[Path], num_envs: int, make: Callable[[RunConfig], VecEnv] = make_env
) -> PolicyInEnv:
    """Load a policy, or make an untrained one, and make its environment.

    Args:
      config: what is evaluated, and on which simulator.
      path: the checkpoint; None makes untrained weights.
      num_envs: number of parallel envs.
      make: makes the environment from a run's configuration.

    Raises:
      CheckpointError: the checkpoint is missing, damaged, or of a different task or size.
    """
    if path is None:
        return _untrained(config, num_envs, make)
    options = LoadOptions(config.task_name, config.device, config.upstream_quirks, config.num_agents)
    policy = policy_formats.load(path, options)
    policy = dataclasses.replace(policy, config=dataclasses.replace(policy.config, sim=config.sim))
    policy = _with_terms(at_rate(policy, config.steps_per_decision), config.reward_terms)
    env = make(_evaluated(policy.config, config, num_envs))
    if policy.checkpoint is not None:
        sizes = sizes_of(env)
        del sizes["share_obs_dim"]  # acting does not need the critic
        checkpoints.require_fit(policy.checkpoint, path, config.task_name, sizes)
    return PolicyInEnv(policy, env)


def _untrained(config: EvaluateConfig, num_envs: int, make: Callable[[RunConfig], VecEnv]) -> PolicyInEnv:
    run_config = with_quirks(preset(config.task_name, "default"), config.upstream_quirks)
    run_config = dataclasses.replace(run_config, sim=config.sim)
    rate_from = f"as preset {run_config.preset}"
    if config.steps_per_decision is not None:
        run_config, rate_from = _held(run_config, config.steps_per_decision), GIVEN
    if isinstance(run_config, PushRunConfig):
        task = dataclasses.replace(run_config.task, reward_terms=config.reward_terms, num_agents=config.num_agents)
        run_config = dataclasses.replace(run_config, task=task)
    env = make(_evaluated(run_config, config, num_envs))
    agent = make_agent(run_config, sizes_of(env), config.device)
    return PolicyInEnv(LoadedPolicy(None, 0, run_config, agent, rate_from=rate_from), env)


def at_rate(policy: LoadedPolicy, steps: Optional[int]) -> LoadedPolicy:
    """Return a policy that holds each action for a number of env steps; None leaves it as it is.

    Raises:
      ConfigError: a policy of the walking task, which decides in every env step, or of your own environment.
    """
    if steps is None:
        return policy
    if not isinstance(policy.config, PushRunConfig):
        raise ConfigError("--steps-per-decision works for pushing tasks only", fix="leave it out")
    return dataclasses.replace(policy, config=_held(policy.config, steps), rate_from=GIVEN)


def _with_terms(policy: LoadedPolicy, terms: Tuple[str, ...]) -> LoadedPolicy:
    """Return a policy whose task has only these reward terms of the user's own: a checkpoint must not execute code."""
    config = policy.config
    if not isinstance(config, PushRunConfig):
        return policy
    left_out = tuple(term for term in config.task.reward_terms if term not in terms)
    task = dataclasses.replace(config.task, reward_terms=terms)
    return dataclasses.replace(policy, config=dataclasses.replace(config, task=task), left_out=left_out)


def _held(config: RunConfig, steps: int) -> RunConfig:
    assert isinstance(config, PushRunConfig), "EvaluateConfig takes the flag for pushing tasks only"
    return dataclasses.replace(config, task=dataclasses.replace(config.task, steps_per_decision=steps))


def _evaluated(run_config: RunConfig, config: EvaluateConfig, num_envs: int) -> RunConfig:
    """Return a run's configuration with the number of envs and the seed of the evaluation."""
    return dataclasses.replace(run_config, num_envs=num_envs, seed=config.seed)
