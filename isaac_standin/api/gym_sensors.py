"""The part of `Gym` that has force sensors: of the contacts on bodies of an asset."""

from __future__ import annotations

from typing import Optional

from isaac_standin.api.gymtorch import GymTensor
from isaac_standin.api.handles import Asset, Env, Sim, prepared
from isaac_standin.api.values import ForceSensorProperties, SpatialForce, Transform, Vec3
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.scene import actor as scene


class ForceSensor:
    """A force sensor of an actor, as `get_actor_force_sensor` returns it."""

    def __init__(self, sim: Sim, index: int) -> None:
        self._sim = sim
        self._index = index

    def get_global_index(self) -> int:
        """Return its row in the tensor of all force sensors."""
        return self._index

    def get_forces(self) -> SpatialForce:
        """Return force [N] and torque [N m] in the last physics step."""
        sensors = prepared(self._sim, "ForceSensor.get_forces").sensors
        sensors.refresh()
        values = sensors.values[self._index].tolist()
        found = SpatialForce()
        found.force, found.torque = Vec3(*values[:3]), Vec3(*values[3:])
        return found


class Sensors:
    """Force sensors of assets and actors, and their tensor."""

    def create_asset_force_sensor(
        self, asset: Asset, body_idx: int, local_pose: Transform, props: Optional[ForceSensorProperties] = None
    ) -> int:
        """Add a sensor of the contact forces on a body to all actors that are created later.

        Args:
          asset: the asset.
          body_idx: index of the body in the asset.
          local_pose: pose of the sensor in the frame of the body.
          props: whether to measure along the world's axes instead of the sensor's.

        Returns:
          The index of the sensor in its asset.

        Raises:
          StandinError: there is no such body.
          NotSupported: the forces of the constraint solver are not wanted, but only contact forces are measured.
        """
        props = props or ForceSensorProperties()
        bodies = asset.asset.bodies
        if not 0 <= body_idx < len(bodies):
            raise StandinError(
                f"there is no body {body_idx}",
                where="create_asset_force_sensor",
                expected=f"0 to {len(bodies) - 1}, as find_asset_rigid_body_index returns",
            )
        if not props.enable_constraint_solver_forces:
            raise NotSupported(
                "a force sensor without the forces of the constraint solver",
                where="create_asset_force_sensor",
                cause="the stand-in's sensors measure the forces of contacts, and nothing else",
                fix="leave ForceSensorProperties.enable_constraint_solver_forces True",
            )
        p, r = local_pose.p, local_pose.r
        sensor = scene.ForceSensor(body_idx, (p.x, p.y, p.z), (r.w, r.x, r.y, r.z), bool(props.use_world_frame))
        asset.sensors = (*asset.sensors, sensor)
        return len(asset.sensors) - 1

    def acquire_force_sensor_tensor(self, sim: Sim) -> GymTensor:
        """Return force [N] and torque [N m] of all force sensors, (sensors, 6)."""
        return GymTensor(prepared(sim, "acquire_force_sensor_tensor").sensors.values)

    def refresh_force_sensor_tensor(self, sim: Sim) -> bool:
        """Copy the forces of the last physics step into the tensor of force sensors."""
        prepared(sim, "refresh_force_sensor_tensor").sensors.refresh()
        return True

    def get_sim_force_sensor_count(self, sim: Sim) -> int:
        """Return the number of force sensors of all envs."""
        return sum(len(actor.sensors) for env in sim.env_list for actor in env.actors)

    def get_actor_force_sensor_count(self, env: Env, actor: int) -> int:
        """Return the number of force sensors of an actor."""
        return len(env.actor(actor, "get_actor_force_sensor_count").sensors)

    def get_actor_force_sensor(self, env: Env, actor: int, index: int) -> Optional[ForceSensor]:
        """Return a force sensor of an actor; None if there is none of that index."""
        if not 0 <= index < self.get_actor_force_sensor_count(env, actor):
            return None
        for earlier in env.actors[:actor]:
            index += len(earlier.sensors)
        per_env = sum(len(each.sensors) for each in env.sim.env_list[0].actors)
        return ForceSensor(env.sim, env.index * per_env + index)
