"""Acceptance tests of a walking policy: what pushing needs from it, as protocols with limits."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from mapush.config import SimConfig
from mapush.evaluation import walking_trials as trials
from mapush.evaluation.walking_course import CourseRecording, CourseSetup
from mapush.evaluation.walking_trials import HEAVY_CUBOID
from mapush.objects import CUBOID
from mapush.run.shown_progress import SilentProgress
from mapush.sim.geometry import gravity_b, wrap, yaw_of
from mapush.sim.walking import WalkingPolicy

MIN_DISTANCE_PUSHED = {  # [m], by box and number of robots
    (CUBOID.name, 1): 2.0,
    (CUBOID.name, 2): 2.0,
    (HEAVY_CUBOID.name, 2): 1.0,
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measured number and its limits; a number without limits is for information.

    Attributes:
      name: what was measured.
      unit: its unit.
      value: the number; NaN violates every limit.
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
        """Whether the value is within its limits."""
        high_enough = self.low is None or self.value >= self.low
        low_enough = self.high is None or self.value <= self.high
        return high_enough and low_enough


@dataclasses.dataclass(frozen=True)
class AcceptanceResult:
    """The result of one test.

    Attributes:
      name: the test.
      protocol: what was done, in words.
      measures: what was measured.
    """

    name: str
    protocol: str
    measures: Tuple[Measure, ...]

    @property
    def passed(self) -> bool:
        """Whether every measure is within its limits."""
        return all(measure.passed for measure in self.measures)

    def as_dict(self) -> Dict[str, Any]:
        """Return name, protocol, passed and measures as JSON types."""
        measures = []
        for measure in self.measures:
            measures.append(dict(dataclasses.asdict(measure), passed=measure.passed))
        return {"name": self.name, "protocol": self.protocol, "passed": self.passed, "measures": measures}


def run_acceptance(
    policy: WalkingPolicy,
    sim: SimConfig,
    seed: int = 0,
    scale: float = 1.0,
    progress: Optional[SilentProgress] = None,
) -> List[AcceptanceResult]:
    """Run all acceptance tests on a walking policy.

    Args:
      policy: on the device of the simulator.
      sim: the simulator.
      seed: seeds everything random.
      scale: fraction of the worlds to run; 1 runs the protocols as they are worded.
      progress: gets the trials, and every env step of each.
    """
    setup = CourseSetup(policy, sim, seed, scale, progress or SilentProgress())
    runs = run_trials(setup)
    pushed = {force: runs["push", force] for force in trials.PUSH_FORCES}
    pushing = {key: runs[key] for key in _BOX_PUSHES}
    grid = [runs["command grid", friction] for friction in trials.FOOT_FRICTIONS]
    return [
        judge_command_grid(grid),
        judge_undisturbed(grid),
        judge_kicks(runs["kicks", 0]),
        judge_command_chatter([runs["random commands", 0], runs["square wave", 0]]),
        judge_stand(runs["stand", 0]),
        judge_sustained_push(pushed),
        judge_box_push(pushing),
        judge_posture(list(runs.values())),
    ]


_BOXES = {box.name: box for box in (CUBOID, HEAVY_CUBOID)}
_BOX_PUSHES = [(name, num_agents) for name in _BOXES for num_agents in (1, 2)]


def run_trials(setup: CourseSetup) -> Dict[Tuple[str, Any], CourseRecording]:
    """Run all trials, one after the other; return their recordings by name and variant."""
    planned: Dict[Tuple[str, Any], Callable[[], CourseRecording]] = {}
    for friction in trials.FOOT_FRICTIONS:
        planned["command grid", friction] = functools.partial(trials.command_grid, setup, friction)
    planned["kicks", 0] = functools.partial(trials.kicks, setup)
    planned["random commands", 0] = functools.partial(trials.random_commands, setup)
    planned["square wave", 0] = functools.partial(trials.square_wave, setup)
    planned["stand", 0] = functools.partial(trials.stand, setup)
    for force in trials.PUSH_FORCES:
        planned["push", force] = functools.partial(trials.sustained_push, setup, force)
    for name, num_agents in _BOX_PUSHES:
        planned[name, num_agents] = functools.partial(trials.box_push, setup, _BOXES[name], num_agents)
    runs: Dict[Tuple[str, Any], CourseRecording] = {}
    for number, (key, trial) in enumerate(planned.items(), start=1):
        setup.progress.stage(f"trial {number} of {len(planned)}, {_title_of(*key)}", unit="env steps")
        runs[key] = trial()
    return runs


def _title_of(name: str, variant: Any) -> str:
    """Return the name of a trial for people."""
    if name == "command grid":
        return f"{name} at friction {variant:g}"
    if name == "push":
        return f"push of {variant:g} N"
    if name in _BOXES:
        return f"{name} pushed by {variant}"
    return name


def judge_command_grid(runs: Sequence[CourseRecording]) -> AcceptanceResult:
    """Judge how well the robots follow the commands of the grid, at each friction."""
    velocity = torch.cat([_mean_per_command(run, run.velocity_error) for run in runs])
    yaw_rate = torch.cat([_mean_per_command(run, run.yaw_rate_error) for run in runs])
    return AcceptanceResult(
        "command grid",
        "v_x, v_y in {-0.5, -0.25, 0, 0.25, 0.5} m/s, omega_z in {-0.5, 0, 0.5} rad/s (75 points), foot friction 0.4,"
        " 0.6 and 0.9, 11 worlds each; 10 s, of which the last 8 s count; errors are taken at every env step",
        (
            Measure("mean velocity error", "m/s", float(velocity.mean()), high=0.08),
            Measure("mean velocity error, worst point", "m/s", float(velocity.max()), high=0.15),
            Measure("mean yaw rate error", "rad/s", float(yaw_rate.mean()), high=0.10),
            Measure("mean yaw rate error, worst point", "rad/s", float(yaw_rate.max()), high=0.20),
        ),
    )


def _mean_per_command(run: CourseRecording, error: torch.Tensor) -> torch.Tensor:
    """Return the mean of an error (T, E, A) for each command of the grid, (commands,)."""
    of_worlds = run.scored(error).mean(dim=(0, 2))
    return of_worlds.view(len(trials.COMMAND_GRID), -1).mean(dim=1)


def judge_undisturbed(runs: Sequence[CourseRecording]) -> AcceptanceResult:
    """Judge the falls on the command grid."""
    protocol = "the runs of the command grid"
    return AcceptanceResult("undisturbed", protocol, tuple(_fall_measures(runs, max_falls=0)))


def judge_kicks(run: CourseRecording) -> AcceptanceResult:
    """Judge the falls after kicks."""
    protocol = (
        "every 3 s the velocity jumps by up to 0.5 m/s along x and y and the angular velocity by up to 0.5 rad/s about"
        " each axis; a random command is held; 180 worlds, 20 s"
    )
    return AcceptanceResult("kicks", protocol, tuple(_fall_measures([run], max_rate=0.5)))


def judge_command_chatter(runs: Sequence[CourseRecording]) -> AcceptanceResult:
    """Judge falls and tilt under commands that change quickly."""
    down = torch.stack([run.scored(gravity_b(run.robot_quat_w)) for run in runs])
    roll = torch.atan2(down[..., 1], -down[..., 2]).abs()
    pitch = torch.asin(down[..., 0].clamp(-1, 1)).abs()
    return AcceptanceResult(
        "command chatter",
        "random commands within 0.5, redrawn every 0.02 s, and a square wave of 0.5 at 2 Hz; 45 worlds each, 20 s",
        (
            *_fall_measures(runs, max_falls=0),
            Measure("largest roll", "rad", float(roll.max()), high=0.35),
            Measure("largest pitch", "rad", float(pitch.max()), high=0.35),
        ),
    )


def _fall_measures(
    runs: Sequence[CourseRecording], max_falls: Optional[float] = None, max_rate: Optional[float] = None
) -> List[Measure]:
    falls, minutes = 0, 0.0
    for run in runs:
        falls += run.falls
        minutes += run.upright_minutes
    rate = math.nan
    if minutes > 0:
        rate = falls / minutes
    return [
        Measure("falls", "", falls, high=max_falls),
        Measure("time upright", "robot-min", minutes),
        Measure("fall rate", "per min", rate, high=max_rate),
        Measure("fall rate, 95 % upper bound", "per min", rate_upper_bound(falls, max(minutes, 1e-9))),
    ]


def judge_stand(run: CourseRecording) -> AcceptanceResult:
    """Judge how still the robots stand."""
    position, yaw = run.scored(run.robot_pos_w), run.scored(yaw_of(run.robot_quat_w))
    height = position[..., 2]
    drift = (position[..., :2] - position[:1, ..., :2]).norm(dim=-1)
    yaw_drift = wrap(yaw - yaw[:1]).abs()
    height_deviation = (height - height.mean(dim=0)).abs()
    return AcceptanceResult(
        "stand",
        "zero command, 30 worlds, 20 s after the first 2 s; the worst world counts",
        (
            Measure("falls", "", run.falls, high=0),
            Measure("drift", "m", float(drift.max()), high=0.05),
            Measure("yaw drift", "rad", float(yaw_drift.max()), high=0.05),
            Measure("height deviation", "m", float(height_deviation.max()), high=0.02),
        ),
    )


def judge_sustained_push(runs: Dict[float, CourseRecording]) -> AcceptanceResult:
    """Judge falls and speed against a force.

    Args:
      runs: by force [N].
    """
    measures: List[Measure] = []
    for force, run in runs.items():
        speed = float(run.scored(run.lin_vel_b[..., 0]).mean())
        min_speed = None
        if force <= 20.0:
            min_speed = 0.0
        measures.append(Measure(f"falls at {force:g} N", "", run.falls, high=0))
        measures.append(Measure(f"speed at {force:g} N", "m/s", speed, low=min_speed))
    protocol = (
        "0.3 m/s forward for 10 s against a horizontal force that points against the robot's heading and acts 0.29 m in"
        " front of the trunk's centre; 30 worlds for each force; mean forward speed"
    )
    return AcceptanceResult("sustained push", protocol, tuple(measures))


def judge_box_push(runs: Dict[Tuple[str, int], CourseRecording]) -> AcceptanceResult:
    """Judge falls and the distance that boxes were pushed.

    Args:
      runs: by name of the box and number of robots.
    """
    measures: List[Measure] = []
    for (box, num_agents), run in runs.items():
        assert run.object_x is not None, "every trial of this test has a box"
        object_x = run.scored(run.object_x)
        distance = float((object_x[-1] - object_x[0]).mean())
        low = MIN_DISTANCE_PUSHED.get((box, num_agents))
        measures.append(Measure(f"distance pushed, {box}, team of {num_agents}", "m", distance, low=low))
        measures.append(Measure(f"falls, {box}, team of {num_agents}", "", run.falls, high=0))
    protocol = (
        "(0.5, 0, 0) for 10 s behind a box of 1.2 m and 4 kg (cuboid) or 1.5 m and 8 kg (heavy cuboid), robots side by"
        " side 0.6 m apart, the pushing task's friction; 16 worlds each; mean distance along x"
    )
    return AcceptanceResult("box push", protocol, tuple(measures))


def judge_posture(runs: Sequence[CourseRecording]) -> AcceptanceResult:
    """Judge height, torque and finiteness over all trials."""
    mean_heights, deviations, saturated = [], [], []
    not_finite = 0
    for run in runs:
        height = run.scored(run.robot_pos_w[..., 2])
        upright = ~run.scored(run.fallen)
        own_mean = (height * upright).sum(0) / upright.sum(0).clamp(min=1)
        mean_heights.append((height * upright).sum() / upright.sum())
        deviations.append(((height - own_mean) * upright).abs().max())
        saturated.append(run.scored(run.saturated).flatten())
        not_finite += int((~torch.isfinite(run.robot_pos_w)).sum())
    return AcceptanceResult(
        "posture",
        "all runs, while the robot is up; torque is taken when a new set point arrives",
        (
            Measure("mean height, lowest run", "m", float(torch.stack(mean_heights).min()), low=0.24),
            Measure("mean height, highest run", "m", float(torch.stack(mean_heights).max()), high=0.32),
            Measure("largest height deviation", "m", float(torch.stack(deviations).max()), high=0.10),
            Measure("servos at their torque limit", "fraction", float(torch.cat(saturated).mean()), high=0.05),
            Measure("non-finite positions", "", not_finite, high=0),
        ),
    )


def rate_upper_bound(count: int, exposure: float) -> float:
    """Return the exact 95 % upper bound of a Poisson rate after `count` events in `exposure`.

    It is the rate at which so few events have a chance of 5 %, found by bisection; for no event, 3.0 / exposure.
    """
    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(60):
        middle = (low + high) / 2
        if _chance_of_at_most(count, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high / exposure


def _chance_of_at_most(count: int, mean: float) -> float:
    """Return the probability of `count` events or fewer under a Poisson distribution."""
    term = total = math.exp(-mean)
    for event in range(1, count + 1):
        term *= mean / event
        total += term
    return total
