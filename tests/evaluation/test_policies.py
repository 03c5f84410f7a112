"""Contracts of the shipped policies: they score what their cards state."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mapush.config import SimConfig
from mapush.sim.walking import SHIPPED, WalkingPolicy

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


def card():
    with np.load(SHIPPED, allow_pickle=False) as archive:
        return json.loads(str(archive["header"]))["card"]


def test_walking_policy_is_small_and_its_card_states_its_score():
    """The file is smaller than 1 MB; its card holds the acceptance results, all within their limits."""
    assert SHIPPED.stat().st_size < 1_000_000
    results = card()["acceptance"]
    names = {result["name"] for result in results}
    assert {"command grid", "kicks", "command chatter", "stand", "sustained push", "box push", "posture"} <= names
    failed = [result["name"] for result in results if not result["passed"]]
    assert failed == []


@pytest.mark.slow
def test_walking_policy_keeps_the_limits_in_a_small_acceptance_run():
    """With a tenth of the worlds there are no falls, and other measures exceed their limits by at most a tenth."""
    from mapush.evaluation.acceptance import run_acceptance

    results = run_acceptance(WalkingPolicy.load(), SimConfig(backend="mujoco"), seed=0, scale=0.1)
    for result in results:
        for measure in result.measures:
            assert measure.low is None or measure.value >= 0.9 * measure.low, (result.name, measure)
            assert measure.high is None or measure.value <= 1.1 * measure.high, (result.name, measure)


@pytest.mark.parametrize(
    "task, rate, seconds",
    [
        ("cuboid", 0.95, 8.0),
        pytest.param("tblock", 0.95, 8.0, marks=pytest.mark.slow),
        pytest.param("cylinder", 0.9, 9.0, marks=pytest.mark.slow),
    ],
)
def test_pushing_policy_succeeds_and_holds_no_training_state(task, rate, seconds):
    """The file is smaller than 1 MB, and the policy pushes the object to the goal in most of 60 episodes."""
    from mapush.evaluate import evaluate
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.shipped_policies import POLICIES
    from mapush.run import checkpoint as checkpoints

    path = POLICIES / f"{task}.pt"
    assert path.stat().st_size < 1_000_000
    assert checkpoints.load(path).run == {}
    config = EvaluateConfig(task_name=task, num_envs=60, device="cpu", sim=SimConfig(backend="mujoco"))
    [result] = evaluate(config)
    assert result.path == path
    assert result.metrics.success_rate >= rate
    assert result.metrics.finished_time < seconds
