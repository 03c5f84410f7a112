"""Measure how large the contact buffers on a GPU must be: `python -m mapush.size [cuboid|tblock|cylinder] ...`.

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

from mapush.env.resets import SPAWN_MARGIN, Spawner, require_room
from mapush.errors import MapushError, SimulatorError
from mapush.objects import team_of
from mapush.own import own_objects
from mapush.run import command_line
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


@dataclasses.dataclass(frozen=True)
class SizeConfig:
    """Measure how large the contact buffers on a GPU must be."""

    task: tyro.conf.Positional[str] = "cuboid"
    """cuboid, tblock or cylinder."""
    object: Optional[str] = None
    """An object of your own: FILE.py:NAME or package.module:NAME."""
    num_agents: Optional[int] = None
    """Robots in a team. Default: the object's own number."""
    num_envs: int = 2048
    """Parallel envs; more of them find rarer heaps."""
    walk_s: float = 6.0
    """How long the robots walk against the object [s]."""
    flail_s: float = 6.0
    """How long they flail there [s]."""
    seed: int = 0
    """Seed for the initial states and the flailing."""
    device: str = "cuda"
    """Where to measure."""
    nconmax: int = 160
    """Contact buffer size while measuring, per env on average."""
    njmax: int = 640
    """Constraint buffer size while measuring, per env."""

    def __post_init__(self) -> None:
        if self.object is not None:
            object.__setattr__(self, "task", own_objects.load_object(self.object).name)
        require_room(team_of(self.task, self.num_agents))


def measure(config: SizeConfig) -> Demand:
    """Return the largest sizes that were needed.

    Raises:
      SimulatorError: even the buffers used while measuring are too small.
    """
    pushed = team_of(config.task, config.num_agents)
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
    for _ in range(round(config.walk_s / STEP_DT)):
        state = simulator.step(_towards_object(state), state)
    for step in range(round(config.flail_s / STEP_DT)):
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


def _require_gpu() -> None:
    """Check that Warp can compute on a GPU.

    Raises:
      SimulatorError: it cannot; `--device cpu` measures without a GPU.
    """
    try:
        choose_backend("warp")
    except SimulatorError as error:
        error.fix = "--device cpu measures on the CPU, slowly"
        raise


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print."""
    try:
        config = command_line.parse(SizeConfig, argv, "size")
        if config.device != "cpu":
            _require_gpu()
        demand = measure(config)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    contacts = math.ceil(MARGIN * demand.contacts)
    rows = MARGIN * demand.rows
    print(f"{config.task}: {demand.contacts:.1f} contacts per env and {demand.rows} rows in one env needed")
    print(f"with {MARGIN}-fold room: --sim.nconmax {contacts} --sim.njmax {rows}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
