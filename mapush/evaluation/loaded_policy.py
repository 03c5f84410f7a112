"""Who is evaluated: a team from a checkpoint of ours, of HARL's or of MAPush's, and the task it was trained for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence

from mapush.assembly import device_of, make_agent, make_env, sizes_of
from mapush.config import PushRunConfig, RunConfig
from mapush.errors import CheckpointError
from mapush.objects import OBJECTS
from mapush.presets import preset
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.upstream import openrl
from mapush.upstream.harl import models

if TYPE_CHECKING:
    from mapush.env.vec_env import Team, VecEnv
    from mapush.evaluation.evaluate_config import EvaluateConfig

POLICIES = Path(__file__).resolve().parents[1] / "policies"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A team that is ready to act, and the environment it was trained in.

    Attributes:
      path: its checkpoint; None for untrained weights.
      step: env steps that it was trained for.
      config: of its training run, on the simulator of the evaluation.
      env: its task.
      agent: its policies.
    """

    path: Optional[Path]
    step: int
    config: RunConfig
    env: VecEnv
    agent: Team


def named_paths(config: EvaluateConfig) -> Dict[str, List[Optional[Path]]]:
    """Return the checkpoints of each policy or run that `config` asks for, by its name, oldest first; None: untrained.

    Raises:
      CheckpointError: there is none.
    """
    if config.untrained:
        return {"untrained": [None]}
    if not config.checkpoint:
        return {"shipped policy": [_shipped(config)]}
    return {str(path): list(checkpoints.all_of(path)) if is_run(path) else [path] for path in config.checkpoint}


def checkpoint_paths(config: EvaluateConfig) -> List[Path]:
    """Return the checkpoints that `config` asks for, those of a run oldest first.

    Raises:
      CheckpointError: there is none.
    """
    return [path for paths in named_paths(config).values() for path in paths if path is not None]


def _shipped(config: EvaluateConfig) -> Path:
    shipped = POLICIES / (config.task_name + checkpoints.SUFFIX)
    if shipped.is_file():
        return shipped
    fix = f"train one: python -m mapush.train {config.task_name}"
    newest = _newest_run(config.task_name)
    if newest is not None:
        fix = f"python -m mapush.evaluate {config.task_name} --checkpoint {newest}"
    raise CheckpointError("no policy is shipped for this task", where=str(shipped), fix=fix)


def require_readable(paths: Sequence[Optional[Path]], task_name: str) -> None:
    """Find out what cannot be evaluated before the first of `paths` is.

    Raises:
      CheckpointError: one is missing, damaged or of another task.
    """
    for path in paths:
        if path is not None and not openrl.recognises(path):
            load(path, task_name)


def is_run(path: Path) -> bool:
    """Return whether `path` is a folder with checkpoints of ours, not one with HARL's models."""
    return path.is_dir() and ((path / checkpoints.FOLDER).is_dir() or models.folder_in(path) is None)


def _newest_run(task_name: str) -> Optional[Path]:
    paths = Path("runs", task_name).glob(f"*/{checkpoints.FOLDER}/step_*{checkpoints.SUFFIX}")
    newest = max(paths, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.parent.parent


def load_candidate(
    config: EvaluateConfig, path: Optional[Path], num_envs: int, make: Callable[..., VecEnv] = make_env
) -> Candidate:
    """Load the team in `path`, or make an untrained one, and its task.

    Args:
      config: what is evaluated, and on which simulator.
      path: a checkpoint; None makes untrained weights.
      num_envs: parallel envs.
      make: makes the task from the run's configuration.
    Raises:
      CheckpointError: no such checkpoint, or one of another task or size.
    """
    if path is not None and openrl.recognises(path):
        return _load_openrl(config, path, num_envs, make)
    saved = None if path is None else load(path, config.task_name)
    run_config = _on_simulator(config, preset(config.task_name, "default") if saved is None else saved.config)
    env = make(dataclasses.replace(run_config, num_envs=num_envs, seed=config.seed))
    agent = make_agent(run_config, sizes_of(env), config.device)
    if saved is not None:
        sizes = {name: size for name, size in sizes_of(env).items() if name != "share_obs_dim"}  # no critic is asked
        checkpoints.require_fit(saved, path, config.task_name, sizes)
        agent.load_actors(saved.agent["actors"])
    return Candidate(path, 0 if saved is None else saved.step, run_config, env, agent)


def _load_openrl(config: EvaluateConfig, path: Path, num_envs: int, make: Callable[..., VecEnv]) -> Candidate:
    """Load a team that MAPush trained, whose actions its own task scales twice."""
    quirks = config.upstream_quirks is not False
    config = dataclasses.replace(config, upstream_quirks=quirks)
    run_config = _on_simulator(config, preset(config.task_name, "published"))
    device = str(device_of(config.device))
    team = openrl.load(path, scale=1.0 if quirks else 1.0 / openrl.SATURATION, device=device)
    openrl.require_fit(team, path, OBJECTS[config.task_name])
    env = make(dataclasses.replace(run_config, num_envs=num_envs, seed=config.seed))
    return Candidate(path, openrl.steps_of(path), run_config, env, team)


def _on_simulator(config: EvaluateConfig, trained: RunConfig) -> RunConfig:
    """Return the run's configuration with the simulator, and perhaps the quirks, of the evaluation."""
    changed = dataclasses.replace(trained, sim=config.sim)
    if config.upstream_quirks is None or not isinstance(changed, PushRunConfig):
        return changed
    return dataclasses.replace(changed, task=dataclasses.replace(changed.task, upstream_quirks=config.upstream_quirks))


def load(path: Path, task_name: str) -> Checkpoint:
    """Read a checkpoint of ours or HARL's models.

    Args:
      path: of the file, or of the folder.
      task_name: what it shall do.
    Raises:
      CheckpointError: it is missing, damaged or of another task.
    """
    folder = models.folder_in(path)
    if folder is None:
        saved = checkpoints.load(path)
    else:  # HARL decides in every env step, as MAPush's published runs did
        saved = models.read(folder, preset(task_name, "published" if task_name in OBJECTS else "default"))
    checkpoints.require_fit(saved, path, task_name, saved.sizes)
    return saved
