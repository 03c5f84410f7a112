"""Tests of whether an environment goes on: how far it is driven, and what an end that comes late is called."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import factory, report_of

from harness.contracts import Effort
from harness.contracts.many_episodes import Endurance, _too_few, drive_through_episodes
from harness.findings import ContractError

pytestmark = pytest.mark.harness

EFFORT = Effort(long_run_steps=30, episodes=7, max_searches=0)


class Ending:
    """A player of three envs, whose episodes have 2, 3 and 5 steps; its step number `last` fails."""

    def __init__(self, last=10**6):
        self.sizes = SimpleNamespace(num_envs=3)
        self.seen = [SimpleNamespace(ended=np.zeros(3, bool))]
        self.count, self.last = 0, last

    def step(self, actions):
        """Count the step."""
        assert len(self.seen) == 1
        self.count += 1
        if self.count == self.last:
            raise ContractError("step raised IndexError: 8", contract="step-form", step=self.count, where="table.py:3")
        seen = SimpleNamespace(ended=self.count % np.array([2, 3, 5]) == 0)
        self.seen.append(seen)
        return seen


def drive(player, enough=4, most_steps=1000, most_s=60.0):
    """Drive a player."""
    return drive_through_episodes(player, lambda seen: None, enough, most_steps, most_s)


def test_every_env_ends_enough_episodes():
    """The env with the longest episodes counts; nothing but the last step is kept."""
    player = Ending()
    progress = drive(player)
    assert progress.steps == 20
    assert progress.episodes.tolist() == [10, 6, 4]
    assert len(player.seen) == 1


@pytest.mark.parametrize("limits, steps", [({"most_steps": 13}, 13), ({"most_s": 0.0}, 0)])
def test_steps_and_time_are_limited(limits, steps):
    """However few episodes have ended by then."""
    assert drive(Ending(), **limits).steps == steps


def test_step_that_fails_late_is_a_finding_that_says_when():
    """Steps and episodes before it lead to the table that was too short."""
    with pytest.raises(ContractError) as caught:
        drive(Ending(last=17))
    error = caught.value
    assert error.what == "step raised IndexError: 8, after 16 steps and 16 episodes, 8 of them in env 0"
    assert (error.contract, error.step, error.where) == ("many-episodes", 17, "table.py:3")
    assert "fixed length" in error.cause


def one_more_reset(calls):
    """Return a factory whose environments can be reset so often."""

    def reset(env, parts):
        env.calls = getattr(env, "calls", 0) + 1
        if env.calls > calls:
            raise IndexError("list index out of range")
        return parts

    return factory(reset=reset)


def test_reset_that_fails_late_is_a_finding():
    """The environment is reset as often as it has ended episodes; the first call is not in a row with the others."""
    report = report_of(one_more_reset(7), contracts=["many-episodes"], effort=EFFORT)
    assert [finding.what for finding in report.findings] == [
        "reset raised IndexError: list index out of range, after 7 calls of reset in a row"
    ]
    report = report_of(one_more_reset(8), contracts=["many-episodes"], effort=EFFORT)
    assert report.passed == ["many-episodes"]
    assert [note for note in report.notes if note.startswith("many-episodes: each env ended 7 or more in ")]


@pytest.mark.parametrize(
    "seconds, is_longest, advice",
    [
        (0.1, False, "; --budget 72 would do"),  # after 48.9 s of other contracts
        (2.0, False, "; --budget 494 would do"),
        (2.0, True, ": make ep"),
        (9.0, False, ": make episodes shorter for"),
    ],
)
def test_too_few_episodes_are_not_judged_and_say_what_helps(seconds, is_longest, advice):
    """A budget of hours is no advice."""
    left_s = 60.0 - 48.9 - seconds
    subject = SimpleNamespace(
        budget_s=60.0, time_left=left_s, budget_for=lambda seconds, share: round(10.0 * share * seconds)
    )
    reason = str(_too_few(subject, Endurance(50, np.array([3, 1, 2]), seconds), 101, is_longest))
    assert reason.startswith(f"1 episodes of an env in 50 steps, 101 are needed{advice}")
