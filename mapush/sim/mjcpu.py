"""Physics on the CPU: MuJoCo's `Batch`, which has one row of state for each env."""

from __future__ import annotations

import os
from typing import Any, Optional

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from mapush.errors import CheckpointError, SimulatorError
from mapush.sim.physics import DECIMATION, Physics, Randomization, State
from mapush.sim.qpos_layout import (
    CAUSE_OF_DIVERGENCE,
    MAX_SPEED,
    draw_fields,
    mj_data,
    rows_of,
    state_of,
    trunk_ids,
    where_envs,
)
from mapush.sim.scene import Scene, build_model


class MujocoPhysics(Physics):
    """`num_envs` copies of a scene, stepped by parallel threads. Results do not depend on the number of threads.

    Args:
      scene: the content of each env.
      num_envs: number of copies.
      seed: seeds what differs from env to env.
      threads: number of CPU threads; 0 uses all cores.
      randomization: what differs from env to env, in addition to the object's friction.

    Attributes:
      model: the scene with its visuals, for rendering.
      batch: the simulations, whose model has no visuals.
    """

    def __init__(
        self,
        scene: Scene,
        num_envs: int,
        seed: int = 0,
        threads: int = 0,
        randomization: Optional[Randomization] = None,
    ) -> None:
        self.scene = scene
        self.name = f"mujoco {mujoco.__version__} with {threads or os.cpu_count()} threads"
        self.num_envs = num_envs
        self.num_agents = scene.num_agents
        self.device = torch.device("cpu")
        self.model = build_model(scene)
        model = build_model(scene, visuals=False)
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # MuJoCo must not silently reset a diverged env
        self.batch = Batch(model, num_envs, nthread=threads)
        self._qpos = self.batch.bind("qpos")
        self._qvel = self.batch.bind("qvel")
        self._ctrl = self.batch.bind("ctrl")
        self._wrench = self.batch.bind("xfrc_applied")
        self._trunks = trunk_ids(model, scene)
        drawn = draw_fields(model, scene, num_envs, seed, randomization)
        self._fields = {name: self.batch.expand(name) for name in drawn}
        for name, values in drawn.items():
            self._fields[name][:] = values
        self.batch.set_const()
        self.batch.reset(keyframe=model.key("home").id, stage=mujoco.mjtStage.mjSTAGE_NONE)

    def state(self) -> State:
        """Return a copy of the current state."""
        qpos, qvel = torch.from_numpy(self._qpos).float(), torch.from_numpy(self._qvel).float()
        return state_of(qpos, qvel, self.scene)

    def step(self, joint_targets: torch.Tensor) -> State:
        """Advance all envs by `STEP_DT` and return the new state; see `Physics.step`."""
        self._ctrl[:] = joint_targets.flatten(1).numpy()
        try:
            self.batch.step(nstep=DECIMATION)
        except SimulationError as error:
            raise self._diverged(error.ids) from error
        sane = (np.abs(self._qvel).max(axis=1) < MAX_SPEED) & ~self.batch.warning[..., 1].any(axis=1)
        if not sane.all():
            raise self._diverged(np.flatnonzero(~sane))
        return self.state()

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Set the envs of the mask `where` (E,) to their rows of `state`, without a wrench; see `Physics.reset`."""
        mask, (qpos, qvel) = where.numpy(), rows_of(state)
        self.batch.reset(np.flatnonzero(mask), stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[mask] = qpos.numpy()[mask]
        self._qvel[mask] = qvel.numpy()[mask]

    def check(self) -> dict[str, float]:
        """Return an empty report, because `step` raises all errors itself."""
        return {}

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Apply an external wrench to every trunk until the next call or reset; see `Physics.push`."""
        self._wrench[:, self._trunks] = torch.cat((force_w, torque_w), -1).numpy()

    def mj_data(self, env_id: int) -> mujoco.MjData:
        """Return the state of env `env_id` as data of `model`, ready to be rendered."""
        return mj_data(self.model, self._qpos[env_id], self._qvel[env_id])

    def state_dict(self) -> dict[str, Any]:
        """Return the rows of state, and the model fields that differ from env to env."""
        fields = {name: torch.from_numpy(values.copy()) for name, values in self._fields.items()}
        return {"rows": torch.from_numpy(self.batch.state.copy()), "fields": fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which `state_dict` returned.

        Raises:
          CheckpointError: it was saved with a different scene or number of envs.
        """
        rows = state["rows"].numpy()
        if rows.shape != self.batch.state.shape:
            raise CheckpointError(
                "the saved physics does not fit this simulation",
                got=f"(num_envs, state_dim) = {rows.shape}",
                expected=str(self.batch.state.shape),
                cause="it was saved with a different object, num_agents or num_envs",
                fix="resume with the configuration that is stored next to the checkpoint",
            )
        for name, values in state["fields"].items():
            self._fields[name][:] = values.numpy()
        self.batch.set_const()
        self.batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.batch.state[:] = rows

    def close(self) -> None:
        """Release threads and memory. It can be called twice."""
        self.batch = self._qpos = self._qvel = self._ctrl = self._wrench = None
        self._fields = {}

    def _diverged(self, env_ids: np.ndarray) -> SimulatorError:
        kinds = np.flatnonzero(self.batch.warning[env_ids, :, 1].any(axis=0))
        warnings = ", ".join(mujoco.mjtWarning(kind).name for kind in kinds)
        speed = np.abs(self._qvel[env_ids]).max()
        return SimulatorError(
            "the physics diverged",
            where=where_envs(env_ids),
            got=f"largest velocity {speed:g} in {len(env_ids)} envs; MuJoCo's warnings: {warnings or 'none'}",
            expected=f"velocities below {MAX_SPEED:g} m/s or rad/s, and no warnings",
            cause=CAUSE_OF_DIVERGENCE,
        )
