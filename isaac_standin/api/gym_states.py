"""The part of `Gym` that shares the state of one actor or body as numpy arrays and vectors."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import numpy as np
import torch

from isaac_standin.api.enums import STATE_POS, STATE_VEL, CoordinateSpace
from isaac_standin.api.handles import Env, prepared
from isaac_standin.api.values import DofState, Quat, RigidBodyState, Transform, Vec3
from isaac_standin.errors import StandinError
from isaac_standin.simulation import Simulation
from isaac_standin.tensors import rotation

POSITION, VELOCITY = 0, 1


class States:
    """States, targets and forces of one actor or body. Slow: programs with many envs use the tensors."""

    def get_actor_dof_states(self, env: Env, actor: int, flags: int) -> np.ndarray:
        """Return position and velocity of an actor's degrees of freedom, (dofs,) of `DofState.dtype`.

        Both are always there, whatever `flags` asks for.
        """
        found = env.actor(actor, "get_actor_dof_states")
        simulation = env.sim.simulation
        states = found.start_state
        if simulation.prepared:
            states = _host(
                prepared(env.sim, "get_actor_dof_states").state.present_dofs()[env.index, env.dofs_of(actor)]
            )
        return _structured(states, DofState.dtype)

    def set_actor_dof_states(self, env: Env, actor: int, states: np.ndarray, flags: int) -> bool:
        """Set the state of an actor's degrees of freedom at once.

        Args:
          env: the env.
          actor: the actor's handle.
          states: an array of `DofState.dtype`.
          flags: `STATE_POS`, `STATE_VEL` or `STATE_ALL`: which part of it counts.
        """
        where = "set_actor_dof_states"
        found = env.actor(actor, where)
        if not isinstance(states, np.ndarray) or states.dtype.names != DofState.dtype.names:
            raise StandinError(
                "these are no states of degrees of freedom",
                where=where,
                got=type(states).__name__,
                expected="an array that get_actor_dof_states returned, or np.zeros(dofs, gymapi.DofState.dtype)",
            )
        for column, flag, name in ((POSITION, STATE_POS, "pos"), (VELOCITY, STATE_VEL, "vel")):
            if not flags & flag:
                continue
            values = _one_each(states[name], len(found.drives), where)
            if env.sim.simulation.prepared:
                state = prepared(env.sim, where).state
                state.write_dofs(env.index, env.dofs_of(actor), column, torch.from_numpy(values))
            else:
                found.start_state[:, column] = values
        return True

    def get_actor_dof_position_targets(self, env: Env, actor: int) -> np.ndarray:
        """Return the targets of an actor's position drives [rad or m], (dofs,)."""
        return _targets(env, actor, POSITION)

    def get_actor_dof_velocity_targets(self, env: Env, actor: int) -> np.ndarray:
        """Return the targets of an actor's velocity drives [rad/s or m/s], (dofs,)."""
        return _targets(env, actor, VELOCITY)

    def set_actor_dof_position_targets(self, env: Env, actor: int, targets: Sequence[float]) -> bool:
        """Set the targets of an actor's position drives [rad or m], (dofs,)."""
        return _set_targets(env, actor, POSITION, targets)

    def set_actor_dof_velocity_targets(self, env: Env, actor: int, targets: Sequence[float]) -> bool:
        """Set the targets of an actor's velocity drives [rad/s or m/s], (dofs,)."""
        return _set_targets(env, actor, VELOCITY, targets)

    def get_actor_dof_forces(self, env: Env, actor: int) -> np.ndarray:
        """Return the efforts at an actor's degrees of freedom in the last physics step [N m or N], (dofs,)."""
        env.actor(actor, "get_actor_dof_forces")
        efforts = prepared(env.sim, "get_actor_dof_forces").state.present_efforts()
        return _host(efforts[env.index, env.dofs_of(actor)])

    def apply_actor_dof_efforts(self, env: Env, actor: int, efforts: Sequence[float]) -> bool:
        """Apply efforts to an actor's degrees of freedom in the next `simulate` only [N m or N], (dofs,)."""
        where = "apply_actor_dof_efforts"
        values = _one_each(efforts, len(env.actor(actor, where).drives), where)
        prepared(env.sim, where).set_some_efforts(env.index, env.dofs_of(actor), torch.from_numpy(values))
        return True

    def get_actor_rigid_body_states(self, env: Env, actor: int, flags: int) -> np.ndarray:
        """Return pose and velocity of an actor's bodies, (bodies,) of `RigidBodyState.dtype`.

        Both are always there, whatever `flags` asks for.
        """
        found = env.actor(actor, "get_actor_rigid_body_states")
        states = prepared(env.sim, "get_actor_rigid_body_states").state.present_bodies()[env.index]
        first = env.bodies_before(actor)
        return _structured(_host(states[first : first + len(found.asset.bodies)]), RigidBodyState.dtype)

    def get_rigid_transform(self, env: Env, body: int) -> Transform:
        """Return the pose of a body, given by its index in the env."""
        simulation = _with_body(env, body, "get_rigid_transform")
        pose = simulation.state.present_bodies()[env.index, body, :7].tolist()
        return Transform(Vec3(*pose[:3]), Quat(*pose[3:]))

    def apply_body_forces(
        self,
        env: Env,
        rigidHandle: int,
        force: Optional[Vec3] = None,
        torque: Optional[Vec3] = None,
        space: CoordinateSpace = CoordinateSpace.ENV_SPACE,
    ) -> None:
        """Apply a force at a body's centre of mass [N] and a torque [N m] in the next `simulate` only.

        Args:
          env: the env.
          rigidHandle: index of the body in the env.
          force: None for no force.
          torque: None for no torque.
          space: `ENV_SPACE` and `GLOBAL_SPACE` have the world's axes, `LOCAL_SPACE` has the body's own.
        """
        simulation = _with_body(env, rigidHandle, "apply_body_forces")
        vectors = torch.zeros(2, 3)
        for row, vector in enumerate((force, torque)):
            if vector is not None:
                vectors[row] = torch.tensor([vector.x, vector.y, vector.z])
        if space == CoordinateSpace.LOCAL_SPACE:
            quat = rotation.wxyz(simulation.state.present_bodies()[env.index, rigidHandle, 3:7].cpu())
            vectors = rotation.rotate(quat.expand(2, 4), vectors)
        simulation.add_body_wrench(env.index, rigidHandle, vectors[0], vectors[1])

    def apply_body_force_at_pos(
        self,
        env: Env,
        rigidHandle: int,
        force: Vec3,
        pos: Optional[Vec3] = None,
        space: CoordinateSpace = CoordinateSpace.ENV_SPACE,
    ) -> None:
        """Apply a force to a point of a body in the next `simulate` only [N].

        Args:
          env: the env.
          rigidHandle: index of the body in the env.
          force: the force.
          pos: the point; None for the centre of mass.
          space: where force and point are given: see `apply_rigid_body_force_at_pos_tensors`.
        """
        if pos is None:
            self.apply_body_forces(env, rigidHandle, force, None, space)
            return
        simulation = _with_body(env, rigidHandle, "apply_body_force_at_pos")
        state = simulation.state.present_bodies()[env.index, rigidHandle].cpu()
        com = simulation.state.centres_of_mass()[env.index, rigidHandle].cpu()
        vector, point = torch.tensor([force.x, force.y, force.z]), torch.tensor([pos.x, pos.y, pos.z])
        if space == CoordinateSpace.LOCAL_SPACE:
            quat = rotation.wxyz(state[3:7])
            vector, point = rotation.rotate(quat, vector), state[:3] + rotation.rotate(quat, point)
        elif space == CoordinateSpace.GLOBAL_SPACE:
            point = point - torch.tensor(env.origin)
        simulation.add_body_wrench(env.index, rigidHandle, vector, torch.linalg.cross(point - com, vector))


def _host(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().float().numpy()


def _structured(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Return rows of numbers as a structured array of its own, (n,)."""
    return np.ascontiguousarray(values, dtype=np.float32).view(dtype).reshape(-1).copy()


def _one_each(values: Any, count: int, where: str) -> np.ndarray:
    """Return one number for each degree of freedom, as a copy.

    Raises:
      StandinError: there are more or fewer.
    """
    found = np.array(values, dtype=np.float32).reshape(-1)
    if len(found) != count:
        raise StandinError(
            "there must be one number for each degree of freedom", where=where, got=str(len(found)), expected=str(count)
        )
    return found


def _targets(env: Env, actor: int, column: int) -> np.ndarray:
    found = env.actor(actor, "the targets of drives")
    simulation = env.sim.simulation
    if not simulation.prepared:
        return found.start_targets[:, column].copy()
    targets = (simulation.position_targets, simulation.velocity_targets)[column]
    return _host(targets[env.index, env.dofs_of(actor)]).copy()


def _set_targets(env: Env, actor: int, column: int, targets: Sequence[float]) -> bool:
    found = env.actor(actor, "the targets of drives")
    values = _one_each(targets, len(found.drives), "the targets of drives")
    simulation = env.sim.simulation
    if not simulation.prepared:
        found.start_targets[:, column] = values
        return True
    present = (simulation.position_targets, simulation.velocity_targets)[column]
    present[env.index, env.dofs_of(actor)] = torch.from_numpy(values).to(present)
    return True


def _with_body(env: Env, body: int, where: str) -> Simulation:
    """Return the simulation of an env.

    Raises:
      StandinError: the env has no such body.
    """
    simulation = prepared(env.sim, where)
    count = simulation.layout.num_bodies
    if not 0 <= body < count:
        raise StandinError(f"there is no body {body}", where=f"{where}, env {env.index}", expected=f"0 to {count - 1}")
    return simulation
