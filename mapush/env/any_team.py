"""What actors and critic see of any object and any team, in a form that depends on neither.

The object is described by how far it reaches from its origin in 16 directions, not by the heading of its frame, which
would mean something different for every object. Team mates are the rows of a set: their order means nothing, and the
last number of a row is 1 for a robot, and 0 where there is none.
"""

from __future__ import annotations

import functools
from typing import Dict, Tuple

import torch
from torch.nn import functional

from mapush.env.pushed_object import object_of
from mapush.objects import PushObject
from mapush.sim.geometry import TWO_PI, constant, positive_angle, rotate, rotate_xy, yaw_of
from mapush.sim.physics import State
from mapush.spec import SetLayout

DIRECTIONS = 16  # in which the object's outline is observed
_ENTRIES = 720  # of the table of an object's outline
_MATE = 5  # numbers of a team mate: x, y, sine and cosine of its heading, presence
_ROBOT = 8  # numbers of a robot that the critic sees: the same, velocity along x and y, yaw rate


def obs_blocks(seats: int) -> Dict[str, int]:
    """Return the name and width of each part of the actor's observation, in order."""
    blocks = {"goal_xy": 2, "object_xy": 2, "object_outline": DIRECTIONS}
    for k in range(1, seats):
        blocks[f"mate_{k}_xy_sin_cos_present"] = _MATE
    return blocks


def share_obs_blocks(seats: int) -> Dict[str, int]:
    """Return the name and width of each part of the critic's global state, in order."""
    blocks = {"goal_xy": 2, "object_velocity_xy": 2, "object_yaw_rate": 1, "remaining_time": 1}
    blocks["object_outline"] = DIRECTIONS
    for k in range(seats):
        blocks[f"robot_{k}_xy_sin_cos_velocity_yaw_rate_present"] = _ROBOT
    return blocks


def sets(seats: int) -> Tuple[SetLayout, SetLayout]:
    """Return which features are the rows of a set: of the actor's observation, and of the critic's state."""
    return SetLayout(seats - 1, _MATE), SetLayout(seats, _ROBOT)


class Outline:
    """How far an object reaches from its origin in any direction.

    Args:
      item: the object.
      device: of the states.
    """

    def __init__(self, item: PushObject, device: torch.device) -> None:
        self._table = constant(_extents(item), device)
        self._directions = constant(tuple(TWO_PI * k / DIRECTIONS for k in range(DIRECTIONS)), device)

    def seen(self, turn: torch.Tensor) -> torch.Tensor:
        """Return the extents in `DIRECTIONS` directions, counter-clockwise from straight ahead (..., 16) [m].

        Args:
          turn: heading of the observer in the object's frame [rad], (...).
        """
        bearing = positive_angle(turn.unsqueeze(-1) + self._directions)
        place = bearing * (_ENTRIES / TWO_PI)
        below = place.floor()
        index = below.long() % _ENTRIES
        return torch.lerp(self._table[index], self._table[(index + 1) % _ENTRIES], place - below)


@functools.lru_cache(maxsize=None)
def _extents(item: PushObject) -> Tuple[float, ...]:
    """Return the object's extents in `_ENTRIES` directions, counter-clockwise from its x axis [m]."""
    return tuple(item.extents([TWO_PI * index / _ENTRIES for index in range(_ENTRIES)]))


def actor_obs(
    state: State, robot_yaw: torch.Tensor, goal_pos_w: torch.Tensor, outline: Outline, seats: int
) -> torch.Tensor:
    """Return what each robot sees in its own yaw frame: goal, object and its outline, and robots i + 1, i + 2, ...

    Args:
      state: the state of E envs of A robots.
      robot_yaw: the heading that each robot observes as its own [rad], (E, A).
      goal_pos_w: (E, 3) [m].
      outline: of the object.
      seats: the most robots in a team.

    Returns:
      (E, A, 15 + 5 seats) float32, in [m] and [1]; `obs_blocks` names the parts.
    """
    envs, agents = robot_yaw.shape
    thing = object_of(state)
    robot_xy = state.robot_pos_w[..., :2]
    agent = torch.arange(agents, device=robot_yaw.device)
    mates = (agent.unsqueeze(1) + agent[1:]) % agents  # (A, A - 1), row i: the team mates of robot i
    goal = goal_pos_w[:, None, None, :2].expand(envs, agents, 1, 2)
    body = thing.pos_w[:, None, None, :2].expand(envs, agents, 1, 2)
    points = torch.cat((goal, body, robot_xy[:, mates]), dim=2)
    seen = rotate_xy(points - robot_xy.unsqueeze(2), -robot_yaw.unsqueeze(2))
    turn = robot_yaw - yaw_of(thing.quat_w).unsqueeze(1)
    heading = robot_yaw[:, mates] - robot_yaw.unsqueeze(2)
    team = torch.cat((seen[:, :, 2:], _direction(heading), torch.ones_like(heading).unsqueeze(-1)), dim=-1)
    team = functional.pad(team, (0, 0, 0, seats - agents))
    return torch.cat((seen[:, :, :2].flatten(2), outline.seen(turn), team.flatten(2)), dim=-1)


def critic_obs(
    state: State, goal_pos_w: torch.Tensor, remaining_time: torch.Tensor, outline: Outline, seats: int
) -> torch.Tensor:
    """Return the global state: goal, object and robots in the object's yaw frame, with velocities.

    Args:
      state: the state of E envs of A robots.
      goal_pos_w: (E, 3) [m].
      remaining_time: share of the episode that is left, (E,), in [0, 1].
      outline: of the object.
      seats: the most robots in a team.

    Returns:
      (E, 22 + 8 seats) float32, in [m], [m/s], [rad/s] and [1]; `share_obs_blocks` names the parts.
    """
    thing = object_of(state)
    object_xy, object_yaw = thing.pos_w[:, :2], yaw_of(thing.quat_w)
    goal_offset = (goal_pos_w[:, :2] - object_xy).unsqueeze(1)
    robot_offset = state.robot_pos_w[..., :2] - object_xy.unsqueeze(1)
    agents = robot_offset.shape[1]
    planar = torch.cat((goal_offset, thing.lin_vel_w[:, None, :2], robot_offset, state.robot_lin_vel_w[..., :2]), dim=1)
    planar = rotate_xy(planar, -object_yaw.unsqueeze(1))
    heading = yaw_of(state.robot_quat_w) - object_yaw.unsqueeze(1)
    yaw_rate = rotate(state.robot_quat_w, state.robot_ang_vel_b)[..., 2:]
    position, velocity = planar[:, 2 : 2 + agents], planar[:, 2 + agents :]
    robots = torch.cat((position, _direction(heading), velocity, yaw_rate, torch.ones_like(yaw_rate)), dim=-1)
    robots = functional.pad(robots, (0, 0, 0, seats - agents))
    object_yaw_rate = rotate(thing.quat_w, thing.ang_vel_b)[:, 2:]
    own = torch.cat((planar[:, :2].flatten(1), object_yaw_rate, remaining_time.unsqueeze(1)), dim=1)
    return torch.cat((own, outline.seen(torch.zeros_like(object_yaw)), robots.flatten(1)), dim=1)


def _direction(angle: torch.Tensor) -> torch.Tensor:
    """Return sine and cosine of angles (...) as (..., 2)."""
    return torch.stack((torch.sin(angle), torch.cos(angle)), dim=-1)
