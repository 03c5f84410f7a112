"""Tests of starts that depend on what other envs do: toys that read the wrong rows, and those that may differ."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import OBS, SHARE_OBS, check, factory, report_of

from harness.contracts import Effort
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.leaked_starts import Leak, _is_drawn_alike, require_no_leaked_starts
from harness.findings import ContractError

pytestmark = pytest.mark.harness

EFFORT = Effort(long_run_steps=200, max_searches=0, growth_steps=40, max_kept_entries=150)


def with_starts(change):
    """Return a factory; `change(own, others, place)` are obs at a start, `place` the env's among those that end."""

    def result(env, returned):
        ended = np.flatnonzero(returned[3].all(axis=1))
        others = env.__dict__.get("shown", returned[OBS])
        for place, env_id in enumerate(ended):
            returned[OBS][env_id] = change(returned[OBS][env_id], others, place)
        env.shown = returned[OBS].copy()

    return factory(result=result)


def first_rows(own, others, place):
    """Return a start with two numbers of the first env, as after x[: len(ids)]."""
    changed = own.copy()
    changed[:, :2] = others[place, :, :2]
    return changed


def test_start_with_numbers_of_another_row_is_found():
    """The finding names env, field and entry."""
    with pytest.raises(ContractError) as raised:
        require_no_leaked_starts(EnvUnderTest(with_starts(first_rows), effort=EFFORT))
    assert raised.value.what == "the start of an episode depends on what other envs do: obs entry 0"
    assert "at the start after step" in raised.value.where
    assert check(with_starts(first_rows), "independence", effort=EFFORT) != ""


def test_start_that_depends_on_nothing_else_holds():
    """The toy's own starts do, and so do changed ones."""
    assert check(factory(), "independence", effort=EFFORT) == ""
    assert check(with_starts(lambda own, others, place: own * 0.5), "independence", effort=EFFORT) == ""


def test_start_of_one_generator_for_all_holds():
    """If all numbers of a start differ, they were drawn differently, because the others drew more or less."""

    def result(env, returned):
        draw = env.__dict__.setdefault("draw", np.random.default_rng(3))
        if abs(env.given[0]).mean() > 0.5:
            draw.random()
        for env_id in np.flatnonzero(returned[3].all(axis=1)):
            returned[OBS][env_id] += draw.random(returned[OBS][env_id].shape).astype(np.float32)
            returned[SHARE_OBS][env_id] += draw.random(returned[SHARE_OBS][env_id].shape).astype(np.float32)

    def actions(env, given):
        env.given = given
        return given

    report = report_of(factory(result=result, actions=actions), contracts=["independence"], effort=EFFORT)
    assert not any("start of an episode" in finding.what for finding in report.findings), report


@pytest.mark.parametrize(
    "one, other, is_alike",
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.3, 0.9, 0.8), True),
        ((0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.7, 0.9, 0.8), False),  # two are equal by accident
        ((1.0, 2.0, 3.0, 0.4, 0.5), (1.0, 2.0, 3.0, 0.9, 0.8), False),  # whole numbers often are
        ((0.1, 0.1, 0.1, 0.4, 0.5), (0.1, 0.1, 0.1, 0.9, 0.8), False),  # one number, shown three times
    ],
)
def test_enough_different_numbers_must_be_equal(one, other, is_alike):
    """Otherwise the start may have been drawn differently."""
    leak = Leak(7, 2, np.array(one), np.array(other))
    assert _is_drawn_alike(leak, np.ones(5, bool)) is is_alike
    assert not _is_drawn_alike(leak, np.zeros(5, bool))
    assert not _is_drawn_alike(leak, np.zeros(0, bool))
