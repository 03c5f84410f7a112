"""Tests of how many time limits may lack their flag because the episode failed in that very step."""

from __future__ import annotations

import random

import pytest

from harness.contracts.time_limits import EpisodeSpan, accidental_failures

pytestmark = pytest.mark.harness

LIMIT, NUM_ENVS, NUM_STEPS = 38, 5, 1100


def drawn(seed, hazard, forgetful_env=None):
    """Return the episodes of envs that fail with probability `hazard` at each step, or reach the time limit."""
    draw = random.Random(seed)
    found = []
    for env in range(NUM_ENVS):
        start = 0
        for step in range(1, NUM_STEPS + 1):
            failed, late = draw.random() < hazard, step - start == LIMIT
            if failed or late:
                flagged = not failed and env != forgetful_env
                found.append(EpisodeSpan(env=env, end=step, length=step - start, truncated=flagged, first=start == 0))
                start = step
    return found


def missed(ended):
    """Return how many episodes of the full length have no flag."""
    return sum(one.length == LIMIT and not one.truncated for one in ended)


@pytest.mark.parametrize("hazard", [0.0, 0.002, 0.01, 0.03])
def test_failures_at_the_time_limit_are_no_missing_flags(hazard):
    """No flag is reported as missing in 300 clean runs, whatever the rate of failures."""
    for seed in range(300):
        ended = drawn(seed, hazard)
        assert missed(ended) <= accidental_failures(ended, LIMIT)


@pytest.mark.parametrize("hazard", [0.0, 0.002, 0.01])
def test_env_that_forgets_the_flag_is_no_chance(hazard):
    """One env of five that never flags its time limits is noticed in nearly every run."""
    noticed = 0
    for seed in range(200):
        ended = drawn(seed, hazard, 3)
        noticed += missed(ended) > accidental_failures(ended, LIMIT)
    assert noticed >= 190
