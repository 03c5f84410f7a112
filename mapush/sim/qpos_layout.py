"""How MuJoCo lays a scene out: rows of generalised positions and velocities, and what differs from env to env."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import mujoco
import numpy as np
import torch

from mapush.sim import go1
from mapush.sim.physics import JOINTS, Randomization, State
from mapush.sim.scene import Scene, object_shapes, pair_friction, robots

MAX_SPEED = 1000.0  # of any coordinate [m/s or rad/s]; what moves faster has diverged

_DRAWN = ("pair_friction", "body_mass", "body_ipos", "actuator_gainprm", "actuator_biasprm")
_ROBOT_QPOS = 7 + len(JOINTS)
_ROBOT_QVEL = 6 + len(JOINTS)


def state_of(qpos: torch.Tensor, qvel: torch.Tensor, scene: Scene) -> State:
    """Return views of `qpos` (E, nq) and `qvel` (E, nv) as the state of `scene`."""
    agents = scene.num_agents
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
    if scene.object is not None:
        fields.update(
            object_pos_w=qpos[:, -7:-4],
            object_quat_w=qpos[:, -4:],
            object_lin_vel_w=qvel[:, -6:-3],
            object_ang_vel_b=qvel[:, -3:],
        )
    return State(**fields)


def rows_of(state: State) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return `state` as generalised positions (E, nq) and velocities (E, nv)."""
    qpos = [torch.cat((state.robot_pos_w, state.robot_quat_w, state.joint_pos), -1).flatten(1)]
    qvel = [torch.cat((state.robot_lin_vel_w, state.robot_ang_vel_b, state.joint_vel), -1).flatten(1)]
    if state.object_pos_w is not None:
        qpos += [state.object_pos_w, state.object_quat_w]
        qvel += [state.object_lin_vel_w, state.object_ang_vel_b]
    return torch.cat(qpos, -1), torch.cat(qvel, -1)


def trunk_ids(model: mujoco.MjModel, scene: Scene) -> List[int]:
    """Return the ids of the robots' trunks."""
    return [model.body(robot + "/trunk").id for robot in robots(scene)]


def mj_data(model: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray) -> mujoco.MjData:
    """Return one env's state as data of `model`, ready to be rendered."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    mujoco.mj_forward(model, data)
    return data


def draw_fields(
    model: mujoco.MjModel, scene: Scene, num_envs: int, seed: int, randomization: Optional[Randomization]
) -> Dict[str, np.ndarray]:
    """Draw what may differ from env to env: the fields of the model that `randomization` governs, each (E, ...)."""
    rng, envs = np.random.default_rng(seed), (num_envs, 1)
    drawn = randomization or Randomization()
    fields = {name: np.repeat(getattr(model, name)[None], num_envs, axis=0) for name in _DRAWN}
    surfaces = np.tile(model.geom_friction[:, 0], envs)
    if scene.object is not None:
        surfaces[:, _geom_ids(model, object_shapes(scene))] = rng.uniform(*scene.object.friction, envs)
    sliding = pair_friction(surfaces[:, model.pair_geom1], surfaces[:, model.pair_geom2])
    if drawn.foot_friction is not None:
        feet = [foot for robot in robots(scene) for foot in go1.shapes(robot).feet]
        sliding[:, _pairs_with_floor(model, feet)] = rng.uniform(*drawn.foot_friction, envs)
    fields["pair_friction"][..., :2] = sliding[..., None]
    trunks = trunk_ids(model, scene)
    fields["body_mass"][:, trunks] += rng.uniform(*drawn.payload, envs)
    fields["body_ipos"][:, trunks] += rng.uniform(-drawn.com_shift, drawn.com_shift, (num_envs, 1, 3))
    strength = rng.uniform(*drawn.motor_strength, (num_envs, 1, 1))
    fields["actuator_gainprm"] *= strength
    fields["actuator_biasprm"] *= strength
    return fields


def _geom_ids(model: mujoco.MjModel, names: List[str]) -> List[int]:
    return [model.geom(name).id for name in names]


def _pairs_with_floor(model: mujoco.MjModel, names: List[str]) -> np.ndarray:
    """Return the ids of the pairs of the floor with one of the geoms `names`."""
    geoms = np.stack((model.pair_geom1, model.pair_geom2))
    return np.flatnonzero(
        np.isin(geoms, _geom_ids(model, names)).any(0) & np.isin(geoms, model.geom("floor").id).any(0)
    )
