"""The part of `Gym` that answers questions about actors and sets their properties."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from isaac_standin.api import translation
from isaac_standin.api.enums import DOMAIN_ACTOR, DOMAIN_ENV, DOMAIN_SIM, IndexDomain, MeshType
from isaac_standin.api.gym_assets import body_names, dof_names, joint_names
from isaac_standin.api.handles import NOT_FOUND, Asset, Env, Sim, index_of
from isaac_standin.api.values import IndexRange, RigidBodyProperties, RigidShapeProperties, Vec3
from isaac_standin.scene.actor import Actor


class ActorQueries:
    """Envs and actors: counts, names, indices and properties."""

    def get_env_count(self, sim: Sim) -> int:
        """Return the number of envs."""
        return len(sim.env_list)

    def get_env(self, sim: Sim, index: int) -> Env:
        """Return an env by its index."""
        return sim.env_list[index]

    def get_env_origin(self, env: Env) -> Vec3:
        """Return where a viewer shows an env [m]."""
        return Vec3(*env.origin)

    def get_actor_count(self, env: Env) -> int:
        """Return the number of actors of an env."""
        return len(env.actors)

    def get_sim_actor_count(self, sim: Sim) -> int:
        """Return the number of actors of all envs."""
        return sum(len(env.actors) for env in sim.env_list)

    def get_sim_rigid_body_count(self, sim: Sim) -> int:
        """Return the number of bodies of all envs."""
        return sum(self.get_env_rigid_body_count(env) for env in sim.env_list)

    def get_sim_dof_count(self, sim: Sim) -> int:
        """Return the number of degrees of freedom of all envs."""
        return sum(self.get_env_dof_count(env) for env in sim.env_list)

    def get_sim_joint_count(self, sim: Sim) -> int:
        """Return the number of joints of all envs."""
        return sum(self.get_env_joint_count(env) for env in sim.env_list)

    def get_env_rigid_body_count(self, env: Env) -> int:
        """Return the number of bodies of an env."""
        return sum(_bodies(actor) for actor in env.actors)

    def get_env_dof_count(self, env: Env) -> int:
        """Return the number of degrees of freedom of an env."""
        return sum(_dofs(actor) for actor in env.actors)

    def get_env_joint_count(self, env: Env) -> int:
        """Return the number of joints of an env, fixed ones included."""
        return sum(len(joint_names(actor.asset)) for actor in env.actors)

    def get_actor_handle(self, env: Env, index: int) -> int:
        """Return the handle of an actor by its index in its env."""
        env.actor(index, "get_actor_handle")
        return index

    def find_actor_handle(self, env: Env, name: str) -> int:
        """Return the handle of an actor by its name; -1 if there is none."""
        return index_of((actor.name for actor in env.actors), name)

    def get_actor_index(self, env: Env, actor: int, domain: IndexDomain) -> int:
        """Return the index of an actor in its env, or among the actors of all envs."""
        env.actor(actor, "get_actor_index")
        if domain == DOMAIN_SIM:
            return _before(env, lambda _: 1) + actor
        return actor

    def find_actor_index(self, env: Env, name: str, domain: IndexDomain) -> int:
        """Return the index of an actor by its name; -1 if there is none."""
        handle = self.find_actor_handle(env, name)
        if handle == NOT_FOUND:
            return NOT_FOUND
        return self.get_actor_index(env, handle, domain)

    def get_actor_name(self, env: Env, actor: int) -> str:
        """Return the name of an actor."""
        return env.actor(actor, "get_actor_name").name

    def get_actor_asset(self, env: Env, actor: int) -> Asset:
        """Return the asset of which an actor is a copy."""
        env.actor(actor, "get_actor_asset")
        return env.assets[actor]

    def get_actor_scale(self, env: Env, actor: int) -> float:
        """Return 1: actors have the size of their assets."""
        env.actor(actor, "get_actor_scale")
        return 1.0

    # -- bodies ------------------------------------------------------------------------------------------------------

    def get_actor_rigid_body_count(self, env: Env, actor: int) -> int:
        """Return the number of bodies of an actor."""
        return _bodies(env.actor(actor, "get_actor_rigid_body_count"))

    def get_actor_rigid_body_names(self, env: Env, actor: int) -> list[str]:
        """Return the names of the bodies of an actor."""
        return body_names(env.actor(actor, "get_actor_rigid_body_names").asset)

    def get_actor_rigid_body_dict(self, env: Env, actor: int) -> dict[str, int]:
        """Return the index of each body of an actor by its name."""
        names = self.get_actor_rigid_body_names(env, actor)
        return {name: index for index, name in enumerate(names)}

    def get_actor_rigid_body_index(self, env: Env, actor: int, body: int, domain: IndexDomain) -> int:
        """Return the index of an actor's body in the actor, in the env or among the bodies of all envs."""
        return _index_in(env, actor, body, domain, _bodies)

    def get_actor_rigid_body_handle(self, env: Env, actor: int, body: int) -> int:
        """Return the index of an actor's body in its env."""
        return self.get_actor_rigid_body_index(env, actor, body, DOMAIN_ENV)

    def get_actor_root_rigid_body_handle(self, env: Env, actor: int) -> int:
        """Return the index of an actor's root in its env."""
        return self.get_actor_rigid_body_index(env, actor, 0, DOMAIN_ENV)

    def find_actor_rigid_body_index(self, env: Env, actor: int, name: str, domain: IndexDomain) -> int:
        """Return the index of an actor's body by its name; -1 if there is none."""
        body = index_of(self.get_actor_rigid_body_names(env, actor), name)
        if body == NOT_FOUND:
            return NOT_FOUND
        return self.get_actor_rigid_body_index(env, actor, body, domain)

    def find_actor_rigid_body_handle(self, env: Env, actor: int, name: str) -> int:
        """Return the index of an actor's body in its env by its name; -1 if there is none."""
        return self.find_actor_rigid_body_index(env, actor, name, DOMAIN_ENV)

    def get_actor_rigid_body_properties(self, env: Env, actor: int) -> list[RigidBodyProperties]:
        """Return copies of the masses of an actor's bodies."""
        return translation.mass_list(env.actor(actor, "get_actor_rigid_body_properties").masses)

    def set_actor_rigid_body_properties(
        self, env: Env, actorHandle: int, props: Sequence[RigidBodyProperties], recomputeInertia: bool = False
    ) -> bool:
        """Set masses, centres of mass and inertia of an actor's bodies.

        Args:
          env: the env.
          actorHandle: the actor.
          props: one for each body.
          recomputeInertia: scale the inertia with the mass instead of taking it from `props`.
        """
        found = env.actor(actorHandle, "set_actor_rigid_body_properties")
        where = f"set_actor_rigid_body_properties, {found.name}, env {env.index}"
        found.masses = translation.masses(props, found.masses, recomputeInertia, where)
        env.sim.simulation.properties_changed()
        return True

    # -- shapes ------------------------------------------------------------------------------------------------------

    def get_actor_rigid_shape_count(self, env: Env, actor: int) -> int:
        """Return the number of shapes of an actor that can collide."""
        return len(env.actor(actor, "get_actor_rigid_shape_count").surfaces)

    def get_actor_rigid_shape_properties(self, env: Env, actor: int) -> list[RigidShapeProperties]:
        """Return copies of the properties of an actor's shapes."""
        return translation.shape_list(env.actor(actor, "get_actor_rigid_shape_properties").surfaces)

    def set_actor_rigid_shape_properties(self, env: Env, actor: int, props: Sequence[RigidShapeProperties]) -> bool:
        """Set the friction and the filters of an actor's shapes."""
        found = env.actor(actor, "set_actor_rigid_shape_properties")
        where = f"set_actor_rigid_shape_properties, {found.name}, env {env.index}"
        found.surfaces = translation.surfaces(props, len(found.surfaces), where)
        env.sim.simulation.properties_changed()
        return True

    def get_actor_rigid_body_shape_indices(self, env: Env, actor: int) -> list[IndexRange]:
        """Return which shapes each body of an actor has: the first of them, and how many."""
        return translation.shape_ranges(env.actor(actor, "get_actor_rigid_body_shape_indices").asset)

    def set_rigid_body_color(self, env: Env, actor: int, body: int, mesh_type: MeshType, color: Vec3) -> None:
        """Set the colour of a body, red, green and blue from 0 to 1."""
        env.actor(actor, "set_rigid_body_color").colors[body] = (color.x, color.y, color.z)

    def get_rigid_body_color(self, env: Env, actor: int, body: int, mesh_type: MeshType) -> Vec3:
        """Return the colour that was set for a body; grey if none was."""
        return Vec3(*env.actor(actor, "get_rigid_body_color").colors.get(body, (0.5, 0.5, 0.5)))

    # -- degrees of freedom ------------------------------------------------------------------------------------------

    def get_actor_dof_count(self, env: Env, actor: int) -> int:
        """Return the number of degrees of freedom of an actor."""
        return _dofs(env.actor(actor, "get_actor_dof_count"))

    def get_actor_dof_names(self, env: Env, actor: int) -> list[str]:
        """Return the names of an actor's degrees of freedom."""
        return dof_names(env.actor(actor, "get_actor_dof_names").asset)

    def get_actor_dof_dict(self, env: Env, actor: int) -> dict[str, int]:
        """Return the index of each degree of freedom of an actor by its name."""
        return {name: index for index, name in enumerate(self.get_actor_dof_names(env, actor))}

    def get_actor_dof_index(self, env: Env, actor: int, dof: int, domain: IndexDomain) -> int:
        """Return the index of a degree of freedom in the actor, in the env or among those of all envs."""
        return _index_in(env, actor, dof, domain, _dofs)

    def get_actor_dof_handle(self, env: Env, actor: int, dof: int) -> int:
        """Return the index of an actor's degree of freedom in its env."""
        return self.get_actor_dof_index(env, actor, dof, DOMAIN_ENV)

    def find_actor_dof_index(self, env: Env, actor: int, name: str, domain: IndexDomain) -> int:
        """Return the index of a degree of freedom by its name; -1 if there is none."""
        dof = index_of(self.get_actor_dof_names(env, actor), name)
        if dof == NOT_FOUND:
            return NOT_FOUND
        return self.get_actor_dof_index(env, actor, dof, domain)

    def find_actor_dof_handle(self, env: Env, actor: int, name: str) -> int:
        """Return the index of an actor's degree of freedom in its env by its name; -1 if there is none."""
        return self.find_actor_dof_index(env, actor, name, DOMAIN_ENV)

    def get_actor_dof_properties(self, env: Env, actor: int) -> np.ndarray:
        """Return a copy of limits and drives, a structured array with one row for each degree of freedom."""
        return translation.dof_array(env.actor(actor, "get_actor_dof_properties").drives)

    def set_actor_dof_properties(self, env: Env, actor: int, props: np.ndarray) -> bool:
        """Set limits and drives of an actor; its drive modes cannot change after `prepare_sim`."""
        found = env.actor(actor, "set_actor_dof_properties")
        where = f"set_actor_dof_properties, {found.name}, env {env.index}"
        found.drives = translation.drives(props, len(found.drives), where)
        env.sim.simulation.properties_changed()
        return True


def _bodies(actor: Actor) -> int:
    return len(actor.asset.bodies)


def _dofs(actor: Actor) -> int:
    return len(actor.drives)


def _before(env: Env, count: Callable[[Actor], int]) -> int:
    """Return how many things the actors of all earlier envs have; `prepare_sim` makes sure that all envs are alike."""
    if env.index == 0:
        return 0
    return env.index * sum(count(actor) for actor in env.sim.env_list[0].actors)


def _index_in(env: Env, actor: int, index: int, domain: IndexDomain, count: Callable[[Actor], int]) -> int:
    """Return the index of an actor's `index`-th thing in a domain."""
    env.actor(actor, "an index")
    if domain == DOMAIN_ACTOR:
        return index
    for earlier in env.actors[:actor]:
        index += count(earlier)
    if domain == DOMAIN_SIM:
        index += _before(env, count)
    return index
