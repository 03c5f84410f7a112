"""Contracts of a stop that all ranks agree on, with two ranks in one process."""

from __future__ import annotations

import signal

import pytest
from interrupts import interruptible

from mapush.distributed.activity import Activity
from mapush.distributed.agreed_stop import AgreedStop, stop_of
from mapush.distributed.ranks import ALONE
from mapush.run.stop_request import StopRequest

pytestmark = pytest.mark.distributed


class Reductions:
    """The reductions of several ranks: a result exists once all have given their number."""

    def __init__(self, size):
        self._size = size
        self._numbers = {}
        self._begun = dict.fromkeys(range(size), 0)

    def of(self, rank):
        """Return the reduction of a rank."""

        def start(number):
            index = self._begun[rank]
            self._begun[rank] += 1
            numbers = self._numbers.setdefault(index, [])
            numbers.append(number)

            def result():
                assert len(numbers) == self._size, "this rank would wait for ever"
                return max(numbers)

            return result

        return start


class Rank(AgreedStop):
    """A rank that takes decisions until the ranks stop."""

    def __init__(self, reductions, number):
        super().__init__(reductions.of(number), Activity())
        self.decisions = 0

    def get(self, number):
        """Get a signal, as the only rank."""
        self.__enter__()
        signal.raise_signal(number)

    def decide(self):
        """Take the next decision, unless all have agreed to stop before it."""
        if not self.before_decision(self.decisions):
            self.decisions += 1


@pytest.mark.parametrize("before", range(2, 9))
def test_signal_to_one_rank_stops_all_before_the_same_decision(before):
    """Whenever the signal comes, between whichever calls of the two ranks, both take equally many decisions."""
    reductions = Reductions(2)
    ranks = [Rank(reductions, 0), Rank(reductions, 1)]
    for call in range(20):
        if call == before:
            ranks[1].get(signal.SIGTERM)
        ranks[call % 2].decide()
    assert ranks[0].decisions == ranks[1].decisions
    assert 0 < ranks[0].decisions - before // 2 <= 2
    assert [rank.name for rank in ranks] == ["SIGTERM", "SIGTERM"]


def test_ranks_exit_with_the_code_of_the_signal():
    """The rank that got none ends like the one that did."""
    reductions = Reductions(2)
    ranks = [Rank(reductions, 0), Rank(reductions, 1)]
    ranks[0].get(signal.SIGINT)
    for _ in range(2):
        for rank in ranks:
            rank.decide()
    for rank in ranks:
        assert rank.requested()
        with pytest.raises(SystemExit) as caught:
            rank.__exit__(None)
        assert caught.value.code == 130


def test_signal_that_comes_twice_at_once_is_one_request(monkeypatch):
    """A scheduler signals every process of a job, and the launcher passes it on to the ranks; a later one is new."""
    one = Rank(Reductions(1), 0)
    with interruptible():
        one.get(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert one.before_decision(0) is False
        monkeypatch.setattr("mapush.distributed.agreed_stop.SAME_REQUEST_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signal_after_the_last_decision_changes_nothing():
    """The run is finished and saved: no rank may say that it was stopped."""
    reductions = Reductions(2)
    ranks = [Rank(reductions, 0), Rank(reductions, 1)]
    ranks[0].decide()
    ranks[1].get(signal.SIGINT)
    ranks[1].decide()
    for rank in ranks:
        rank.__exit__(None)
        assert not rank.requested()


def test_error_leaves_without_waiting_for_the_others():
    """The other rank may never come, and the error is what counts."""
    reductions = Reductions(2)
    one = Rank(reductions, 0)
    one.decide()
    one.__exit__(ValueError)


def test_first_decisions_belong_to_the_start():
    """While kernels compile, a decision may take minutes."""
    activity = Activity()
    reductions = Reductions(1)
    stop = AgreedStop(reductions.of(0), activity, warm_up=2)
    limits = []
    for step in range(5):
        stop.before_decision(step)
        limits.append(activity.now().limit)
    assert limits[:3] == [limits[0]] * 3
    assert limits[3] == limits[4] < limits[0]


def test_one_process_needs_no_agreement():
    """A run without ranks stops as it always did."""
    assert type(stop_of(ALONE, 7)) is StopRequest
