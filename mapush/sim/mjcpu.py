"""Physics on the CPU: MuJoCo's `Batch`, with one row of state for each env."""

from __future__ import annotations

import os
from typing import Any, Optional

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from mapush.errors import CheckpointError, SimulatorError
from mapush.sim.physics import DECIMATION, Physics, Randomization, State
from mapush.sim.qpos_layout import MAX_SPEED, draw_fields, mj_data, rows_of, state_of, trunk_ids
from mapush.sim.scene import Scene, build_model


class MujocoPhysics(Physics):
    """`num_envs` copies of a scene, stepped side by side by threads; no bit depends on how many.

    Args:
      scene: what stands in each env.
      num_envs: copies.
      seed: of what differs from env to env.
      threads: CPU threads; 0 takes all.
      randomization: what differs from env to env besides the object's friction.

    Attributes:
      model: the scene with everything that is only there to be seen.
      batch: the simulations, which run on a model without that.
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
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # a diverged env must not start anew in silence
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
        """Return the present state."""
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
        """Place the envs of `where` (E,) in their rows of `state`, free of any wrench; see `Physics.reset`."""
        mask, (qpos, qvel) = where.numpy(), rows_of(state)
        self.batch.reset(np.flatnonzero(mask), stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[mask] = qpos.numpy()[mask]
        self._qvel[mask] = qvel.numpy()[mask]

    def check(self) -> dict[str, float]:
        """Return nothing to report: what goes wrong is raised where it happens."""
        return {}

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Hold an external wrench on every trunk until the next call or reset; see `Physics.push`."""
        self._wrench[:, self._trunks] = torch.cat((force_w, torque_w), -1).numpy()

    def mj_data(self, env_id: int) -> mujoco.MjData:
        """Return the state of env `env_id` as data of `model`, ready to be rendered."""
        return mj_data(self.model, self._qpos[env_id], self._qvel[env_id])

    def state_dict(self) -> dict[str, Any]:
        """Return the rows of state, and what differs from env to env."""
        fields = {name: torch.from_numpy(values.copy()) for name, values in self._fields.items()}
        return {"rows": torch.from_numpy(self.batch.state.copy()), "fields": fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
          CheckpointError: it comes from another scene or another number of envs.
        """
        rows = state["rows"].numpy()
        if rows.shape != self.batch.state.shape:
            raise CheckpointError(
                "the saved physics does not fit this simulation",
                got=f"(num_envs, state_dim) = {rows.shape}",
                expected=str(self.batch.state.shape),
                cause="it was saved with another object, num_agents or num_envs",
                fix="resume with the configuration that is stored beside the checkpoint",
            )
        for name, values in state["fields"].items():
            self._fields[name][:] = values.numpy()
        self.batch.set_const()
        self.batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.batch.state[:] = rows

    def close(self) -> None:
        """Release threads and memory; further calls do nothing."""
        self.batch = self._qpos = self._qvel = self._ctrl = self._wrench = None
        self._fields = {}

    def _diverged(self, env_ids: np.ndarray) -> SimulatorError:
        warnings = np.flatnonzero(self.batch.warning[env_ids, :, 1].any(axis=0))
        return SimulatorError(
            "the physics diverged",
            where="env {}".format(", ".join(str(env_id) for env_id in env_ids[:10])),
            got="largest velocity {:g} in {} envs; MuJoCo warns of {}".format(
                np.abs(self._qvel[env_ids]).max(),
                len(env_ids),
                ", ".join(mujoco.mjtWarning(kind).name for kind in warnings) or "nothing",
            ),
            expected=f"below {MAX_SPEED:g} m/s or rad/s, and no warnings",
            cause="joint targets that are not finite, or bodies that were reset into each other",
        )
