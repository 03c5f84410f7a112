"""Settings of the tasks, pushing and walking, with a unit in every docstring and each default in one place."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Tuple

import tyro
from typing_extensions import Annotated, Literal

from mapush.config.setting_checks import require
from mapush.objects import PushObject, team_of
from mapush.own import named_code

WalkingRobot = Literal["go1", "mapush"]


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
            require(self.num_agents >= 1, "task.num_agents", self.num_agents, "at least 1")
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
