"""The interface between simulator and task: velocity commands in, `State` out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Dict, Optional

from mapush.sim.physics import Physics, State

if TYPE_CHECKING:
    import torch

    from mapush.sim.walking import WalkingPolicy


class Simulator:
    """Robots that walk as they are told: velocity commands in, `State` out.

    Args:
      physics: the bodies.
      walking: the frozen policy that turns commands into joint targets.

    Attributes:
      memory: of the walking policy, (E, A, memory_dim); replaced by every step, never changed in place.
    """

    def __init__(self, physics: Physics, walking: WalkingPolicy) -> None:
        import torch

        from mapush.device.cuda_graphs import Captured

        self.physics = physics
        self.walking = walking
        self._walk = Captured(walking.step)
        self.num_envs = physics.num_envs
        self.num_agents = physics.num_agents
        self.device = physics.device
        self.name = physics.name
        self.memory = torch.zeros((self.num_envs, self.num_agents, walking.memory_dim), device=self.device)

    def state(self) -> State:
        """Return the present state."""
        return self.physics.state()

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        """Walk for `STEP_DT` under `commands` and return the new state.

        Args:
          commands: v_x [m/s], v_y [m/s], omega_z [rad/s] in the robot's own frame, (E, A, 3) float32.
          state: the present state, if the caller has it at hand.
        """
        state = self.state() if state is None else state
        robots = dataclasses.replace(
            state, object_pos_w=None, object_quat_w=None, object_lin_vel_w=None, object_ang_vel_b=None
        )
        targets, self.memory = self._walk(robots, commands, self.memory)
        return self.physics.step(targets)

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Place the envs of the mask `where` (E,) bool in their rows of `state`; no other env changes by one bit."""
        self.memory = self.memory.masked_fill(where.view(-1, 1, 1), 0.0)
        self.physics.reset(where, state)

    def check(self) -> Dict[str, float]:
        """Raise what went wrong on the device since the last call; see `Physics.check`."""
        return self.physics.check()

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU)."""
        return {"physics": self.physics.state_dict(), "memory": self.memory.clone()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.physics.load_state_dict(state["physics"])
        self.memory = state["memory"].to(self.device, copy=True)

    def close(self) -> None:
        """Release the physics."""
        self.physics.close()
