"""The pushing task with the errors of upstream's, so that its published numbers can be reproduced.

Source: MAPush@0e61e1b, `Go1PushMidWrapper` and `Go1Object`; docs/deviations.md describes each error.
"""

from __future__ import annotations

import math
from typing import Optional, Tuple, Type

import torch

from mapush.config import TaskConfig
from mapush.device.cuda_graphs import map_tensors
from mapush.env import rewards
from mapush.env.finite import zero_if_not_finite
from mapush.env.judgement import DecisionTally
from mapush.env.push import PushEnv
from mapush.env.pushed_object import object_of
from mapush.env.terminations import Endings
from mapush.env.vec_env import Observation
from mapush.sim.geometry import yaw_of
from mapush.sim.physics import State


class QuirkyPushEnv(PushEnv):
    """The pushing task as upstream computes it, its errors included (`task.upstream_quirks`).

    The errors: robots may start in collision; actions are scaled twice; after `reset` the first step has no progress;
    the last step of an episode is rewarded for positions of the next one; the first observation of an episode uses
    the heading at the end of the last one; a NaN or an infinity is shown as 0 and costs `exception`.

    Args:
      simulator: see `PushEnv`.
      task: with `upstream_quirks`.
      seed: see `PushEnv`.
    """

    upstream_quirks = True

    def _min_separation(self) -> float:
        return 0.0

    def _bounded(self, actions: torch.Tensor) -> torch.Tensor:
        return super()._bounded(0.5 * actions)

    def _object_xy_before_first_step(self, state: State) -> torch.Tensor:
        return torch.full_like(object_of(state).pos_w[:, :2], math.nan)

    def _note_whether_finite(self, state: State) -> None:
        """Accept any state: `_reward_terms` and `_shown` replace what is not finite by 0."""

    def _rewarded_now(self, live: torch.Tensor, endings: Endings) -> torch.Tensor:
        return live & ~endings.done  # ended envs are rewarded after their reset

    def _reward_terms(
        self,
        state: State,
        endings: Endings,
        rewarded: torch.Tensor,
        previous_xy: torch.Tensor,
        goal_pos_w: torch.Tensor,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        state = map_tensors(zero_if_not_finite, state)
        return super()._reward_terms(state, endings, rewarded, previous_xy, goal_pos_w)

    def _terms_of_decision(self, tally: DecisionTally, endings: Endings, observation: Observation) -> torch.Tensor:
        after_reset, _ = self._reward_terms(
            self._present_state(), endings, endings.done, tally.previous_object_xy, self.goal_pos_w
        )
        terms = tally.terms + after_reset
        broken = ~observation.obs.isfinite().flatten(1).all(dim=1, keepdim=True)
        terms[rewards.TERMS.index("exception")] += self.task.reward.exception * broken
        return terms

    def _heading_after_reset(self, state: State, where: torch.Tensor, before: Optional[State]) -> torch.Tensor:
        heading = super()._heading_after_reset(state, where, before)
        if before is None or self._env_step == 0:  # until the first step, upstream's heading is a view of the state
            return heading
        return torch.where(where.unsqueeze(1), yaw_of(before.robot_quat_w), heading)

    def _shown(self, observation: Observation) -> Observation:
        return map_tensors(zero_if_not_finite, observation)


def push_env_class(task: TaskConfig) -> Type[PushEnv]:
    """Return the class of the pushing task: with or without upstream's errors."""
    return QuirkyPushEnv if task.upstream_quirks else PushEnv
