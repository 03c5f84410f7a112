"""Tests of the contract of an action's range: parts that do nothing are found, unless that is how machines move."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import check, factory, report_of

from harness.contracts import Task
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness


def on_axis(axis, change, agent=None):
    """Return a factory whose actions are changed on one axis, for one agent or all."""

    def actions(env, given):
        acted = given.copy()
        which = (slice(None), slice(None), axis)
        if agent is not None:
            which = (slice(None), agent, axis)
        acted[which] = change(acted[which])
        return acted

    return factory(actions=actions)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: np.where(abs(a) < 0.06, 0.0, a), "small actions on axis 1 are ignored"),
        (np.trunc, "small actions on axis 1 are ignored"),
        (lambda a: np.clip(a, -0.45, 0.45), "large actions on axis 1 change nothing more"),
    ],
)
def test_part_of_the_range_that_does_nothing_is_found(change, words):
    """The finding says which part of which axis."""
    assert check(on_axis(1, change), "action-levels") == words


@pytest.mark.parametrize("clip, sign", [(np.maximum, "negative"), (np.minimum, "positive")])
def test_sign_that_all_axes_ignore_is_found(clip, sign):
    """A clip at 0 takes it from the complete action."""
    assert (
        check(on_axis(slice(None), lambda a: clip(a, 0.0)), "action-levels") == f"{sign} actions on axis 0 are ignored"
    )


@pytest.mark.parametrize("clip, sign", [(np.maximum, "negative"), (np.minimum, "positive")])
def test_sign_that_one_axis_of_all_agents_ignores_is_a_note(clip, sign):
    """It may be an engine that runs in one direction only; other axes have both signs."""
    report = report_of(on_axis(1, lambda a: clip(a, 0.0)), contracts=["action-levels"])
    assert report.passed == ["action-levels"], report
    assert (
        f"action-levels: {sign} actions on axis 1 are ignored, for all agents; other axes have both signs"
        in report.notes
    )


def test_part_of_the_range_of_one_agent_is_found():
    """Each agent is looked at by itself, and named."""
    report = report_of(on_axis(2, lambda a: np.maximum(a, 0.0), agent=1), contracts=["action-levels"])
    (finding,) = report.findings
    assert finding.where.startswith("agent 1, axis 2, -1, held for 12 steps")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.where(abs(a) < 0.04, 0.0, a),
        lambda a: np.clip(a, -0.8, 0.8),
        lambda a: np.tanh(2.0 * a),
        lambda a: abs(a) * a,
    ],
)
def test_range_of_which_every_part_counts_is_kept(change):
    """A narrow dead band, a bound that is nearly the stated one, and curves are fine."""
    report = report_of(on_axis(1, change), contracts=["action-levels"])
    assert report.passed == ["action-levels"], report


def test_limited_acceleration_is_kept():
    """An action that is approached by 0.1 in each step reaches the bound while it is held."""

    def actions(env, given):
        last = env.__dict__.get("last", np.zeros_like(given))
        env.last = last + np.clip(np.clip(given, -1.0, 1.0) - last, -0.1, 0.1)
        return env.last

    report = report_of(factory(actions=actions), contracts=["action-levels"])
    assert report.passed == ["action-levels"], report


def test_switch_is_a_note():
    """An axis of which only the sign counts opens and closes something."""
    report = report_of(on_axis(0, np.sign), contracts=["action-levels"])
    assert report.passed == ["action-levels"]
    assert any("is a switch" in note for note in report.notes)


def test_engine_without_reverse_can_be_stated():
    """A part that does nothing by design is not judged."""
    make_env = on_axis(0, lambda a: np.maximum(a, 0.0))
    report = report_of(make_env, contracts=["action-levels"], task=Task(uneven_actions=True))
    assert "by design" in report.not_judged["action-levels"]


def test_range_of_runs_that_differ_is_not_judged():
    """An environment that is made once, and goes on where it was, gives other effects in every run."""
    made = []

    def make_once():
        made.append(make_pointmass(5, 2, 3))
        return made[0]

    report = report_of(make_once, contracts=["actions-any-range"])
    assert "runs cannot be compared" in report.not_judged["actions-any-range"]
