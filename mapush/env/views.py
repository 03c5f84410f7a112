"""The choice of what actors and critic see (`task.view`): one team, or any object and team."""

from __future__ import annotations

import abc
from typing import Dict

import torch

from mapush.config import TaskConfig
from mapush.env import any_team, observations
from mapush.env.any_team import Outline
from mapush.objects import PushObject
from mapush.sim.physics import State
from mapush.spec import TensorSpec


class TaskView(abc.ABC):
    """Makes the observations of E envs of A robots.

    Attributes:
      blocks: name and width of each part of the actor's observation, in order.
      share_blocks: the same of the critic's state.
    """

    blocks: Dict[str, int]
    share_blocks: Dict[str, int]

    @property
    def obs_dim(self) -> int:
        """Width of the actor's observation."""
        return sum(self.blocks.values())

    @property
    def share_obs_dim(self) -> int:
        """Width of the critic's state."""
        return sum(self.share_blocks.values())

    def obs_spec(self, num_envs: int, num_agents: int) -> TensorSpec:
        """Return the spec of `actor_obs`."""
        dims = ("num_envs", "num_agents", "obs_dim")
        return TensorSpec("obs", dims, (num_envs, num_agents, self.obs_dim))

    def share_obs_spec(self, num_envs: int) -> TensorSpec:
        """Return the spec of `critic_obs`."""
        return TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (num_envs, self.share_obs_dim))

    @abc.abstractmethod
    def actor_obs(self, state: State, robot_yaw: torch.Tensor, goal_pos_w: torch.Tensor) -> torch.Tensor:
        """Return what each robot sees, (E, A, obs_dim).

        Args:
          state: the state of the envs.
          robot_yaw: the heading that each robot observes as its own [rad], (E, A).
          goal_pos_w: (E, 3) [m].
        """

    @abc.abstractmethod
    def critic_obs(self, state: State, goal_pos_w: torch.Tensor, remaining_time: torch.Tensor) -> torch.Tensor:
        """Return the global state, (E, share_obs_dim).

        Args:
          state: the state of the envs.
          goal_pos_w: (E, 3) [m].
          remaining_time: share of the episode that is left, (E,), in [0, 1].
        """


class OneTeamView(TaskView):
    """Observations whose width grows with the team; see `observations`.

    Args:
      num_agents: size of the team.
    """

    def __init__(self, num_agents: int) -> None:
        self.blocks = observations.obs_blocks(num_agents)
        self.share_blocks = observations.share_obs_blocks(num_agents)

    def actor_obs(self, state: State, robot_yaw: torch.Tensor, goal_pos_w: torch.Tensor) -> torch.Tensor:
        """See `observations.actor_obs`."""
        return observations.actor_obs(state, robot_yaw, goal_pos_w)

    def critic_obs(self, state: State, goal_pos_w: torch.Tensor, remaining_time: torch.Tensor) -> torch.Tensor:
        """See `observations.critic_obs`."""
        return observations.critic_obs(state, goal_pos_w, remaining_time)


class AnyTeamView(TaskView):
    """Observations of the same width and meaning for every object and team; see `any_team`.

    Args:
      item: the object.
      seats: the most robots in a team.
      device: of the states.
    """

    def __init__(self, item: PushObject, seats: int, device: torch.device) -> None:
        self.blocks = any_team.obs_blocks(seats)
        self.share_blocks = any_team.share_obs_blocks(seats)
        self._outline = Outline(item, device)
        self._seats = seats

    def actor_obs(self, state: State, robot_yaw: torch.Tensor, goal_pos_w: torch.Tensor) -> torch.Tensor:
        """See `any_team.actor_obs`."""
        return any_team.actor_obs(state, robot_yaw, goal_pos_w, self._outline, self._seats)

    def critic_obs(self, state: State, goal_pos_w: torch.Tensor, remaining_time: torch.Tensor) -> torch.Tensor:
        """See `any_team.critic_obs`."""
        return any_team.critic_obs(state, goal_pos_w, remaining_time, self._outline, self._seats)


def view_of(task: TaskConfig, item: PushObject, device: torch.device) -> TaskView:
    """Return what a task shows of an object and its team."""
    if task.view == "any_team":
        return AnyTeamView(item, task.seats, device)
    return OneTeamView(item.num_agents)
