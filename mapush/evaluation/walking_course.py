"""A course for a walking policy: worlds in which robots walk as they are told, and a recording of what they did.

Every robot starts as the pushing task resets it, dropped from 0.43 m with its joints off the default pose, and has
`SETTLE_S` to find its feet before anything is scored. A robot has fallen from the step on at which its trunk tilts by
more than 70 degrees, sinks below 0.15 m or touches the floor; it is not picked up.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Callable, List, Optional, Tuple

import torch

from mapush.config import SimConfig
from mapush.objects import PushObject
from mapush.sim import make_physics
from mapush.sim.geometry import gravity_b, quat_from_rpy, rotate_inverse
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import STEP_DT, Physics, Randomization, State
from mapush.sim.scene import Scene
from mapush.sim.walking import WalkingPolicy

SETTLE_S = 2.0  # [s]
START_HEIGHT = 0.43  # [m]
TEAM_SPACING = 0.6  # between robots that stand side by side [m]
FRONT = 0.29  # where an object meets the robot, along the trunk's x axis [m]

FALL_TILT = math.radians(70.0)
FALL_HEIGHT = 0.15  # [m]
TRUNK_SPHERES = ((-0.16, 0.07), (0.2, 0.07), (0.24, 0.06))  # along the trunk's x axis: centre, radius [m]

Command = Callable[[int], torch.Tensor]  # env step -> (E, A, 3)
Disturbance = Callable[[int, State], State]  # env step, state -> the state after it


@dataclasses.dataclass(frozen=True)
class CourseRecording:
    """T env steps of E worlds with A robots.

    Attributes:
      commands: (T, E, A, 3).
      robot_pos_w: trunk [m], (T, E, A, 3).
      robot_quat_w: (T, E, A, 4).
      lin_vel_b: velocity of the trunk in its own frame [m/s], (T, E, A, 3).
      yaw_rate: [rad/s], (T, E, A).
      saturated: share of a robot's servos at their torque limit, (T, E, A).
      object_x: of the object, if there is one [m], (T, E).
    """

    commands: torch.Tensor
    robot_pos_w: torch.Tensor
    robot_quat_w: torch.Tensor
    lin_vel_b: torch.Tensor
    yaw_rate: torch.Tensor
    saturated: torch.Tensor
    object_x: Optional[torch.Tensor] = None

    @property
    def fallen(self) -> torch.Tensor:
        """Whether each robot has fallen by each step, (T, E, A) bool."""
        height, down = self.robot_pos_w[..., 2], gravity_b(self.robot_quat_w)
        clearance = torch.stack([height - x * down[..., 0] - radius for x, radius in TRUNK_SPHERES]).amin(0)
        upright = (-down[..., 2] > math.cos(FALL_TILT)) & (height > FALL_HEIGHT) & (clearance > 0)
        return (~upright).int().cummax(dim=0).values.bool()

    @property
    def falls(self) -> int:
        """How many robots fell."""
        return int(self.fallen[-1].sum())

    @property
    def upright_minutes(self) -> float:
        """Time that robots spent before they fell [robot-minutes]."""
        return float((~self.fallen).sum()) * STEP_DT / 60

    @property
    def velocity_error(self) -> torch.Tensor:
        """Distance of the velocity from the commanded one [m/s], (T, E, A)."""
        return (self.commands[..., :2] - self.lin_vel_b[..., :2]).norm(dim=-1)

    @property
    def yaw_rate_error(self) -> torch.Tensor:
        """Distance of the yaw rate from the commanded one [rad/s], (T, E, A)."""
        return (self.commands[..., 2] - self.yaw_rate).abs()

    @staticmethod
    def scored(values: torch.Tensor) -> torch.Tensor:
        """Return `values` (T, ...) of the steps after the robots have settled."""
        return values[round(SETTLE_S / STEP_DT) :]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all tests share: policy, simulator, seed, and the share of the worlds to run."""

    policy: WalkingPolicy
    sim: SimConfig
    seed: int
    scale: float


class Course:
    """Worlds in which robots start as the module describes, ready to be walked.

    Args:
      setup: what all tests share.
      worlds: how many worlds a full test has.
      copies: how often each of them is there.
      friction: of foot against floor; None takes the pushing task's.
      target: an object to push; the robots then stand behind it and face along x, otherwise they face anywhere.
      num_agents: robots in each world.
    """

    def __init__(
        self,
        setup: Setup,
        worlds: int,
        copies: int = 1,
        friction: Optional[float] = None,
        target: Optional[PushObject] = None,
        num_agents: int = 1,
    ) -> None:
        self.policy = setup.policy
        num_worlds = copies * max(1, round(worlds * setup.scale))
        randomization = Randomization(foot_friction=None if friction is None else (friction, friction))
        scene = Scene(num_agents=num_agents, object=target)
        self.physics: Physics = make_physics(setup.sim, scene, num_worlds, setup.seed, randomization)
        self.device = self.physics.device
        self.shape = (num_worlds, num_agents)
        self._generator = torch.Generator(device=self.device).manual_seed(setup.seed)
        self.everyone = torch.ones(num_worlds, dtype=torch.bool, device=self.device)
        self.physics.reset(self.everyone, self._start(target))

    def uniform(self, limit: float, *shape: int) -> torch.Tensor:
        """Draw (E, A) + `shape` numbers in [-limit, limit]."""
        draw = torch.rand(self.shape + shape, generator=self._generator, device=self.device)
        return (2 * draw - 1) * limit

    def _start(self, target: Optional[PushObject]) -> State:
        zero = torch.zeros(self.shape, device=self.device)
        default = torch.tensor(DEFAULT_JOINT_POS, device=self.device)
        position = torch.zeros(self.shape + (3,), device=self.device)
        position[..., 2] = START_HEIGHT
        state = State(
            robot_pos_w=position,
            robot_quat_w=quat_from_rpy(zero, zero, self.uniform(math.pi) if target is None else zero),
            robot_lin_vel_w=self.uniform(0.1, 3),
            robot_ang_vel_b=self.uniform(0.1, 3),
            joint_pos=default * (1 + self.uniform(0.3, 12)),
            joint_vel=torch.zeros(self.shape + (12,), device=self.device),
        )
        if target is None:
            return state
        agents = torch.arange(self.shape[1], device=self.device)
        position[..., 0] = -target.parts[0].half_size[0] - FRONT - 0.1
        position[..., 1] = TEAM_SPACING * (agents - (self.shape[1] - 1) / 2)
        rest = torch.zeros((self.shape[0], 3), device=self.device)
        height = torch.tensor((0.0, 0.0, target.spawn_height), device=self.device)
        level = torch.tensor((1.0, 0.0, 0.0, 0.0), device=self.device).expand(self.shape[0], 4)
        return dataclasses.replace(
            state, object_pos_w=rest + height, object_quat_w=level, object_lin_vel_w=rest, object_ang_vel_b=rest
        )

    def walk(self, duration_s: float, command: Command, disturb: Optional[Disturbance] = None) -> CourseRecording:
        """Let every robot follow `command` for `duration_s` while `disturb` acts on it, then close the physics."""
        stiffness, damping, effort = (
            torch.tensor([getattr(servo, name) for servo in SERVOS.values()] * 4, device=self.device)
            for name in ("stiffness", "damping", "effort")
        )
        rows: List[Tuple[torch.Tensor, ...]] = []
        state = self.physics.state()
        memory = torch.zeros(self.shape + (self.policy.memory_dim,), device=self.device)
        for step in range(round(duration_s / STEP_DT)):
            state = state if disturb is None else disturb(step, state)
            commands = command(step)
            targets, memory = self.policy.step(state, commands, memory)
            torque = stiffness * (targets - state.joint_pos) - damping * state.joint_vel
            saturated = (torque.abs() >= effort).float().mean(-1)
            state = self.physics.step(targets)
            velocity = rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w)
            row = (commands, state.robot_pos_w, state.robot_quat_w, velocity, state.robot_ang_vel_b[..., 2], saturated)
            rows.append(row if state.object_pos_w is None else row + (state.object_pos_w[:, 0],))
        self.physics.check()
        self.physics.close()
        return CourseRecording(*(torch.stack(column) for column in zip(*rows)))
