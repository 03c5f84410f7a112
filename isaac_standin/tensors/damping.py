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
    """The forces that damp the bodies of all envs, computed once in each `simulate`.

    Args:
      engine: the simulation.
      layout: where things lie in its arrays.
      envs: the actors of each env.
    """

    def __init__(self, engine: Engine, layout: Layout, envs: Sequence[Sequence[Actor]]) -> None:
        self._engine = engine
        device = engine.device
        self._bodies = torch.from_numpy(layout.bodies).to(device)
        self._roots = torch.from_numpy(layout.roots[layout.body_actor]).to(device)
        linear, angular = [], []
        for actor in envs[0]:
            linear += [actor.asset.linear_damping] * len(actor.asset.bodies)
            angular += [actor.asset.angular_damping] * len(actor.asset.bodies)
        self._linear = torch.tensor(linear, device=device).unsqueeze(1)
        self._angular = torch.tensor(angular, device=device).unsqueeze(1)
        self.needed = any(linear) or any(angular)
        self.set_masses(envs)

    def set_masses(self, envs: Sequence[Sequence[Actor]]) -> None:
        """Take over the masses of all bodies."""
        if not self.needed:
            return
        count = len(self._bodies)
        mass = np.empty((len(envs), count, 1), dtype=np.float32)
        inertia = np.empty((len(envs), count, 9), dtype=np.float32)
        for env, actors in enumerate(envs):
            masses = [mass for actor in actors for mass in actor.masses]
            for body, each in enumerate(masses):
                mass[env, body] = each.mass
                inertia[env, body] = each.inertia
        self._mass = torch.from_numpy(mass).to(self._engine.device)
        self._inertia = torch.from_numpy(inertia).to(self._engine.device).view(len(envs), count, 3, 3)

    def wrenches(self) -> torch.Tensor:
        """Return force [N] and torque [N m] about the centre of mass of each body, (E, B, 6), in world axes."""
        engine = self._engine
        engine.kinematics()
        twist = engine.cvel[:, self._bodies].float()
        arm = (engine.xipos[:, self._bodies] - engine.subtree_com[:, self._roots]).float()
        spin = twist[..., :3]
        velocity = twist[..., 3:] + torch.linalg.cross(spin, arm)
        quat = engine.xquat[:, self._bodies].float()
        momentum = self._inertia @ rotation.rotate_inverse(quat, spin).unsqueeze(-1)
        torque = rotation.rotate(quat, momentum.squeeze(-1))
        return torch.cat((-self._linear * self._mass * velocity, -self._angular * torque), dim=-1)
