"""Evaluate policies in your own environment, which a function of yours makes."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Set, Tuple

from mapush.errors import CheckpointError, ConfigError
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.loaded_policy import named_paths
from mapush.evaluation.play import first_episodes, label_of, progress_for
from mapush.own import named_code

if TYPE_CHECKING:
    from mapush.env.metrics import FirstEpisodes, Interval
    from mapush.env.vec_env import VecEnv
    from mapush.evaluation.policy_formats import LoadedPolicy
    from mapush.run.shown_progress import SilentProgress

RATE, MEAN = "rate", "mean"


@dataclasses.dataclass(frozen=True)
class OutcomeMeasure:
    """One measure of the episodes that count.

    Attributes:
      kind: rate, of an outcome that is true or false, or mean.
      value: between 0 and 1 for a rate.
      interval: 95 % interval, of a rate Wilson's, of a mean the normal one.
    """

    kind: str
    value: float
    interval: Interval


@dataclasses.dataclass(frozen=True)
class OwnEvaluation:
    """The score of one policy in your own environment.

    Attributes:
      path: its checkpoint; None for untrained weights.
      step: env steps that it was trained for.
      num_envs: envs that the environment has.
      episodes: number of episodes.
      measures: by the name of the outcome; `return` and `length` always.
    """

    path: Optional[Path]
    step: int
    num_envs: int
    episodes: int
    measures: Dict[str, OutcomeMeasure]

    def as_dict(self) -> Dict[str, Any]:
        """Return path, step and measures as JSON types."""
        path: Optional[str] = None
        if self.path is not None:
            path = str(self.path)
        measures = {name: dataclasses.asdict(measure) for name, measure in self.measures.items()}
        found = {"checkpoint": path, "step": self.step, "num_envs": self.num_envs, "episodes": self.episodes}
        return dict(found, measures=measures)


def evaluate_own(config: EvaluateConfig, show_progress: bool = False) -> List[OwnEvaluation]:
    """OutcomeMeasure every policy that `config` names in the environment that `config.env` names, a run's oldest first.

    Each policy of several plays in a new process, because a process may be able to hold one simulation only.

    Args:
      config: what is evaluated.
      show_progress: show on stderr how far it is.

    Raises:
      ConfigError: the environment cannot be made, or has no interface that is known here.
      CheckpointError: a checkpoint is missing or does not fit.
    """
    paths: List[Optional[Path]] = []
    for of_name in named_paths(config).values():
        paths += of_name
    tasks: List[Tuple[EvaluateConfig, Optional[Path], str]] = []
    for number, path in enumerate(paths, start=1):
        label = ""
        if show_progress:
            label = label_of(path, number, len(paths))
        tasks.append((config, path, label))
    if len(tasks) == 1:
        return [_measure(*tasks[0])]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.starmap(_measure, tasks, chunksize=1)


def _measure(config: EvaluateConfig, path: Optional[Path], label: str) -> OwnEvaluation:
    with progress_for(label) as progress:
        return _measure_watched(config, path, label, progress)


def _measure_watched(
    config: EvaluateConfig, path: Optional[Path], label: str, progress: SilentProgress
) -> OwnEvaluation:
    progress.stage(f"{label}: making the environment")
    env = make_own(config)  # before torch: it may be on Isaac Gym
    with contextlib.closing(env):
        policy = _policy_for(env, config, path)
        if config.episodes is not None and config.episodes < env.num_envs:
            what = "there are fewer episodes than envs"
            raise ConfigError(what, got=f"{config.episodes} episodes, {env.num_envs} envs", fix="more --episodes")
        progress.stage(label, config.episodes or env.num_envs, "episodes")
        first = first_episodes(env, policy.agent, config.episodes, progress)
        progress.finish(f"{label}: {first.episodes} episodes")
        measures = measures_of(first, _rates_of(env, first))
        return OwnEvaluation(path, policy.step, env.num_envs, first.episodes, measures)


def measures_of(first: FirstEpisodes, rates: Set[str]) -> Dict[str, OutcomeMeasure]:
    """Return a measure for each outcome of the episodes that count.

    Args:
      first: the episodes.
      rates: names of outcomes that are true or false; the others are numbers.
    """
    from mapush.env.metrics import mean_interval, wilson_interval

    measures: Dict[str, OutcomeMeasure] = {}
    for name, values in first.results().items():
        if name in rates:
            count, total = int(values.sum()), values.numel()
            measures[name] = OutcomeMeasure(RATE, count / total, wilson_interval(count, total))
        else:
            measures[name] = OutcomeMeasure(MEAN, *mean_interval(values))
    return measures


def _rates_of(env: Any, first: FirstEpisodes) -> Set[str]:
    """Return the names of the outcomes that are true or false: by their type, or because we know the name."""
    import torch

    from mapush.env.metrics import ENDINGS

    results = first.results()
    rates = set(getattr(env, "flags", ()))
    for name, values in results.items():
        if values.dtype == torch.bool:
            rates.add(name)
        elif name in ENDINGS and bool(((values == 0) | (values == 1)).all()):
            rates.add(name)
    return rates


# -- the environment -------------------------------------------------------------------------------------------------


def make_own(config: EvaluateConfig) -> VecEnv:
    """Make the environment that `config.env` names, as our evaluation needs it.

    The function gets `num_envs` and `seed`, as far as it has these arguments. What it returns is a `VecEnv`, or has
    HARL's interface; see `mapush.env.harl_env.HarlEnv`.

    Raises:
      ConfigError: there is no such function, or what it made has no such interface or another number of envs.
    """
    assert config.env is not None, "the caller checks it"
    factory = named_code.load_function(config.env, "--env")
    wanted = {"num_envs": config.num_envs, "seed": config.seed}
    given = named_code.accepted(factory, wanted)
    made = factory(**given)

    from mapush.env.vec_env import VecEnv

    env = made
    if not isinstance(made, VecEnv):
        from mapush.evaluation.scored_env import ScoredEnv

        env = ScoredEnv(made)
    if "num_envs" in given and env.num_envs != config.num_envs:
        env.close()
        raise ConfigError(
            "the environment has another number of envs than it was asked for",
            where=config.env,
            got=f"{env.num_envs} envs",
            expected=f"{config.num_envs}",
            fix="build as many as num_envs says, or name a function without num_envs",
        )
    return env


# -- the policy ------------------------------------------------------------------------------------------------------


def _policy_for(env: VecEnv, config: EvaluateConfig, path: Optional[Path]) -> LoadedPolicy:
    """Load a policy, or make an untrained one, that fits the environment.

    Raises:
      CheckpointError: it is missing, damaged, or was trained for other sizes.
    """
    from mapush.assembly import make_agent, sizes_of
    from mapush.evaluation import policy_formats
    from mapush.presets import own_env
    from mapush.run import checkpoint as checkpoints

    sizes = sizes_of(env)
    if path is None:
        untrained = own_env("own")
        return policy_formats.LoadedPolicy(None, 0, untrained, make_agent(untrained, sizes, config.device))
    task_name = config.task_name
    if policy_formats.format_of(path) is policy_formats.MAPUSH:
        task_name = checkpoints.load(path).config.task_name
    policy = policy_formats.load(path, policy_formats.LoadOptions(task_name, config.device))
    if policy.checkpoint is not None:
        held = {name: policy.checkpoint.sizes[name] for name in ("num_agents", "obs_dim", "action_dim")}
        needed = {name: sizes[name] for name in held}
        if held != needed:
            raise CheckpointError(
                "the policy does not fit your environment", where=str(path), got=str(held), expected=str(needed)
            )
    return policy
