"""The pushed object: which one a task names, and where it is in a `State`."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mapush.config import TaskConfig, pushed_object
from mapush.errors import ConfigError, MapushError
from mapush.objects import PushObject
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
    """Return where the object of `state` is.

    A `State` holds None for the object of a scene without one, so its fields are optional; those returned are not.

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


def object_for(task: TaskConfig, num_agents: int) -> PushObject:
    """Return the object that `task` names, if `num_agents` robots can push it.

    Raises:
      ConfigError: no object has this name, or its team has a different size.
    """
    item = pushed_object(task)
    if num_agents != item.num_agents:
        raise ConfigError(
            "the simulator's team does not fit the task",
            where=f"object {item.name}",
            got=f"{num_agents} robots",
            expected=f"{item.num_agents} robots",
            fix=f"make the simulator's scene from OBJECTS[{item.name!r}], or set task.num_agents",
        )
    return item
