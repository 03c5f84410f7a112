"""Observation and reward; the reward uses positions after the reset, and flags from before it."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Tuple

import numpy as np
import torch

from mapush.config import RewardConfig
from mapush.env import observations, rewards
from mapush.sim.geometry import constant, yaw_of
from mapush.sim.physics import State
from mqe import _physics

_NAMES = {  # upstream's: ours
    "distance_to_target_reward": "target",
    "exception_punishment": "exception",
    "approach_to_box_reward": "approach",
    "collision_punishment": "collision",
    "reach_target_reward": "reach_target",
    "push_reward": "push",
    "ocb_reward": "ocb",
}
_REWARDS = ("target", "approach", "push", "ocb", "reach_target")
_PUNISHMENTS = ("collision", "exception")


class _Box:
    """A space of gym, which this double does not need."""

    dtype = np.dtype(np.float64)

    def __init__(self, high: float, shape: Tuple[int, ...]) -> None:
        self.shape = shape
        self.high = np.full(shape, high)
        self.low = -self.high


class Go1PushMidWrapper:
    """The environment as upstream's training uses it; other attributes are those of the wrapped environment."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.observation_space = _Box(float("inf"), (2 + 3 * env.num_agents,))
        self.action_space = _Box(1.0, (3,))
        self.action_scale = torch.tensor([[[0.5, 0.5, 0.5]]], device=env.device).repeat(env.num_envs, env.num_agents, 1)
        scales = env.cfg.rewards.scales
        weights = {}
        for name in _REWARDS:
            weights[name] = getattr(scales, name + "_reward_scale")
        for name in _PUNISHMENTS:
            weights[name] = getattr(scales, name + "_punishment_scale")
        self._weights = RewardConfig(**weights, expanded_ocb=env.cfg.rewards.expanded_ocb_reward)
        self._vertices = constant(tuple(map(tuple, env.cfg.asset.vertex_list)), torch.device(env.device))
        self.reward_buffer: Dict[str, Any] = dict.fromkeys(_NAMES, 0)
        self.reward_buffer["step_count"] = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def close(self) -> None:
        """Raise AttributeError: as in upstream, the wrapped environment has no such method."""
        self.env.close()

    def reset(self, next_target_pos: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Return the first observation (E, A, 2 + 3 A)."""
        assert next_target_pos is None, "only for goals that a higher level sets"
        self.env.reset()
        self.last_box_state = None
        return self._observe(self._state())

    def step(
        self, action: torch.Tensor, next_target_pos: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, Dict[str, Any]]:
        """Take an env step with the actions (E, A, 3) in [-1, 1]."""
        assert next_target_pos is None, "only for goals that a higher level sets"
        action = torch.clip(action, -1.0, 1.0)
        _, _, termination, info = self.env.step((action * self.action_scale).reshape(-1, self.action_space.shape[0]))
        state = self._state()
        obs = self._observe(state)
        self.value_exception_buf = ~obs.isfinite().flatten(1).all(1)
        obs[~obs.isfinite()] = 0
        return obs, self._reward(state), termination, info

    def _state(self) -> State:
        robots, thing, _ = self.env._bodies()
        return _physics.state_of(robots.cpu(), thing.cpu())

    def _goal(self) -> torch.Tensor:
        return self.env._bodies()[2][:, :3].cpu() - torch.tensor((_physics.CENTRE, 0.0, _physics.FLOOR))

    def _observe(self, state: State) -> torch.Tensor:
        yaw = self.obs_buf.base_rpy[:, 2].view(self.num_envs, -1).cpu()
        return observations.actor_obs(state, yaw, self._goal()).to(self.device)

    def _reward(self, state: State) -> torch.Tensor:
        state = _without_nan(state)
        box = self.root_states_npc.view(self.num_envs, -1, 13)[:, 0].clone()
        if self.last_box_state is None:
            self.last_box_state = box
        moved = (box - self.last_box_state)[:, :2].cpu()
        inputs = rewards.RewardInputs(
            robot_pos_w=state.robot_pos_w,
            object_pos_w=state.object_pos_w,
            object_yaw=yaw_of(state.object_quat_w),
            object_lin_vel_w=state.object_lin_vel_w,
            previous_object_xy=state.object_pos_w[:, :2] - moved,
            goal_pos_w=self._goal(),
            success=self.finished_buf.cpu(),
            exception=self.exception_buf.cpu().float() + self.value_exception_buf.cpu().float(),
        )
        terms = rewards.compute(inputs, self._vertices.cpu(), self._weights)
        self.last_box_state = box
        self.reward_buffer["step_count"] += 1
        for name, ours in _NAMES.items():
            share = {"approach": 1.0, "ocb": 1.0, "collision": 0.5}.get(ours, 1.0 / self.num_agents)
            self.reward_buffer[name] += _as_upstream_sums(ours, share * terms[ours].sum())
        return torch.stack(list(terms.values())).sum(0).to(self.device)


def _without_nan(state: State) -> State:
    fields = {}
    for field in dataclasses.fields(State):
        fields[field.name] = getattr(state, field.name).nan_to_num(0, 0, 0)
    return State(**fields)


def _as_upstream_sums(term: str, value: torch.Tensor) -> Any:
    """Return a number of the type that upstream adds up: a tensor, an array's element, or a Python number."""
    if term in ("target", "push"):
        return value
    if term in ("reach_target", "exception"):
        return value.item()
    return np.float32(value)
