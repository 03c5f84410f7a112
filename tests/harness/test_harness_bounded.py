"""When something that grows is taken to grow for ever, on counts that are written down by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.contracts import lifecycle
from harness.findings import ContractError, NotJudgedError

pytestmark = pytest.mark.harness


@pytest.fixture
def judged(monkeypatch):
    """Judge an environment of which so many entries are counted, one after the other, in parts of so many steps."""

    def judge(counts, part=500):
        driven, counted = [], iter(counts)
        player = SimpleNamespace(seen=["first", "last"], env=None)
        subject = SimpleNamespace(steps=lambda wanted, runs: part, player=lambda: player, sizes=None, seed=0)
        monkeypatch.setattr(lifecycle, "ActionDriver", lambda sizes, seed: None)
        monkeypatch.setattr(lifecycle, "drive", lambda player, driver, steps: driven.append(steps))
        monkeypatch.setattr(lifecycle, "measure", lambda env: next(counted))
        try:
            lifecycle.bounded_statistics(subject)
        finally:
            assert driven == [] or driven[0] == 10 and set(driven[1:]) <= {part}
            assert driven == [] or player.seen == ["last"]
        return len(driven) - 1

    return judge


def test_growth_beyond_the_largest_bound_is_found(judged):
    """With its size at the end and after the first part; of two, the one that is larger at the end is named."""
    counts = [{"env.rows": 700 * index, "env.early": 1000 + index, "env.all": 9} for index in range(5)]
    with pytest.raises(ContractError) as caught:
        judged(counts)
    assert caught.value.what == "env.rows grows without bound"
    assert caught.value.got == "2,800 entries after 2,010 steps, 700 after 510"


def test_growth_that_is_small_is_watched_until_it_ends(judged):
    """A buffer that is full after the eighth part is bounded; no more parts are played than it takes."""
    assert judged([{"env.rows": min(40 * index, 320)} for index in range(40)]) == 10
    assert judged([{"env.rows": 7}] * 5) == 4


def test_growth_that_is_small_and_never_ends_is_found(judged):
    """After sixteen parts, patience is at its end."""
    with pytest.raises(ContractError) as caught:
        judged([{"env.rows": 10 * index} for index in range(40)])
    assert caught.value.got == "160 entries after 8,010 steps, 10 after 510"


def test_growth_is_not_judged_by_few_steps(judged):
    """What grew, but to no great size and for less than a thousand steps, may end later."""
    with pytest.raises(NotJudgedError, match="env.rows grew for 970 steps; there was no time to see it end"):
        judged([{"env.rows": 10 * index} for index in range(40)], part=60)
    with pytest.raises(ContractError, match="grows without bound"):
        judged([{"env.rows": 10 * index} for index in range(40)], part=62)
    with pytest.raises(ContractError, match="grows without bound"):
        judged([{"env.rows": 700 * index} for index in range(40)], part=15)
    with pytest.raises(NotJudgedError, match="there was time for 56 steps only"):
        judged([], part=14)
