"""Physics on the CPU: MuJoCo's `Batch`, with one row of state for each env."""

from __future__ import annotations

import os
from typing import Any, Optional

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from mapush.errors import CheckpointError, SimulatorError
from mapush.sim import go1
from mapush.sim.base import DECIMATION, JOINTS, Physics, Randomization, State
from mapush.sim.scene import Scene, build_model, object_shapes, pair_friction, robots

MAX_SPEED = 1000.0  # of any coordinate [m/s or rad/s]; what moves faster has diverged

_RANDOMIZED = ("pair_friction", "body_mass", "body_ipos", "actuator_gainprm", "actuator_biasprm")
_ROBOT_QPOS = 7 + len(JOINTS)
_ROBOT_QVEL = 6 + len(JOINTS)


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
        self.name = "mujoco {} with {} threads".format(mujoco.__version__, threads or os.cpu_count())
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
        self._trunks = [model.body(robot + "/trunk").id for robot in robots(scene)]
        self._fields = {name: self.batch.expand(name) for name in _RANDOMIZED}
        self._randomize(model, randomization or Randomization(), np.random.default_rng(seed))
        self.batch.reset(keyframe=model.key("home").id, stage=mujoco.mjtStage.mjSTAGE_NONE)

    def state(self) -> State:
        """Return the present state."""
        agents = self.num_agents
        qpos = torch.from_numpy(self._qpos).float()
        qvel = torch.from_numpy(self._qvel).float()
        robot_qpos = qpos[:, : agents * _ROBOT_QPOS].unflatten(1, (agents, _ROBOT_QPOS))
        robot_qvel = qvel[:, : agents * _ROBOT_QVEL].unflatten(1, (agents, _ROBOT_QVEL))
        fields = dict(
            robot_pos_w=robot_qpos[..., :3],
            robot_quat_w=robot_qpos[..., 3:7],
            robot_lin_vel_w=robot_qvel[..., :3],
            robot_ang_vel_b=robot_qvel[..., 3:6],
            joint_pos=robot_qpos[..., 7:],
            joint_vel=robot_qvel[..., 6:],
        )
        if self.scene.object is not None:
            fields.update(
                object_pos_w=qpos[:, -7:-4],
                object_quat_w=qpos[:, -4:],
                object_lin_vel_w=qvel[:, -6:-3],
                object_ang_vel_b=qvel[:, -3:],
            )
        return State(**fields)

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

    def reset(self, env_ids: torch.Tensor, state: State) -> None:
        """Place `env_ids` (k,) in `state` (k rows), free of any wrench; see `Physics.reset`."""
        ids = env_ids.numpy()
        self.batch.reset(np.sort(ids), stage=mujoco.mjtStage.mjSTAGE_NONE)
        qpos = [torch.cat((state.robot_pos_w, state.robot_quat_w, state.joint_pos), -1).flatten(1)]
        qvel = [torch.cat((state.robot_lin_vel_w, state.robot_ang_vel_b, state.joint_vel), -1).flatten(1)]
        if self.scene.object is not None:
            qpos += [state.object_pos_w, state.object_quat_w]
            qvel += [state.object_lin_vel_w, state.object_ang_vel_b]
        self._qpos[ids] = torch.cat(qpos, -1).numpy()
        self._qvel[ids] = torch.cat(qvel, -1).numpy()

    def push(self, force_w: torch.Tensor, torque_w: torch.Tensor) -> None:
        """Hold an external wrench on every trunk until the next call or reset; see `Physics.push`."""
        self._wrench[:, self._trunks] = torch.cat((force_w, torque_w), -1).numpy()

    def mj_data(self, env_id: int) -> mujoco.MjData:
        """Return the state of env `env_id` as data of `model`, ready to be rendered."""
        data = mujoco.MjData(self.model)
        data.qpos[:] = self._qpos[env_id]
        data.qvel[:] = self._qvel[env_id]
        mujoco.mj_forward(self.model, data)
        return data

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
                got="(num_envs, state_dim) = {}".format(rows.shape),
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

    def _randomize(self, model: mujoco.MjModel, randomization: Randomization, rng: np.random.Generator) -> None:
        envs = (self.num_envs, 1)
        surfaces = np.tile(model.geom_friction[:, 0], envs)
        if self.scene.object is not None:
            surfaces[:, _geom_ids(model, object_shapes(self.scene))] = rng.uniform(*self.scene.object.friction, envs)
        sliding = pair_friction(surfaces[:, model.pair_geom1], surfaces[:, model.pair_geom2])
        if randomization.foot_friction is not None:
            feet = [foot for robot in robots(self.scene) for foot in go1.shapes(robot).feet]
            sliding[:, _pairs_with_floor(model, feet)] = rng.uniform(*randomization.foot_friction, envs)
        self._fields["pair_friction"][..., :2] = sliding[..., None]
        self._fields["body_mass"][:, self._trunks] += rng.uniform(*randomization.payload, envs)
        shift = rng.uniform(-randomization.com_shift, randomization.com_shift, (self.num_envs, 1, 3))
        self._fields["body_ipos"][:, self._trunks] += shift
        strength = rng.uniform(*randomization.motor_strength, (self.num_envs, 1, 1))
        self._fields["actuator_gainprm"][:] *= strength
        self._fields["actuator_biasprm"][:] *= strength
        self.batch.set_const()

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
            expected="below {:g} m/s or rad/s, and no warnings".format(MAX_SPEED),
            cause="joint targets that are not finite, or bodies that were reset into each other",
        )


def _geom_ids(model: mujoco.MjModel, names: list[str]) -> list[int]:
    return [model.geom(name).id for name in names]


def _pairs_with_floor(model: mujoco.MjModel, names: list[str]) -> np.ndarray:
    """Return the ids of the pairs of the floor with one of the geoms `names`."""
    geoms = np.stack((model.pair_geom1, model.pair_geom2))
    return np.flatnonzero(
        np.isin(geoms, _geom_ids(model, names)).any(0) & np.isin(geoms, model.geom("floor").id).any(0)
    )
