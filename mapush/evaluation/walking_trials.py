"""The trials of the acceptance tests: what the robots have to walk through, and recordings of how they did."""

from __future__ import annotations

import dataclasses
import itertools

import torch

from mapush.evaluation.walking_course import FRONT_X, SETTLE_S, Command, Course, CourseRecording, CourseSetup
from mapush.objects import CUBOID, PushObject
from mapush.sim.geometry import rotate, yaw_of
from mapush.sim.go1 import TRUNK
from mapush.sim.physics import STEP_DT, State

FOOT_FRICTIONS = (0.4, 0.6, 0.9)
LINEAR_COMMANDS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # [m/s]
YAW_COMMANDS = (-0.5, 0.0, 0.5)  # [rad/s]
COMMAND_GRID = tuple(itertools.product(LINEAR_COMMANDS, LINEAR_COMMANDS, YAW_COMMANDS))
COMMAND_LIMIT = 0.5  # of a pushing team's commands [m/s, rad/s]
PUSH_FORCES = (10.0, 20.0, 30.0, 40.0)  # [N]
KICK_LIMIT = 0.5  # largest change of velocity [m/s, rad/s]
KICK_INTERVAL_S = 3.0  # [s]
SQUARE_WAVE_HALF_PERIOD_S = 0.25  # [s]

HEAVY_CUBOID = dataclasses.replace(
    CUBOID,
    name="heavy cuboid",
    parts=(dataclasses.replace(CUBOID.parts[0], half_size=(0.75, 0.75, 0.25), mass=8.0),),
)


def constant(course: Course, command: torch.Tensor) -> Command:
    """Return a command that stays the same.

    Args:
      course: where it is followed.
      command: [m/s, m/s, rad/s], (3,) or (E, 1, 3).
    """
    held = command.to(course.device).expand(course.shape + (3,))
    return lambda step: held


def command_grid(setup: CourseSetup, friction: float) -> CourseRecording:
    """Hold each command of `COMMAND_GRID` for 10 s, in equally many worlds, which are consecutive."""
    course = Course(setup, worlds=11, copies=len(COMMAND_GRID), friction=friction)
    worlds_per_command = course.shape[0] // len(COMMAND_GRID)
    commands = torch.tensor(COMMAND_GRID).repeat_interleave(worlds_per_command, dim=0)
    return course.walk(10.0, constant(course, commands.unsqueeze(1)))


def kicks(setup: CourseSetup) -> CourseRecording:
    """Hold a random command for 20 s while random kicks change the velocity of the trunk."""
    course = Course(setup, worlds=180)
    interval = round(KICK_INTERVAL_S / STEP_DT)
    horizontal = torch.tensor((1.0, 1.0, 0.0), device=course.device)

    def kick(step: int, state: State) -> State:
        if step == 0 or step % interval != 0:
            return state
        lin_vel = state.robot_lin_vel_w + course.uniform(KICK_LIMIT, 3) * horizontal
        ang_vel = state.robot_ang_vel_b + course.uniform(KICK_LIMIT, 3)
        state = dataclasses.replace(state, robot_lin_vel_w=lin_vel, robot_ang_vel_b=ang_vel)
        course.physics.reset(course.everyone, state)
        return state

    return course.walk(20.0, constant(course, course.uniform(COMMAND_LIMIT, 3)), kick)


def random_commands(setup: CourseSetup) -> CourseRecording:
    """Follow a new random command at every env step for 20 s."""
    course = Course(setup, worlds=45)
    return course.walk(20.0, lambda step: course.uniform(COMMAND_LIMIT, 3))


def square_wave(setup: CourseSetup) -> CourseRecording:
    """Follow a command whose sign flips twice in a period, for 20 s."""
    course = Course(setup, worlds=45)
    high = torch.sign(course.uniform(1.0, 3)) * COMMAND_LIMIT
    half_period = SQUARE_WAVE_HALF_PERIOD_S / STEP_DT

    def wave(step: int) -> torch.Tensor:
        if int(step / half_period) % 2 == 0:
            return -high
        return high

    return course.walk(20.0, wave)


def stand(setup: CourseSetup) -> CourseRecording:
    """Stand still for 20 s after settling."""
    course = Course(setup, worlds=30)
    return course.walk(SETTLE_S + 20.0, constant(course, torch.zeros(3)))


def sustained_push(setup: CourseSetup, force: float) -> CourseRecording:
    """Walk forward for 10 s against a horizontal force on the front of the trunk.

    Args:
      setup: what all trials share.
      force: magnitude [N]; it always points backwards.
    """
    course = Course(setup, worlds=30)
    front = torch.tensor((FRONT_X, 0.0, 0.0), device=course.device)
    lever = front - torch.tensor(TRUNK.com, device=course.device)
    settled = round(SETTLE_S / STEP_DT)

    def push(step: int, state: State) -> State:
        if step >= settled:
            yaw = yaw_of(state.robot_quat_w)
            force_w = -force * torch.stack((torch.cos(yaw), torch.sin(yaw), torch.zeros_like(yaw)), dim=-1)
            lever_w = rotate(state.robot_quat_w, lever.expand_as(force_w))
            course.physics.push(force_w, torch.cross(lever_w, force_w, dim=-1))
        return state

    return course.walk(SETTLE_S + 10.0, constant(course, torch.tensor((0.3, 0.0, 0.0))), push)


def box_push(setup: CourseSetup, box: PushObject, num_agents: int) -> CourseRecording:
    """Stand behind a box until settled, then push it along x for 10 s."""
    course = Course(setup, worlds=16, target=box, num_agents=num_agents)
    standing = constant(course, torch.zeros(3))
    pushing = constant(course, torch.tensor((0.5, 0.0, 0.0)))

    def command(step: int) -> torch.Tensor:
        if step * STEP_DT < SETTLE_S:
            return standing(step)
        return pushing(step)

    return course.walk(SETTLE_S + 10.0, command)
