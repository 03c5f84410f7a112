"""What moves the bodies of the stand-in: this project's simulator, behind upstream's root states."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, Tuple

import torch

from mapush.objects import OBJECTS, PushObject
from mapush.sim.geometry import rotate, rotate_inverse
from mapush.sim.physics import State
from mapush.sim.simulator import Simulator

FLOOR = 0.02  # height of upstream's floor [m]
CENTRE = 12.0  # of the track, where the object starts, along x [m]
NAMES = {"SmallBox": "cuboid", "SuperSmallTblock": "tblock", "BigCylinder": "cylinder"}  # of the URDF files


def object_of(cfg: Any) -> PushObject:
    """Return what the configuration says is pushed."""
    return OBJECTS[NAMES[os.path.splitext(os.path.basename(cfg.asset.file_npc))[0]]]


def make_simulator(cfg: Any, seed: int) -> Any:
    """Make robots that walk as told, on MuJoCo; without it, or with `MQE_DOUBLE=glide`, robots that glide."""
    item = object_of(cfg)
    assert cfg.env.num_agents == item.num_agents
    if importlib.util.find_spec("mujoco") is None or os.environ.get("MQE_DOUBLE") == "glide":
        from fakes import KinematicSimulator

        return KinematicSimulator(cfg.env.num_envs, item.num_agents)
    from mapush.sim.mjcpu import MujocoPhysics
    from mapush.sim.scene import Scene
    from mapush.sim.walking import WalkingPolicy

    scene = Scene(num_agents=item.num_agents, object=item, upstream_inertia=True)
    return Simulator(MujocoPhysics(scene, cfg.env.num_envs, seed=seed, threads=1), WalkingPolicy.load(device="cpu"))


def root_states(state: State) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the robots (E, A, 13) and the object (E, 13): position on the track, quaternion xyzw, velocities."""
    robots = _roots(state.robot_pos_w, state.robot_quat_w, state.robot_lin_vel_w, state.robot_ang_vel_b)
    return robots, _roots(state.object_pos_w, state.object_quat_w, state.object_lin_vel_w, state.object_ang_vel_b)


def _roots(pos: torch.Tensor, quat: torch.Tensor, lin_vel: torch.Tensor, ang_vel_b: torch.Tensor) -> torch.Tensor:
    xyzw = torch.cat((quat[..., 1:], quat[..., :1]), dim=-1)
    return torch.cat((pos + torch.tensor((CENTRE, 0.0, FLOOR)), xyzw, lin_vel, rotate(quat, ang_vel_b)), dim=-1)


def state_of(robots: torch.Tensor, thing: torch.Tensor) -> State:
    """Return the inverse of `root_states`, without joints."""
    parts = [value for roots in (robots, thing) for value in _parts(roots)]
    no_joints = robots[..., :0]
    return State(*parts[:4], no_joints, no_joints, *parts[4:])


def _parts(roots: torch.Tensor) -> Tuple[torch.Tensor, ...]:
    pos, xyzw, lin_vel, ang_vel = roots[..., :3], roots[..., 3:7], roots[..., 7:10], roots[..., 10:]
    quat = torch.cat((xyzw[..., 3:], xyzw[..., :3]), dim=-1)
    return pos - torch.tensor((CENTRE, 0.0, FLOOR)), quat, lin_vel, rotate_inverse(quat, ang_vel)
