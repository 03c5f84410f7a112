"""Contracts of the watch in each rank, with ranks that only exist in the store."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch.distributed as dist

from mapush.distributed.activity import Activity, WatchLimits, WorkMoment
from mapush.distributed.failure_watch import FAILURE, REPORT, SEEN, FailureWatch
from mapush.distributed.first_failure import JobFailure, JobFinding, RankReport
from mapush.distributed.place import Place

pytestmark = pytest.mark.distributed

LIMITS = WatchLimits(beat_s=0.02, silent_s=0.6, work_s=0.3, start_s=0.3, leave_s=0.2)
HERE, THERE = "this machine", "the other machine"
BOOM = JobFinding([0], "rank 0 of 3: boom", 7)


class Store:
    """A store that can be lost."""

    def __init__(self):
        self._store = dist.HashStore()
        self.lost = False

    def __getattr__(self, name):
        if self.lost:
            raise RuntimeError("Connection reset by peer")
        return getattr(self._store, name)


class Watched:
    """Rank 0 of three, with its watch, and the other two as they are in the store.

    Attributes:
      said: what the watch has printed.
      codes: exit codes with which it has ended the process.
    """

    def __init__(self, rank=0, machine=HERE, store=None, has_agent=False, limits=LIMITS):
        self.store = store or Store()
        self.said, self.codes = [], []
        self.activity = Activity(limits)
        place = Place(rank, 3, rank, "127.0.0.1", 1, has_agent, True, "job")
        self.watch = FailureWatch(
            place, self.store, self.activity, limits, self.codes.append, machine=machine, say=self.said.append
        )

    def other(self, rank, beat=1, *, marks=0, seconds=0.0, pid=None, machine=HERE, left=False):
        """Write what a different rank reports."""
        moment = WorkMoment(marks, f"doing {marks}", seconds, 0.3, LIMITS.silent_s)
        report = RankReport(rank, "host", machine, pid or os.getpid(), beat, moment, left)
        self.store.set(f"{REPORT}{rank}", report.to_json())

    def until_it_ends(self, beating=(), seconds=5.0):
        """Wait until the watch ends the process; the ranks in `beating` show signs of life meanwhile."""
        deadline = time.monotonic() + seconds
        beat = 1
        while not self.codes and time.monotonic() < deadline:
            for rank in beating:
                beat += 1
                self.other(rank, beat)
            time.sleep(0.01)
        return self.codes


@pytest.fixture
def dead_pid():
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def watched():
    """Return rank 0 of three; its watch ends with the test."""
    one = Watched()
    yield one
    one.watch.stop()


def test_process_that_is_gone_ends_the_others(watched, dead_pid):
    """The failure is in the store for all, and printed here."""
    watched.other(1, pid=dead_pid)
    watched.watch.start()
    assert watched.until_it_ends(beating=[2]) == [1]
    assert watched.said[0].startswith("rank 1 of 3 is lost: its process has ended without an error")
    assert JobFailure.from_json(watched.store.get(FAILURE)).ranks == [1]


def test_process_of_that_number_on_a_different_machine_says_nothing(watched, dead_pid):
    """Its signs of life count, until they end."""
    watched.other(1, pid=dead_pid, machine=THERE)
    watched.watch.start()
    assert watched.until_it_ends(beating=[2], seconds=0.3) == []
    assert watched.until_it_ends(beating=[2]) == [1]
    assert "no sign of life" in watched.said[0]
    assert "network between the machines" in watched.said[0]


def test_rank_that_left_as_it_should_is_not_missed(watched, dead_pid):
    """Its last report says so, although its process is gone."""
    watched.other(1)
    watched.watch.start()
    watched.other(1, 2, pid=dead_pid, left=True)
    assert watched.until_it_ends(beating=[2], seconds=0.8) == []


def test_rank_that_hangs_is_named_by_one_that_waits():
    """It is behind: here rank 0 waits, and rank 1 reports the same piece of work again and again."""
    one = Watched()
    one.activity.mark("a decision")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    for rank in (1, 2):
        one.other(rank, marks=2 - rank, seconds=9.0, pid=process.pid)
    one.watch.start()
    assert one.until_it_ends() == [124]
    assert one.said[0].startswith("rank 2 of 3 hangs: doing 0 for 9 s")
    assert process.wait(5.0) == -9, "a rank that hangs on this machine is killed"
    one.watch.stop()


def test_rank_that_hangs_says_where():
    """When the others have named it, its watch prints the stack of its main thread."""
    one = Watched()
    one.store.set(FAILURE, JobFailure([0], "rank 0 of 3 hangs", 124, False, HERE, 2).to_json())
    one.watch.start()
    assert one.until_it_ends() == [124]
    assert one.said[0].startswith("rank 0 is here:\n")
    assert "test_rank_that_hangs_says_where" in one.said[0]
    assert len(one.said) == 1
    one.watch.stop()


@pytest.mark.parametrize("machine, said", [(HERE, []), (THERE, ["rank 2 of 3: boom"])])
def test_failure_of_a_different_rank_is_printed_once_on_each_machine(watched, machine, said):
    """Its reporter prints it on its own machine."""
    watched.store.set(FAILURE, JobFailure([2], "rank 2 of 3: boom", 7, False, machine, 2).to_json())
    watched.watch.start()
    assert watched.until_it_ends() == [7]
    assert watched.said == said
    assert watched.store.check([f"{SEEN}0"])


def test_first_error_wins(tmp_path, monkeypatch):
    """A rank that fails because of a failure does not report its own; only the first is in the agent's file."""
    store = Store()
    ranks = [Watched(rank, store=store) for rank in range(2)]
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    for rank, one in enumerate(ranks):
        one.watch.claim(BOOM._replace(text=f"boom {rank}"))
    assert [one.said for one in ranks] == [["boom 0"], []]
    assert json.loads(file.read_text())["message"]["message"] == "boom 0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_rank_that_a_signal_stopped_is_no_failure_for_torchrun(number, tmp_path, monkeypatch):
    """The launcher exits with the code of the signal, unless a rank has written an error."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    one = Watched()
    one.watch.claim(BOOM._replace(text="stopped", exit_code=128 + number))
    assert one.said == ["stopped"]
    assert not file.exists()


@pytest.mark.parametrize("first", ["saving", "starting"])
def test_rank_that_has_saved_or_started_says_so_at_once(first):
    """If it stops within the pause between two signs of life, the others must not wait as long as for a save."""
    one = Watched(limits=dataclasses.replace(LIMITS, beat_s=60.0))
    if first == "saving":
        one.activity.started()
        one.activity.mark("a decision", saving=True)
    one.watch.start()

    def patience():
        return RankReport.from_json(one.store.get(f"{REPORT}0")).moment.silent

    assert patience() == LIMITS.busy_s
    if first == "saving":
        one.activity.mark("the next decision")
    else:
        one.activity.started()
    assert patience() == LIMITS.silent_s
    one.watch.stop()


def test_lost_store_ends_the_rank(watched):
    """The agent that keeps it is gone, and with it the machine of rank 0."""
    watched.watch.start()
    watched.store.lost = True
    assert watched.until_it_ends() == [1]
    assert watched.said[0].startswith("rank 0 of 3 has lost the connection to the store of the job")


def test_lost_store_is_reported_by_the_first_rank_of_a_machine():
    """Nobody can be asked any more, so the others of the machine leave it to that one, and say nothing."""
    one = Watched(rank=1)
    one.other(0)
    one.watch.start()
    time.sleep(5.0 * LIMITS.beat_s)
    one.store.lost = True
    assert one.until_it_ends() == [1]
    assert one.said == []
    one.watch.stop()


def test_watch_that_is_stopped_tells_the_others(watched):
    """The rank has done its work."""
    watched.watch.start()
    watched.watch.stop()
    assert RankReport.from_json(watched.store.get(f"{REPORT}0")).left


def test_error_leaves_as_soon_as_all_have_seen_it(watched):
    """The rank that raised waits for the others only until they know, and for a rank that is gone not at all."""
    for rank in (1, 2):
        watched.other(rank)
    watched.watch.start()
    time.sleep(5.0 * LIMITS.beat_s)
    watched.watch.claim(BOOM)
    for rank in (1, 2):
        watched.store.set(f"{SEEN}{rank}", "")
    start = time.monotonic()
    watched.watch.linger()
    assert time.monotonic() - start < LIMITS.leave_s / 2.0
