"""Contracts of `benchmarks.run`: warm, interleaved rounds, and workloads that are what they are measured for."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from benchmarks.layers import Layers, physics_of, require_motion
from benchmarks.rounds import Times, measure
from benchmarks.run import BenchConfig, require_no_contradiction, run_config
from mapush.assembly import resolve
from mapush.config import SimConfig
from mapush.errors import MapushError
from mapush.sim.physics import State
from mapush.train import Run

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

NUM_ENVS = 6
DECISIONS = {"cuboid": 3, "walk": 61}
"""Decisions of a measurement: enough for the wrench on a walking robot to change."""


class Slow:
    """A workload that is slow at first, as one that compiles; it notes when it was called.

    Args:
      name: of the workload.
      diary: where the calls are noted.
    """

    def __init__(self, name, diary):
        self.name, self.diary, self.calls = name, diary, 0

    def __call__(self):
        """Return the time of the call [s]: 100 for the first two."""
        self.calls += 1
        self.diary.append(self.name)
        return 100.0 if self.calls <= 2 else float(self.calls)


def test_rounds_do_not_count_the_first_calls_and_take_turns_in_both_directions():
    """The slow first calls are no results; each round does every workload once, every second one backwards."""
    diary = []
    names = ("one", "two", "three")
    times = measure({name: Slow(name, diary) for name in names}, rounds=3)
    assert {name: of_layer.seconds for name, of_layer in times.items()} == dict.fromkeys(names, [3.0, 4.0, 5.0])
    turns = [tuple(diary[first : first + 3]) for first in range(0, 15, 3)]
    assert turns == [names, names[::-1], names, names[::-1], names]


def test_rates_are_of_the_median_the_longest_and_the_shortest_time():
    """Outliers show as extremes and do not move the middle."""
    assert Times([2.0, 50.0, 4.0, 5.0, 1.0]).rates(100.0) == [25.0, 2.0, 100.0]


def test_layer_faster_than_its_physics_is_refused():
    """Training at 81,828 above physics at 47,892 is no result; within the spread of the physics it is."""
    with pytest.raises(MapushError, match="contradict") as caught:
        require_no_contradiction({"physics": [47892.0, 40000.0, 52000.0], "train": [81828.0, 8e4, 9e4]})
    assert "train 81,828" in caught.value.got
    assert "52,000" in caught.value.expected
    require_no_contradiction({"physics": [47892.0, 40000.0, 52000.0], "train": [50000.0, 48000.0, 99000.0]})


# -- what a workload has to do ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(DECISIONS))
def layers(request):
    """The layers of a small run."""
    config, _ = resolve(BenchConfig(task=request.param, sim=SimConfig(backend="mujoco", threads=1)))
    decisions = DECISIONS[request.param]
    settings = dataclasses.replace(run_config(config, NUM_ENVS), num_steps=decisions + 1, device="cpu")
    run = Run.start(settings)
    yield Layers(run, decisions)
    run.close()


def test_layers_repeat_the_same_physics(layers):
    """After physics, env and acting the bodies are where they were when the rollout was recorded, bit for bit."""
    physics = physics_of(layers.run)
    ends = []
    for workload in (layers.only_physics, layers.only_env, layers.acting, layers.training, layers.acting):
        assert workload() > 0.0
        ends.append(physics.state())
    del ends[3]  # a complete rollout is longer
    for end in ends[1:]:
        for field in dataclasses.fields(end):
            one, other = getattr(ends[0], field.name), getattr(end, field.name)
            assert one is None or torch.equal(one, other), field.name


def test_layers_count_the_env_steps_that_they_are_measured_by(layers):
    """The amounts behind the rates are those of the configuration."""
    decisions, held = DECISIONS[layers.run.config.task_name], layers.run.env.steps_per_decision
    assert layers.env_steps == NUM_ENVS * decisions * held
    assert layers.env_steps_of_iteration == NUM_ENVS * (decisions + 1) * held
    assert layers.updating() > 0.0


def test_workload_that_leaves_out_env_steps_is_refused(layers, monkeypatch):
    """An env that does not compute all steps would look fast."""
    env = layers.run.env
    step, calls = env.step, []

    def lazy(actions):
        calls.append(actions)
        if len(calls) == 2:
            return None
        return step(actions)

    monkeypatch.setattr(env, "step", lazy)
    with pytest.raises(MapushError, match="env steps") as caught:
        layers.only_env()
    decisions, held = DECISIONS[layers.run.config.task_name], env.steps_per_decision
    assert caught.value.got == f"{(decisions - 1) * held} of each env"
    assert caught.value.expected == f"{decisions * held}"


def state(height=0.3, joint=0.0, object_x=0.0, up=1.0):
    """Return ten teams of two robots at `height`, whose trunks are upright (`up` 1) or on their backs (-1)."""
    quat = torch.zeros(10, 2, 4)
    quat[..., 0 if up > 0 else 1] = 1.0
    pos = torch.zeros(10, 2, 3)
    pos[..., 2] = height
    three, joints = torch.zeros(10, 2, 3), torch.full((10, 2, 12), joint)
    thing = torch.zeros(10, 3)
    thing[:, 0] = object_x
    return State(pos, quat, three, three, joints, joints, thing, torch.zeros(10, 4), torch.zeros(10, 3), thing)


def test_motion_of_standing_robots_that_push_is_accepted():
    """Robots that moved their joints and an object pass; so does a scene without an object."""
    require_motion(state(), state(joint=0.2, object_x=0.05))
    without = {name: None for name in ("object_pos_w", "object_quat_w", "object_lin_vel_w", "object_ang_vel_b")}
    require_motion(dataclasses.replace(state(), **without), dataclasses.replace(state(joint=0.2), **without))


@pytest.mark.parametrize(
    "wrong, part",
    [
        (dict(up=-1.0), "upright"),
        (dict(height=0.1), "upright"),
        (dict(height=math.nan), "upright"),
        (dict(joint=0.0), "joints"),
        (dict(joint=math.nan), "joints"),
        (dict(object_x=0.0), "objects"),
        (dict(object_x=math.nan), "objects"),
    ],
)
def test_motion_of_something_else_is_refused(wrong, part):
    """Robots on their backs, low, frozen or nowhere, and objects that nobody moves, are not pushing."""
    after = dict(joint=0.2, object_x=0.05)
    after.update(wrong)
    with pytest.raises(MapushError, match="did not compute") as caught:
        require_motion(state(), state(**after))
    assert part in caught.value.got
