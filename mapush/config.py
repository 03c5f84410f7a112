"""The configuration of a run: frozen dataclasses, with a unit in every docstring and each default in one place."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type

import tyro
from typing_extensions import Annotated, Literal, get_args

from mapush.errors import ConfigError, unknown
from mapush.objects import OBJECTS, PushObject, team_of
from mapush.own import named_code, own_objects

Learner = Literal["native", "harl"]
WalkingRobot = Literal["go1", "mapush"]
Backend = Literal["auto", "mujoco", "warp", "isaacgym", "standin"]
Activation = Literal["relu", "tanh", "sigmoid", "leaky_relu", "selu"]
ConsoleFormat = Literal["compact", "harl"]
Initialization = Literal["orthogonal_", "xavier_uniform_"]
Aggregation = Literal["prod", "mean"]

OWN_OBJECT = "own_object"
"""Key under which the configuration of a run, as a dict, holds the definition of an object that is not built in."""

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


def _require(good: bool, name: str, got: object, expected: str) -> None:
    if not good:
        raise ConfigError(f"{name} is out of range", got=repr(got), expected=expected)


def _require_choice(name: str, got: str, choices: Any) -> None:
    if got not in get_args(choices):
        raise unknown(name, got, get_args(choices))


@dataclasses.dataclass(frozen=True)
class HappoConfig:
    """HAPPO and its networks, under the names of HARL's `happo.yaml`."""

    hidden_sizes: Tuple[int, ...] = (128, 128)
    """Units of each hidden layer of actors and critic."""
    activation_func: Activation = "relu"
    """Activation of the hidden layers."""
    use_feature_normalization: bool = True
    """Apply a LayerNorm to the observation."""
    initialization_method: Initialization = "orthogonal_"
    """How weights are initialised."""
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
    action_aggregation: Aggregation = "prod"
    """How the ratios of the action dimensions are combined."""
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
        _require_choice("happo.activation_func", self.activation_func, Activation)
        _require_choice("happo.initialization_method", self.initialization_method, Initialization)
        _require_choice("happo.action_aggregation", self.action_aggregation, Aggregation)


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Weights of the reward terms, under upstream's names without their suffix; see `mapush.env.rewards`."""

    target: float = 0.00325
    """Progress of the object towards the goal."""
    approach: float = 0.00075
    """Cost of an agent's distance from the object."""
    collision: float = -0.0025
    """Cost of two agents being close to each other."""
    push: float = 0.0015
    """Bonus while the object moves faster than 0.1 m/s."""
    ocb: float = 0.004
    """Occlusion-based bonus: standing behind the object as seen from the goal."""
    reach_target: float = 10.0
    """Bonus when the object arrives."""
    exception: float = -5.0
    """Cost of a collision or a fall."""
    expanded_ocb: bool = False
    """Rotate the direction of the occlusion-based bonus by half the object's yaw, as upstream's published runs did."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The pushing task."""

    object: Annotated[str, tyro.conf.Suppress] = "cuboid"
    """What is pushed: cuboid, tblock, cylinder, or an object of your own."""
    num_agents: Optional[int] = None
    """Robots in a team. Default: the object's own number."""
    steps_per_decision: int = 1
    """Env steps (0.02 s each) for which one action is held."""
    reward: RewardConfig = RewardConfig()
    """Weights of the reward terms."""
    upstream_quirks: bool = False
    """Reproduce upstream's bugs; docs/deviations.md lists them."""
    reward_terms: tyro.conf.UseAppendAction[Tuple[str, ...]] = ()
    """A reward term of your own, FILE.py:function=weight or package.module:function=weight; can be repeated."""

    def __post_init__(self) -> None:
        if self.num_agents is not None:
            _require(self.num_agents >= 1, "task.num_agents", self.num_agents, "at least 1")
        terms: List[str] = []
        for text in self.reward_terms:
            reference, weight = named_code.weighted(text)
            terms.append(f"{named_code.absolute(reference)}={weight:g}")
        object.__setattr__(self, "reward_terms", tuple(terms))


@dataclasses.dataclass(frozen=True)
class WalkConfig:
    """The walking task, in which the low-level policy learns to follow velocity commands while it is pushed."""

    robot: WalkingRobot = "go1"
    """Whose robot walks: `go1` is ours; `mapush` is that of MAPush, from its checkout in MAPUSH_DIR."""
    command_range: Tuple[float, float, float] = (0.8, 0.6, 0.8)
    """Largest commanded |v_x|, |v_y| [m/s] and |omega_z| [rad/s]."""
    standing_share: float = 0.15
    """Share of commands that are zero."""
    single_axis_share: float = 0.2
    """Share of commands with a single non-zero component."""
    hold_s: Tuple[float, float] = (1.0, 6.0)
    """How long a command is held [s]."""
    parked_share: float = 0.2
    """Share of episodes whose command is zero throughout."""
    chatter_share: float = 0.2
    """Share of episodes whose commands change as fast as an untrained team's."""
    chatter_hold_s: Tuple[float, float] = (0.02, 0.4)
    """How long a command is held in those episodes [s]."""
    calm_share: float = 0.25
    """Share of episodes without pushes and kicks."""
    push_force: float = 55.0
    """Largest sustained force on the trunk [N]."""
    push_torque: float = 5.0
    """Largest yaw torque that accompanies this force [N m]."""
    push_ramp_s: float = 120.0
    """Simulated time over which the largest force grows from a quarter of its value to the full value [s]."""
    kick: float = 0.5
    """Largest velocity change from a short kick, along each axis [m/s]."""
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
        _require_choice("simulator", self.backend, Backend)
        for name in ("threads", "nconmax", "njmax"):
            _require(getattr(self, name) >= 0, f"sim.{name}", getattr(self, name), "at least 0")


@dataclasses.dataclass(frozen=True)
class HarlConfig:
    """Settings that only `--learner harl` uses."""

    eval_episodes: int = 0
    """Episodes of HARL's own evaluation at every checkpoint, in separate envs; 0 turns it off."""

    def __post_init__(self) -> None:
        _require(self.eval_episodes >= 0, "harl.eval_episodes", self.eval_episodes, "at least 0")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The settings that every training run has, whatever its environment.

    `PushRunConfig` and `WalkRunConfig` add the built-in tasks. This class by itself describes a run on your own
    environment, which you pass as `make_env`; then `task_name` is a name of your choice and `sim` is not used.
    """

    task_name: Annotated[str, tyro.conf.Suppress] = "cuboid"
    """cuboid, tblock, cylinder, walk, or the name of your own object or environment."""
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
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.checkpoint_minutes >= 0.0, "checkpoint_minutes", self.checkpoint_minutes, "at least 0")
        _require_choice("learner", self.learner, Learner)
        _require_choice("console", self.console, ConsoleFormat)
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
    if isinstance(config, PushRunConfig):
        return config.task.steps_per_decision
    return 1


def team_size(task: TaskConfig) -> int:
    """Return the number of robots in a team of a pushing task.

    Raises:
      ConfigError: no object has the name in the task.
    """
    return pushed_object(task).num_agents


def pushed_object(task: TaskConfig) -> PushObject:
    """Return the object that a task names, with the team of the task.

    Raises:
      ConfigError: no object has this name.
    """
    return team_of(task.object, task.num_agents)


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
