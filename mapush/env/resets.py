"""The initial states of episodes: where robots, object and goal start.

Source: MAPush@0e61e1b, `_reset_root_states` and `_reset_dofs`. Heights are above the floor; upstream's floor lies at
z = 0.02 m.
"""

from __future__ import annotations

import math
from typing import Callable, Tuple

import torch

from mapush.errors import ConfigError
from mapush.objects import PushObject
from mapush.sim.geometry import constant, pairwise_distance, quat_from_rpy, rotate_inverse
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.physics import State

Interval = Tuple[float, float]
Uniform = Callable[..., torch.Tensor]  # takes bounds and *shape; returns numbers between the bounds, (E, *shape)

FULL_TURN = (-0.01, 2.0 * math.pi)  # [rad]
GOAL_DISTANCE = (1.5, 3.0)  # between goal and object [m]
GOAL_HEIGHT = 0.08  # [m]
ROBOT_SPAWN_HEIGHT = 0.43  # [m]
ROBOT_SPAWN_TILT = 0.01  # largest roll and pitch [rad]
ROBOT_SPAWN_SPEED = 0.1  # largest velocity along or about each axis [m/s, rad/s]
JOINT_SCALE = (0.7, 1.3)  # of the default joint positions
ROUNDS = 8  # attempts to place a team at random
SPAWN_MARGIN = 0.35  # robots start this much farther apart than a collision [m]


def require_room(item: PushObject) -> None:
    """Check that the team of an object can start without a collision, evenly spread around it.

    Raises:
      ConfigError: there are too many robots.
    """
    separation = item.collision_distance + SPAWN_MARGIN
    radius = item.agent_distance[0]
    most = 1
    if separation <= 2.0 * radius:
        most = int(math.pi / math.asin(separation / (2.0 * radius)))
    if item.num_agents > most:
        raise ConfigError(
            f"there is no room for so many robots around {item.name}",
            where="task.num_agents",
            got=f"{item.num_agents} robots",
            expected=f"at most {most}, which start {radius:g} m from the object and {separation:g} m apart",
            fix="a smaller --task.num-agents, or an object with a larger agent_distance",
        )


class Spawner:
    """Draws the initial states of episodes.

    Random numbers are drawn for all E envs at once, so the initial state of an env does not depend on which other
    envs start a new episode in the same step.

    Args:
      item: the object that is pushed; it starts at the origin.
      num_envs: parallel envs, E.
      generator: source of randomness, on the device of the states.
      min_separation: smallest distance between two robots [m].
    """

    def __init__(self, item: PushObject, num_envs: int, generator: torch.Generator, min_separation: float) -> None:
        self._item = item
        self._num_envs = num_envs
        self._generator = generator
        self._min_separation = min_separation
        self._default_joint_pos = constant(DEFAULT_JOINT_POS, generator.device)

    def draw(self) -> Tuple[State, torch.Tensor]:
        """Draw an initial state for every env.

        Returns:
          The states of E envs of A robots, and the positions of the goals (E, 3) [m].
        """

        def uniform(bounds: Interval, *shape: int) -> torch.Tensor:
            low, high = bounds
            unit = torch.rand((self._num_envs,) + shape, generator=self._generator, device=self._generator.device)
            return low + (high - low) * unit

        agents = self._item.num_agents
        speed = (-ROBOT_SPAWN_SPEED, ROBOT_SPAWN_SPEED)
        object_quat = _orientation(uniform, self._item.spawn_tilt)
        robot_quat = _orientation(uniform, ROBOT_SPAWN_TILT, agents)
        joint_pos = self._default_joint_pos * uniform(JOINT_SCALE, agents, len(DEFAULT_JOINT_POS))
        at_rest = torch.zeros_like(object_quat[:, :3])
        state = State(
            robot_pos_w=_at_height(self._team_xy(uniform), ROBOT_SPAWN_HEIGHT),
            robot_quat_w=robot_quat,
            robot_lin_vel_w=uniform(speed, agents, 3),
            robot_ang_vel_b=rotate_inverse(robot_quat, uniform(speed, agents, 3)),
            joint_pos=joint_pos,
            joint_vel=torch.zeros_like(joint_pos),
            object_pos_w=_at_height(at_rest[:, :2], self._item.spawn_height),
            object_quat_w=object_quat,
            object_lin_vel_w=at_rest,
            object_ang_vel_b=at_rest,
        )
        goal_xy = _polar(uniform(GOAL_DISTANCE), uniform((0.0, 2.0 * math.pi)))
        return state, _at_height(goal_xy, GOAL_HEIGHT)

    def _team_xy(self, uniform: Uniform) -> torch.Tensor:
        """Return where the robots of each team start, (E, A, 2) [m], at least `min_separation` apart.

        Each team is placed at random `ROUNDS` times at once, which needs no loop that depends on values. The first
        placement that keeps the robots apart is taken. If there is none, the robots are spread evenly around the
        object, starting from the bearing of the first robot in the first placement.
        """
        agents = self._item.num_agents
        radius = uniform(self._item.agent_distance, ROUNDS, agents)
        bearing = uniform(FULL_TURN, ROUNDS, agents)
        closest = pairwise_distance(_polar(radius, bearing)).flatten(-2).amin(dim=-1)
        apart = closest >= self._min_separation
        row = torch.arange(len(apart), device=apart.device)
        first = apart.to(torch.uint8).argmax(dim=1)
        radius, bearing = radius[row, first], bearing[row, first]
        evenly = bearing[:, :1] + torch.arange(agents, device=apart.device) * (2.0 * math.pi / agents)
        return _polar(radius, torch.where(apart.any(dim=1, keepdim=True), bearing, evenly))


def _orientation(uniform: Uniform, tilt: float, *shape: int) -> torch.Tensor:
    """Draw orientations (E, *shape, 4) with any yaw, and roll and pitch up to `tilt` [rad]."""
    roll = uniform((-tilt, tilt), *shape)
    pitch = uniform((-tilt, tilt), *shape)
    return quat_from_rpy(roll, pitch, uniform(FULL_TURN, *shape))


def _polar(radius: torch.Tensor, bearing: torch.Tensor) -> torch.Tensor:
    """Return the planar points (..., 2) [m] at `radius` (...) [m] and `bearing` (...) [rad]."""
    return radius.unsqueeze(-1) * torch.stack((torch.cos(bearing), torch.sin(bearing)), dim=-1)


def _at_height(xy: torch.Tensor, height: float) -> torch.Tensor:
    """Return the points (..., 3) [m] above `xy` (..., 2) [m]."""
    return torch.cat((xy, torch.full_like(xy[..., :1], height)), dim=-1)
