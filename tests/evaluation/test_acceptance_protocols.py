"""Contracts of the walking acceptance: what counts as a fall, what robots go through, and how it is judged."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from walkers import untrained_walker

from mapush.config import SimConfig
from mapush.evaluation import walking_course, walking_trials
from mapush.evaluation.acceptance import Measure, judge_command_grid, rate_upper_bound, run_acceptance
from mapush.evaluation.walking_course import SETTLE_S, TRUNK_SPHERES, Course, CourseRecording, CourseSetup
from mapush.evaluation.walking_trials import COMMAND_GRID
from mapush.objects import CUBOID
from mapush.sim.gait import FREQUENCY
from mapush.sim.mjcpu import MujocoPhysics
from mapush.sim.physics import STEP_DT
from mapush.sim.scene import Scene, build_model
from mapush.sim.walking import PHASE

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

STEPS, WORLDS, AGENTS = 7, 5, 2


def _recording(steps=STEPS, worlds=WORLDS, agents=AGENTS) -> CourseRecording:
    """Return robots that stand still and level at 0.3 m."""
    position = torch.zeros(steps, worlds, agents, 3)
    position[..., 2] = 0.3
    quat = torch.zeros(steps, worlds, agents, 4)
    quat[..., 0] = 1.0
    zero = torch.zeros(steps, worlds, agents)
    return CourseRecording(torch.zeros_like(position), position, quat, torch.zeros_like(position), zero, zero)


def _pitched(angle: float) -> torch.Tensor:
    return torch.tensor((math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0))


def _setup(scale=0.01) -> CourseSetup:
    return CourseSetup(untrained_walker(), SimConfig(threads=1), seed=0, scale=scale)


@pytest.mark.parametrize(
    "height, pitch, fallen",
    [
        (0.30, 0.0, False),
        (0.14, 0.0, True),
        (0.60, math.radians(69), False),
        (0.60, math.radians(71), True),
        (0.60, math.radians(-71), True),
        (0.25, math.radians(45), False),  # the head stays 2 cm above the floor
        (0.25, math.radians(65), True),  # the head touches the floor
    ],
)
def test_fall_at_each_limit_counts_from_that_step_on(height, pitch, fallen):
    """A robot falls by a tilt above 70 degrees, a height below 0.15 m or a trunk on the floor, and stays fallen."""
    recording = _recording()
    recording.robot_pos_w[3, 4, 1, 2] = height
    recording.robot_quat_w[3, 4, 1] = _pitched(pitch)
    expected = torch.zeros(STEPS, WORLDS, AGENTS, dtype=torch.bool)
    expected[3:, 4, 1] = fallen
    assert torch.equal(recording.fallen, expected)
    assert recording.falls == int(fallen)
    minutes = (STEPS * WORLDS * AGENTS - (STEPS - 3) * fallen) * STEP_DT / 60
    assert recording.upright_minutes == pytest.approx(minutes)


def test_trunk_spheres_of_the_robot_model_are_the_ones_that_fall():
    """The spheres that decide whether the trunk touches the floor are those of the robot's model."""
    model = build_model(Scene(num_agents=1))
    found = []
    for name in ("robot0/body", "robot0/head"):
        geom = model.geom(name)
        x, radius = geom.pos[0], geom.size[0]
        if name.endswith("body"):  # a capsule, which ends in two spheres
            half_length = geom.size[1]
            found += [(x - half_length, radius), (x + half_length, radius)]
        else:
            found.append((x, radius))
    assert len(found) == len(TRUNK_SPHERES)
    for sphere, expected in zip(sorted(found), sorted(TRUNK_SPHERES)):
        assert sphere == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value, passed", [(1.0, True), (2.0, True), (0.99, False), (2.01, False), (math.nan, False)])
def test_measure_beyond_a_limit_fails(value, passed):
    """A measure passes only within its limits; NaN never passes."""
    assert Measure("length", "m", value, low=1.0, high=2.0).passed is passed
    assert Measure("length", "m", value).passed


def test_grid_with_one_bad_point_reports_its_mean_and_the_overall_mean():
    """The worst point is the mean over the worlds of one command at one friction, after the robots have settled."""
    worlds, settle = 3, round(SETTLE_S / STEP_DT)
    steps = settle + 2
    all_worlds = len(COMMAND_GRID) * worlds
    runs = [_recording(steps, all_worlds, agents=1), _recording(steps, all_worlds, agents=1)]
    point = slice(11 * worlds, 12 * worlds)
    runs[1].lin_vel_b[settle:, point, 0, 0] = torch.tensor((0.3, 0.6, 0.9))
    runs[1].yaw_rate[settle:, point, 0] = 0.4
    runs[1].lin_vel_b[:settle] = 9.0
    measures = {measure.name: measure.value for measure in judge_command_grid(runs).measures}
    assert measures["mean velocity error, worst point"] == pytest.approx(0.6)
    assert measures["mean velocity error"] == pytest.approx(0.6 / (2 * len(COMMAND_GRID)))
    assert measures["mean yaw rate error, worst point"] == pytest.approx(0.4)
    assert measures["mean yaw rate error"] == pytest.approx(0.4 / (2 * len(COMMAND_GRID)))


def test_grid_walks_each_command_in_worlds_that_stand_together(monkeypatch):
    """The worlds of one command are consecutive, in the order of the grid, as the judge expects."""
    _shorten_walks(monkeypatch, 4 * STEP_DT)
    run = walking_trials.command_grid(_setup(0.2), friction=0.6)
    commands = run.commands[-1, :, 0].view(len(COMMAND_GRID), 2, 3)
    assert torch.equal(commands, torch.tensor(COMMAND_GRID).unsqueeze(1).expand(-1, 2, -1))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_rate_upper_bound_of_a_count_leaves_five_percent(count):
    """At the upper bound, the probability of at most `count` events is 5 %."""
    mean = 13.0 * rate_upper_bound(count, 13.0)
    chance = 0.0
    for event in range(count + 1):
        chance += math.exp(-mean) * mean**event / math.factorial(event)
    assert chance == pytest.approx(0.05, abs=1e-9)


def _matrix(quat: torch.Tensor) -> torch.Tensor:
    w, x, y, z = quat.double().tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.double,
    )


def test_sustained_push_acts_backwards_at_the_front(monkeypatch):
    """The force is horizontal, points against the heading, and acts 0.29 m in front of the trunk's centre."""
    pushes = []
    original = MujocoPhysics.push

    def spy(physics, force, torque):
        pushes.append((physics.state().robot_quat_w.clone(), force.clone(), torque.clone()))
        original(physics, force, torque)

    monkeypatch.setattr(MujocoPhysics, "push", spy)
    _shorten_walks(monkeypatch, 5 * STEP_DT)
    walking_trials.sustained_push(_setup(0.07), force=30.0)
    assert len(pushes) == 3
    com = torch.tensor(build_model(Scene(num_agents=1)).body("robot0/trunk").ipos)
    for quats, forces, torques in pushes:
        for quat, force, torque in zip(quats[:, 0], forces[:, 0].double(), torques[:, 0].double()):
            rotation = _matrix(quat)
            heading = torch.nn.functional.normalize(rotation[:2, 0], dim=0)
            assert force.tolist() == pytest.approx([*(-30.0 * heading).tolist(), 0.0], abs=1e-4)
            lever = rotation @ (torch.tensor((0.29, 0.0, 0.0), dtype=torch.double) - com)
            assert torque.tolist() == pytest.approx(torch.linalg.cross(lever, force).tolist(), abs=1e-3)


def test_kicks_every_three_seconds_change_velocities_only(monkeypatch):
    """A kick comes every 3 s, stays within 0.5 along each axis, and leaves positions unchanged."""
    kicks = []
    original = MujocoPhysics.reset

    def spy(physics, env_ids, state):
        kicks.append((physics.state(), state))
        original(physics, env_ids, state)

    monkeypatch.setattr(MujocoPhysics, "reset", spy)
    assert walking_trials.KICK_INTERVAL_S == 3.0
    monkeypatch.setattr(walking_trials, "KICK_INTERVAL_S", 0.1)
    _shorten_walks(monkeypatch, 0.22)
    walking_trials.kicks(_setup())
    assert len(kicks) == 1 + 2  # the start, and two intervals
    for before, after in kicks[1:]:
        linear = after.robot_lin_vel_w - before.robot_lin_vel_w
        angular = after.robot_ang_vel_b - before.robot_ang_vel_b
        assert 0.0 < float(linear[..., :2].abs().max()) <= 0.5 + 1e-5
        assert float(linear[..., 2].abs().max()) == 0.0
        assert 0.0 < float(angular.abs().max()) <= 0.5 + 1e-5
        for name in ("robot_pos_w", "robot_quat_w", "joint_pos", "joint_vel"):
            assert torch.equal(getattr(before, name), getattr(after, name))


def test_team_behind_a_box_starts_side_by_side_and_apart_from_it():
    """Robots that push a box start behind it, side by side, facing it and not touching it."""
    box_course = Course(_setup(), worlds=100, target=CUBOID, num_agents=2)
    state = box_course.physics.state()
    x, y = state.robot_pos_w[..., 0], state.robot_pos_w[..., 1]
    assert float(x.max()) + 0.3 < -0.6
    assert torch.allclose(y[:, 1] - y[:, 0], torch.full_like(y[:, 0], 0.6), atol=1e-6)
    assert torch.allclose(state.robot_quat_w[..., 0], torch.ones_like(x))
    box_course.physics.close()


def test_robots_of_a_course_start_in_any_phase_of_their_gait(monkeypatch):
    """The phases that the policy gets first are spread over the gait, and differ within a team."""
    policy, phases = untrained_walker(), []
    original = policy.step

    def spy(state, commands, memory):
        phases.append(memory[..., PHASE].clone())
        return original(state, commands, memory)

    monkeypatch.setattr(policy, "step", spy)
    setup = CourseSetup(policy, SimConfig(threads=1), seed=0, scale=1.0)
    course = Course(setup, worlds=101, num_agents=2)
    course.walk(2 * STEP_DT, walking_trials.constant(course, torch.zeros(3)))
    assert torch.histc(phases[0], 4, 0.0, 1.0).min() > 202 / 4 * 0.6
    assert not torch.isclose(phases[0][:, 0], phases[0][:, 1]).any()
    step = torch.remainder(phases[1] - phases[0], 1.0)
    assert torch.allclose(step, torch.full_like(step, FREQUENCY * STEP_DT), atol=1e-5)


def test_foot_friction_of_a_course_is_the_argument():
    """Every foot in every world has the friction that was passed."""
    slippery = Course(_setup(), worlds=300, friction=0.4)
    fields = slippery.physics.state_dict()["fields"]["pair_friction"]
    model = build_model(Scene(num_agents=1))
    feet = []
    for pair in range(model.npair):
        first, second = model.geom(int(model.pair_geom1[pair])), model.geom(int(model.pair_geom2[pair]))
        if "foot" in first.name or "foot" in second.name:
            feet.append(pair)
    assert len(feet) == 4
    assert torch.allclose(fields[:, feet, 0].double(), torch.tensor(0.4, dtype=torch.double))
    slippery.physics.close()


def _shorten_walks(monkeypatch, duration_s):
    """Let every walk last `duration_s`, and score what comes after 0.04 s."""
    monkeypatch.setattr(walking_course, "SETTLE_S", 0.04)
    monkeypatch.setattr(walking_trials, "SETTLE_S", 0.04)
    original = Course.walk
    monkeypatch.setattr(Course, "walk", lambda self, _, *rest: original(self, duration_s, *rest))


def test_run_acceptance_in_small_returns_all_tests_as_data(monkeypatch):
    """All tests run on the simulator, in order, and their results can be written as JSON."""
    _shorten_walks(monkeypatch, 4 * STEP_DT)
    monkeypatch.setattr(walking_trials, "COMMAND_GRID", COMMAND_GRID[::25])
    results = run_acceptance(untrained_walker(), SimConfig(threads=1), seed=3, scale=0.01)
    names = ["command grid", "undisturbed", "kicks", "command chatter", "stand"]
    assert [result.name for result in results] == names + ["sustained push", "box push", "posture"]
    values = json.loads(json.dumps([result.as_dict() for result in results]))
    for result, value in zip(results, values):
        assert value["passed"] == result.passed
        assert result.passed == all(measure["passed"] for measure in value["measures"])
        for written, measure in zip(value["measures"], result.measures):
            assert written["value"] == pytest.approx(measure.value, nan_ok=True)
    assert dataclasses.asdict(results[0])["protocol"]
