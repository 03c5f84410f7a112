"""The seam below the learner: what an environment takes and what it gives."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Dict, Protocol

from mapush.spec import TensorSpec

if TYPE_CHECKING:
    import torch

    from mapush.env.metrics import EpisodeMetrics


class Team(Protocol):
    """What chooses the actions of an evaluation.

    Attributes:
      device: where it computes.
    """

    device: torch.device

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the actions (E, A, action_dim) for observations (E, A, obs_dim), without exploring."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """What actors and critic see, for E envs of A agents.

    Attributes:
      obs: (E, A, obs_dim) float32, one row per actor.
      share_obs: (E, share_obs_dim) float32, the critic's global state, the same for all agents.
    """

    obs: torch.Tensor
    share_obs: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Transition:
    """What one step returns. Envs that ended have been reset within the step.

    Attributes:
      observation: the next one; of the new episode where the old one ended.
      reward: (E, A) float32, of the step that ended the episode where it did.
      terminated: (E,) bool, the task ended the episode.
      truncated: (E,) bool, the time limit ended it.
      final_observation: the last one of the ended episode where there is one, else equal to `observation`.
      outcome: per-env results of the episode that ended, each (E,); meaningful where `done`.
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


class VecEnv(abc.ABC):
    """`num_envs` copies of a task with `num_agents` agents, reset within the step.

    Attributes:
      num_envs: parallel copies.
      num_agents: agents in each.
      device: torch device of every tensor that goes in or out.
      max_episode_length: longest episode, in env steps of `STEP_DT`.
      steps_per_decision: env steps that one call of `step` takes.
      obs_spec: of `Observation.obs`.
      share_obs_spec: of `Observation.share_obs`.
      action_spec: of the actions; values outside its bounds are clipped, not refused.
      metrics: bounded statistics of rewards and ended episodes.
      simulator_name: what computes the physics, for the reader of the console.
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

    @abc.abstractmethod
    def reset(self) -> Observation:
        """Start a new episode in every env."""

    @abc.abstractmethod
    def step(self, actions: torch.Tensor) -> Transition:
        """Act for `steps_per_decision` env steps.

        Args:
          actions: (E, A, action_dim) float32; never modified.
        Raises:
          SpecError: another shape or type.
          NonFiniteError: an action, or what came of it, is NaN or infinite; on a GPU, `check` raises it.
        """

    @abc.abstractmethod
    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise what went wrong there since the last call; once per rollout is enough.

        Returns:
          What the simulator reports, for the log.
        Raises:
          NonFiniteError: what came of an action is NaN or infinite.
          SimulatorError: the physics of an env diverged, or a buffer was too small.
        """

    @abc.abstractmethod
    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU)."""

    @abc.abstractmethod
    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""

    def moment(self) -> Dict[str, torch.Tensor]:
        """Return what `place` needs to put every env where it is now, each (E, ...); the next step may overwrite it.

        This is less than `state_dict` holds, but any simulator understands it. {} where an environment has none.
        """
        return {}

    def place(self, moment: Dict[str, torch.Tensor]) -> None:
        """Put every env where it was when `moment` returned this, on whatever simulator."""
        raise NotImplementedError(f"{type(self).__name__} has no moments")

    @abc.abstractmethod
    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
