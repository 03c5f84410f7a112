"""The pushed object in a `State`, which holds None for the object of a scene without one."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mapush.errors import MapushError
from mapush.sim.physics import State


class ObjectState(NamedTuple):
    """Where the object is and how it moves, for E envs; float32.

    Attributes:
      pos_w: root position [m], (E, 3).
      quat_w: orientation, wxyz, (E, 4).
      lin_vel_w: velocity of the root [m/s], (E, 3).
      ang_vel_b: angular velocity in the object's own frame [rad/s], (E, 3).
    """

    pos_w: torch.Tensor
    quat_w: torch.Tensor
    lin_vel_w: torch.Tensor
    ang_vel_b: torch.Tensor


def object_of(state: State) -> ObjectState:
    """Return the object of `state`.

    Raises:
      MapushError: the scene has no object.
    """
    pos_w, quat_w = state.object_pos_w, state.object_quat_w
    lin_vel_w, ang_vel_b = state.object_lin_vel_w, state.object_ang_vel_b
    if pos_w is None or quat_w is None or lin_vel_w is None or ang_vel_b is None:
        raise MapushError(
            "the state has no object",
            where="a State with object_pos_w=None",
            expected="a scene with an object",
            fix="make the simulator's scene with Scene(num_agents, object=OBJECTS[name])",
        )
    return ObjectState(pos_w, quat_w, lin_vel_w, ang_vel_b)
