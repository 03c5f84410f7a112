"""Contracts of judging a job: who is lost, who hangs, and who only waits."""

from __future__ import annotations

import pytest

from mapush.distributed.activity import Activity, WatchLimits, WorkMoment
from mapush.distributed.first_failure import JobFailure, RankReport, SeenRank, judge

pytestmark = pytest.mark.distributed

SILENT_S = 7.0


def seen(rank, marks=5, seconds=0.0, *, limit=20.0, silent=0.0, here=True, gone=False, left=False):
    """Return a rank as others see it."""
    report = RankReport(
        rank, "host", "machine", 100 + rank, 1, WorkMoment(marks, f"doing {marks}", seconds, limit, SILENT_S), left
    )
    return SeenRank(report, silent, here, gone)


def judged(*ranks, size=3):
    """Return what is wrong with these ranks."""
    return judge({one.report.rank: one for one in ranks}, size)


def test_ranks_at_work_are_fine():
    """Different progress is no failure, as long as nobody has waited too long."""
    assert judged(seen(0, 9, 19.0), seen(1, 4, 300.0), seen(2, 7, 19.0)) is None


def test_rank_behind_hangs_once_the_others_have_waited_for_its_limit():
    """The rank with the fewest pieces of work is named, with what it does; what the others wait in follows."""
    finding = judged(seen(0, 6, 21.0), seen(1, 5, 22.0), seen(2, 6, 21.0))
    assert finding.ranks == [1]
    assert finding.text.splitlines()[0] == "rank 1 of 3 hangs: doing 5 for 22 s"
    assert "rank 2, process 102 on host: doing 6 for 21 s" in finding.text
    assert (finding.exit_code, finding.lost) == (124, False)


def test_limit_is_that_of_the_rank_that_is_behind():
    """A rank that saves or compiles may take longer, whatever the limit of those who wait for it."""
    waiting = seen(0, 6, 100.0), seen(2, 6, 100.0)
    assert judged(*waiting, seen(1, 5, 100.0, limit=300.0)) is None
    assert judged(*waiting, seen(1, 5, 100.0, limit=99.0)).ranks == [1]
    patient = seen(0, 6, 100.0, limit=300.0), seen(2, 6, 100.0, limit=300.0)
    assert judged(*patient, seen(1, 5, 100.0)).ranks == [1]


def test_several_ranks_behind_are_all_named():
    """Two of three ranks hang in the same decision."""
    finding = judged(seen(0, 6, 21.0), seen(1, 5, 21.0), seen(2, 5, 22.0))
    assert finding.ranks == [1, 2]
    assert finding.text.startswith("ranks 1, 2 of 3 hang: ")


def test_ranks_that_all_wait_are_named_together():
    """Nobody is behind: a collective does not end, or their collectives have fallen out of step."""
    finding = judged(seen(0, 6, 21.0), seen(1, 6, 21.0), seen(2, 6, 21.0))
    assert finding.text.startswith("all 3 ranks hang: nothing has happened for 21 s")


def test_process_that_is_gone_is_lost():
    """The cause comes before what follows from it: others that wait."""
    finding = judged(seen(0, 6, 99.0), seen(1, 5, 99.0, gone=True), seen(2, 6, 99.0))
    assert finding.ranks == [1]
    assert finding.lost
    assert "rank 1 of 3 is lost: its process has ended without an error" in finding.text


def test_rank_that_has_left_is_not_missed():
    """Its process ends after its work; the others may still wait for the end of theirs."""
    assert judged(seen(0, 6, 99.0), seen(1, 9, gone=True, left=True), seen(2, 7, 99.0)) is None


def test_silent_rank_is_lost_on_another_machine_and_hangs_on_this_one():
    """Here its process still exists, so it is known to be deaf, and can be killed."""
    there = judged(seen(0), seen(1, silent=8.0, here=False), seen(2))
    assert there.ranks == [1]
    assert there.lost
    here = judged(seen(0), seen(1, silent=8.0), seen(2))
    assert (here.lost, here.exit_code) == (False, 124)
    assert "no sign of life for 8 s" in here.text
    assert judged(seen(0), seen(1, silent=6.9), seen(2)) is None


def test_ranks_that_are_not_here_yet_are_waited_for():
    """A start takes as long as it takes."""
    assert judged(seen(0, 6, 99.0), seen(1, 5, 99.0)) is None


def test_reports_and_failures_survive_the_store():
    """What is written as text is read again as it was."""
    report = seen(2, 8, 1.5).report
    assert RankReport.from_json(report.to_json().encode()) == report
    failure = JobFailure([1, 2], "text", 7, True, "machine", 0)
    assert JobFailure.from_json(failure.to_json().encode()) == failure


# -- what a rank does ------------------------------------------------------------------------------------------------


def activity_at_work():
    """Return an activity with limits of 20 s, 60 s at the start and 50 s for saving, after its start."""
    activity = Activity(WatchLimits(work_s=20.0, slower=5.0, start_s=60.0, save_s=50.0))
    activity.started()
    return activity


def limits_of(activity):
    """Return how long the rank may work, and be silent [s]."""
    return activity.now()[-2:]


def test_start_and_saving_may_take_longer():
    """Kernels compile for minutes; a disk may be slow; both may hold Python's lock."""
    activity = Activity(WatchLimits(work_s=20.0, start_s=60.0, save_s=50.0, silent_s=7.0, busy_s=40.0))
    activity.mark("making")
    assert limits_of(activity) == (60.0, 40.0)
    activity.started()
    assert limits_of(activity) == (20.0, 7.0)
    with activity.waiting("a gather", then_saving=True):
        assert limits_of(activity) == (20.0, 7.0)
    assert limits_of(activity) == (50.0, 40.0)
    activity.mark("deciding")
    assert limits_of(activity) == (20.0, 7.0)


def test_limit_knows_how_slow_an_env_is_but_not_how_long_it_compiled():
    """The first iteration compiles; from the second on, the longest piece of work counts."""
    activity = Activity(WatchLimits(work_s=20.0, slower=5.0))
    for seconds in (9, 7):
        activity.mark("a decision")
        for _ in range(seconds):
            activity.pass_time(1.0)
        if seconds == 9:
            activity.compiled()
    activity.mark("a decision")
    activity.started()
    assert activity.now().limit == 35.0


def test_limit_grows_with_the_longest_work_but_not_with_waiting():
    """An update of eight seconds may take 40 s the next time; a wait of eight seconds says nothing about work."""
    activity = activity_at_work()
    activity.mark("an update")
    for _ in range(8):
        activity.pass_time(1.0)
    with activity.waiting("an all-reduce"):
        assert activity.now().limit == 40.0
        for _ in range(20):
            activity.pass_time(1.0)
    assert activity.now().limit == 40.0


def test_time_in_which_the_process_was_suspended_does_not_count():
    """After Ctrl-Z and fg, nobody hangs."""
    activity = activity_at_work()
    activity.mark("an update")
    activity.pass_time(3600.0)
    assert activity.now().seconds <= 2.0


def test_every_piece_of_work_counts_once():
    """A wait is two: it begins, and it ends."""
    activity = activity_at_work()
    before = activity.now().marks
    activity.mark("one")
    with activity.waiting("two", then="three"):
        assert activity.now()[:2] == (before + 2, "waiting for the others in two")
    assert activity.now()[:2] == (before + 3, "three")
