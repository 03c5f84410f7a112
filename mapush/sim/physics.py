"""The interface of a physics engine: rigid bodies under joint servos, and the `State` that they are in.

Units are SI; quaternions are wxyz; the suffix `_w` means the world frame, `_b` the robot's or object's own frame.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

if TYPE_CHECKING:
    import torch

PHYSICS_DT = 0.005  # [s]
DECIMATION = 4  # physics steps per env step
STEP_DT = PHYSICS_DT * DECIMATION  # [s]

LEGS = ("FR", "FL", "RR", "RL")
JOINTS = tuple(f"{leg}_{joint}" for leg in LEGS for joint in ("hip", "thigh", "calf"))


@dataclasses.dataclass(frozen=True)
class State:
    """Where everything is and how it moves, for E envs of A robots; float32.

    Attributes:
      robot_pos_w: trunk origin [m], (E, A, 3).
      robot_quat_w: trunk orientation, (E, A, 4).
      robot_lin_vel_w: velocity of the trunk origin [m/s], (E, A, 3).
      robot_ang_vel_b: angular velocity in the trunk frame [rad/s], (E, A, 3).
      joint_pos: in the order of `JOINTS` [rad], (E, A, 12).
      joint_vel: [rad/s], (E, A, 12).
      object_pos_w: root of the object [m], (E, 3); None in a scene without an object, as are the next three.
      object_quat_w: (E, 4).
      object_lin_vel_w: velocity of the root [m/s], (E, 3).
      object_ang_vel_b: [rad/s], (E, 3).
    """

    robot_pos_w: torch.Tensor
    robot_quat_w: torch.Tensor
    robot_lin_vel_w: torch.Tensor
    robot_ang_vel_b: torch.Tensor
    joint_pos: torch.Tensor
    joint_vel: torch.Tensor
    object_pos_w: Optional[torch.Tensor] = None
    object_quat_w: Optional[torch.Tensor] = None
    object_lin_vel_w: Optional[torch.Tensor] = None
    object_ang_vel_b: Optional[torch.Tensor] = None


@dataclasses.dataclass(frozen=True)
class Randomization:
    """What differs from env to env, drawn once when the physics is made.

    Attributes:
      foot_friction: friction of foot against floor; None keeps the scene's value.
      payload: mass added to the trunk [kg].
      com_shift: shift of the trunk's centre of mass along each axis, plus or minus [m].
      motor_strength: factor on the servos' gains.
    """

    foot_friction: Optional[Tuple[float, float]] = None
    payload: Tuple[float, float] = (0.0, 0.0)
    com_shift: float = 0.0
    motor_strength: Tuple[float, float] = (1.0, 1.0)


class Physics(abc.ABC):
    """Rigid bodies and joint servos of `num_envs` copies of one scene.

    Attributes:
      num_envs: parallel copies.
      num_agents: robots in each.
      device: torch device of every tensor that goes in or out.
      name: what computes, for the reader of the console.
    """

    num_envs: int
    num_agents: int
    device: torch.device
    name: str

    @abc.abstractmethod
    def state(self) -> State:
        """Return the present state."""

    @abc.abstractmethod
    def step(self, joint_targets: torch.Tensor) -> State:
        """Advance all envs by `STEP_DT` and return the new state.

        Args:
          joint_targets: servo set points [rad], (E, A, 12) float32, in the order of `JOINTS`. They may lie beyond
            the joint limits: the servos are springs, and sag.
        Raises:
          SimulatorError: the physics of an env diverged; on a GPU, `check` raises it.
        """

    @abc.abstractmethod
    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise what went wrong there since the last call; once per rollout is enough.

        Returns:
          What went right, for the log: the simulator's demand for room, by name.
        Raises:
          SimulatorError: the physics of an env diverged, or a buffer was too small.
        """

    @abc.abstractmethod
    def reset(self, where: torch.Tensor, state: State) -> None:
        """Place the envs of the mask `where` (E,) bool in their rows of `state`, without memory of the past.

        No other env changes by one bit.
        """

    @abc.abstractmethod
    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Hold an external wrench on every trunk until the next call.

        Args:
          force_w: acts at the trunk's centre of mass [N], (E, A, 3).
          torque_w: [N m], (E, A, 3).
        """

    @abc.abstractmethod
    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit (on the CPU)."""

    @abc.abstractmethod
    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release threads and memory; further calls do nothing."""
