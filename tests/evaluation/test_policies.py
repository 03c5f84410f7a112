"""Contracts of the shipped policies: they are what their cards say."""

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


def test_walking_policy_is_small_and_its_card_says_what_it_scored():
    """The file is below 1 MB; its card holds the acceptance table, and every measure with a limit keeps it."""
    assert SHIPPED.stat().st_size < 1_000_000
    results = card()["acceptance"]
    names = {result["name"] for result in results}
    assert {"command grid", "kicks", "command chatter", "stand", "sustained push", "box push", "posture"} <= names
    assert all(result["passed"] for result in results), [r["name"] for r in results if not r["passed"]]


def test_walking_policy_keeps_the_limits_in_a_small_acceptance_run():
    """A tenth of the acceptance worlds, simulated here: no falls, and all else within a tenth of its limit."""
    from mapush.evaluation.acceptance import run_acceptance

    results = run_acceptance(WalkingPolicy.load(), SimConfig(backend="mujoco"), seed=0, scale=0.1)
    for result in results:
        for measure in result.measures:
            assert measure.low is None or measure.value >= 0.9 * measure.low, (result.name, measure)
            assert measure.high is None or measure.value <= 1.1 * measure.high, (result.name, measure)


def test_pushing_policy_succeeds_and_carries_no_run():
    """The shipped policy is below 1 MB, and pushes the box to the goal in nearly every one of 60 episodes."""
    from mapush.evaluate import evaluate
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.loaded_policy import POLICIES
    from mapush.run import checkpoint as checkpoints

    path = POLICIES / "cuboid.pt"
    assert path.stat().st_size < 1_000_000
    assert checkpoints.load(path).run == {}
    config = EvaluateConfig(num_envs=60, device="cpu", sim=SimConfig(backend="mujoco"))
    [result] = evaluate(config)
    assert result.path == path
    assert result.metrics.success_rate >= 0.95
    assert result.metrics.finished_time < 8.0
