"""The command line of `mapush.train`: the flags of a run, and a flag for every setting."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional, Sequence, Tuple, Type

import tyro
from typing_extensions import Annotated

from mapush.config import MixedRunConfig, PushRunConfig, RunConfig, WalkRunConfig
from mapush.errors import ConfigError
from mapush.own import named_code, own_objects
from mapush.presets import PRESETS, PUSH_PRESETS, own_env, preset
from mapush.run import command_line

_TASK_CHOICES = "{" + ",".join(PRESETS) + "}"
_PRESET_CHOICES = "{" + ",".join(PUSH_PRESETS) + "}"


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Where the run goes, and what gives the defaults of the other flags."""

    preset: Annotated[Optional[str], tyro.conf.arg(metavar=_PRESET_CHOICES)] = None
    """The defaults of the other flags; walk has only the default preset."""
    run_dir: Optional[Path] = None
    """Folder of the run. Default: a new one below runs/."""
    resume: Optional[Path] = None
    """Continue the run in this folder, with its settings."""
    load_config: Optional[Path] = None
    """Take settings from HARL's happo.yaml, or from the config.json of a HARL run."""
    object: Optional[str] = None
    """Push an object of your own: FILE.py:NAME or package.module:NAME, a mapush.objects.PushObject."""
    env: Optional[str] = None
    """Train in your own environment: FILE.py:factory or package.module:factory, a function of num_envs and seed."""
    gpus: Annotated[Optional[str], tyro.conf.arg(metavar="{N,all}")] = None
    """Train with N processes on this machine, each on its own GPU, or on the CPU; see docs/several-gpus.md."""


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """Train a team in your own environment."""

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar=_TASK_CHOICES)]
    """What to train; it must be the first word."""
    flags: Annotated[RunFlags, tyro.conf.arg(name="")]
    """The run."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    """The settings."""


@dataclasses.dataclass(frozen=True)
class PushArguments(TrainArguments):
    """Train a team to push an object to a goal."""

    config: Annotated[PushRunConfig, tyro.conf.arg(name="")]
    """The settings."""


@dataclasses.dataclass(frozen=True)
class MixedArguments(TrainArguments):
    """Train one policy for several objects and for teams of several sizes."""

    config: Annotated[MixedRunConfig, tyro.conf.arg(name="")]
    """The settings."""


@dataclasses.dataclass(frozen=True)
class WalkArguments(TrainArguments):
    """Train the walking policy."""

    config: Annotated[WalkRunConfig, tyro.conf.arg(name="")]
    """The settings."""


def parse_flags(argv: Sequence[str]) -> Tuple[Optional[str], RunFlags]:
    """Return the task, which only the first word can be, or None; and the flags of the run. Other flags are ignored.

    Raises:
      ConfigError: --resume together with a flag that the run to resume decides.
    """
    task: Optional[str] = None
    words = list(argv)
    if words and not words[0].startswith("-"):
        task = words.pop(0)
    flags = command_line.parse_known(RunFlags, words, "train")
    allowed = RunFlags(resume=flags.resume, gpus=flags.gpus)
    if flags.resume is not None and (task is not None or flags != allowed):
        fix = "leave out the task, --preset, --run-dir, --load-config, --object and --env"
        raise ConfigError("--resume takes folder and configuration from the run", got=" ".join(argv), fix=fix)
    chosen = [word for word in (task, flags.object, flags.env) if word is not None]
    if len(chosen) > 1:
        raise ConfigError("more than one thing to train", got=" and ".join(chosen), fix="name only one of them")
    return task, flags


def start_of(task: Optional[str], flags: RunFlags) -> RunConfig:
    """Return the settings that a new run starts from.

    Raises:
      ConfigError: an unknown task or preset; or no object can be loaded.
    """
    if flags.env is not None:
        if flags.preset is not None:
            raise ConfigError("your own environment has no presets", got=flags.preset, fix="leave out --preset")
        return own_env(named_code.title(flags.env, "--env"), env=named_code.absolute(flags.env))
    if flags.object is not None:
        task = own_objects.load_object(flags.object).name
    return preset(task or "cuboid", flags.preset or "default")


def parse_settings(argv: Sequence[str], flags: RunFlags, default: RunConfig) -> RunConfig:
    """Return the configuration `default` with the changes of a complete command line.

    Args:
      argv: the words after the command's name.
      flags: as `parse_flags` returned them.
      default: the settings of the flags that are not given.

    Raises:
      ConfigError: an unknown choice, a value out of range, or a task that is not the first word.
    """
    kind: Type[TrainArguments] = TrainArguments
    if isinstance(default, PushRunConfig):
        kind = PushArguments
    elif isinstance(default, WalkRunConfig):
        kind = WalkArguments
    elif isinstance(default, MixedRunConfig):
        kind = MixedArguments
        _refuse_one_size(argv)
    shown = dataclasses.replace(flags, preset=default.preset)
    arguments = command_line.parse(kind, argv, "train", default=kind(default.task_name, shown, default))
    if arguments.task != default.task_name:
        raise ConfigError("the task is not the first word", got=" ".join(argv), fix=f"begin with {arguments.task}")
    return arguments.config


def _refuse_one_size(argv: Sequence[str]) -> None:
    for word in argv:
        if word.partition("=")[0].replace("_", "-") in ("--num-agents", "--task.num-agents"):
            fix = "--task.team-sizes 2 4"
            raise ConfigError("a mixed run has teams of several sizes", got=" ".join(argv), fix=fix)
