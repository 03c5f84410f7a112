"""Isaac Gym's state tensors of all envs, on either engine.

A tensor has one storage for ever; programs keep views of it and write into them. `refresh_*` copies the present state
into it; `set_*` takes rows out of it, and they become the state in the next `simulate`. Quaternions are xyzw here, and
velocities are those of the centre of mass along the world's axes, as in Isaac Gym.
"""

from __future__ import annotations

from typing import Optional

import torch

from isaac_standin.physics.engine import Engine
from isaac_standin.scene.layout import Layout
from isaac_standin.tensors import rotation


class StateTensors:
    """The state tensors of E envs, each with A actors, B bodies and D degrees of freedom.

    Args:
      engine: the simulation.
      layout: where things lie in its arrays.
      root_com: centre of mass of each floating root in its own frame [m], (E, F, 3).

    Attributes:
      roots: position [m], orientation, linear [m/s] and angular [rad/s] velocity of each actor's root, (E * A, 13).
      dofs: position [rad or m] and velocity [rad/s or m/s] of each degree of freedom, (E * D, 2).
      bodies: as `roots`, of each body, (E * B, 13).
      contact_forces: sum of the contact forces on each body in the last physics step [N], (E * B, 3).
      dof_forces: effort of each degree of freedom's drive and of the efforts that were set [N m or N], (E * D,).
    """

    def __init__(self, engine: Engine, layout: Layout, root_com: torch.Tensor) -> None:
        self._engine, self._layout = engine, layout
        self._envs, self._device = engine.num_envs, engine.device
        envs, device = self._envs, self._device
        self.roots = torch.zeros(envs * layout.num_actors, 13, device=device)
        self.dofs = torch.zeros(envs * layout.num_dofs, 2, device=device)
        self.bodies = torch.zeros(envs * layout.num_bodies, 13, device=device)
        self.contact_forces = torch.zeros(envs * layout.num_bodies, 3, device=device)
        self.dof_forces = torch.zeros(envs * layout.num_dofs, device=device)
        self.root_com = root_com.to(device)
        self._floating = self._index(layout.floating)
        self._fixed = self._index(layout.fixed)
        self._mocap = self._index(layout.mocap)
        self._root_pos = self._index(layout.root_qpos[:, :3])
        self._root_quat = self._index(layout.root_qpos[:, 3:])
        self._root_lin = self._index(layout.root_qvel[:, :3])
        self._root_ang = self._index(layout.root_qvel[:, 3:])
        self._dof_qpos = self._index(layout.dof_qpos)
        self._dof_qvel = self._index(layout.dof_qvel)
        self._dof_actor = self._index(layout.dof_actor)
        self._bodies = self._index(layout.bodies)
        self._body_root = self._index(layout.roots[layout.body_actor])
        self._pending_roots: Optional[_Pending] = None
        self._pending_dofs: Optional[_Pending] = None
        for refresh in (self.refresh_roots, self.refresh_dofs, self.refresh_bodies):
            refresh()

    def _index(self, values) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

    def refresh_roots(self) -> None:
        """Copy the present state into `roots`."""
        rows = self.roots.view(self._envs, -1, 13)
        engine = self._engine
        if len(self._floating):
            quat = engine.qpos[:, self._root_quat].float()
            angular = rotation.rotate(quat, engine.qvel[:, self._root_ang].float())
            arm = rotation.rotate(quat, self.root_com)
            linear = engine.qvel[:, self._root_lin].float() + torch.linalg.cross(angular, arm)
            position = engine.qpos[:, self._root_pos].float()
            rows[:, self._floating] = torch.cat((position, rotation.xyzw(quat), linear, angular), dim=-1)
        if len(self._fixed):
            position = engine.mocap_pos[:, self._mocap].float()
            quat = engine.mocap_quat[:, self._mocap].float()
            rows[:, self._fixed, :7] = torch.cat((position, rotation.xyzw(quat)), dim=-1)
            rows[:, self._fixed, 7:] = 0.0

    def refresh_dofs(self) -> None:
        """Copy the present state into `dofs`."""
        rows = self.dofs.view(self._envs, -1, 2)
        rows[:, :, 0] = self._engine.qpos[:, self._dof_qpos]
        rows[:, :, 1] = self._engine.qvel[:, self._dof_qvel]

    def refresh_bodies(self) -> None:
        """Copy the present state into `bodies`."""
        engine = self._engine
        engine.kinematics()
        rows = self.bodies.view(self._envs, -1, 13)
        twist = engine.cvel[:, self._bodies]
        arm = engine.xipos[:, self._bodies] - engine.subtree_com[:, self._body_root]
        linear = twist[..., 3:] + torch.linalg.cross(twist[..., :3], arm)
        rows[..., :3] = engine.xpos[:, self._bodies]
        rows[..., 3:7] = rotation.xyzw(engine.xquat[:, self._bodies])
        rows[..., 7:10] = linear
        rows[..., 10:] = twist[..., :3]

    def to_world(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors in the axes of each body as vectors in the world's axes, (E * B, 3)."""
        self._engine.kinematics()
        quat = self._engine.xquat[:, self._bodies].float()
        return rotation.rotate(quat, vectors.view(self._envs, -1, 3)).view(-1, 3)

    def refresh_contact_forces(self) -> None:
        """Copy the forces of the last physics step into `contact_forces`; MuJoCo's sensors have the opposite sign."""
        count = 3 * self._layout.num_bodies
        self.contact_forces.copy_(-self._engine.sensordata[:, :count].reshape(-1, 3))

    def refresh_dof_forces(self) -> None:
        """Copy the efforts of the last physics step into `dof_forces`."""
        engine = self._engine
        efforts = engine.qfrc_actuator[:, self._dof_qvel] + engine.qfrc_applied[:, self._dof_qvel]
        self.dof_forces.view(self._envs, -1).copy_(efforts)

    def set_roots(self, states: torch.Tensor, actors: Optional[torch.Tensor] = None) -> None:
        """Let rows of `states`, as in `roots`, be the state of these actors from the next `simulate` on.

        Args:
          states: (E * A, 13).
          actors: indices of actors among those of all envs, (k,) int32; None means all.
        """
        if self._pending_roots is None:
            self._pending_roots = _Pending(states)
        self._pending_roots.add(states, actors)

    def set_dofs(self, states: torch.Tensor, actors: Optional[torch.Tensor] = None) -> None:
        """Let rows of `states`, as in `dofs`, be the state of these actors' degrees of freedom; see `set_roots`.

        Args:
          states: (E * D, 2).
          actors: indices of actors among those of all envs, (k,) int32; None means all.
        """
        if self._pending_dofs is None:
            self._pending_dofs = _Pending(states)
        rows = None
        if actors is not None:
            rows = self.dof_rows(actors)
        self._pending_dofs.add(states, rows)

    def dof_rows(self, actors: torch.Tensor) -> torch.Tensor:
        """Return a mask of the degrees of freedom of these actors, (E * D,) bool."""
        chosen = torch.zeros(self._envs * self._layout.num_actors, dtype=torch.bool, device=self._device)
        chosen.index_fill_(0, actors.long(), True)
        return chosen.view(self._envs, -1)[:, self._dof_actor].flatten()

    def apply(self) -> None:
        """Write what was set into the engine's state."""
        if self._pending_roots is not None:
            self._apply_roots(self._pending_roots)
            self._pending_roots = None
        if self._pending_dofs is not None:
            self._apply_dofs(self._pending_dofs)
            self._pending_dofs = None

    def _apply_roots(self, pending: _Pending) -> None:
        engine = self._engine
        states = pending.states.view(self._envs, -1, 13)
        chosen = pending.chosen.view(self._envs, -1, 1)
        if len(self._floating):
            self._write_floating(states[:, self._floating], chosen[:, self._floating])
        if len(self._fixed):
            states, where = states[:, self._fixed], chosen[:, self._fixed]
            position = torch.where(where, states[..., :3].to(engine.qpos), engine.mocap_pos[:, self._mocap])
            quat = torch.where(
                where, rotation.wxyz(states[..., 3:7]).to(engine.qpos), engine.mocap_quat[:, self._mocap]
            )
            engine.mocap_pos[:, self._mocap] = position
            engine.mocap_quat[:, self._mocap] = quat
        engine.qacc_warmstart.masked_fill_(pending.chosen.view(self._envs, -1).any(dim=1, keepdim=True), 0.0)

    def _write_floating(self, states: torch.Tensor, where: torch.Tensor) -> None:
        """Write root states into the columns of the free joints, whose velocity is that of the origin."""
        engine = self._engine
        quat = rotation.wxyz(states[..., 3:7])
        linear, angular = states[..., 7:10], states[..., 10:]
        arm = rotation.rotate(quat, self.root_com)
        new = (
            (engine.qpos, self._root_pos, states[..., :3]),
            (engine.qpos, self._root_quat, quat),
            (engine.qvel, self._root_lin, linear - torch.linalg.cross(angular, arm)),
            (engine.qvel, self._root_ang, rotation.rotate_inverse(quat, angular)),
        )
        for array, columns, values in new:
            array[:, columns] = torch.where(where, values.to(array.dtype), array[:, columns])

    def _apply_dofs(self, pending: _Pending) -> None:
        engine = self._engine
        states = pending.states.view(self._envs, -1, 2)
        where = pending.chosen.view(self._envs, -1)
        for array, columns, values in (
            (engine.qpos, self._dof_qpos, states[..., 0]),
            (engine.qvel, self._dof_qvel, states[..., 1]),
        ):
            array[:, columns] = torch.where(where, values.to(array.dtype), array[:, columns])
        engine.qacc_warmstart.masked_fill_(where.any(dim=1, keepdim=True), 0.0)


class _Pending:
    """Rows that become the state in the next `simulate`.

    Attributes:
      states: a copy of the program's tensor, (n, k).
      chosen: which of its rows count, (n,) bool.
    """

    def __init__(self, states: torch.Tensor) -> None:
        self.states = torch.zeros_like(states)
        self.chosen = torch.zeros(len(states), dtype=torch.bool, device=states.device)

    def add(self, states: torch.Tensor, rows: Optional[torch.Tensor]) -> None:
        """Take these rows of `states`: all of them for None, or those of a mask, (n,) bool, or of indices, (k,)."""
        if rows is None:
            self.states.copy_(states)
            self.chosen.fill_(True)
            return
        if rows.dtype != torch.bool:
            rows = torch.zeros_like(self.chosen).index_fill_(0, rows.long(), True)
        torch.where(rows.unsqueeze(1), states, self.states, out=self.states)
        self.chosen |= rows
