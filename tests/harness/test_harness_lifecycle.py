"""Tests of what an environment keeps and leaves: counts written by hand, and toys."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.contracts import Effort, check_env
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.lifecycle import bounded_statistics, growing_paths, require_bounded, require_nothing_left
from harness.findings import ContractError, NotJudgedError
from harness.toys import PointMass

pytestmark = pytest.mark.harness


def judged(counts, part=500):
    """Judge these counts, which are taken after parts of so many steps; return the number of parts."""
    driven, remaining = [], iter(counts)

    def count_after(steps):
        driven.append(steps)
        return next(remaining)

    try:
        require_bounded(count_after, part, max_entries=2500, enough_steps=1000)
    finally:
        assert driven[0] == 10
        assert set(driven[1:]) == {part}
    return len(driven) - 1


def test_growth_beyond_the_largest_bound_is_found():
    """The finding gives the sizes at the end and after the first part, of the path that is largest at the end."""
    counts = [{"env.rows": 700 * index, "env.early": 1000 + index, "env.all": 9} for index in range(5)]
    with pytest.raises(ContractError) as caught:
        judged(counts)
    assert caught.value.what == "env.rows grows without bound"
    assert caught.value.got == "2,800 entries after 2,010 steps, 700 after 510"


def test_growth_that_is_small_is_watched_until_it_ends():
    """A buffer that is full after eight parts is bounded, and no more parts are played than that takes."""
    assert judged([{"env.rows": min(40 * index, 320)} for index in range(40)]) == 10
    assert judged([{"env.rows": 7}] * 5) == 4


def test_growth_that_is_small_and_never_ends_is_found():
    """After sixteen parts, something that still grows counts as unbounded."""
    with pytest.raises(ContractError) as caught:
        judged([{"env.rows": 10 * index} for index in range(40)])
    assert caught.value.got == "160 entries after 8,010 steps, 10 after 510"


def test_growth_is_not_judged_by_few_steps():
    """Something small that grew for less than a thousand steps may stop later."""
    with pytest.raises(NotJudgedError, match="env.rows grew for 970 steps; there was no time to see it end"):
        judged([{"env.rows": 10 * index} for index in range(40)], part=60)
    with pytest.raises(ContractError, match="grows without bound"):
        judged([{"env.rows": 10 * index} for index in range(40)], part=62)
    with pytest.raises(ContractError, match="grows without bound"):
        judged([{"env.rows": 700 * index} for index in range(40)], part=15)
    subject = EnvUnderTest(make(PointMass), budget_s=40.0)
    subject.steps, subject.step_s = lambda wanted, runs: 14, 0.02
    with pytest.raises(NotJudgedError, match="there was time for only 56 steps; --budget 220 would do"):
        bounded_statistics(subject)


def test_growth_of_a_slow_environment_names_the_budget_that_would_do():
    """A thousand steps of 0.2 s in a quarter of the budget: more than 800 s."""
    subject = EnvUnderTest(make(Hoarding), effort=Effort(max_kept_entries=9000), budget_s=40.0)
    subject.steps, subject.step_s, subject.time_for = lambda wanted, runs: 20, 0.2, lambda share: 0.0
    with pytest.raises(NotJudgedError) as caught:
        bounded_statistics(subject)
    reason, budget = str(caught.value).split("; --budget ")
    assert reason.endswith("grew for 90 steps; there was no time to see it end")
    assert 800 <= int(budget.split()[0]) <= 1000


def test_growth_that_goes_on_is_judged_when_the_time_is_up():
    """No time is spent on seeing it go on for longer; what was seen must be enough."""

    def judged_until(parts, part):
        counts = iter([{"env.rows": 10 * index} for index in range(40)])
        left = iter([True] * parts + [False])
        require_bounded(lambda steps: next(counts), part, 2500, 1000, lambda: next(left))

    with pytest.raises(ContractError, match="grows without bound") as caught:
        judged_until(3, 150)
    assert caught.value.got == "70 entries after 1,060 steps, 10 after 160"
    with pytest.raises(NotJudgedError, match="env.rows grew for 610 steps"):
        judged_until(0, 150)


@pytest.mark.parametrize("horizon, judges", [(23, True), (170, False)])
def test_growth_is_not_judged_if_hardly_any_episode_ended(horizon, judges):
    """What is kept at the end of an episode does not show before there are ends in two parts of the run."""

    class Endless(PointMass):
        def step(self, actions):
            returned = super().step(actions)
            if horizon > 100:
                returned[3][...] = False
            return returned

    effort = Effort(long_run_steps=40, growth_steps=30, max_kept_entries=60)
    report = check_env(make(Endless), contracts=["bounded-statistics"], effort=effort)
    assert report.findings == []
    assert bool(report.passed) is judges
    if not judges:
        reason = report.not_judged["bounded-statistics"]
        assert reason.startswith("episodes ended in 0 of 4 parts of 30 steps, 2 are needed")


class Unclosable(PointMass):
    """Cannot be closed, not even once."""

    def close(self):
        """Fail."""
        raise OSError("no device")


def test_close_that_fails_at_once_gets_no_advice_about_a_second_call():
    """The advice to do nothing if it is closed already is for the second call."""
    (finding,) = check_env(make(Unclosable), contracts=["close"]).findings
    assert finding.what == "the first call of close raises OSError: no device"
    assert not finding.fix
    assert "in close" in finding.code


class Hoarding(PointMass):
    """Keeps all actions."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.taken = []

    def step(self, actions):
        """Act, and keep the actions."""
        self.taken.append(actions)
        return super().step(actions)


def test_growth_of_an_environment_is_counted_while_it_is_driven():
    """A list of all actions is found; what the harness itself keeps of the run does not count."""
    effort = Effort(long_run_steps=40, growth_steps=30, max_kept_entries=60)

    def judge(kind):
        return check_env(make(kind), contracts=["bounded-statistics"], effort=effort)

    assert [finding.what for finding in judge(Hoarding).findings] == ["env.taken grows without bound"]
    assert judge(PointMass).passed == ["bounded-statistics"]


@pytest.mark.parametrize(
    "sizes, grows",
    [
        ((5, 10, 15, 20, 25), True),
        ((5, 5, 5, 5, 5), False),
        ((5, 10, 15, 15, 15), False),
        ((0, 0, 0, 0, 5), True),
        ((0, 0, 0, 5, 5), True),
        ((0, 64, 80, 84, 85), False),
        ((0, 10, 20, 25, 30), True),
        ((0, 10, 20, 25, 29), False),
        ((5, 10, 8, 20, 25), False),
        ((0, 10, 20, 30, 30), True),
    ],
)
def test_growth_is_what_goes_on_and_does_not_slow_down(sizes, grows):
    """A buffer that fills, a cache whose growth drops below half, and a list that is emptied at times are bounded."""
    counts = []
    for size in sizes:
        counts.append({"env.rows": size})
        if size == 0:
            counts[-1] = {}  # the container does not exist yet
    assert (growing_paths(counts) == ["env.rows"]) is grows


def make(kind):
    """Return a factory of toys of this class."""
    return lambda num_envs=5, seed=0: kind(num_envs, 2, seed, 20)


class KeepingAFile(PointMass):
    """Opens a file at each reset and never closes it."""

    kept = []

    def reset(self):
        """Start a new episode in every env."""
        self.kept.append(open("/dev/null"))  # noqa: SIM115
        return super().reset()


class SharingAFile(KeepingAFile):
    """Opens one file for all environments."""

    def reset(self):
        """Start a new episode in every env."""
        if self.kept:
            return PointMass.reset(self)
        return super().reset()


@pytest.mark.parametrize(
    "kind, found",
    [
        (KeepingAFile, ["close"]),
        *(pytest.param(kind, [], marks=pytest.mark.slow) for kind in (SharingAFile, PointMass)),
    ],
)
def test_environment_that_leaves_a_file_open_is_found(kind, found, monkeypatch):
    """A file that all environments share is not a leak."""
    monkeypatch.setattr(KeepingAFile, "kept", [])
    report = check_env(make(kind), contracts=("close",))
    assert [finding.contract for finding in report.findings] == found
    assert not found or report.findings[0].what == "each environment leaves an open file when it is closed"
    for file in KeepingAFile.kept:
        file.close()


def test_slow_factories_are_not_asked_for_five_environments():
    """Five environments may take a twentieth of the budget."""
    subject = SimpleNamespace(build_s=0.61, budget_s=60.0)  # it has no `player`, so that making one would fail
    assert require_nothing_left(subject) is None
