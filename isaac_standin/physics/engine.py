"""The interface of an engine: many copies of one MuJoCo model, with state tensors that are written in place.

Everything is in MuJoCo's order and conventions; quaternions are wxyz.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import mujoco
import numpy as np
import torch

Fields = dict[str, np.ndarray]

# fields from which MuJoCo computes constants of the model, such as the inertia that a contact meets
SOURCES_OF_CONSTANTS = {"body_mass", "body_ipos", "body_inertia", "body_iquat", "dof_armature"}


@dataclasses.dataclass(frozen=True)
class Start:
    """What every env starts from.

    Attributes:
      qpos: positions, (E, nq).
      mocap_pos: positions of the mocap bodies [m], (E, nmocap, 3).
      mocap_quat: their orientations, (E, nmocap, 4).
    """

    qpos: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray


class Engine(abc.ABC):
    """`num_envs` copies of a model.

    Attributes:
      num_envs: number of copies, E.
      device: torch device of all tensors.
      model: the model, without what differs from env to env.
      qpos, qvel, ctrl, qfrc_applied, xfrc_applied, mocap_pos, mocap_quat, qacc_warmstart: MuJoCo's state, one row for
        each env. A write counts from the next `step` or `kinematics` on.
      xpos, xquat, xipos, cvel, subtree_com: MuJoCo's results, as of the last `kinematics`.
      sensordata: of the last physics step.
      qfrc_actuator: effort of the servos in the last physics step, (E, nv).
    """

    num_envs: int
    device: torch.device
    model: mujoco.MjModel
    qpos: torch.Tensor
    qvel: torch.Tensor
    ctrl: torch.Tensor
    qfrc_applied: torch.Tensor
    xfrc_applied: torch.Tensor
    mocap_pos: torch.Tensor
    mocap_quat: torch.Tensor
    qacc_warmstart: torch.Tensor
    xpos: torch.Tensor
    xquat: torch.Tensor
    xipos: torch.Tensor
    cvel: torch.Tensor
    subtree_com: torch.Tensor
    sensordata: torch.Tensor
    qfrc_actuator: torch.Tensor

    @abc.abstractmethod
    def step(self) -> None:
        """Advance all envs by the physics steps that the engine was made for.

        Raises:
          SimulatorError: an env diverged, or a buffer was too small; on a GPU a later call raises it.
        """

    @abc.abstractmethod
    def kinematics(self) -> None:
        """Compute positions and velocities of all bodies from the present state."""

    @abc.abstractmethod
    def assign(self, fields: Fields) -> None:
        """Set fields of the model, each with a row for every env."""

    @abc.abstractmethod
    def set_gravity(self, gravity: tuple[float, float, float]) -> None:
        """Set the gravity of all envs [m/s^2]."""

    @abc.abstractmethod
    def check(self) -> None:
        """Wait for the device, and raise the error of the steps since the last check, if there is one."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release threads and memory. It can be called twice."""

    def mj_data(self, env: int) -> mujoco.MjData:
        """Return the state of an env as data of `model`, ready to be rendered."""
        data = mujoco.MjData(self.model)
        data.qpos[:] = _numpy(self.qpos[env])
        data.qvel[:] = _numpy(self.qvel[env])
        data.mocap_pos[:] = _numpy(self.mocap_pos[env])
        data.mocap_quat[:] = _numpy(self.mocap_quat[env])
        mujoco.mj_forward(self.model, data)
        return data


def _numpy(row: torch.Tensor) -> Any:
    return row.detach().cpu().numpy()


def differing(model: mujoco.MjModel, fields: Fields) -> Fields:
    """Return the fields of which a row differs from the model's."""
    found = {}
    for name, values in fields.items():
        if values.size and bool((values != getattr(model, name)).any()):
            found[name] = values
    return found
