"""Storage of one rollout: allocated once, on the learner's device."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional

import torch

_CARRIED_OVER = ("obs", "share_obs", "masks", "bad_masks", "active_masks")
_PER_STEP = ("actions", "log_probs", "values", "rewards")


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the learner decides for E envs of A agents.

    Attributes:
      action: (E, A, K).
      log_prob: (E, A, K), of each action dimension.
      value: (E, 1), in the units of the value normalisation.
    """

    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor


class Rollout:
    """T steps of E envs with A agents, and the observation that follows the last one.

    Index t of an array of T + 1 belongs to the observation before step t, so what step t leads to is at t + 1.

    Args:
      num_steps: T.
      num_envs: E.
      num_agents: A.
      obs_dim: features of an agent's observation.
      share_obs_dim: features of the critic's state.
      action_dim: K, numbers in an action.
      device: where the arrays live.

    Attributes:
      obs: (T+1, E, A, obs_dim).
      share_obs: (T+1, E, share_obs_dim).
      actions: (T, E, A, K).
      log_probs: (T, E, A, K), of each action dimension, at sampling.
      values: (T+1, E, 1), the critic's output at sampling; the last is filled in by the learner.
      rewards: (T, E, 1), of the team.
      masks: (T+1, E, 1), 0 where a new episode begins.
      bad_masks: (T+1, E, 1), 0 where a time limit, and nothing else, ended the episode before.
      active_masks: (T+1, E, A, 1), 0 where the agent is out of an episode that goes on.
      step: how many of the T steps are filled.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        num_agents: int,
        obs_dim: int,
        share_obs_dim: int,
        action_dim: int,
        device: torch.device,
    ) -> None:
        def zeros(steps: int, *shape: int) -> torch.Tensor:
            return torch.zeros((steps, num_envs) + shape, device=device)

        self.num_steps = num_steps
        self.obs = zeros(num_steps + 1, num_agents, obs_dim)
        self.share_obs = zeros(num_steps + 1, share_obs_dim)
        self.actions = zeros(num_steps, num_agents, action_dim)
        self.log_probs = zeros(num_steps, num_agents, action_dim)
        self.values = zeros(num_steps + 1, 1)
        self.rewards = zeros(num_steps, 1)
        self.masks = zeros(num_steps + 1, 1) + 1.0
        self.bad_masks = zeros(num_steps + 1, 1) + 1.0
        self.active_masks = zeros(num_steps + 1, num_agents, 1) + 1.0
        self.step = 0

    def start(self, obs: torch.Tensor, share_obs: torch.Tensor) -> None:
        """Store the first observation of a run: obs (E, A, obs_dim), share_obs (E, share_obs_dim)."""
        self.obs[0].copy_(obs)
        self.share_obs[0].copy_(share_obs)

    def insert(
        self,
        decision: Decision,
        reward: torch.Tensor,
        terminated: torch.Tensor,
        truncated: torch.Tensor,
        obs: torch.Tensor,
        share_obs: torch.Tensor,
        active: Optional[torch.Tensor] = None,
    ) -> None:
        """Copy in one step.

        Args:
          decision: what the learner decided on the observation before the step.
          reward: (E, 1), the team's.
          terminated: (E,) bool, the task ended the episode.
          truncated: (E,) bool, the time limit ended it.
          obs: (E, A, obs_dim) after the step, of the new episode where the old one ended.
          share_obs: (E, share_obs_dim) after the step.
          active: (E, A), 0 where an agent is out of an episode that goes on; by default all are in.
        """
        step = self.step
        self.actions[step].copy_(decision.action)
        self.log_probs[step].copy_(decision.log_prob)
        self.values[step].copy_(decision.value)
        self.rewards[step].copy_(reward)
        self.obs[step + 1].copy_(obs)
        self.share_obs[step + 1].copy_(share_obs)
        self.masks[step + 1, :, 0].copy_(~(terminated | truncated))
        self.bad_masks[step + 1, :, 0].copy_(terminated | ~truncated)
        if active is None:
            self.active_masks[step + 1].fill_(1.0)
        else:
            self.active_masks[step + 1, :, :, 0].copy_(active)
        self.step = step + 1

    def finish(self) -> None:
        """Begin the next rollout where this one ended."""
        for name in _CARRIED_OVER:
            array = getattr(self, name)
            array[0].copy_(array[-1])
        self.step = 0

    def state_dict(self) -> Dict[str, Any]:
        """Return the filled steps, and the observation that follows them."""
        filled = {name: getattr(self, name)[: self.step + 1].clone() for name in _CARRIED_OVER}
        filled.update({name: getattr(self, name)[: self.step].clone() for name in _PER_STEP})
        return {"step": self.step, "filled": filled}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.step = state["step"]
        for name, values in state["filled"].items():
            getattr(self, name)[: len(values)].copy_(values)
