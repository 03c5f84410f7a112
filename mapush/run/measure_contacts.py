"""Measure how much room contacts need on a GPU: `python -m mapush.size [cuboid|tblock|cylinder] ...`.

The robots start as in the task, walk against the object from all sides, and then flail there until they lie in a heap.
The sizes that it prints belong into `mapush.sim.contact_capacity`, or behind `--sim.nconmax` and `--sim.njmax`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Optional, Sequence

import torch
import tyro

from mapush.env.push import SPAWN_MARGIN
from mapush.env.resets import Spawner
from mapush.errors import ConfigError, MapushError, nearest
from mapush.objects import OBJECTS
from mapush.sim import choose_backend
from mapush.sim.geometry import rotate_xy, yaw_of
from mapush.sim.mjwarp import Demand, WarpPhysics
from mapush.sim.physics import STEP_DT, State
from mapush.sim.scene import Scene
from mapush.sim.simulator import Simulator
from mapush.sim.walking import WalkingPolicy

MARGIN = 2  # what is recommended, over what was needed
SPEED = 0.5  # of the robots towards the object [m/s]
FLAIL = 1.0  # standard deviation of a flailing robot's joint targets [rad]
FLAIL_STEPS = 10  # env steps for which a target is held


@dataclasses.dataclass(frozen=True)
class SizeConfig:
    """Measure how much room contacts need on a GPU."""

    object: tyro.conf.Positional[str] = "cuboid"
    """cuboid, tblock or cylinder."""
    num_envs: int = 2048
    """Parallel envs; more of them meet rarer heaps."""
    walk_s: float = 6.0
    """How long the robots walk against the object [s]."""
    flail_s: float = 6.0
    """How long they flail there [s]."""
    seed: int = 0
    """Seed of starts and of the flailing."""
    device: str = "cuda"
    """Where to measure."""
    nconmax: int = 160
    """Contacts with room while measuring, in the mean over the envs."""
    njmax: int = 640
    """Constraint rows with room while measuring."""

    def __post_init__(self) -> None:
        if self.object not in OBJECTS:
            raise ConfigError(f"unknown object {self.object!r}", fix=nearest(self.object, OBJECTS))


def measure(config: SizeConfig) -> Demand:
    """Return what the buffers had to hold.

    Raises:
      SimulatorError: even the room that is there while measuring is too small.
    """
    item = OBJECTS[config.object]
    physics = WarpPhysics(
        Scene(item.num_agents, item),
        config.num_envs,
        config.seed,
        device=config.device,
        nconmax=config.nconmax,
        njmax=config.njmax,
    )
    simulator = Simulator(physics, WalkingPolicy.load(device=str(physics.device)))
    generator = torch.Generator(physics.device).manual_seed(config.seed)
    start, _ = Spawner(item, config.num_envs, generator, item.collision_distance + SPAWN_MARGIN).draw()
    simulator.reset(torch.ones(config.num_envs, dtype=torch.bool, device=physics.device), start)
    state = simulator.state()
    for _ in range(round(config.walk_s / STEP_DT)):
        state = simulator.step(_towards_object(state), state)
    for step in range(round(config.flail_s / STEP_DT)):
        if step % FLAIL_STEPS == 0:
            targets = FLAIL * torch.randn(state.joint_pos.shape, generator=generator, device=physics.device)
        state = physics.step(start.joint_pos + targets)
    demand = physics.demand()
    physics.check()
    physics.close()
    return demand


def _towards_object(state: State) -> torch.Tensor:
    """Return the commands (E, A, 3) that lead every robot straight to the object."""
    offset = state.object_pos_w[:, None, :2] - state.robot_pos_w[..., :2]
    velocity = SPEED * torch.nn.functional.normalize(rotate_xy(offset, -yaw_of(state.robot_quat_w)), dim=-1)
    return torch.cat((velocity, torch.zeros_like(velocity[..., :1])), dim=-1)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print."""
    try:
        config = tyro.cli(SizeConfig, args=argv, prog="python -m mapush.size")
        if config.device != "cpu":
            choose_backend("warp")
        demand = measure(config)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    contacts, rows = math.ceil(MARGIN * demand.contacts), MARGIN * demand.rows
    print(f"{config.object}: {demand.contacts:.1f} contacts per env and {demand.rows} rows in one env needed")
    print(f"with {MARGIN}-fold room: --sim.nconmax {contacts} --sim.njmax {rows}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
