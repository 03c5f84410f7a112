"""Force sensors: force and torque of the contacts on chosen bodies."""

from __future__ import annotations

from typing import Sequence

import torch

from isaac_standin.assets.asset import Quaternion, Vector
from isaac_standin.physics.engine import Engine
from isaac_standin.scene.actor import Actor
from isaac_standin.scene.layout import Layout
from isaac_standin.tensors import rotation


class ForceSensors:
    """The force sensors of E envs, with S sensors each, by actor and then in the order of their creation.

    Args:
      engine: the simulation.
      layout: where things lie in its arrays.
      actors: those of one env.

    Attributes:
      values: force [N], and torque about the sensor's origin [N m], of the contacts on each sensor's body in the last
        physics step, along the axes of the sensor or the world, (E * S, 6).
      first: the first sensor of each actor.
    """

    def __init__(self, engine: Engine, layout: Layout, actors: Sequence[Actor]) -> None:
        self._engine = engine
        self._begin = 3 * layout.num_bodies
        self.first: list[int] = []
        bodies: list[int] = []
        positions: list[Vector] = []
        quats: list[Quaternion] = []
        in_world: list[bool] = []
        for index, actor in enumerate(actors):
            self.first.append(len(bodies))
            for sensor in actor.sensors:
                bodies.append(int(layout.bodies[layout.first_body[index] + sensor.body]))
                positions.append(sensor.pos)
                quats.append(sensor.quat)
                in_world.append(sensor.in_world)
        device = engine.device
        self._count = len(bodies)
        self._bodies = torch.tensor(bodies, dtype=torch.long, device=device)
        self._positions = torch.tensor(positions, device=device).view(-1, 3)
        self._quats = torch.tensor(quats, device=device).view(-1, 4)
        self._in_world = torch.tensor(in_world, dtype=torch.bool, device=device).view(-1, 1)
        self.values = torch.zeros(engine.num_envs * self._count, 6, device=device)

    def refresh(self) -> None:
        """Copy the forces of the last physics step into `values`."""
        if not self._count:
            return
        engine = self._engine
        engine.kinematics()
        measured = engine.sensordata[:, self._begin :].reshape(engine.num_envs, self._count, 9).float()
        force, torque, point = -measured[..., :3], -measured[..., 3:6], measured[..., 6:]
        body_quat = engine.xquat[:, self._bodies].float()
        origin = engine.xpos[:, self._bodies].float() + rotation.rotate(body_quat, self._positions)
        touched = (force != 0.0).any(dim=-1, keepdim=True)  # without a contact there is no point
        arm = torch.where(touched, point - origin, 0.0)
        wrench = torch.stack((force, torque + torch.linalg.cross(arm, force)), dim=-2)
        rows = self.values.view(engine.num_envs, self._count, 2, 3)
        rows.copy_(torch.where(self._in_world.unsqueeze(-1), wrench, self._turned(body_quat, wrench)))

    def _turned(self, body_quat: torch.Tensor, wrench: torch.Tensor) -> torch.Tensor:
        """Return wrenches, (E, S, 2, 3), along the axes of the sensors."""
        in_body = rotation.rotate_inverse(_each(body_quat, wrench), wrench)
        return rotation.rotate_inverse(_each(self._quats, wrench), in_body)


def _each(quats: torch.Tensor, wrench: torch.Tensor) -> torch.Tensor:
    """Return one quaternion for each vector of a wrench."""
    return quats.unsqueeze(-2).expand(*wrench.shape[:-1], 4)
