"""A simulation: what was created for it, and after `prepare` its engine and tensors."""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import Literal

import numpy as np
import torch

from isaac_standin.errors import StandinError
from isaac_standin.physics.cpu import CpuEngine
from isaac_standin.physics.engine import Engine, Start
from isaac_standin.scene import differences
from isaac_standin.scene.actor import DRIVE_VELOCITY, Actor
from isaac_standin.scene.contacts import touching, touching_ground
from isaac_standin.scene.layout import Layout, layout_of
from isaac_standin.scene.model import Built, World, build, unsteady_on_warp
from isaac_standin.scene.terrain_types import Ground
from isaac_standin.tensors.damping import Damping
from isaac_standin.tensors.force_sensors import ForceSensors
from isaac_standin.tensors.state import StateTensors


@dataclasses.dataclass(frozen=True)
class Options:
    """How to simulate.

    Attributes:
      dt: time that `simulate` advances [s].
      substeps: physics steps in that time.
      gravity: [m/s^2].
      device: torch device of the tensors; physics runs there, too.
      threads: CPU threads; 0 uses all cores.
      nconmax: contacts per env on a GPU; 0 estimates them.
      njmax: constraint rows of one env on a GPU; 0 estimates them.
      engine: `mujoco` for the CPU, `warp` for a GPU; `auto` takes the one for the device. Tests run `warp` on the CPU.
    """

    dt: float
    substeps: int
    gravity: tuple[float, float, float]
    device: torch.device
    threads: int = 0
    nconmax: int = 0
    njmax: int = 0
    engine: Literal["auto", "mujoco", "warp"] = "auto"


class Simulation:
    """Envs of actors on a common ground.

    Attributes:
      options: how to simulate.
      envs: the actors of each env.
      grounds: what all envs stand on.
      built: the model, after `prepare`.
      layout: where things lie in the engine's arrays, after `prepare`.
      engine: the physics, after `prepare`.
      state: the state tensors, after `prepare`.
      sensors: the force sensors, after `prepare`.
      frames: how often `simulate` was called.
      created: when it was created, by time.monotonic [s].
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.envs: list[list[Actor]] = []
        self.grounds: list[Ground] = []
        self.frames = 0
        self.created = time.monotonic()
        self.prepared = False
        self.closed = False
        self._changed = False
        self._fresh_efforts = self._fresh_forces = False

    def prepare(self) -> None:
        """Build the model and start the engine.

        Raises:
          StandinError: there are no envs, or their actors differ.
        """
        if not self.envs or not self.envs[0]:
            raise StandinError(
                "there is nothing to simulate",
                where="prepare_sim",
                got=f"{len(self.envs)} envs, no actors",
                fix="create_env and create_actor before prepare_sim",
            )
        differences.require_alike(self.envs)
        world = World(self.options.dt / self.options.substeps, self.options.gravity, self.grounds)
        self.built: Built = build(self.envs[0], world)
        self.layout: Layout = layout_of(self.built.model, self.envs[0])
        self.engine: Engine = self._make_engine()
        self.engine.set_speed_limits(differences.speed_limits(self.built, self.layout, self.envs))
        self._make_targets()
        self._losses = Damping(self.engine, self.layout, self.envs)
        self.sensors = ForceSensors(self.engine, self.layout, self.envs[0])
        self.engine.qvel[:, self._dof_columns] = self._at_start("start_state")[..., 1].to(self.engine.qvel.dtype)
        self.state = StateTensors(self.engine, self.layout, self._root_com())
        self.prepared = True

    def _make_engine(self) -> Engine:
        options, model = self.options, self.built.model
        fields = differences.fields_of(self.built, self.layout, self.envs)
        start = self._start()
        on_cpu = options.engine == "auto" and options.device.type == "cpu"
        if on_cpu or options.engine == "mujoco":
            return CpuEngine(model, start, fields, options.substeps, options.threads)
        from isaac_standin.physics.gpu import GpuEngine

        self._warn_of_unsteady_boxes()
        contacts, rows = self._estimate_buffers()
        nconmax, njmax = options.nconmax or contacts, options.njmax or rows
        return GpuEngine(model, start, fields, options.substeps, options.device, nconmax, njmax)

    def _warn_of_unsteady_boxes(self) -> None:
        """MuJoCo Warp uses at most four of the contacts between a body and a height field, others in each step."""
        unsteady = unsteady_on_warp(self.envs[0], self.grounds)
        if unsteady:
            message = (
                f"on a GPU, {unsteady[0]} does not lie still on a height field: MuJoCo Warp lets boxes tumble there"
            )
            if len(unsteady) > 1:
                message += f" ({len(unsteady) - 1} more boxes)"
            warnings.warn(message, stacklevel=2)

    def _estimate_buffers(self) -> tuple[int, int]:
        """Return contacts per env and constraint rows of one env that are enough for ordinary scenes.

        Every shape may stand on the ground, and each of a robot's bodies may touch something else.
        """
        standing = len(touching_ground(self.envs[0]))
        bodies = {shape[:2] for pair in touching(self.envs[0]) for shape in pair}
        contacts = 16 + 2 * standing + len(bodies)
        limits = self.layout.num_dofs
        return contacts, 4 * contacts + limits

    def _start(self) -> Start:
        model, layout = self.built.model, self.layout
        shape = (len(self.envs), model.nq)
        qpos = np.broadcast_to(model.qpos0, shape).copy()
        mocap_pos = np.zeros((len(self.envs), model.nmocap, 3))
        mocap_quat = np.zeros((len(self.envs), model.nmocap, 4))
        for env, actors in enumerate(self.envs):
            for root, actor in enumerate(layout.floating):
                qpos[env, layout.root_qpos[root]] = (*actors[actor].pos, *actors[actor].quat)
            for root, actor in enumerate(layout.fixed):
                mocap_pos[env, layout.mocap[root]] = actors[actor].pos
                mocap_quat[env, layout.mocap[root]] = actors[actor].quat
            qpos[env, layout.dof_qpos] = np.concatenate([actor.start_state[:, 0] for actor in actors])
        return Start(qpos, mocap_pos, mocap_quat)

    def _at_start(self, name: str) -> torch.Tensor:
        """Return an attribute of the actors, such as `start_state`, of each degree of freedom, (E, D, 2)."""
        rows = [np.concatenate([getattr(actor, name) for actor in actors]) for actors in self.envs]
        return torch.from_numpy(np.stack(rows)).to(self.engine.device)

    def _root_com(self) -> torch.Tensor:
        com = np.empty((len(self.envs), len(self.layout.floating), 3), dtype=np.float32)
        for env, actors in enumerate(self.envs):
            for root, actor in enumerate(self.layout.floating):
                com[env, root] = actors[actor].masses[0].com
        return torch.from_numpy(com)

    def _make_targets(self) -> None:
        """Make targets of the drives, and their gains, (E, D), zero where a degree of freedom is not driven."""
        shape = (len(self.envs), self.layout.num_dofs)
        device = self.engine.device
        targets = self._at_start("start_targets")
        self.position_targets, self.velocity_targets = targets[..., 0].clone(), targets[..., 1].clone()
        self._efforts = torch.zeros(shape, dtype=self.engine.qpos.dtype, device=device)
        self._driven = np.flatnonzero(self.layout.servo >= 0)
        self._driven_dofs = torch.from_numpy(self._driven).to(device)
        self._servos = torch.from_numpy(self.layout.servo[self._driven]).to(device)
        self._dof_columns = torch.from_numpy(self.layout.dof_qvel).to(device)
        self._body_ids = torch.from_numpy(self.layout.bodies).to(device)
        self._set_gains()

    def _set_gains(self) -> None:
        stiffness = np.zeros((len(self.envs), len(self._driven)), dtype=np.float32)
        damping = np.zeros_like(stiffness)
        for env, actors in enumerate(self.envs):
            drives = [drive for actor in actors for drive in actor.drives]
            for column, dof in enumerate(self._driven):
                drive = drives[dof]
                damping[env, column] = drive.damping
                if drive.mode != DRIVE_VELOCITY:
                    stiffness[env, column] = drive.stiffness
        self._stiffness = torch.from_numpy(stiffness).to(self.engine.device)
        self._damping = torch.from_numpy(damping).to(self.engine.device)

    def properties_changed(self) -> None:
        """Let properties of actors that were set after `prepare` count from the next `simulate` on."""
        self._changed = True

    def set_gravity(self, gravity: tuple[float, float, float]) -> None:
        """Set the gravity of all envs [m/s^2]."""
        self.options = dataclasses.replace(self.options, gravity=gravity)
        if self.prepared:
            self.engine.set_gravity(gravity)

    def set_efforts(self, efforts: torch.Tensor) -> None:
        """Apply an effort to each degree of freedom in the next `simulate` only [N m or N], (E * D,)."""
        self._efforts.copy_(efforts.view_as(self._efforts))
        self._fresh_efforts = True

    def set_some_efforts(self, env: int, dofs: slice, efforts: torch.Tensor) -> None:
        """As `set_efforts` of some degrees of freedom of an env; the others keep what was set since `simulate`."""
        if not self._fresh_efforts:
            self._efforts.zero_()
        self._efforts[env, dofs] = efforts.to(self._efforts)
        self._fresh_efforts = True

    def set_body_wrenches(self, forces: torch.Tensor, torques: torch.Tensor) -> None:
        """Apply a force at each body's centre of mass [N], and a torque [N m], in the next `simulate` only.

        Args:
          forces: along the world's axes, (E, B, 3).
          torques: likewise.
        """
        wrench = torch.cat((forces, torques), dim=-1).to(self.engine.qpos.dtype)
        self.engine.xfrc_applied[:, self._body_ids] = wrench
        self._fresh_forces = True

    def add_body_wrench(self, env: int, body: int, force: torch.Tensor, torque: torch.Tensor) -> None:
        """As `set_body_wrenches` for one body of an env, (3,) each, in addition to what was set since `simulate`."""
        if not self._fresh_forces:
            self.engine.xfrc_applied.zero_()
        wrench = torch.cat((force, torque)).to(self.engine.xfrc_applied)
        self.engine.xfrc_applied[env, int(self.layout.bodies[body])] += wrench
        self._fresh_forces = True

    def simulate(self) -> None:
        """Advance all envs by `Options.dt`."""
        if self._changed:
            self._update()
        self.state.apply()
        if self._fresh_efforts:
            self.engine.qfrc_applied[:, self._dof_columns] = self._efforts
        else:
            self.engine.qfrc_applied.zero_()
        if not self._fresh_forces:
            self.engine.xfrc_applied.zero_()
        self._fresh_efforts = self._fresh_forces = False
        if self._losses.needed:
            self.engine.xfrc_applied[:, self._losses.bodies] += self._losses.wrenches().to(self.engine.qpos.dtype)
        if len(self._driven):
            self._drive()
        self.engine.step()
        self.frames += 1

    def _drive(self) -> None:
        position = self.position_targets[:, self._driven_dofs]
        velocity = self.velocity_targets[:, self._driven_dofs]
        effort = self._stiffness * position + self._damping * velocity
        self.engine.ctrl[:, self._servos] = effort.to(self.engine.ctrl.dtype)

    def _update(self) -> None:
        differences.require_alike(self.envs)
        self.engine.assign(differences.fields_of(self.built, self.layout, self.envs))
        self.engine.set_speed_limits(differences.speed_limits(self.built, self.layout, self.envs))
        self._set_gains()
        self._losses.set_masses(self.envs)
        self.state.root_com.copy_(self._root_com())
        self._changed = False

    def close(self) -> None:
        """Release the engine. It can be called twice."""
        if self.prepared and not self.closed:
            self.engine.close()
        self.closed = True
