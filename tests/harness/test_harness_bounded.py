"""When something that grows is taken to grow for ever, on counts that are written down by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.contracts import Effort, check_env
from harness.contracts.lifecycle import bounded_statistics, require_bounded
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
    """With its size at the end and after the first part; of two, the one that is larger at the end is named."""
    counts = [{"env.rows": 700 * index, "env.early": 1000 + index, "env.all": 9} for index in range(5)]
    with pytest.raises(ContractError) as caught:
        judged(counts)
    assert caught.value.what == "env.rows grows without bound"
    assert caught.value.got == "2,800 entries after 2,010 steps, 700 after 510"


def test_growth_that_is_small_is_watched_until_it_ends():
    """A buffer that is full after the eighth part is bounded; no more parts are played than it takes."""
    assert judged([{"env.rows": min(40 * index, 320)} for index in range(40)]) == 10
    assert judged([{"env.rows": 7}] * 5) == 4


def test_growth_that_is_small_and_never_ends_is_found():
    """After sixteen parts, patience is at its end."""
    with pytest.raises(ContractError) as caught:
        judged([{"env.rows": 10 * index} for index in range(40)])
    assert caught.value.got == "160 entries after 8,010 steps, 10 after 510"


def test_growth_is_not_judged_by_few_steps():
    """What grew, but to no great size and for less than a thousand steps, may end later."""
    with pytest.raises(NotJudgedError, match="env.rows grew for 970 steps; there was no time to see it end"):
        judged([{"env.rows": 10 * index} for index in range(40)], part=60)
    with pytest.raises(ContractError, match="grows without bound"):
        judged([{"env.rows": 10 * index} for index in range(40)], part=62)
    with pytest.raises(ContractError, match="grows without bound"):
        judged([{"env.rows": 700 * index} for index in range(40)], part=15)
    with pytest.raises(NotJudgedError, match="there was time for only 56 steps"):
        bounded_statistics(SimpleNamespace(steps=lambda wanted, runs: 14, effort=Effort()))


class Hoarding(PointMass):
    """Keeps every action."""

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
        return check_env(
            lambda num_envs=5, seed=0: kind(num_envs, 2, seed, 20), contracts=["bounded-statistics"], effort=effort
        )

    assert [finding.what for finding in judge(Hoarding).findings] == ["env.taken grows without bound"]
    assert judge(PointMass).passed == ["bounded-statistics"]
