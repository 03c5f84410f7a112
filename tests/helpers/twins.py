"""The same physics twice: on MuJoCo, the oracle, and on MuJoCo Warp."""

from __future__ import annotations

import dataclasses
import os
from typing import Callable, List, Optional, Tuple

import torch

from mapush.sim.geometry import rotate_xy, yaw_of
from mapush.sim.mjcpu import MujocoPhysics
from mapush.sim.mjwarp import WarpPhysics
from mapush.sim.physics import Physics, Randomization, State
from mapush.sim.scene import Scene

SEED = 4
SPEED = 0.5  # of robots that walk towards the object [m/s]
RANDOM = Randomization(foot_friction=(0.4, 0.9), payload=(-0.5, 2.0), com_shift=0.03, motor_strength=(0.8, 1.2))


def twins(
    scene: Scene, num_envs: int, device: str, randomization: Optional[Randomization] = None
) -> Tuple[MujocoPhysics, WarpPhysics]:
    """Return `scene` on MuJoCo and on Warp, with the same random fields; if Warp has a GPU, MuJoCo takes all cores."""
    threads = 1 if device == "cpu" else os.cpu_count()
    cpu = MujocoPhysics(scene, num_envs, SEED, threads, randomization)
    return cpu, WarpPhysics(scene, num_envs, SEED, randomization, device)


def map_state(function: Callable[..., torch.Tensor], *states: State) -> State:
    """Return the state whose fields are `function` of those of `states`."""

    def apply(name: str) -> Optional[torch.Tensor]:
        values = [getattr(state, name) for state in states]
        return None if values[0] is None else function(*values)

    return State(**{field.name: apply(field.name) for field in dataclasses.fields(State)})


def on(device: torch.device, state: State) -> State:
    """Return `state` on `device`."""
    return map_state(lambda value: value.to(device), state)


def joined(states: List[State]) -> State:
    """Return one state with the envs of all `states`."""
    return map_state(lambda *values: torch.cat(values), *states)


def place(physics: Physics, state: State) -> None:
    """Reset all envs to `state`, which may be on any device."""
    everyone = torch.ones(physics.num_envs, dtype=torch.bool, device=physics.device)
    physics.reset(everyone, on(physics.device, state))


def towards_object(state: State) -> torch.Tensor:
    """Return the commands (E, A, 3) that move every robot straight towards the object."""
    offset = state.object_pos_w[:, None, :2] - state.robot_pos_w[..., :2]
    velocity = SPEED * torch.nn.functional.normalize(rotate_xy(offset, -yaw_of(state.robot_quat_w)), dim=-1)
    return torch.cat((velocity, torch.zeros_like(velocity[..., :1])), dim=-1)
