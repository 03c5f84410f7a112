"""The file formats of saved policies, and one function that loads any of them.

To add a format, write a loader and add one entry to `FORMATS`. What no entry recognises counts as mapush's own format.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Tuple

from mapush.assembly import device_of, make_agent
from mapush.config import PushRunConfig, RunConfig, team_size
from mapush.errors import CheckpointError
from mapush.evaluation.policy_teams import for_team
from mapush.objects import OBJECTS, team_of
from mapush.presets import as_published, own_env, preset, presets_of
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.upstream import openrl
from mapush.upstream.harl import models

if TYPE_CHECKING:
    from mapush.env.vec_env import Team


AS_TRAINED = "as it was trained"
ASSUMED = "as in MAPush's published runs: the file does not say it, --steps-per-decision does"
GIVEN = "by --steps-per-decision"


@dataclasses.dataclass(frozen=True)
class LoadedPolicy:
    """A policy that is ready to act.

    Attributes:
      path: the file or folder that it was loaded from; None for untrained weights.
      step: env steps that it was trained for.
      config: configuration of its training run.
      agent: chooses the actions.
      checkpoint: its weights as a mapush checkpoint; None if the format cannot be converted.
      rate_from: who says how many env steps an action is held, in a few words.
      left_out: reward terms of the user's own that it was trained with, and that the evaluation does not add up.
    """

    path: Optional[Path]
    step: int
    config: RunConfig
    agent: Team
    checkpoint: Optional[Checkpoint] = None
    rate_from: str = AS_TRAINED
    left_out: Tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How to load a policy.

    Attributes:
      task_name: the task that it must have been trained for.
      device: where it computes: auto, cpu, cuda or cuda:1.
      upstream_quirks: override of the task's setting; None keeps the one it was trained with.
      num_agents: size of the team that it must fit; None accepts the one it was trained with.
    """

    task_name: str
    device: str = "cpu"
    upstream_quirks: Optional[bool] = None
    num_agents: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class PolicyFormat:
    """A file format of saved policies.

    Attributes:
      name: the program that writes it.
      recognises: whether a file or folder has this format; cheap, and never raises.
      load: loads it; raises CheckpointError if it is damaged or does not fit the task.
    """

    name: str
    recognises: Callable[[Path], bool]
    load: Callable[[Path, LoadOptions], LoadedPolicy]


def load(path: Path, options: LoadOptions) -> LoadedPolicy:
    """Load a policy of any format.

    Args:
      path: the file, or for HARL the folder.
      options: the task and the device.

    Raises:
      CheckpointError: the file is missing, damaged, or was trained for a different task.
    """
    return format_of(path).load(path, options)


def load_checkpoint(path: Path, task_name: str) -> Checkpoint:
    """Load a policy of any format as a mapush checkpoint.

    Raises:
      CheckpointError: the file is missing, damaged, was trained for a different task or cannot be converted.
    """
    return as_checkpoint(load(path, LoadOptions(task_name)))


def as_checkpoint(policy: LoadedPolicy) -> Checkpoint:
    """Return a loaded policy as a mapush checkpoint.

    Raises:
      CheckpointError: its format cannot be converted.
    """
    if policy.checkpoint is None:
        assert policy.path is not None, "untrained weights have a checkpoint"
        raise CheckpointError(
            f"a policy of {format_of(policy.path).name} cannot be converted to a mapush checkpoint",
            where=str(policy.path),
            fix="evaluate the file itself, or export it to .onnx or .jit: it needs no conversion",
        )
    return policy.checkpoint


def format_of(path: Path) -> PolicyFormat:
    """Return the format of a file or folder.

    A path that no other format recognises counts as a mapush checkpoint, whose loader reports what is wrong with it.
    """
    for candidate in FORMATS:
        if candidate.recognises(path):
            return candidate
    return MAPUSH


def is_run(path: Path) -> bool:
    """Return whether `path` is a folder with mapush checkpoints, and not a saved policy."""
    if not path.is_dir():
        return False
    return (path / checkpoints.FOLDER).is_dir() or format_of(path) is MAPUSH


def with_quirks(config: RunConfig, upstream_quirks: Optional[bool]) -> RunConfig:
    """Return a run's configuration with the task's setting overridden; None leaves it as it is."""
    if upstream_quirks is None or not isinstance(config, PushRunConfig):
        return config
    task = dataclasses.replace(config.task, upstream_quirks=upstream_quirks)
    return dataclasses.replace(config, task=task)


# -- loaders ---------------------------------------------------------------------------------------------------------


def _load_mapush(path: Path, options: LoadOptions) -> LoadedPolicy:
    return _ready(checkpoints.load(path), path, options)


def _load_harl(path: Path, options: LoadOptions) -> LoadedPolicy:
    """Load HARL's models, which do not say how often they decided, unless a run of ours left them."""
    folder = models.folder_in(path)
    assert folder is not None, "models.recognises(path) was True"
    saved = models.read(folder, _config_for_harl(options.task_name))
    if models.is_of_a_run(folder):
        return _ready(saved, path, options, AS_TRAINED)
    return _ready(_with_its_team(saved), path, options, ASSUMED)


def _with_its_team(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose configuration has as many robots as there are actors."""
    config = checkpoint.config
    actors = checkpoint.sizes["num_agents"]
    if not isinstance(config, PushRunConfig) or actors == team_size(config.task):
        return checkpoint
    task = dataclasses.replace(config.task, num_agents=actors)
    return dataclasses.replace(checkpoint, config=dataclasses.replace(config, task=task))


def _config_for_harl(task_name: str) -> RunConfig:
    if task_name in OBJECTS:
        return as_published(task_name)
    if presets_of(task_name):
        return preset(task_name, "default")
    return own_env(task_name)


def _ready(checkpoint: Checkpoint, path: Path, options: LoadOptions, rate_from: str = AS_TRAINED) -> LoadedPolicy:
    checkpoint = for_team(checkpoint, options.task_name, options.num_agents)
    checkpoints.require_fit(checkpoint, path, options.task_name, checkpoint.sizes)
    config = with_quirks(checkpoint.config, options.upstream_quirks)
    sizes = dict(checkpoint.sizes)
    sizes.setdefault("share_obs_dim", 1)  # HARL's models may lack the critic, which acting does not need
    agent = make_agent(config, sizes, options.device)
    agent.load_actors(checkpoint.agent["actors"])
    return LoadedPolicy(path, checkpoint.step, config, agent, checkpoint, rate_from)


def _load_openrl(path: Path, options: LoadOptions) -> LoadedPolicy:
    """Load a team that MAPush trained, whose task scales actions twice.

    With upstream's quirks the task does so here as well; without them the policy scales its actions instead.
    """
    if options.task_name not in OBJECTS:
        what = f"a policy of OpenRL pushes objects; it cannot perform the task {options.task_name!r}"
        raise CheckpointError(what, where=str(path))
    quirks = options.upstream_quirks is not False
    scale = 1.0
    if not quirks:
        scale = 1.0 / openrl.SATURATION
    team = openrl.load(path, scale, str(device_of(options.device)))
    openrl.require_fit(team, path, team_of(options.task_name, options.num_agents))
    config = with_quirks(as_published(options.task_name), quirks)
    return LoadedPolicy(path, openrl.steps_of(path), config, team, rate_from=ASSUMED)


MAPUSH = PolicyFormat("mapush", Path.is_file, _load_mapush)
"""The format of every file that no entry of `FORMATS` recognises."""

FORMATS: Tuple[PolicyFormat, ...] = (
    PolicyFormat("HARL", models.recognises, _load_harl),
    PolicyFormat("OpenRL", openrl.recognises, _load_openrl),
)
"""The other formats; the first one that recognises a path loads it."""
