"""Acceptance tests of a walking policy: what pushing asks of it, as protocols with limits."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from mapush.config import SimConfig
from mapush.evaluation.walking_course import FRONT, SETTLE_S, Command, Course, CourseRecording, Setup
from mapush.objects import CUBOID, PushObject
from mapush.sim.geometry import gravity_b, rotate, wrap, yaw_of
from mapush.sim.go1 import TRUNK
from mapush.sim.physics import STEP_DT, State
from mapush.sim.walking import WalkingPolicy

FRICTIONS = (0.4, 0.6, 0.9)  # foot against floor
GRID = tuple(itertools.product((-0.5, -0.25, 0.0, 0.25, 0.5), (-0.5, -0.25, 0.0, 0.25, 0.5), (-0.5, 0.0, 0.5)))
FORCES = (10.0, 20.0, 30.0, 40.0)  # [N]
COMMAND_LIMIT = 0.5  # of a pushing team's commands [m/s, rad/s]
KICK = 0.5  # largest change of velocity [m/s, rad/s]
KICK_EVERY_S = 3.0  # [s]

HEAVY_CUBOID = dataclasses.replace(
    CUBOID,
    name="heavy cuboid",
    parts=(dataclasses.replace(CUBOID.parts[0], half_size=(0.75, 0.75, 0.25), mass=8.0),),
)


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number and the limits it has to keep; a number without limits is for information.

    Attributes:
      name: what was measured.
      unit: its unit.
      value: the number; NaN keeps no limit.
      low: smallest value allowed.
      high: largest value allowed.
    """

    name: str
    unit: str
    value: float
    low: Optional[float] = None
    high: Optional[float] = None

    @property
    def passed(self) -> bool:
        """Whether the value keeps its limits."""
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)


@dataclasses.dataclass(frozen=True)
class AcceptanceResult:
    """One test: what was done, and what came of it."""

    name: str
    protocol: str
    measures: Tuple[Measure, ...]

    @property
    def passed(self) -> bool:
        """Whether every measure keeps its limits."""
        return all(measure.passed for measure in self.measures)

    def as_dict(self) -> Dict[str, Any]:
        """Return name, protocol, passed and measures as JSON types."""
        measures = [dict(dataclasses.asdict(measure), passed=measure.passed) for measure in self.measures]
        return {"name": self.name, "protocol": self.protocol, "passed": self.passed, "measures": measures}


def run_acceptance(policy: WalkingPolicy, sim: SimConfig, seed: int = 0, scale: float = 1.0) -> List[AcceptanceResult]:
    """Put a walking policy through all tests.

    Args:
      policy: on the device of the simulator.
      sim: the simulator.
      seed: of everything random.
      scale: share of the worlds to run; 1 gives the protocols as they are worded.
    """
    setup = Setup(policy, sim, seed, scale)
    grid = [_walk_grid(setup, friction) for friction in FRICTIONS]
    kicks = _walk_kicked(setup)
    chatter = [_walk_noise(setup), _walk_square_wave(setup)]
    stand = _stand(setup)
    pushes = {force: _walk_pushed(setup, force) for force in FORCES}
    boxes = {(box.name, team): _push_box(setup, box, team) for box in (CUBOID, HEAVY_CUBOID) for team in (1, 2)}
    return [
        _judge_grid(grid),
        _judge_undisturbed(grid),
        _judge_kicks(kicks),
        _judge_chatter(chatter),
        _judge_stand(stand),
        _judge_pushes(pushes),
        _judge_boxes(boxes),
        _judge_posture([*grid, kicks, *chatter, stand, *pushes.values(), *boxes.values()]),
    ]


# -- what the robots go through --------------------------------------------------------------------------------------


def _hold(course: Course, command: torch.Tensor) -> Command:
    held = command.to(course.device).expand(course.shape + (3,))
    return lambda step: held


def _walk_grid(setup: Setup, friction: float) -> CourseRecording:
    """Walk each command of the grid in the same number of worlds, which stand next to each other."""
    course = Course(setup, worlds=11, copies=len(GRID), friction=friction)
    commands = torch.tensor(GRID).repeat_interleave(course.shape[0] // len(GRID), dim=0)
    return course.walk(10.0, _hold(course, commands.unsqueeze(1)))


def _walk_kicked(setup: Setup) -> CourseRecording:
    course = Course(setup, worlds=180)
    every = round(KICK_EVERY_S / STEP_DT)

    def kick(step: int, state: State) -> State:
        if step % every or step == 0:
            return state
        kick_w = course.uniform(KICK, 3) * torch.tensor((1.0, 1.0, 0.0), device=course.device)
        lin_vel, ang_vel = state.robot_lin_vel_w + kick_w, state.robot_ang_vel_b + course.uniform(KICK, 3)
        state = dataclasses.replace(state, robot_lin_vel_w=lin_vel, robot_ang_vel_b=ang_vel)
        course.physics.reset(course.everyone, state)
        return state

    return course.walk(20.0, _hold(course, course.uniform(COMMAND_LIMIT, 3)), kick)


def _walk_noise(setup: Setup) -> CourseRecording:
    course = Course(setup, worlds=45)
    return course.walk(20.0, lambda step: course.uniform(COMMAND_LIMIT, 3))


def _walk_square_wave(setup: Setup) -> CourseRecording:
    course = Course(setup, worlds=45)
    sign = torch.sign(course.uniform(1.0, 3)) * COMMAND_LIMIT
    half_period = 0.25 / STEP_DT
    return course.walk(20.0, lambda step: sign if int(step / half_period) % 2 else -sign)


def _stand(setup: Setup) -> CourseRecording:
    course = Course(setup, worlds=30)
    return course.walk(SETTLE_S + 20.0, _hold(course, torch.zeros(3)))


def _walk_pushed(setup: Setup, size: float) -> CourseRecording:
    """Walk forward against a force at the front of the trunk that always points backwards, horizontally."""
    course = Course(setup, worlds=30)
    lever = torch.tensor((FRONT, 0.0, 0.0), device=course.device) - torch.tensor(TRUNK.com, device=course.device)
    settle = round(SETTLE_S / STEP_DT)

    def push(step: int, state: State) -> State:
        if step >= settle:
            yaw = yaw_of(state.robot_quat_w)
            force = -size * torch.stack((torch.cos(yaw), torch.sin(yaw), torch.zeros_like(yaw)), dim=-1)
            arm = rotate(state.robot_quat_w, lever.expand_as(force))
            course.physics.push(force, torch.cross(arm, force, dim=-1))
        return state

    return course.walk(SETTLE_S + 10.0, _hold(course, torch.tensor((0.3, 0.0, 0.0))), push)


def _push_box(setup: Setup, box: PushObject, team: int) -> CourseRecording:
    course = Course(setup, worlds=16, target=box, num_agents=team)
    stand, go = (_hold(course, torch.tensor(command)) for command in ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0)))
    return course.walk(SETTLE_S + 10.0, lambda step: (go if step * STEP_DT >= SETTLE_S else stand)(step))


# -- what came of it -------------------------------------------------------------------------------------------------


def _judge_grid(grid: Sequence[CourseRecording]) -> AcceptanceResult:
    def per_point(error: Callable[[CourseRecording], torch.Tensor]) -> torch.Tensor:
        return torch.cat([run.scored(error(run)).mean(dim=(0, 2)).view(len(GRID), -1).mean(dim=1) for run in grid])

    linear = per_point(lambda run: run.velocity_error)
    yaw = per_point(lambda run: run.yaw_rate_error)
    return AcceptanceResult(
        "command grid",
        "v_x, v_y in {-0.5, -0.25, 0, 0.25, 0.5} m/s, omega_z in {-0.5, 0, 0.5} rad/s (75 points), foot friction 0.4,"
        " 0.6 and 0.9, 11 worlds each; 10 s, of which the last 8 s count; errors are taken at every env step",
        (
            Measure("mean velocity error", "m/s", float(linear.mean()), high=0.08),
            Measure("mean velocity error, worst point", "m/s", float(linear.max()), high=0.15),
            Measure("mean yaw rate error", "rad/s", float(yaw.mean()), high=0.10),
            Measure("mean yaw rate error, worst point", "rad/s", float(yaw.max()), high=0.20),
        ),
    )


def _fall_measures(
    runs: Sequence[CourseRecording], max_falls: Optional[float], max_rate: Optional[float]
) -> List[Measure]:
    falls, minutes = sum(run.falls for run in runs), sum(run.upright_minutes for run in runs)
    return [
        Measure("falls", "", falls, high=max_falls),
        Measure("time upright", "robot-min", minutes),
        Measure("fall rate", "per min", falls / minutes if minutes else math.nan, high=max_rate),
        Measure("95 % upper bound", "per min", rate_upper_bound(falls, max(minutes, 1e-9))),
    ]


def _judge_undisturbed(grid: Sequence[CourseRecording]) -> AcceptanceResult:
    protocol = "the runs of the command grid"
    return AcceptanceResult("undisturbed", protocol, tuple(_fall_measures(grid, 0, None)))


def _judge_kicks(run: CourseRecording) -> AcceptanceResult:
    protocol = (
        "every 3 s the velocity jumps by up to 0.5 m/s along x and y and the angular velocity by up to 0.5 rad/s about"
        " each axis; a random command is held; 180 worlds, 20 s"
    )
    return AcceptanceResult("kicks", protocol, tuple(_fall_measures([run], None, 0.5)))


def _judge_chatter(runs: Sequence[CourseRecording]) -> AcceptanceResult:
    down = torch.stack([run.scored(gravity_b(run.robot_quat_w)) for run in runs])
    roll, pitch = torch.atan2(down[..., 1], -down[..., 2]).abs(), torch.asin(down[..., 0].clamp(-1, 1)).abs()
    return AcceptanceResult(
        "command chatter",
        "random commands within 0.5, redrawn every 0.02 s, and a square wave of 0.5 at 2 Hz; 45 worlds each, 20 s",
        (
            *_fall_measures(runs, 0, None),
            Measure("largest roll", "rad", float(roll.max()), high=0.35),
            Measure("largest pitch", "rad", float(pitch.max()), high=0.35),
        ),
    )


def _judge_stand(run: CourseRecording) -> AcceptanceResult:
    position, yaw = run.scored(run.robot_pos_w), run.scored(yaw_of(run.robot_quat_w))
    height = position[..., 2]
    drift = (position[..., :2] - position[:1, ..., :2]).norm(dim=-1)
    return AcceptanceResult(
        "stand",
        "zero command, 30 worlds, 20 s after the first 2 s; the worst world counts",
        (
            Measure("falls", "", run.falls, high=0),
            Measure("drift", "m", float(drift.max()), high=0.05),
            Measure("turn", "rad", float(wrap(yaw - yaw[:1]).abs().max()), high=0.05),
            Measure("change of height", "m", float((height - height.mean(dim=0)).abs().max()), high=0.02),
        ),
    )


def _judge_pushes(pushes: Dict[float, CourseRecording]) -> AcceptanceResult:
    measures: List[Measure] = []
    for force, run in pushes.items():
        speed = float(run.scored(run.lin_vel_b[..., 0]).mean())
        measures.append(Measure(f"falls at {force:g} N", "", run.falls, high=0))
        measures.append(Measure(f"speed at {force:g} N", "m/s", speed, low=0.0 if force <= 20.0 else None))
    protocol = (
        "0.3 m/s forward for 10 s against a horizontal force that points against the robot's heading and acts 0.29 m in"
        " front of the trunk's centre; 30 worlds for each force; mean forward speed"
    )
    return AcceptanceResult("sustained push", protocol, tuple(measures))


def _judge_boxes(boxes: Dict[Tuple[str, int], CourseRecording]) -> AcceptanceResult:
    least = {(CUBOID.name, 1): 2.0, (CUBOID.name, 2): 2.0, (HEAVY_CUBOID.name, 2): 1.0}
    measures: List[Measure] = []
    for (box, team), run in boxes.items():
        travel = run.scored(run.object_x)
        label = f"{box}, team of {team}"
        measures.append(
            Measure("travel of " + label, "m", float((travel[-1] - travel[0]).mean()), low=least.get((box, team)))
        )
        measures.append(Measure("falls, " + label, "", run.falls, high=0))
    protocol = (
        "(0.5, 0, 0) for 10 s behind a box of 1.2 m and 4 kg (cuboid) or 1.5 m and 8 kg (heavy cuboid), robots side by"
        " side 0.6 m apart, the pushing task's friction; 16 worlds each; mean travel along x"
    )
    return AcceptanceResult("box push", protocol, tuple(measures))


def _judge_posture(runs: Sequence[CourseRecording]) -> AcceptanceResult:
    means, changes = [], []
    for run in runs:
        height, upright = run.scored(run.robot_pos_w[..., 2]), ~run.scored(run.fallen)
        own_mean = (height * upright).sum(0) / upright.sum(0).clamp(min=1)
        means.append((height * upright).sum() / upright.sum())
        changes.append(((height - own_mean) * upright).abs().max())
    saturated = torch.cat([run.scored(run.saturated).flatten() for run in runs])
    not_finite = sum(int((~torch.isfinite(run.robot_pos_w)).sum()) for run in runs)
    return AcceptanceResult(
        "posture",
        "all runs, while the robot is up; torque is taken when a new set point arrives",
        (
            Measure("mean height, lowest run", "m", float(torch.stack(means).min()), low=0.24),
            Measure("mean height, highest run", "m", float(torch.stack(means).max()), high=0.32),
            Measure("largest change of height", "m", float(torch.stack(changes).max()), high=0.10),
            Measure("servos at their torque limit", "share", float(saturated.mean()), high=0.05),
            Measure("positions that are not finite", "", not_finite, high=0),
        ),
    )


def rate_upper_bound(count: int, exposure: float) -> float:
    """Return the exact 95 % upper bound of a Poisson rate after `count` events in `exposure`; 3.0 / exposure for 0."""

    def chance_of_so_few(mean: float) -> float:
        term = total = math.exp(-mean)
        for event in range(1, count + 1):
            term *= mean / event
            total += term
        return total

    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chance_of_so_few(middle) > 0.05 else (low, middle)
    return high / exposure
