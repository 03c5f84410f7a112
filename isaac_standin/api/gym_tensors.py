"""The part of `Gym` that shares state with the program as tensors."""

from __future__ import annotations

from typing import Optional

import torch

from isaac_standin.api.enums import CoordinateSpace
from isaac_standin.api.gymtorch import GymTensor
from isaac_standin.api.handles import Sim, prepared
from isaac_standin.api.tensor_checks import indices, rows
from isaac_standin.simulation import Simulation


class Tensors:
    """State tensors, refresh and setters. Actors are counted over all envs, env by env."""

    def acquire_actor_root_state_tensor(self, sim: Sim) -> GymTensor:
        """Return position, orientation and velocities of all actors' roots, (actors, 13)."""
        return GymTensor(prepared(sim, "acquire_actor_root_state_tensor").state.roots)

    def acquire_dof_state_tensor(self, sim: Sim) -> GymTensor:
        """Return position and velocity of all degrees of freedom, (dofs, 2)."""
        return GymTensor(prepared(sim, "acquire_dof_state_tensor").state.dofs)

    def acquire_rigid_body_state_tensor(self, sim: Sim) -> GymTensor:
        """Return position, orientation and velocities of all bodies, (bodies, 13)."""
        return GymTensor(prepared(sim, "acquire_rigid_body_state_tensor").state.bodies)

    def acquire_net_contact_force_tensor(self, sim: Sim) -> GymTensor:
        """Return the sum of the contact forces on each body [N], (bodies, 3)."""
        return GymTensor(prepared(sim, "acquire_net_contact_force_tensor").state.contact_forces)

    def acquire_dof_force_tensor(self, sim: Sim) -> GymTensor:
        """Return the effort at each degree of freedom [N m or N], (dofs,)."""
        return GymTensor(prepared(sim, "acquire_dof_force_tensor").state.dof_forces)

    def refresh_actor_root_state_tensor(self, sim: Sim) -> bool:
        """Copy the present state into the tensor of roots."""
        prepared(sim, "refresh_actor_root_state_tensor").state.refresh_roots()
        return True

    def refresh_dof_state_tensor(self, sim: Sim) -> bool:
        """Copy the present state into the tensor of degrees of freedom."""
        prepared(sim, "refresh_dof_state_tensor").state.refresh_dofs()
        return True

    def refresh_rigid_body_state_tensor(self, sim: Sim) -> bool:
        """Copy the present state into the tensor of bodies."""
        prepared(sim, "refresh_rigid_body_state_tensor").state.refresh_bodies()
        return True

    def refresh_net_contact_force_tensor(self, sim: Sim) -> bool:
        """Copy the forces of the last physics step into the tensor of contact forces."""
        prepared(sim, "refresh_net_contact_force_tensor").state.refresh_contact_forces()
        return True

    def refresh_dof_force_tensor(self, sim: Sim) -> bool:
        """Copy the efforts of the last physics step into the tensor of efforts."""
        prepared(sim, "refresh_dof_force_tensor").state.refresh_dof_forces()
        return True

    def enable_actor_dof_force_sensors(self, env: object, actor: int) -> bool:
        """Do nothing: the efforts of all degrees of freedom are always there."""
        return True

    def set_actor_root_state_tensor(self, sim: Sim, states: GymTensor) -> bool:
        """Let `states` be the roots' state from the next `simulate` on, (actors, 13)."""
        simulation = prepared(sim, "set_actor_root_state_tensor")
        simulation.state.set_roots(rows(states, simulation.state.roots, "set_actor_root_state_tensor"))
        return True

    def set_actor_root_state_tensor_indexed(self, sim: Sim, states: GymTensor, actors: GymTensor, count: int) -> bool:
        """Let rows of `states` be the state of some actors' roots from the next `simulate` on.

        Args:
          sim: the simulation.
          states: of all actors, (actors, 13).
          actors: which of them count, (at least `count`,) int32.
          count: how many of `actors` count.
        """
        where = "set_actor_root_state_tensor_indexed"
        simulation = prepared(sim, where)
        given = rows(states, simulation.state.roots, where)
        simulation.state.set_roots(given, indices(actors, count, simulation, where))
        return True

    def set_dof_state_tensor(self, sim: Sim, states: GymTensor) -> bool:
        """Let `states` be the degrees of freedom's state from the next `simulate` on, (dofs, 2)."""
        simulation = prepared(sim, "set_dof_state_tensor")
        simulation.state.set_dofs(rows(states, simulation.state.dofs, "set_dof_state_tensor"))
        return True

    def set_dof_state_tensor_indexed(self, sim: Sim, states: GymTensor, actors: GymTensor, count: int) -> bool:
        """Let rows of `states` be the state of some actors' degrees of freedom from the next `simulate` on.

        Args:
          sim: the simulation.
          states: of all degrees of freedom, (dofs, 2).
          actors: which actors count, (at least `count`,) int32.
          count: how many of `actors` count.
        """
        where = "set_dof_state_tensor_indexed"
        simulation = prepared(sim, where)
        given = rows(states, simulation.state.dofs, where)
        simulation.state.set_dofs(given, indices(actors, count, simulation, where))
        return True

    def set_dof_actuation_force_tensor(self, sim: Sim, efforts: GymTensor) -> bool:
        """Apply efforts in the next `simulate` only [N m or N], (dofs,)."""
        simulation = prepared(sim, "set_dof_actuation_force_tensor")
        simulation.set_efforts(rows(efforts, simulation.state.dof_forces, "set_dof_actuation_force_tensor"))
        return True

    def set_dof_actuation_force_tensor_indexed(
        self, sim: Sim, efforts: GymTensor, actors: GymTensor, count: int
    ) -> bool:
        """Apply the efforts of some actors in the next `simulate` only; see `set_dof_state_tensor_indexed`."""
        where = "set_dof_actuation_force_tensor_indexed"
        simulation = prepared(sim, where)
        given = rows(efforts, simulation.state.dof_forces, where)
        mask = simulation.state.dof_rows(indices(actors, count, simulation, where))
        simulation.set_efforts(torch.where(mask, given.flatten(), 0.0))
        return True

    def set_dof_position_target_tensor(self, sim: Sim, targets: GymTensor) -> bool:
        """Set the targets of position drives [rad or m], (dofs,)."""
        simulation = prepared(sim, "set_dof_position_target_tensor")
        given = rows(targets, simulation.state.dof_forces, "set_dof_position_target_tensor")
        simulation.position_targets.copy_(given.view_as(simulation.position_targets))
        return True

    def set_dof_position_target_tensor_indexed(
        self, sim: Sim, targets: GymTensor, actors: GymTensor, count: int
    ) -> bool:
        """Set the targets of some actors' position drives; see `set_dof_state_tensor_indexed`."""
        simulation = prepared(sim, "set_dof_position_target_tensor_indexed")
        _set_targets(simulation, simulation.position_targets, targets, actors, count)
        return True

    def set_dof_velocity_target_tensor(self, sim: Sim, targets: GymTensor) -> bool:
        """Set the targets of velocity drives [rad/s or m/s], (dofs,)."""
        simulation = prepared(sim, "set_dof_velocity_target_tensor")
        given = rows(targets, simulation.state.dof_forces, "set_dof_velocity_target_tensor")
        simulation.velocity_targets.copy_(given.view_as(simulation.velocity_targets))
        return True

    def set_dof_velocity_target_tensor_indexed(
        self, sim: Sim, targets: GymTensor, actors: GymTensor, count: int
    ) -> bool:
        """Set the targets of some actors' velocity drives; see `set_dof_state_tensor_indexed`."""
        simulation = prepared(sim, "set_dof_velocity_target_tensor_indexed")
        _set_targets(simulation, simulation.velocity_targets, targets, actors, count)
        return True

    def apply_rigid_body_force_tensors(
        self,
        sim: Sim,
        forceTensor: Optional[GymTensor] = None,
        torqueTensor: Optional[GymTensor] = None,
        space: CoordinateSpace = CoordinateSpace.ENV_SPACE,
    ) -> bool:
        """Apply a force at each body's centre of mass [N] and a torque [N m] in the next `simulate` only.

        Args:
          sim: the simulation.
          forceTensor: (bodies, 3); None for no force.
          torqueTensor: (bodies, 3); None for no torque.
          space: `ENV_SPACE` and `GLOBAL_SPACE` have the world's axes, `LOCAL_SPACE` has each body's own.
        """
        simulation = prepared(sim, "apply_rigid_body_force_tensors")
        wrench = []
        for tensor in (forceTensor, torqueTensor):
            if tensor is None:
                vectors = torch.zeros_like(simulation.state.contact_forces)
            else:
                vectors = rows(tensor, simulation.state.contact_forces, "apply_rigid_body_force_tensors")
            if space == CoordinateSpace.LOCAL_SPACE:
                vectors = simulation.state.to_world(vectors)
            wrench.append(vectors.view(len(sim.env_list), -1, 3))
        simulation.set_body_wrenches(*wrench)
        return True

    def apply_rigid_body_force_at_pos_tensors(
        self,
        sim: Sim,
        forceTensor: GymTensor,
        posTensor: Optional[GymTensor] = None,
        space: CoordinateSpace = CoordinateSpace.ENV_SPACE,
    ) -> bool:
        """Apply a force to a point of each body in the next `simulate` only [N].

        Args:
          sim: the simulation.
          forceTensor: (bodies, 3).
          posTensor: the points [m], (bodies, 3); None for the centres of mass.
          space: `ENV_SPACE` and `GLOBAL_SPACE` have the world's axes, and their origin is the env's or that of the grid
            of envs; `LOCAL_SPACE` is the body's own frame.
        """
        where = "apply_rigid_body_force_at_pos_tensors"
        simulation = prepared(sim, where)
        state = simulation.state
        forces = rows(forceTensor, state.contact_forces, where).view(len(sim.env_list), -1, 3)
        if space == CoordinateSpace.LOCAL_SPACE:
            forces = state.to_world(forces).view_as(forces)
        torques = torch.zeros_like(forces)
        if posTensor is not None:
            points = rows(posTensor, state.contact_forces, where).view_as(forces)
            if space == CoordinateSpace.LOCAL_SPACE:
                points = state.to_world(points).view_as(forces) + state.present_bodies()[..., :3]
            elif space == CoordinateSpace.GLOBAL_SPACE:
                origins = torch.tensor([env.origin for env in sim.env_list], device=points.device)
                points = points - origins.unsqueeze(1)
            torques = torch.linalg.cross(points - state.centres_of_mass(), forces)
        simulation.set_body_wrenches(forces, torques)
        return True


def _set_targets(
    simulation: Simulation, present: torch.Tensor, targets: GymTensor, actors: GymTensor, count: int
) -> None:
    where = "drive targets"
    given = rows(targets, simulation.state.dof_forces, where).view_as(present)
    mask = simulation.state.dof_rows(indices(actors, count, simulation, where)).view_as(present)
    present.copy_(torch.where(mask, given, present))
