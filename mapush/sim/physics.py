"""The interface of a physics engine: rigid bodies with joint servos, and their `State`.

Units are SI; quaternions are wxyz; the suffix `_w` means the world frame, `_b` the frame of the robot or object.
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
JOINTS = (
    ("FR_hip", "FR_thigh", "FR_calf")
    + ("FL_hip", "FL_thigh", "FL_calf")
    + ("RR_hip", "RR_thigh", "RR_calf")
    + ("RL_hip", "RL_thigh", "RL_calf")
)


@dataclasses.dataclass(frozen=True)
class State:
    """Positions and velocities of all robots and of the object, for E envs of A robots; float32.

    Attributes:
      robot_pos_w: position of the trunk's origin [m], (E, A, 3).
      robot_quat_w: orientation of the trunk, (E, A, 4).
      robot_lin_vel_w: velocity of the trunk's origin [m/s], (E, A, 3).
      robot_ang_vel_b: angular velocity in the trunk frame [rad/s], (E, A, 3).
      joint_pos: joint positions in the order of `JOINTS` [rad], (E, A, 12).
      joint_vel: joint velocities in the same order [rad/s], (E, A, 12).
      object_pos_w: position of the object's root [m], (E, 3). All four fields of the object are None in a scene
        without one.
      object_quat_w: orientation of the object, (E, 4).
      object_lin_vel_w: velocity of the object's root [m/s], (E, 3).
      object_ang_vel_b: angular velocity in the object's frame [rad/s], (E, 3).
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
    """Ranges of what differs from env to env; values are drawn once, when the physics is made.

    Attributes:
      foot_friction: friction between feet and floor; None keeps the scene's value.
      payload: mass added to the trunk [kg].
      com_shift: largest shift of the trunk's centre of mass along each axis, in either direction [m].
      motor_strength: factor for the servos' gains.
    """

    foot_friction: Optional[Tuple[float, float]] = None
    payload: Tuple[float, float] = (0.0, 0.0)
    com_shift: float = 0.0
    motor_strength: Tuple[float, float] = (1.0, 1.0)


class Physics(abc.ABC):
    """Rigid bodies and joint servos of `num_envs` copies of one scene.

    Attributes:
      num_envs: number of parallel copies.
      num_agents: number of robots in each.
      device: torch device of all arguments and results.
      name: name and version of the engine, for the console.
    """

    num_envs: int
    num_agents: int
    device: torch.device
    name: str

    @abc.abstractmethod
    def state(self) -> State:
        """Return the current state."""

    @abc.abstractmethod
    def step(self, joint_targets: torch.Tensor) -> State:
        """Advance all envs by `STEP_DT` and return the new state.

        Args:
          joint_targets: servo set points [rad], (E, A, 12) float32, in the order of `JOINTS`. They may lie beyond
            the joint limits, because a servo is a spring that yields under load.

        Raises:
          SimulatorError: the physics of an env diverged. On a GPU, `check` raises this error.
        """

    @abc.abstractmethod
    def check(self) -> Dict[str, float]:
        """Wait for the device, and raise an error if something failed there since the last call.

        One call per rollout is enough.

        Returns:
          Values for the log, by name: how much of its buffers the simulator needed.

        Raises:
          SimulatorError: the physics of an env diverged, or a buffer was too small.
        """

    @abc.abstractmethod
    def reset(self, where: torch.Tensor, state: State) -> None:
        """Set the envs in which the mask `where` (E,) is true to their rows of `state`, and forget their past.

        All other envs stay bitwise the same.
        """

    @abc.abstractmethod
    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Apply an external wrench to every trunk until the next call or reset.

        Args:
          force_w: force on the trunk's centre of mass [N], (E, A, 3).
          torque_w: torque on the trunk [N m], (E, A, 3).
        """

    @abc.abstractmethod
    def state_dict(self) -> Dict[str, Any]:
        """Return all that `load_state_dict` needs to continue; on the CPU it continues bit for bit."""

    @abc.abstractmethod
    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from `state`, which `state_dict` returned."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release threads and memory. It can be called twice."""
