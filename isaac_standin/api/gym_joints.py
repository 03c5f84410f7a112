"""The part of `Gym` that answers questions about the joints and motors of actors, and other small ones."""

from __future__ import annotations

import time

from isaac_standin.api import translation
from isaac_standin.api.enums import DOMAIN_ENV, DOMAIN_SIM, DofType, IndexDomain, JointType
from isaac_standin.api.gym_assets import joint_names
from isaac_standin.api.handles import NOT_FOUND, Env, Sim, index_of
from isaac_standin.api.values import ActuatorProperties, Version
from isaac_standin.scene.actor import Actor


class JointQueries:
    """Joints, motors and segmentation of actors, by index and name."""

    def get_actor_joint_count(self, env: Env, actor: int) -> int:
        """Return the number of joints of an actor, fixed ones included."""
        return _joints(env.actor(actor, "get_actor_joint_count"))

    def get_actor_joint_names(self, env: Env, actor: int) -> list[str]:
        """Return the names of an actor's joints; a fixed one has the name of the body that it fixes."""
        return joint_names(env.actor(actor, "get_actor_joint_names").asset)

    def get_actor_joint_dict(self, env: Env, actor: int) -> dict[str, int]:
        """Return the index of each joint of an actor by its name."""
        names = self.get_actor_joint_names(env, actor)
        return {name: index for index, name in enumerate(names)}

    def get_actor_joint_index(self, env: Env, actor: int, joint: int, domain: IndexDomain) -> int:
        """Return the index of an actor's joint in the actor, in the env or among the joints of all envs."""
        env.actor(actor, "get_actor_joint_index")
        if domain in (DOMAIN_ENV, DOMAIN_SIM):
            joint += sum(_joints(earlier) for earlier in env.actors[:actor])
        if domain == DOMAIN_SIM:
            joint += env.index * sum(_joints(each) for each in env.sim.env_list[0].actors)
        return joint

    def get_actor_joint_handle(self, env: Env, actor: int, joint: int) -> int:
        """Return the index of an actor's joint in its env."""
        return self.get_actor_joint_index(env, actor, joint, DOMAIN_ENV)

    def find_actor_joint_index(self, env: Env, actor: int, name: str, domain: IndexDomain) -> int:
        """Return the index of an actor's joint by its name; -1 if there is none."""
        joint = index_of(self.get_actor_joint_names(env, actor), name)
        if joint == NOT_FOUND:
            return NOT_FOUND
        return self.get_actor_joint_index(env, actor, joint, domain)

    def find_actor_joint_handle(self, env: Env, actor: int, name: str) -> int:
        """Return the index of an actor's joint in its env by its name; -1 if there is none."""
        return self.find_actor_joint_index(env, actor, name, DOMAIN_ENV)

    def get_actor_actuator_count(self, env: Env, actor: int) -> int:
        """Return the number of motors of an actor."""
        return len(env.actor(actor, "get_actor_actuator_count").asset.actuators)

    def get_actor_actuator_name(self, env: Env, actor: int, index: int) -> str:
        """Return the name of a motor of an actor."""
        return env.actor(actor, "get_actor_actuator_name").asset.actuators[index].name

    def get_actor_actuator_joint_name(self, env: Env, actor: int, index: int) -> str:
        """Return the name of the joint that a motor of an actor drives."""
        return env.actor(actor, "get_actor_actuator_joint_name").asset.actuators[index].joint

    def find_actor_actuator_index(self, env: Env, actor: int, name: str) -> int:
        """Return the index of a motor of an actor; -1 if there is none of that name."""
        actuators = env.actor(actor, "find_actor_actuator_index").asset.actuators
        return index_of((actuator.name for actuator in actuators), name)

    def get_actor_actuator_properties(self, env: Env, actor: int) -> list[ActuatorProperties]:
        """Return the properties of the motors of an actor."""
        return translation.actuator_list(env.actor(actor, "get_actor_actuator_properties").asset)

    def set_rigid_body_segmentation_id(self, env: Env, actor: int, body: int, value: int) -> None:
        """Set the value of a body's pixels in segmentation images."""
        env.actor(actor, "set_rigid_body_segmentation_id").body_segmentation[body] = int(value)

    def get_rigid_body_segmentation_id(self, env: Env, actor: int, body: int) -> int:
        """Return the value of a body's pixels in segmentation images: its own, or that of its actor."""
        found = env.actor(actor, "get_rigid_body_segmentation_id")
        return found.body_segmentation.get(body, found.segmentation)

    def get_dof_type_string(self, kind: DofType) -> str:
        """Return the name of a kind of degree of freedom, such as `Rotation`; Isaac Gym's words are not published."""
        return DofType(kind).name.removeprefix("DOF_").capitalize()

    def get_joint_type_string(self, kind: JointType) -> str:
        """Return the name of a kind of joint, such as `Revolute`; Isaac Gym's words are not published."""
        return JointType(kind).name.removeprefix("JOINT_").capitalize()

    def get_version(self) -> Version:
        """Return the version of Isaac Gym's API that this one follows."""
        return Version()

    def get_elapsed_time(self, sim: Sim) -> float:
        """Return the time since the simulation was created [s]."""
        return time.monotonic() - sim.simulation.created


def _joints(actor: Actor) -> int:
    return len(joint_names(actor.asset))
