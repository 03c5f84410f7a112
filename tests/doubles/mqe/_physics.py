"""The physics of the fake: this project's simulator, with upstream's root states."""

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
CENTRE = 12.0  # of the track along x, where the object starts [m]
OBJECT_OF_URDF = {"SmallBox": "cuboid", "SuperSmallTblock": "tblock", "BigCylinder": "cylinder"}


def object_of(cfg: Any) -> PushObject:
    """Return the object that the configuration names."""
    file_name = os.path.basename(cfg.asset.file_npc)
    urdf, _ = os.path.splitext(file_name)
    return OBJECTS[OBJECT_OF_URDF[urdf]]


def make_simulator(cfg: Any, seed: int) -> Any:
    """Make robots that walk, on MuJoCo; without MuJoCo, or with `MQE_DOUBLE=glide`, robots that glide."""
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
    thing = _roots(state.object_pos_w, state.object_quat_w, state.object_lin_vel_w, state.object_ang_vel_b)
    return robots, thing


def _roots(pos: torch.Tensor, quat: torch.Tensor, lin_vel: torch.Tensor, ang_vel_b: torch.Tensor) -> torch.Tensor:
    xyzw = torch.cat((quat[..., 1:], quat[..., :1]), dim=-1)
    on_track = pos + torch.tensor((CENTRE, 0.0, FLOOR))
    return torch.cat((on_track, xyzw, lin_vel, rotate(quat, ang_vel_b)), dim=-1)


def state_of(robots: torch.Tensor, thing: torch.Tensor) -> State:
    """Return the state for root states, the inverse of `root_states`, without joints."""
    no_joints = robots[..., :0]
    return State(*_parts(robots), no_joints, no_joints, *_parts(thing))


def _parts(roots: torch.Tensor) -> Tuple[torch.Tensor, ...]:
    pos, xyzw, lin_vel, ang_vel = roots[..., :3], roots[..., 3:7], roots[..., 7:10], roots[..., 10:]
    quat = torch.cat((xyzw[..., 3:], xyzw[..., :3]), dim=-1)
    return pos - torch.tensor((CENTRE, 0.0, FLOOR)), quat, lin_vel, rotate_inverse(quat, ang_vel)
