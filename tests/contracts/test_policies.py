"""Contracts of the shipped policies: they are what their cards say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mapush.config import SimConfig
from mapush.sim.walking import SHIPPED, WalkingPolicy

pytestmark = [pytest.mark.contracts, pytest.mark.mujoco]


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


def test_walking_policy_passes_a_small_acceptance_run():
    """A tenth of the acceptance worlds, simulated here, keep the limits that the card claims."""
    from mapush.acceptance import run_acceptance

    torch.set_num_threads(1)
    results = run_acceptance(WalkingPolicy.load(), SimConfig(), seed=3, scale=0.1)
    failed = [(result.name, m.name, m.value) for result in results for m in result.measures if not m.passed]
    assert not failed
