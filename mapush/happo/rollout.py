"""Storage of one rollout, allocated once on the learner's device."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional

import torch

_CARRIED_OVER = ("obs", "share_obs", "masks", "bad_masks", "active_masks")
_PER_STEP = ("actions", "log_probs", "values", "rewards")


@dataclasses.dataclass(frozen=True)
class Decision:
    """The learner's decision in E envs of A agents.

    Attributes:
      action: (E, A, K) float32.
      log_prob: log-probability of each action dimension, (E, A, K) float32.
      value: value of the state before the step, in the units of the value normalisation, (E, 1) float32.
    """

    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor


class Rollout:
    """T steps of E envs with A agents, and the observation that follows the last step.

    Every array is float32 and is allocated once; `insert` copies into it. In the arrays of length T + 1, index t
    belongs to the observation before step t, so step t fills index t + 1.

    Source: HARL@d539bad, `common/buffers/on_policy_actor_buffer.py` and `on_policy_critic_buffer_ep.py`.

    Args:
      num_steps: decisions per env in a rollout, T.
      num_envs: parallel envs, E.
      num_agents: agents in each env, A.
      obs_dim: features of an agent's observation.
      share_obs_dim: features of the critic's state.
      action_dim: numbers in an action, K.
      device: device of the arrays.

    Attributes:
      obs: (T+1, E, A, obs_dim).
      share_obs: (T+1, E, share_obs_dim).
      actions: (T, E, A, K).
      log_probs: log-probability of each action dimension when it was drawn, (T, E, A, K).
      values: the critic's output when the action was drawn, (T+1, E, 1); the learner fills in the last one.
      rewards: the team's reward, (T, E, 1).
      masks: 0 where a new episode begins, else 1, (T+1, E, 1).
      bad_masks: 0 where only a time limit ended the episode before, else 1, (T+1, E, 1).
      active_masks: 0 where the agent is absent or has left an episode that goes on, else 1, (T+1, E, A, 1).
      step: number of the T steps that are filled.
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

    def start(self, obs: torch.Tensor, share_obs: torch.Tensor, active: Optional[torch.Tensor] = None) -> None:
        """Store the first observation of a run.

        Args:
          obs: (E, A, obs_dim).
          share_obs: (E, share_obs_dim).
          active: 0 where an env has no such agent, else 1, (E, A); None if all agents take part.
        """
        self.obs[0].copy_(obs)
        self.share_obs[0].copy_(share_obs)
        if active is not None:
            self.active_masks[0, :, :, 0].copy_(active)

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
        """Store one step; all arguments are copied.

        Args:
          decision: the learner's decision on the observation before the step.
          reward: the team's reward, (E, 1).
          terminated: the task ended the episode, (E,) bool.
          truncated: the time limit ended the episode, (E,) bool.
          obs: the observation after the step, (E, A, obs_dim); where an episode ended, of the new one.
          share_obs: the state after the step, (E, share_obs_dim).
          active: 0 where an agent is absent or has left an episode that goes on, else 1, (E, A); None if all take part.
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
        """Begin the next rollout with the observation that ended this one."""
        for name in _CARRIED_OVER:
            array = getattr(self, name)
            array[0].copy_(array[-1])
        self.step = 0

    def state_dict(self) -> Dict[str, Any]:
        """Return a copy of the filled steps, and of the observation that follows them."""
        filled: Dict[str, torch.Tensor] = {}
        for name in _CARRIED_OVER:
            filled[name] = getattr(self, name)[: self.step + 1].clone()
        for name in _PER_STEP:
            filled[name] = getattr(self, name)[: self.step].clone()
        return {"step": self.step, "filled": filled}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.step = state["step"]
        for name, values in state["filled"].items():
            getattr(self, name)[: len(values)].copy_(values)
