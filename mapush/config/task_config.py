"""Settings of the tasks, pushing and walking, with a unit in every docstring and each default in one place."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Tuple

import tyro
from typing_extensions import Annotated, Literal

from mapush.config.setting_checks import require, require_choice
from mapush.errors import ConfigError, unknown
from mapush.objects import BUILT_IN, PushObject, team_of
from mapush.own import named_code

WalkingRobot = Literal["go1", "mapush"]
View = Literal["one_team", "any_team"]

SEATS = 4
"""Robots for which the view `any_team` has room, unless a task says otherwise."""


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
    num_agents: Annotated[Optional[int], tyro.conf.arg(aliases=("--num-agents",))] = None
    """Robots in a team. Default: the object's own number."""
    view: View = "one_team"
    """What robots and critic observe: one_team is as MAPush's and grows with the team; any_team describes the object,
    and has the same width for every object and team."""
    seats: int = SEATS
    """any_team: the most robots that a team can have."""
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
            require(self.num_agents >= 1, "task.num_agents", self.num_agents, "at least 1")
        require_choice("task.view", self.view, View)
        require(self.seats >= 2, "task.seats", self.seats, "at least 2")
        if self.view != "any_team":
            require(self.seats == SEATS, "task.seats", self.seats, "left out: it acts only with --task.view any_team")
        terms: List[str] = []
        for text in self.reward_terms:
            reference, weight = named_code.weighted(text)
            terms.append(f"{named_code.absolute(reference)}={weight:g}")
        object.__setattr__(self, "reward_terms", tuple(terms))


@dataclasses.dataclass(frozen=True)
class MixedTaskConfig:
    """The pushing task with several objects and team sizes at once, which one policy learns."""

    objects: Tuple[str, ...] = ("cuboid", "tblock", "cylinder")
    """Objects that are pushed, each by teams of every size."""
    team_sizes: Tuple[int, ...] = (2, 4)
    """Numbers of robots in a team."""
    seats: int = SEATS
    """The most robots that a team of the policy can have."""
    steps_per_decision: int = 10
    """Env steps (0.02 s each) for which one action is held."""
    reward: RewardConfig = RewardConfig()
    """Weights of the reward terms."""
    large_object_reward: RewardConfig = RewardConfig()
    """The same for objects that reach farther than 1 m from their origin."""

    def __post_init__(self) -> None:
        names = [item.name for item in BUILT_IN]
        for name in self.objects:
            if name not in names:
                raise unknown("object", name, names)
        for setting, values in (("task.objects", self.objects), ("task.team_sizes", self.team_sizes)):
            different = len(values) >= 1 and len(set(values)) == len(values)
            require(different, setting, values, "one or more, each of them once")
        require(self.steps_per_decision >= 1, "task.steps_per_decision", self.steps_per_decision, "at least 1")
        require(self.seats >= 2, "task.seats", self.seats, "at least 2")
        low, high = min(self.team_sizes), max(self.team_sizes)
        require(low >= 1 and high <= self.seats, "task.team_sizes", self.team_sizes, f"1 to task.seats {self.seats}")


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


def team_size(task: TaskConfig) -> int:
    """Return the number of robots in a team of a pushing task.

    Raises:
      ConfigError: no object has the name in the task.
    """
    return pushed_object(task).num_agents


def pushed_object(task: TaskConfig) -> PushObject:
    """Return the object that a task names, with the team of the task.

    Raises:
      ConfigError: no object has this name, or the task's view has no room for the team.
    """
    item = team_of(task.object, task.num_agents)
    if task.view == "any_team" and item.num_agents > task.seats:
        raise ConfigError(
            "the policy has no seat for so many robots",
            where=f"object {item.name}",
            got=f"{item.num_agents} robots",
            expected=f"at most {task.seats}",
            fix=f"--num-agents {task.seats} or fewer; a policy for more is trained with --task.seats",
        )
    return item
