"""Configuration is data: frozen dataclasses, with a unit in every docstring and each default in one place."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Dict, Mapping, Optional, Tuple

import tyro
from typing_extensions import Annotated

from mapush.errors import ConfigError, nearest

LEARNERS = ("native", "harl")

_CHOICES = {
    "activation_func": ("relu", "tanh", "sigmoid", "leaky_relu", "selu"),
    "initialization_method": ("orthogonal_", "xavier_uniform_"),
    "action_aggregation": ("prod", "mean"),
}


_UNITS = {"GiB": 2**30, "MiB": 2**20, "GB": 10**9, "MB": 10**6}


def _require(good: bool, name: str, got: object, expected: str) -> None:
    if not good:
        raise ConfigError(f"{name} is out of range", got=repr(got), expected=expected)


@dataclasses.dataclass(frozen=True)
class HappoConfig:
    """HAPPO and its networks, under the names of HARL's `happo.yaml`."""

    hidden_sizes: Tuple[int, ...] = (128, 128)
    """Units of each hidden layer of actors and critic."""
    activation_func: str = "relu"
    """relu, tanh, sigmoid, leaky_relu or selu."""
    use_feature_normalization: bool = True
    """Put a LayerNorm on the observation."""
    initialization_method: str = "orthogonal_"
    """orthogonal_ or xavier_uniform_."""
    gain: float = 0.01
    """Initial gain of the actor's output layer."""
    std_x_coef: float = 1.0
    """Exploration: std = sigmoid(log_std / std_x_coef) * std_y_coef."""
    std_y_coef: float = 0.5
    """Largest standard deviation of an action."""
    share_param: bool = False
    """One actor for all agents, still updated once for each."""

    lr: float = 5e-4
    """Learning rate of the actors (Adam)."""
    critic_lr: float = 5e-4
    """Learning rate of the critic (Adam)."""
    opti_eps: float = 1e-5
    """Adam's epsilon."""
    weight_decay: float = 0.0
    """L2 penalty in Adam."""
    use_linear_lr_decay: bool = False
    """Lower both learning rates to 0 over the run."""

    ppo_epoch: int = 5
    """Passes over the rollout for each actor."""
    critic_epoch: int = 5
    """Passes over the rollout for the critic."""
    actor_num_mini_batch: int = 1
    """Minibatches in each pass of an actor."""
    critic_num_mini_batch: int = 1
    """Minibatches in each pass of the critic."""
    clip_param: float = 0.2
    """Clip range of ratio and value."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    value_loss_coef: float = 1.0
    """Weight of the value loss."""
    use_clipped_value_loss: bool = True
    """Clip the change of the value prediction."""
    use_huber_loss: bool = True
    """Huber instead of squared value error."""
    huber_delta: float = 10.0
    """Where the Huber loss becomes linear."""
    use_max_grad_norm: bool = True
    """Clip the gradient norm."""
    max_grad_norm: float = 10.0
    """Largest gradient norm."""
    use_policy_active_masks: bool = True
    """Leave inactive agents out of the policy loss."""
    action_aggregation: str = "prod"
    """How per-dimension ratios become one: prod or mean."""
    fixed_order: bool = False
    """Update agents in the order 0, 1, ... instead of a random one."""

    use_gae: bool = True
    """Generalised advantage estimation; otherwise discounted returns."""
    gamma: float = 0.99
    """Discount per decision."""
    gae_lambda: float = 0.95
    """GAE's lambda."""
    use_proper_time_limits: bool = True
    """Do not treat a time limit as a failure."""
    use_valuenorm: bool = True
    """Normalise value targets by running statistics."""

    def __post_init__(self) -> None:
        for name in ("ppo_epoch", "critic_epoch", "actor_num_mini_batch", "critic_num_mini_batch"):
            _require(getattr(self, name) >= 1, f"happo.{name}", getattr(self, name), "at least 1")
        _require(len(self.hidden_sizes) >= 1, "happo.hidden_sizes", self.hidden_sizes, "at least one layer")
        _require(min(self.hidden_sizes) >= 1, "happo.hidden_sizes", self.hidden_sizes, "positive sizes")
        for name in ("lr", "critic_lr", "opti_eps", "std_x_coef", "std_y_coef", "clip_param", "max_grad_norm"):
            _require(getattr(self, name) > 0.0, f"happo.{name}", getattr(self, name), "more than 0")
        for name in ("gamma", "gae_lambda"):
            _require(0.0 <= getattr(self, name) <= 1.0, f"happo.{name}", getattr(self, name), "in [0, 1]")
        for name, valid in _CHOICES.items():
            _require(getattr(self, name) in valid, f"happo.{name}", getattr(self, name), " or ".join(valid))


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Weights of the reward terms, under upstream's names less their suffix; see `mapush.env.rewards`."""

    target: float = 0.00325
    """Progress of the object towards the goal."""
    approach: float = 0.00075
    """Cost of an agent's distance from the object."""
    collision: float = -0.0025
    """Cost of two agents' nearness."""
    push: float = 0.0015
    """Bonus while the object moves faster than 0.1 m/s."""
    ocb: float = 0.004
    """Occlusion-based bonus: standing behind the object as seen from the goal."""
    reach_target: float = 10.0
    """Bonus when the object arrives."""
    exception: float = -5.0
    """Cost of a collision or a fall."""
    expanded_ocb: bool = False
    """Turn the direction of the occlusion-based bonus by half the object's yaw, as upstream's published runs did."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The pushing task."""

    object: Annotated[str, tyro.conf.Suppress] = "cuboid"
    """What is pushed: cuboid, tblock or cylinder."""
    steps_per_decision: int = 1
    """Env steps (0.02 s each) for which one action is held."""
    reward: RewardConfig = RewardConfig()
    """Weights of the reward terms."""
    upstream_quirks: bool = False
    """Behave as upstream does where it is wrong: see docs/deviations.md."""


@dataclasses.dataclass(frozen=True)
class WalkConfig:
    """The walking task, in which the low-level policy learns to follow velocity commands while it is pushed."""

    command_range: Tuple[float, float, float] = (0.8, 0.6, 0.8)
    """Largest commanded |v_x|, |v_y| [m/s] and |omega_z| [rad/s]."""
    standing_share: float = 0.15
    """Share of commands that are zero."""
    single_axis_share: float = 0.2
    """Share of commands with one component only."""
    hold_s: Tuple[float, float] = (1.0, 6.0)
    """How long a command is held [s]."""
    parked_share: float = 0.2
    """Share of episodes whose command is zero throughout."""
    chatter_share: float = 0.2
    """Share of episodes whose commands change as fast as an untrained team's."""
    chatter_hold_s: Tuple[float, float] = (0.02, 0.4)
    """How long a command is held in those [s]."""
    calm_share: float = 0.25
    """Share of episodes without pushes and kicks."""
    push_force: float = 55.0
    """Largest sustained force on the trunk [N]."""
    push_torque: float = 5.0
    """Largest yaw torque that comes with it [N m]."""
    push_ramp_s: float = 120.0
    """Simulated time over which the largest force grows from a quarter to the whole [s]."""
    kick: float = 0.5
    """Largest change of velocity by a short kick, along each axis [m/s]."""
    foot_friction: Tuple[float, float] = (0.4, 1.0)
    """Range of the friction between foot and floor."""
    payload: Tuple[float, float] = (-1.0, 3.0)
    """Range of the mass added to the trunk [kg]."""
    com_shift: float = 0.03
    """Shift of the trunk's centre of mass along each axis, plus or minus [m]."""
    motor_strength: Tuple[float, float] = (0.9, 1.1)
    """Range of the factor on the servos' gains."""


@dataclasses.dataclass(frozen=True)
class SimConfig:
    """The simulator."""

    backend: Annotated[str, tyro.conf.arg(name="")] = "auto"
    """auto, mujoco, warp or isaacgym."""
    threads: int = 0
    """CPU threads of the mujoco backend; 0 takes all."""
    nconmax: int = 0
    """Contacts for which the warp backend has room, in the mean over the envs; 0 takes the measured number."""
    njmax: int = 0
    """Constraint rows of each env for which the warp backend has room; 0 takes the measured number."""
    contact_pairs: float = 1.0
    """Contact pairs for which the isaacgym backend has room, in multiples of MQE's number; MAPush's own runs take 5."""

    def __post_init__(self) -> None:
        for name in ("threads", "nconmax", "njmax"):
            _require(getattr(self, name) >= 0, f"sim.{name}", getattr(self, name), "at least 0")


@dataclasses.dataclass(frozen=True)
class HarlConfig:
    """What only `--learner harl` does."""

    eval_episodes: int = 0
    """Episodes by which HARL evaluates at every checkpoint, in envs of its own; 0 leaves that to mapush.evaluate."""

    def __post_init__(self) -> None:
        _require(self.eval_episodes >= 0, "harl.eval_episodes", self.eval_episodes, "at least 0")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every training run has, whatever its task."""

    task_name: Annotated[str, tyro.conf.Suppress] = "cuboid"
    """cuboid, tblock, cylinder or walk."""
    preset: Annotated[str, tyro.conf.Suppress] = "default"
    """Name of the preset that the rest started from."""
    num_envs: int = 512
    """Parallel envs."""
    num_steps: int = 20
    """Decisions per env between two updates."""
    total_steps: int = 100_000_000
    """Env steps (0.02 s each, summed over envs) of the whole run."""
    seed: int = 1
    """Seed of weights, actions, resets and per-env physics."""
    learner: str = "native"
    """native, or harl: upstream's own runner, unedited; HARL is installed by hand."""
    device: str = "auto"
    """Where the learner computes: auto, cpu, cuda or cuda:1."""
    checkpoint_every: int = 10_000_000
    """Env steps between two checkpoints; there is always one at the end."""
    log_interval: int = 1
    """Iterations between two rows of the log."""
    vram_limit: Optional[str] = None
    """Largest use of the GPU's memory, such as 8GiB; by default what is free."""
    sim: SimConfig = SimConfig()
    """The simulator."""
    happo: HappoConfig = HappoConfig()
    """HAPPO, of either learner."""
    harl: HarlConfig = HarlConfig()
    """HARL's own features."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "total_steps", "checkpoint_every", "log_interval"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        if self.learner not in LEARNERS:
            fix = nearest(self.learner, LEARNERS)
            raise ConfigError("no such learner", where="learner", got=self.learner, fix=fix)
        if self.vram_limit is not None:
            bytes_of(self.vram_limit)


@dataclasses.dataclass(frozen=True)
class PushRunConfig(RunConfig):
    """A run that trains a team to push."""

    task: TaskConfig = TaskConfig()
    """The pushing task."""


@dataclasses.dataclass(frozen=True)
class WalkRunConfig(RunConfig):
    """A run that trains the walking policy."""

    task: WalkConfig = WalkConfig()
    """The walking task."""


def bytes_of(size: str) -> int:
    """Return how many bytes a size such as 8GiB, 1.5GB or 8000MiB is.

    Raises:
      ConfigError: it is no size, or it is 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(GiB|MiB|GB|MB)", size)
    number = int(float(found.group(1)) * _UNITS[found.group(2)]) if found else 0
    if not number:
        raise ConfigError(
            "not a size of memory", got=repr(size), expected="a number and a unit, such as 8GiB or 8000MB"
        )
    return number


def steps_per_decision(config: RunConfig) -> int:
    """Return how many env steps one action is held in this run."""
    return config.task.steps_per_decision if isinstance(config, PushRunConfig) else 1


def to_dict(config: Any) -> Dict[str, Any]:
    """Return a configuration as nested dicts of JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def run_config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Rebuild the configuration of a run from what `to_dict` made of it.

    Raises:
      ConfigError: a key that does not exist.
    """
    kind = WalkRunConfig if values.get("task_name") == "walk" else PushRunConfig
    return _from_dict(kind, values, "")


def _from_dict(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    arguments: Dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"unknown setting {prefix + name!r}", fix=nearest(name, fields))
        default = fields[name].default
        if dataclasses.is_dataclass(default):
            value = _from_dict(type(default), value, prefix + name + ".")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)
