"""Damping of bodies: a part of their velocity that is lost per second, as `AssetOptions` has it."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import torch

from isaac_standin.physics.engine import Engine
from isaac_standin.scene.actor import Actor
from isaac_standin.scene.layout import Layout
from isaac_standin.tensors import rotation


class Damping:
    """The forces that damp bodies, computed once in each `simulate`.

    Args:
      engine: the simulation.
      layout: where things lie in its arrays.
      envs: the actors of each env.

    Attributes:
      bodies: the bodies that are damped, as the model numbers them, (K,); fixed roots are not.
    """

    def __init__(self, engine: Engine, layout: Layout, envs: Sequence[Sequence[Actor]]) -> None:
        self._engine = engine
        device = engine.device
        self._damped: list[int] = []
        linear, angular = [], []
        for index, actor in enumerate(envs[0]):
            asset = actor.asset
            for body in range(int(asset.fixed_base), len(asset.bodies)):
                if asset.linear_damping > 0.0 or asset.angular_damping > 0.0:
                    self._damped.append(int(layout.first_body[index]) + body)
                    linear.append(asset.linear_damping)
                    angular.append(asset.angular_damping)
        chosen = np.array(self._damped, dtype=np.int64)
        roots = [int(np.searchsorted(layout.floating, index)) for index in layout.body_actor[chosen]]
        self._alone = all(len(envs[0][index].asset.bodies) == 1 for index in layout.body_actor[chosen])
        self._linear = torch.tensor(linear, device=device).unsqueeze(1)
        self._angular = torch.tensor(angular, device=device).unsqueeze(1)
        self.bodies = torch.from_numpy(layout.bodies[chosen]).to(device)
        self._roots = torch.from_numpy(layout.roots[layout.body_actor[chosen]]).to(device)
        if self._alone:
            self._qpos = torch.from_numpy(layout.root_qpos[roots]).to(device)
            self._qvel = torch.from_numpy(layout.root_qvel[roots]).to(device)
        self.set_masses(envs)

    @property
    def needed(self) -> bool:
        """Whether any body is damped."""
        return bool(self._damped)

    def set_masses(self, envs: Sequence[Sequence[Actor]]) -> None:
        """Take over the masses of all bodies."""
        numbers = np.empty((len(envs), len(self._damped), 13), dtype=np.float32)
        for env, actors in enumerate(envs):
            masses = [mass for actor in actors for mass in actor.masses]
            for row, body in enumerate(self._damped):
                numbers[env, row] = (masses[body].mass, *masses[body].com, *masses[body].inertia)
        values = torch.from_numpy(numbers).to(self._engine.device)
        self._mass, self._com = values[..., :1], values[..., 1:4]
        self._inertia = values[..., 4:].unflatten(-1, (3, 3))

    def wrenches(self) -> torch.Tensor:
        """Return force [N] and torque [N m] about the centre of mass of each damped body, (E, K, 6), in world axes."""
        if self._alone:
            quat, spin, velocity = self._motion_of_roots()
        else:
            quat, spin, velocity = self._motion_of_bodies()
        momentum = self._inertia @ rotation.rotate_inverse(quat, spin).unsqueeze(-1)
        torque = rotation.rotate(quat, momentum.squeeze(-1))
        return torch.cat((-self._linear * self._mass * velocity, -self._angular * torque), dim=-1)

    def _motion_of_roots(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return orientation, angular velocity and velocity of the centre of mass; needs no kinematics."""
        quat = self._engine.qpos[:, self._qpos[:, 3:]].float()
        velocity = self._engine.qvel[:, self._qvel].float()
        spin = rotation.rotate(quat, velocity[..., 3:])
        return quat, spin, velocity[..., :3] + torch.linalg.cross(spin, rotation.rotate(quat, self._com))

    def _motion_of_bodies(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        engine = self._engine
        engine.kinematics()
        twist = engine.cvel[:, self.bodies].float()
        arm = (engine.xipos[:, self.bodies] - engine.subtree_com[:, self._roots]).float()
        spin = twist[..., :3]
        return engine.xquat[:, self.bodies].float(), spin, twist[..., 3:] + torch.linalg.cross(spin, arm)
