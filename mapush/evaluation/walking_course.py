"""A course for a walking policy: worlds in which robots follow commands, and a recording of what they did.

Every robot starts as the pushing task resets it: it is dropped from 0.43 m with its joints off the default pose. It
starts in any phase of its gait, because the first steps turn it a little, and the phase decides to which side. Nothing
is scored in the first `SETTLE_S`. A robot has fallen from the step on at which its trunk tilts by more than 70 degrees,
sinks below 0.15 m or touches the floor; it is not picked up.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Callable, DefaultDict, List, Optional

import torch

from mapush.config import SimConfig
from mapush.objects import PushObject
from mapush.run.shown_progress import SilentProgress
from mapush.sim import make_physics
from mapush.sim.geometry import gravity_b, quat_from_rpy, rotate_inverse
from mapush.sim.go1 import DEFAULT_JOINT_POS, SERVOS
from mapush.sim.physics import STEP_DT, Physics, Randomization, State
from mapush.sim.scene import Scene
from mapush.sim.walking import PHASE, WalkingPolicy

SETTLE_S = 2.0  # [s]
START_HEIGHT = 0.43  # [m]
TEAM_SPACING = 0.6  # between robots that stand side by side [m]
FRONT_X = 0.29  # where an object meets the robot, along the trunk's x axis [m]

FALL_TILT = math.radians(70.0)
FALL_HEIGHT = 0.15  # [m]
TRUNK_SPHERES = ((-0.16, 0.07), (0.2, 0.07), (0.24, 0.06))  # along the trunk's x axis: centre, radius [m]

Command = Callable[[int], torch.Tensor]  # env step -> (E, A, 3) [m/s, m/s, rad/s]
Disturbance = Callable[[int, State], State]  # env step, state -> disturbed state


@dataclasses.dataclass(frozen=True)
class CourseRecording:
    """T env steps of E worlds with A robots.

    Attributes:
      commands: velocity commands [m/s, m/s, rad/s], (T, E, A, 3).
      robot_pos_w: position of the trunk [m], (T, E, A, 3).
      robot_quat_w: orientation of the trunk, (T, E, A, 4).
      lin_vel_b: velocity of the trunk in its own frame [m/s], (T, E, A, 3).
      yaw_rate: [rad/s], (T, E, A).
      saturated: fraction of a robot's servos at their torque limit, (T, E, A).
      object_x: position of the object along x [m], (T, E); None if there is no object.
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
        clearances = [height - x * down[..., 0] - radius for x, radius in TRUNK_SPHERES]
        clearance = torch.stack(clearances).amin(0)
        upright = (-down[..., 2] > math.cos(FALL_TILT)) & (height > FALL_HEIGHT) & (clearance > 0)
        return (~upright).int().cummax(dim=0).values.bool()

    @property
    def falls(self) -> int:
        """Number of robots that fell."""
        return int(self.fallen[-1].sum())

    @property
    def upright_minutes(self) -> float:
        """Time before the falls, summed over robots [robot-minutes]."""
        return float((~self.fallen).sum()) * STEP_DT / 60

    @property
    def velocity_error(self) -> torch.Tensor:
        """Distance between commanded and actual velocity [m/s], (T, E, A)."""
        return (self.commands[..., :2] - self.lin_vel_b[..., :2]).norm(dim=-1)

    @property
    def yaw_rate_error(self) -> torch.Tensor:
        """Distance between commanded and actual yaw rate [rad/s], (T, E, A)."""
        return (self.commands[..., 2] - self.yaw_rate).abs()

    @staticmethod
    def scored(values: torch.Tensor) -> torch.Tensor:
        """Return the `values` (T, ...) of the steps after the robots have settled."""
        return values[round(SETTLE_S / STEP_DT) :]


@dataclasses.dataclass(frozen=True)
class CourseSetup:
    """What all courses of an acceptance run share.

    Attributes:
      policy: the walking policy, on the device of the simulator.
      sim: the simulator.
      seed: seeds everything random.
      scale: fraction of the worlds to run, in (0, 1].
      progress: gets every env step of a course.
    """

    policy: WalkingPolicy
    sim: SimConfig
    seed: int
    scale: float
    progress: SilentProgress = dataclasses.field(default_factory=SilentProgress)


class Course:
    """Worlds in which robots are ready to walk.

    Args:
      setup: what all courses share.
      worlds: number of worlds at scale 1.
      copies: how often each of them is repeated.
      friction: between foot and floor; None takes the pushing task's.
      target: an object to push; the robots then stand behind it and face along x, otherwise they face anywhere.
      num_agents: robots in each world.

    Attributes:
      physics: the simulator; `walk` closes it.
      shape: (worlds, robots).
      everyone: (worlds,) bool, all True.
      memory: of the walking policy, at the start (worlds, robots, 14).
    """

    def __init__(
        self,
        setup: CourseSetup,
        worlds: int,
        copies: int = 1,
        friction: Optional[float] = None,
        target: Optional[PushObject] = None,
        num_agents: int = 1,
    ) -> None:
        self.policy = setup.policy
        self._progress = setup.progress
        num_worlds = copies * max(1, round(worlds * setup.scale))
        randomization = Randomization()
        if friction is not None:
            randomization = Randomization(foot_friction=(friction, friction))
        scene = Scene(num_agents=num_agents, object=target)
        self.physics: Physics = make_physics(setup.sim, scene, num_worlds, setup.seed, randomization)
        self.device = self.physics.device
        self.shape = (num_worlds, num_agents)
        self._generator = torch.Generator(device=self.device).manual_seed(setup.seed)
        self.everyone = torch.ones(num_worlds, dtype=torch.bool, device=self.device)
        state = self._dropped_robots(faces_x=target is not None)
        if target is not None:
            state = self._behind(target, state)
        self.physics.reset(self.everyone, state)
        self.memory = torch.zeros(self.shape + (self.policy.memory_dim,), device=self.device)
        self.memory[..., PHASE] = 0.5 + self.uniform(0.5, 1)

    def uniform(self, limit: float, *shape: int) -> torch.Tensor:
        """Draw numbers in [-limit, limit], of the shape (E, A) + `shape`."""
        draw = torch.rand(self.shape + shape, generator=self._generator, device=self.device)
        return (2 * draw - 1) * limit

    def _dropped_robots(self, faces_x: bool) -> State:
        zero = torch.zeros(self.shape, device=self.device)
        yaw = zero
        if not faces_x:
            yaw = self.uniform(math.pi)
        default = torch.tensor(DEFAULT_JOINT_POS, device=self.device)
        position = torch.zeros(self.shape + (3,), device=self.device)
        position[..., 2] = START_HEIGHT
        return State(
            robot_pos_w=position,
            robot_quat_w=quat_from_rpy(zero, zero, yaw),
            robot_lin_vel_w=self.uniform(0.1, 3),
            robot_ang_vel_b=self.uniform(0.1, 3),
            joint_pos=default * (1 + self.uniform(0.3, 12)),
            joint_vel=torch.zeros(self.shape + (12,), device=self.device),
        )

    def _behind(self, target: PushObject, state: State) -> State:
        """Return `state` with an object at the origin and the robots side by side behind it."""
        num_worlds, num_agents = self.shape
        agents = torch.arange(num_agents, device=self.device)
        state.robot_pos_w[..., 0] = -target.parts[0].half_size[0] - FRONT_X - 0.1
        state.robot_pos_w[..., 1] = TEAM_SPACING * (agents - (num_agents - 1) / 2)
        rest = torch.zeros((num_worlds, 3), device=self.device)
        height = torch.tensor((0.0, 0.0, target.spawn_height), device=self.device)
        level = torch.tensor((1.0, 0.0, 0.0, 0.0), device=self.device).expand(num_worlds, 4)
        return dataclasses.replace(
            state, object_pos_w=rest + height, object_quat_w=level, object_lin_vel_w=rest, object_ang_vel_b=rest
        )

    def walk(self, duration_s: float, command: Command, disturb: Optional[Disturbance] = None) -> CourseRecording:
        """Let every robot follow `command` for `duration_s`, then close the physics.

        Args:
          duration_s: [s].
          command: returns the commands of an env step.
          disturb: called before each env step; may push the robots or change their state.
        """
        stiffness, damping, effort = self._servo("stiffness"), self._servo("damping"), self._servo("effort")
        recorded: DefaultDict[str, List[torch.Tensor]] = collections.defaultdict(list)
        state, memory = self.physics.state(), self.memory
        steps = round(duration_s / STEP_DT)
        for step in range(steps):
            self._progress.update(step, total=steps)
            if disturb is not None:
                state = disturb(step, state)
            commands = command(step)
            targets, memory = self.policy.step(state, commands, memory)
            torque = stiffness * (targets - state.joint_pos) - damping * state.joint_vel
            state = self.physics.step(targets)
            recorded["commands"].append(commands)
            recorded["robot_pos_w"].append(state.robot_pos_w)
            recorded["robot_quat_w"].append(state.robot_quat_w)
            recorded["lin_vel_b"].append(rotate_inverse(state.robot_quat_w, state.robot_lin_vel_w))
            recorded["yaw_rate"].append(state.robot_ang_vel_b[..., 2])
            recorded["saturated"].append((torque.abs() >= effort).float().mean(-1))
            if state.object_pos_w is not None:
                recorded["object_x"].append(state.object_pos_w[:, 0])
        self.physics.check()
        self.physics.close()
        return CourseRecording(**{name: torch.stack(values) for name, values in recorded.items()})

    def _servo(self, quantity: str) -> torch.Tensor:
        """Return a property of every joint's servo, (12,)."""
        of_leg = [getattr(servo, quantity) for servo in SERVOS.values()]
        return torch.tensor(of_leg * 4, device=self.device)
