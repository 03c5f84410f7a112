"""MuJoCo's arrays for a scene: generalised positions and velocities, and the model fields that differ from env to env.

A row of positions has the robots first and the object last. Each robot has 7 numbers for its trunk (position and
quaternion) and 12 for its joints; the object has 7. A row of velocities has 6 in place of each 7.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple, Union

import mujoco
import numpy as np
import torch

from mapush.sim import go1
from mapush.sim.physics import JOINTS, Randomization, State
from mapush.sim.scene import Scene, object_shapes, pair_friction, robots

MAX_SPEED = 1000.0  # a coordinate that moves faster has diverged [m/s or rad/s]
CAUSE_OF_DIVERGENCE = "joint targets that are not finite, or bodies that were reset into each other"

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
    for part in (state.object_pos_w, state.object_quat_w):
        if part is not None:
            qpos.append(part)
    for part in (state.object_lin_vel_w, state.object_ang_vel_b):
        if part is not None:
            qvel.append(part)
    return torch.cat(qpos, -1), torch.cat(qvel, -1)


def where_envs(env_ids: Union[Sequence[int], np.ndarray]) -> str:
    """Return the field `where` of an error in these envs, which names the first ten."""
    return "env " + ", ".join(str(env_id) for env_id in env_ids[:10])


def trunk_ids(model: mujoco.MjModel, scene: Scene) -> List[int]:
    """Return the body ids of the robots' trunks."""
    return [model.body(robot + "/trunk").id for robot in robots(scene)]


def mj_data(model: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray) -> mujoco.MjData:
    """Return the state of one env as data of `model`, ready to be rendered."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    mujoco.mj_forward(model, data)
    return data


def draw_fields(
    model: mujoco.MjModel, scene: Scene, num_envs: int, seed: int, randomization: Optional[Randomization]
) -> Dict[str, np.ndarray]:
    """Draw the fields of the model that may differ from env to env.

    The order of the draws is part of the reproducibility of a seed: friction of the object, friction of the feet,
    payload, shift of the centre of mass, strength of the motors.

    Args:
      model: the compiled scene.
      scene: what was compiled.
      num_envs: E.
      seed: seeds the draws.
      randomization: ranges of the draws; None draws only the object's friction.

    Returns:
      The fields of the model by name, each (E, ...).
    """
    rng = np.random.default_rng(seed)
    ranges = randomization or Randomization()
    fields = {name: np.repeat(getattr(model, name)[None], num_envs, axis=0) for name in _DRAWN}
    sliding = _draw_friction(model, scene, num_envs, rng, ranges)
    fields["pair_friction"][..., :2] = sliding[..., None]
    trunks = trunk_ids(model, scene)
    fields["body_mass"][:, trunks] += rng.uniform(*ranges.payload, (num_envs, 1))
    fields["body_ipos"][:, trunks] += rng.uniform(-ranges.com_shift, ranges.com_shift, (num_envs, 1, 3))
    strength = rng.uniform(*ranges.motor_strength, (num_envs, 1, 1))
    fields["actuator_gainprm"] *= strength
    fields["actuator_biasprm"] *= strength
    return fields


def _draw_friction(
    model: mujoco.MjModel, scene: Scene, num_envs: int, rng: np.random.Generator, ranges: Randomization
) -> np.ndarray:
    """Return the sliding friction of each contact pair, (E, pairs).

    The object's surface has one friction in each env, which all its pairs share.
    """
    surfaces = np.tile(model.geom_friction[:, 0], (num_envs, 1))
    if scene.object is not None:
        shapes = _geom_ids(model, object_shapes(scene))
        surfaces[:, shapes] = rng.uniform(*scene.object.friction, (num_envs, 1))
    sliding = pair_friction(surfaces[:, model.pair_geom1], surfaces[:, model.pair_geom2])
    if ranges.foot_friction is not None:
        feet: List[str] = []
        for robot in robots(scene):
            feet += go1.shapes(robot).feet
        sliding[:, _pairs_with_floor(model, feet)] = rng.uniform(*ranges.foot_friction, (num_envs, 1))
    return sliding


def _geom_ids(model: mujoco.MjModel, names: List[str]) -> List[int]:
    return [model.geom(name).id for name in names]


def _pairs_with_floor(model: mujoco.MjModel, names: List[str]) -> np.ndarray:
    """Return the ids of the pairs in which one of the geoms `names` touches the floor."""
    geoms = np.stack((model.pair_geom1, model.pair_geom2))
    has_geom = np.isin(geoms, _geom_ids(model, names)).any(0)
    has_floor = np.isin(geoms, model.geom("floor").id).any(0)
    return np.flatnonzero(has_geom & has_floor)
