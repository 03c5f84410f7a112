"""Where each actor, body and degree of freedom of Isaac Gym's tensors lies in MuJoCo's arrays."""

from __future__ import annotations

import dataclasses
from typing import Sequence

import mujoco
import numpy as np

from isaac_standin.scene.actor import Actor
from isaac_standin.scene.model import body_name, dof_name


@dataclasses.dataclass(frozen=True)
class Layout:
    """Indices of one env, all int64 arrays. A actors, B bodies, D degrees of freedom, all in Isaac Gym's order.

    Attributes:
      num_actors: A.
      num_bodies: B.
      num_dofs: D.
      floating: actors whose root is free to move, (F,).
      fixed: actors whose root is fixed, (A - F,).
      root_qpos: columns of `qpos` of each floating root: position and quaternion, (F, 7).
      root_qvel: columns of `qvel` of each floating root: linear and angular velocity, (F, 6).
      mocap: mocap index of each fixed root, (A - F,).
      bodies: body index in the model, (B,).
      roots: the body index of each actor's root in the model, (A,).
      body_actor: actor of each body, (B,).
      dof_qpos: column of `qpos` of each degree of freedom, (D,).
      dof_qvel: column of `qvel` of each degree of freedom, (D,).
      dof_actor: actor of each degree of freedom, (D,).
      servo: column of `ctrl` of each degree of freedom; -1 if it is not driven, (D,).
      first_body: first body of each actor, (A,).
      first_dof: first degree of freedom of each actor, (A,).
    """

    num_actors: int
    num_bodies: int
    num_dofs: int
    floating: np.ndarray
    fixed: np.ndarray
    root_qpos: np.ndarray
    root_qvel: np.ndarray
    mocap: np.ndarray
    bodies: np.ndarray
    roots: np.ndarray
    body_actor: np.ndarray
    dof_qpos: np.ndarray
    dof_qvel: np.ndarray
    dof_actor: np.ndarray
    servo: np.ndarray
    first_body: np.ndarray
    first_dof: np.ndarray


class _Rows:
    """Lists of indices that become arrays."""

    def __init__(self) -> None:
        self.lists: dict[str, list] = {}

    def add(self, name: str, value: object) -> None:
        self.lists.setdefault(name, []).append(value)

    def array(self, name: str, width: int = 0) -> np.ndarray:
        shape = (-1, width) if width else (-1,)
        return np.array(self.lists.get(name, []), dtype=np.int64).reshape(shape)


def layout_of(model: mujoco.MjModel, actors: Sequence[Actor]) -> Layout:
    """Return the indices of a model that was built from these actors."""
    rows = _Rows()
    num_bodies = num_dofs = 0
    for index, actor in enumerate(actors):
        rows.add("first_body", num_bodies)
        rows.add("first_dof", num_dofs)
        _add_root(rows, model, index, actor)
        for body in actor.asset.bodies:
            name = body_name(index, body.name)
            rows.add("bodies", model.body(name).id)
            rows.add("body_actor", index)
            num_bodies += 1
        for dof in range(len(actor.drives)):
            _add_dof(rows, model, index, dof_name(index, dof))
        num_dofs += len(actor.drives)
    return Layout(
        num_actors=len(actors),
        num_bodies=num_bodies,
        num_dofs=num_dofs,
        root_qpos=rows.array("root_qpos", 7),
        root_qvel=rows.array("root_qvel", 6),
        **{name: rows.array(name) for name in _FLAT},
    )


_FLAT = (
    ("floating", "fixed", "mocap", "bodies", "roots", "body_actor")
    + ("dof_qpos", "dof_qvel", "dof_actor", "servo")
    + ("first_body", "first_dof")
)


def _add_root(rows: _Rows, model: mujoco.MjModel, index: int, actor: Actor) -> None:
    name = body_name(index, actor.asset.bodies[0].name)
    body = model.body(name)
    rows.add("roots", body.id)
    if actor.asset.fixed_base:
        rows.add("fixed", index)
        rows.add("mocap", int(model.body_mocapid[body.id]))
        return
    rows.add("floating", index)
    joint = model.joint(name)
    rows.add("root_qpos", range(int(joint.qposadr[0]), int(joint.qposadr[0]) + 7))
    rows.add("root_qvel", range(int(joint.dofadr[0]), int(joint.dofadr[0]) + 6))


def _add_dof(rows: _Rows, model: mujoco.MjModel, index: int, name: str) -> None:
    joint = model.joint(name)
    rows.add("dof_qpos", int(joint.qposadr[0]))
    rows.add("dof_qvel", int(joint.dofadr[0]))
    rows.add("dof_actor", index)
    rows.add("servo", mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_ACTUATOR, name))
