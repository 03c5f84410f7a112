"""The walking task on a physics in which nothing moves, for tests that need no motion."""

from __future__ import annotations

import dataclasses
from typing import List, Optional

import torch

from mapush.config import WalkConfig
from mapush.env.walk import WalkEnv
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.physics import Physics, State

NUM_ENVS = 5


class StillPhysics(Physics):
    """One robot per env that does not move.

    Attributes:
      targets: the last joint targets.
      force_w: the last force.
      reset_ids: which envs each reset was for.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.num_agents, self.device = num_envs, 1, torch.device("cpu")
        self.name = "still"
        zero = torch.zeros(num_envs, 1, 3)
        level = torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(num_envs, 1, 4)
        joint_pos = torch.tensor(DEFAULT_JOINT_POS).expand(num_envs, 1, 12)
        self._state = State(zero, level, zero, zero, joint_pos, torch.zeros(num_envs, 1, 12))
        self.targets: Optional[torch.Tensor] = None
        self.force_w = zero
        self.reset_ids: List[List[int]] = []

    def state(self) -> State:
        """Return the present state."""
        return self._state

    def place(self, **fields: torch.Tensor) -> None:
        """Replace fields of the present state."""
        for name, value in fields.items():
            assert value.shape == getattr(self._state, name).shape, name
        self._state = dataclasses.replace(self._state, **fields)

    def set_height(self, height) -> None:
        """Set the height of the trunks to `height` [m], a number or (E,)."""
        position = self._state.robot_pos_w.clone()
        position[:, 0, 2] = height
        self.place(robot_pos_w=position)

    def step(self, joint_targets: torch.Tensor) -> State:
        """Stay."""
        assert tuple(joint_targets.shape) == (self.num_envs, 1, 12)
        self.targets = joint_targets
        return self._state

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Place the envs of `where` (E,) bool in their rows of `state`."""
        self.reset_ids.append(where.nonzero().flatten().tolist())
        for field in ("robot_pos_w", "robot_quat_w", "robot_lin_vel_w", "robot_ang_vel_b", "joint_pos", "joint_vel"):
            value = getattr(self._state, field).clone()
            value[where] = getattr(state, field)[where]
            self.place(**{field: value})

    def check(self):
        """Return an empty report."""
        return {}

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Remember the force."""
        self.force_w = force_w.clone()

    def state_dict(self):
        """Return the state."""
        return {"state": self._state}

    def load_state_dict(self, state) -> None:
        """Take a state."""
        self._state = state["state"]

    def close(self) -> None:
        """Do nothing."""


def walk_config(**changes) -> WalkConfig:
    """Return a configuration in which every episode has commands to walk and disturbances."""
    return dataclasses.replace(WalkConfig(parked_share=0.0, calm_share=0.0), **changes)


def make_env(config: WalkConfig, num_envs: int = NUM_ENVS, seed: int = 0) -> WalkEnv:
    """Return the walking task on robots that stand still."""
    return WalkEnv(StillPhysics(num_envs), config, seed)


def act(env: WalkEnv, value: float = 0.0):
    """Take a step with the same action for all joints."""
    return env.step(torch.full((env.num_envs, 1, 12), value))


def command_of(obs: torch.Tensor) -> torch.Tensor:
    """Return the commands (E, 3) [m/s, m/s, rad/s] in observations (E, 1, 50)."""
    return obs[:, 0, 45:48] / torch.tensor((2.0, 2.0, 1.0))
