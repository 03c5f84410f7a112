"""The configuration of a run: its tasks, simulator and learner, which runs are refused, and its form as a dict."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Dict, List, Mapping, Optional, Type

import tyro
from typing_extensions import Annotated, Literal

from mapush.config.happo_config import HappoConfig
from mapush.config.setting_checks import require, require_choice
from mapush.config.task_config import MixedTaskConfig, TaskConfig, WalkConfig
from mapush.errors import ConfigError, unknown
from mapush.objects import OBJECTS
from mapush.own import own_objects

Learner = Literal["native", "harl"]
Backend = Literal["auto", "mujoco", "warp", "isaacgym", "standin"]
ConsoleFormat = Literal["compact", "harl"]

OWN_OBJECT = "own_object"
"""Key under which the configuration of a run, as a dict, holds the definition of an object that is not built in."""

MIXED_TASK = "any"
"""Name of the task that mixes objects and teams."""

_BYTES_IN = {"GiB": 2**30, "MiB": 2**20, "GB": 10**9, "MB": 10**6}


def _project_of(words: List[str]) -> str:
    if words:
        return words[0]
    return "mapush"


_WANDB_FLAG: Any = tyro.constructors.PrimitiveConstructorSpec(  # `--wandb` without a project is allowed
    nargs=(0, 1),
    metavar="[PROJECT]",
    instance_from_str=_project_of,
    is_instance=lambda value: value is None or isinstance(value, str),
    str_from_instance=lambda value: [str(value)],
)


@dataclasses.dataclass(frozen=True)
class SimConfig:
    """The simulator."""

    backend: Annotated[Backend, tyro.conf.arg(name="")] = "auto"
    """Which simulator; auto selects warp if it works here, otherwise mujoco."""
    threads: int = 0
    """mujoco, and standin on the CPU: threads; 0 uses all cores."""
    nconmax: int = 0
    """warp, and standin on a GPU: contact buffer size, per env on average; 0 uses the measured or estimated size."""
    njmax: int = 0
    """warp, and standin on a GPU: constraint buffer size, per env; 0 uses the measured or estimated size."""
    contact_pairs: float = 1.0
    """isaacgym: size of the contact pair buffer, as a multiple of MQE's default; MAPush's own runs use 5.
    standin: costs nothing."""

    def __post_init__(self) -> None:
        require_choice("simulator", self.backend, Backend)
        for name in ("threads", "nconmax", "njmax"):
            require(getattr(self, name) >= 0, f"sim.{name}", getattr(self, name), "at least 0")


@dataclasses.dataclass(frozen=True)
class HarlConfig:
    """Settings that only `--learner harl` uses."""

    eval_episodes: int = 0
    """Episodes of HARL's own evaluation at every checkpoint, in separate envs; 0 turns it off."""

    def __post_init__(self) -> None:
        require(self.eval_episodes >= 0, "harl.eval_episodes", self.eval_episodes, "at least 0")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The settings that every training run has, whatever its environment.

    `PushRunConfig` and `WalkRunConfig` add the built-in tasks. This class by itself describes a run on your own
    environment, which you pass as `make_env`; then `task_name` is a name of your choice and `sim` is not used.
    """

    task_name: Annotated[str, tyro.conf.Suppress] = "cuboid"
    """cuboid, tblock, cylinder, any, walk, or the name of your own object or environment."""
    preset: Annotated[str, tyro.conf.Suppress] = "default"
    """Name of the preset that the other settings started from."""
    num_envs: int = 512
    """Parallel envs."""
    num_steps: int = 20
    """Decisions per env between two updates."""
    total_steps: int = 100_000_000
    """Env steps (0.02 s each, summed over envs) of the complete run."""
    seed: int = 1
    """Seed for weights, actions, resets and per-env physics."""
    learner: Learner = "native"
    """native is our HAPPO; harl is upstream's own runner, unmodified, from a HARL that you have installed."""
    device: str = "auto"
    """Device of the learner: auto, cpu, cuda or cuda:1."""
    deterministic: bool = False
    """Compute the same bits in every run with this seed, on a GPU, too; slower, and refused where it cannot be kept."""
    checkpoint_every: int = 10_000_000
    """Env steps between two checkpoints; the last one is always saved at the end."""
    checkpoint_minutes: float = 10.0
    """Longest time without a checkpoint [min]; such a checkpoint is removed when the next is complete. 0: never."""
    log_interval: int = 1
    """Iterations between two rows of the log."""
    replica_check_every: int = 10
    """Iterations after which several ranks compare their replicas of the learner; every checkpoint does so, too."""
    console: ConsoleFormat = "compact"
    """What a row of the log looks like on the console: a compact line, or HARL's lines, which train.log always has."""
    wandb: Annotated[Optional[str], _WANDB_FLAG] = None
    """Log to this project of Weights & Biases as well, by default mapush; WANDB_MODE=offline keeps the numbers here."""
    vram_limit: Optional[str] = None
    """Limit on GPU memory, such as 8GiB; the default is all free memory."""
    sim: SimConfig = SimConfig()
    """The simulator."""
    happo: HappoConfig = HappoConfig()
    """HAPPO; used by both learners."""
    harl: HarlConfig = HarlConfig()
    """Settings of HARL itself."""
    env: Annotated[Optional[str], tyro.conf.Suppress] = None
    """Your own environment, package.module:factory or FILE.py:factory; see `mapush.assembly.make_named_env`."""

    def __post_init__(self) -> None:
        counts = ("num_envs", "num_steps", "total_steps", "checkpoint_every", "log_interval", "replica_check_every")
        for name in counts:
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.checkpoint_minutes >= 0.0, "checkpoint_minutes", self.checkpoint_minutes, "at least 0")
        require_choice("learner", self.learner, Learner)
        require_choice("console", self.console, ConsoleFormat)
        if self.vram_limit is not None:
            bytes_of(self.vram_limit)


@dataclasses.dataclass(frozen=True)
class PushRunConfig(RunConfig):
    """A run that trains a team to push."""

    task: TaskConfig = TaskConfig()
    """The pushing task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task.view == "any_team":
            _require_own_stack(self, "--task.view any_team")


@dataclasses.dataclass(frozen=True)
class MixedRunConfig(RunConfig):
    """A run that trains one policy to push several objects in teams of several sizes."""

    task: MixedTaskConfig = MixedTaskConfig()
    """The pushing task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_own_stack(self, f"the task {MIXED_TASK!r}")
        if not self.happo.share_param:
            what = f"the task {MIXED_TASK!r} trains one policy for all robots"
            raise ConfigError(what, got="--happo.share-param False", fix="--happo.share-param True")


@dataclasses.dataclass(frozen=True)
class WalkRunConfig(RunConfig):
    """A run that trains the walking policy."""

    task: WalkConfig = WalkConfig()
    """The walking task."""


def _require_own_stack(config: RunConfig, what: str) -> None:
    """Refuse other people's learners and environments, which know neither empty seats nor sets of team mates.

    Raises:
      ConfigError: the run has one.
    """
    if config.learner == "harl":
        raise ConfigError(f"{what} needs the native learner", got="--learner harl", fix="--learner native")
    if config.sim.backend in ("isaacgym", "standin"):
        got, fix = f"--sim {config.sim.backend}", "--sim mujoco or --sim warp"
        raise ConfigError(f"{what} does not run in MAPush's own environment", got=got, fix=fix)


def bytes_of(size: str) -> int:
    """Return the number of bytes in a size such as 8GiB, 1.5GB or 8000MiB.

    Raises:
      ConfigError: the text is not a size, or the size is 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(GiB|MiB|GB|MB)", size)
    number = 0
    if found is not None:
        number = int(float(found.group(1)) * _BYTES_IN[found.group(2)])
    if number == 0:
        expected = "a number and a unit, such as 8GiB or 8000MB"
        raise ConfigError("not a size of memory", got=repr(size), expected=expected)
    return number


def steps_per_decision(config: RunConfig) -> int:
    """Return the number of env steps for which one action is held in this run."""
    if isinstance(config, (PushRunConfig, MixedRunConfig)):
        return config.task.steps_per_decision
    return 1


def seats_of(config: RunConfig) -> Optional[int]:
    """Return the most robots that the policy of a run can have in a team; None if it is for one team only."""
    if isinstance(config, MixedRunConfig):
        return config.task.seats
    if isinstance(config, PushRunConfig) and config.task.view == "any_team":
        return config.task.seats
    return None


def require_trainable(config: RunConfig) -> None:
    """Refuse a run that would learn nothing, or end in an error after its first rollout; raise ConfigError."""
    require_one_rollout(config)
    require_full_minibatches(config)


def require_one_rollout(config: RunConfig) -> None:
    """Refuse a run that is shorter than its first rollout.

    Raises:
      ConfigError: total_steps is too small.
    """
    held = steps_per_decision(config)
    rollout = config.num_envs * config.num_steps * held
    if config.total_steps < rollout:
        product = f"num_envs {config.num_envs} x num_steps {config.num_steps} x steps_per_decision {held}"
        raise ConfigError(
            "total_steps is less than one rollout",
            got=f"--total-steps {config.total_steps}",
            expected=f"at least {rollout} = {product}",
            fix="raise --total-steps, or lower --num-envs or --num-steps",
        )


def require_full_minibatches(config: RunConfig) -> None:
    """Refuse a run whose rollout has fewer samples than an update makes minibatches of it.

    Raises:
      ConfigError: a minibatch would be empty.
    """
    samples = config.num_envs * config.num_steps
    for name in ("actor_num_mini_batch", "critic_num_mini_batch"):
        count = getattr(config.happo, name)
        if count > samples:
            raise ConfigError(
                "a rollout has fewer samples than minibatches",
                got=f"--happo.{name.replace('_', '-')} {count}",
                expected=f"at most {samples} = num_envs {config.num_envs} x num_steps {config.num_steps}",
                fix="lower it, or raise --num-envs or --num-steps",
            )


def to_dict(config: Any) -> Dict[str, Any]:
    """Return a configuration as nested dicts of JSON types; that of a run has the definition of its own object."""
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    if isinstance(config, PushRunConfig):
        own_object = own_objects.stored(config.task.object)
        if own_object is not None:
            values[OWN_OBJECT] = own_object
    return values


def run_config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Rebuild the configuration of a run from the result of `to_dict`; an object in it is registered.

    Raises:
      ConfigError: unknown setting, or a different object is registered under the name of the one in it.
    """
    values = dict(values)
    own_object = values.pop(OWN_OBJECT, None)
    if own_object is not None:
        own_objects.restore(own_object)
    return _from_dict(_kind_of(values.get("task_name", "cuboid")), values, "")


def _kind_of(task_name: str) -> Type[RunConfig]:
    if task_name == "walk":
        return WalkRunConfig
    if task_name == MIXED_TASK:
        return MixedRunConfig
    if task_name in OBJECTS:
        return PushRunConfig
    return RunConfig


def _from_dict(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    arguments: Dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise unknown("setting", prefix + name, _with_prefix(prefix, fields))
        default = fields[name].default
        if dataclasses.is_dataclass(default):
            value = _from_dict(type(default), value, prefix + name + ".")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)


def _with_prefix(prefix: str, names: Mapping[str, Any]) -> List[str]:
    return [prefix + name for name in names]
