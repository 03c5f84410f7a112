"""Measure how large the contact buffers on a GPU must be; `mapush.size` is the command.

The robots start as in the task, walk against the object from all sides, and then flail there until they lie in a heap.
The sizes that it prints belong into `mapush.sim.contact_capacity`, or behind `--sim.nconmax` and `--sim.njmax`.
"""

from __future__ import annotations

from typing import Optional

import torch

from mapush.env.resets import SPAWN_MARGIN, Spawner, require_room
from mapush.errors import SimulatorError
from mapush.objects import team_of
from mapush.run.shown_progress import SilentProgress
from mapush.run.size_config import SizeConfig
from mapush.sim import choose_backend
from mapush.sim.geometry import rotate_xy, yaw_of
from mapush.sim.mjwarp import Demand, WarpPhysics
from mapush.sim.physics import STEP_DT, State
from mapush.sim.scene import Scene
from mapush.sim.simulator import Simulator
from mapush.sim.walking import WalkingPolicy

MARGIN = 2  # recommended size, relative to the largest one that was needed
APPROACH_SPEED = 0.5  # of the robots towards the object [m/s]
FLAIL_STD = 1.0  # standard deviation of a flailing robot's joint targets [rad]
FLAIL_HOLD_STEPS = 10  # env steps for which a target is held


def measure(config: SizeConfig, progress: Optional[SilentProgress] = None) -> Demand:
    """Return the largest sizes that were needed.

    Args:
      config: what is measured.
      progress: gets every env step.

    Raises:
      SimulatorError: even the buffers used while measuring are too small.
    """
    progress = progress or SilentProgress()
    progress.stage("making the envs")
    pushed = team_of(config.task, config.num_agents)
    require_room(pushed)
    physics = WarpPhysics(
        Scene(pushed.num_agents, pushed),
        config.num_envs,
        config.seed,
        device=config.device,
        nconmax=config.nconmax,
        njmax=config.njmax,
    )
    simulator = Simulator(physics, WalkingPolicy.load(device=str(physics.device)))
    generator = torch.Generator(physics.device).manual_seed(config.seed)
    start, _ = Spawner(pushed, config.num_envs, generator, pushed.collision_distance + SPAWN_MARGIN).draw()
    simulator.reset(torch.ones(config.num_envs, dtype=torch.bool, device=physics.device), start)
    state = simulator.state()
    walk_steps, flail_steps = round(config.walk_s / STEP_DT), round(config.flail_s / STEP_DT)
    progress.stage("walking against the object", walk_steps, "env steps")
    for step in range(walk_steps):
        progress.update(step)
        state = simulator.step(_towards_object(state), state)
    progress.stage("flailing", flail_steps, "env steps")
    for step in range(flail_steps):
        progress.update(step)
        if step % FLAIL_HOLD_STEPS == 0:
            targets = FLAIL_STD * torch.randn(state.joint_pos.shape, generator=generator, device=physics.device)
        state = physics.step(start.joint_pos + targets)
    demand = physics.demand()
    physics.check()
    physics.close()
    return demand


def _towards_object(state: State) -> torch.Tensor:
    """Return the commands (E, A, 3) that lead every robot straight to the object."""
    assert state.object_pos_w is not None, "the scene has an object"
    offset_w = state.object_pos_w[:, None, :2] - state.robot_pos_w[..., :2]
    offset_b = rotate_xy(offset_w, -yaw_of(state.robot_quat_w))
    velocity = APPROACH_SPEED * torch.nn.functional.normalize(offset_b, dim=-1)
    return torch.cat((velocity, torch.zeros_like(velocity[..., :1])), dim=-1)


def require_device(device: str) -> None:
    """Check that Warp can compute there.

    Raises:
      SimulatorError: there is no GPU; `--device cpu` measures without one.
    """
    if device == "cpu":
        return
    try:
        choose_backend("warp")
    except SimulatorError as error:
        error.fix = "--device cpu measures on the CPU, slowly"
        raise
