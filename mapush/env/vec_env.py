"""The interface between an environment and a learner: actions in, transitions out."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Dict, Optional, Protocol

from mapush.errors import MapushError
from mapush.spec import TensorSpec

if TYPE_CHECKING:
    import torch

    from mapush.env.metrics import EpisodeMetrics


class Team(Protocol):
    """A policy for all agents of an environment, as an evaluation needs it.

    Attributes:
      device: where it computes.
    """

    device: torch.device

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the actions (E, A, action_dim) for observations (E, A, obs_dim), without exploration."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """What actors and critic see, for E envs of A agents.

    Attributes:
      obs: one row per actor, (E, A, obs_dim) float32.
      share_obs: the critic's global state, the same for all agents, (E, share_obs_dim) float32.
    """

    obs: torch.Tensor
    share_obs: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Transition:
    """The result of one step, for E envs of A agents. Envs whose episode ended have been reset within the step.

    Attributes:
      observation: the next observation; where an episode ended, the first one of the new episode.
      reward: (E, A) float32; where an episode ended, the reward of its last step.
      terminated: the task ended the episode, (E,) bool.
      truncated: the time limit ended the episode, (E,) bool.
      final_observation: where an episode ended, its last observation; elsewhere equal to `observation`.
      outcome: results of the episode that ended, by name, (E,) each; meaningful only where `done`.
      terms: reward terms by name, (E, A) each; their sum is `reward`. An environment that knows only the sum returns
        it as one term.
    """

    observation: Observation
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_observation: Observation
    outcome: Dict[str, torch.Tensor]
    terms: Dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    @property
    def done(self) -> torch.Tensor:
        """(E,) bool: the episode ended, for either reason."""
        return self.terminated | self.truncated


def team_reward(reward: torch.Tensor, active: Optional[torch.Tensor]) -> torch.Tensor:
    """Return the mean reward (E, 1) of the agents that each env has.

    Args:
      reward: (E, A); 0 for absent agents.
      active: see `VecEnv`.
    """
    if active is None:
        return reward.mean(dim=1, keepdim=True)
    return reward.sum(dim=1, keepdim=True) / active.sum(dim=1, keepdim=True)


class VecEnv(abc.ABC):
    """`num_envs` copies of a task with `num_agents` agents, on one torch device.

    Below, E = `num_envs` and A = `num_agents`. An env whose episode ends is reset within the same step. The order of
    calls is `reset`, then `step` any number of times, with `check` once per rollout, then `close`. No call modifies
    its arguments or a tensor that an earlier call returned, except for `moment`.

    Attributes:
      num_envs: parallel copies of the task, E.
      num_agents: agents in each copy, A.
      device: torch device of every tensor that goes in or out.
      max_episode_length: longest episode, in env steps of `STEP_DT` = 0.02 s.
      steps_per_decision: env steps that one call of `step` takes.
      obs_spec: spec of `Observation.obs`, (E, A, obs_dim) float32.
      share_obs_spec: spec of `Observation.share_obs`, (E, share_obs_dim) float32.
      action_spec: spec of the actions, (E, A, action_dim) float32; values outside its bounds are clipped.
      metrics: bounded statistics of rewards and ended episodes.
      simulator_name: name of the physics engine, for the console.
      active: 0 where an env has no such agent, else 1, (E, A) float32; None if every env has all agents. Observations
        and rewards of an absent agent are 0, and its actions are ignored.
    """

    num_envs: int
    num_agents: int
    device: torch.device
    max_episode_length: int
    steps_per_decision: int
    obs_spec: TensorSpec
    share_obs_spec: TensorSpec
    action_spec: TensorSpec
    metrics: EpisodeMetrics
    simulator_name: str
    active: Optional[torch.Tensor] = None

    @abc.abstractmethod
    def reset(self) -> Observation:
        """Start a new episode in every env, and return its first observation."""

    @abc.abstractmethod
    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps.

        Args:
          actions: (E, A, action_dim) float32; never modified.

        Raises:
          SpecError: `actions` has a different shape or type.
          NonFiniteError: an action or the new state is NaN or infinite; on a GPU, `check` raises it.
          SimulatorError: the physics of an env diverged; on a GPU, `check` raises it.
        """

    @abc.abstractmethod
    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise what went wrong there since the last call; once per rollout is enough.

        Returns:
          The simulator's report for the log, by name.

        Raises:
          NonFiniteError: the state became NaN or infinite.
          SimulatorError: the physics of an env diverged, or a buffer was too small.
        """

    @abc.abstractmethod
    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU).

        Later steps do not change what was returned.
        """

    @abc.abstractmethod
    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; `state` is copied."""

    def moment(self) -> Dict[str, torch.Tensor]:
        """Return what `place` needs to restore the present place of every env, by name, (E, ...) each.

        A moment holds less than `state_dict`, but any simulator understands it. The next step may overwrite it. An
        environment without moments returns {}.
        """
        return {}

    def place(self, moment: Dict[str, torch.Tensor]) -> None:
        """Put every env where it was when `moment` returned this, on whatever simulator.

        Raises:
          MapushError: this environment has no moments.
        """
        raise MapushError(
            f"{type(self).__name__} has no moments",
            where="VecEnv.place",
            cause="`moment` returns {} and `place` is not implemented",
            fix="replay this run with `state_dict` and `load_state_dict`",
        )

    @abc.abstractmethod
    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
