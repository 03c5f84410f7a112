"""Physics on the CPU: `mujoco.batch.Batch`."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from isaac_standin.physics.engine import SOURCES_OF_CONSTANTS, Engine, Fields, Start, differing
from mapush.errors import SimulatorError

MAX_SPEED = 1e4  # [m/s or rad/s]: no working simulation is that fast

_STATE = ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied") + ("mocap_pos", "mocap_quat", "qacc_warmstart")
_RESULTS = ("xpos", "xquat", "xipos", "cvel", "subtree_com")


class CpuEngine(Engine):
    """Envs that are stepped by parallel threads. Results do not depend on the number of threads.

    Bodies are placed by a second batch that finds no contacts, because forward kinematics of the first one would search
    for them.

    Args:
      model: the model.
      start: the initial state.
      fields: model fields that differ from env to env.
      substeps: physics steps in each `step`.
      threads: number of threads; 0 uses all cores.
    """

    def __init__(self, model: mujoco.MjModel, start: Start, fields: Fields, substeps: int, threads: int = 0) -> None:
        self.model = model
        self.num_envs = len(start.qpos)
        self.device = torch.device("cpu")
        self._substeps = substeps
        self._batch = Batch(model, self.num_envs, nthread=threads)
        without_contacts = copy.copy(model)
        without_contacts.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
        self._placing = Batch(without_contacts, self.num_envs, nthread=threads)
        for name in _STATE:
            setattr(self, name, torch.from_numpy(self._batch.bind(name)))
        for name in _RESULTS:
            setattr(self, name, _readable(self._placing, name))
        self.sensordata = _readable(self._batch, "sensordata")
        self.qfrc_actuator = _readable(self._batch, "qfrc_actuator")
        self._expanded: set[str] = set()
        self.assign(fields)
        self.qpos.copy_(torch.from_numpy(start.qpos))
        self.mocap_pos.copy_(torch.from_numpy(start.mocap_pos))
        self.mocap_quat.copy_(torch.from_numpy(start.mocap_quat))

    def step(self) -> None:
        """Advance all envs; see `Engine.step`."""
        finite = torch.isfinite(self.ctrl)
        if not bool(finite.all()):  # MuJoCo would take 0 instead
            raise diverged((~finite.all(dim=1)).nonzero().flatten().tolist(), float("nan"))
        try:
            self._batch.step(nstep=self._substeps)
        except SimulationError as error:
            raise self._diverged(error.ids) from error
        fastest = self.qvel.abs().amax() if self.qvel.numel() else torch.zeros(())
        if not bool(fastest < MAX_SPEED):
            sane = self.qvel.abs().amax(dim=1) < MAX_SPEED
            raise self._diverged(np.flatnonzero(~sane.numpy()))

    def kinematics(self) -> None:
        """Compute positions and velocities of all bodies; see `Engine.kinematics`."""
        self._placing.state[:] = self._batch.state
        self._placing.forward(stage=mujoco.mjtStage.mjSTAGE_VEL)

    def assign(self, fields: Fields) -> None:
        """Set fields of the model; see `Engine.assign`."""
        self._expanded |= set(differing(self.model, fields))
        if not self._expanded:
            return
        for batch in (self._batch, self._placing):
            for name in self._expanded & set(fields):
                batch.expand(name)[:] = fields[name]
            if not SOURCES_OF_CONSTANTS.isdisjoint(self._expanded):
                batch.set_const()

    def set_gravity(self, gravity: tuple[float, float, float]) -> None:
        """Set the gravity of all envs [m/s^2]."""
        self._batch.expand("opt.gravity")[:] = gravity

    def check(self) -> None:
        """Do nothing, because `step` raises all errors itself."""

    def close(self) -> None:
        """Release threads and memory. It can be called twice."""
        self.__dict__.pop("_batch", None)
        self.__dict__.pop("_placing", None)

    def _diverged(self, env_ids: np.ndarray) -> SimulatorError:
        fastest = self.qvel[torch.from_numpy(np.asarray(env_ids, dtype=np.int64))].abs().max()
        return diverged(env_ids.tolist(), float(fastest))


def _readable(batch: Batch, name: str) -> torch.Tensor:
    """Return a tensor over a result of a batch; results are read-only, which torch cannot express."""
    values = batch.bind(name)
    values.flags.writeable = True
    tensor = torch.from_numpy(values)
    values.flags.writeable = False
    return tensor


def diverged(env_ids: list[int], fastest: float) -> SimulatorError:
    """Return the error for envs whose physics diverged."""
    named = ", ".join(str(env) for env in env_ids[:5])
    if len(env_ids) > 5:
        named += ", ..."
    return SimulatorError(
        "the physics diverged",
        where=f"envs {named}",
        got=f"largest velocity {fastest:g}",
        expected=f"velocities below {MAX_SPEED:g} m/s or rad/s",
        cause="efforts that are not finite or far too large, bodies that overlap, or a time step that is too long",
        fix="clip the actions; more substeps (SimParams.substeps) shorten the physics step",
    )
