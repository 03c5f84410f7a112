"""Tests of a soak: planted leaks are found and named, clean subjects are clean, and what was taken is released."""

from __future__ import annotations

import collections
import gc
import itertools
import json
import math
import os
import subprocess
import time

import numpy as np
import pytest

from benchmarks.cpu_leaks import LEAKS, Cache, Loop
from benchmarks.gpu_leaks import LEAKS as GPU_LEAKS
from benchmarks.planted_leak import find
from harness.faults import FAULTS
from harness.memory.after_close import what_was_kept
from harness.memory.driver import WHOLE_GPU, DriverMeter
from harness.memory.meters import Heap
from harness.memory.soak import CENSUS_TIMES, Subject, note_scope, schedule, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, ENDS, LEAK, NOT_ENOUGH, MeterVerdict
from harness.pages.soak_page import write_soak
from mapush.errors import ConfigError

pytestmark = [pytest.mark.memory, pytest.mark.usefixtures("only_new_objects")]


def loop() -> Subject:
    """Return a subject that keeps nothing."""
    turning = Loop()
    return Subject(turning.turn, owners={"loop": turning})


@pytest.mark.parametrize("name", sorted(LEAKS))
def test_planted_leak_is_found_and_named(name):
    """Each leak is found within its cycles, and the first owner is the right one."""
    leak = LEAKS[name]
    report = find(leak)
    assert report.kind == LEAK, report
    assert leak.owner in report.owners[0], report
    assert not report.ok


def test_every_bug_that_needs_a_meter_is_planted():
    """Every bug of the zoo that only a meter can find is among the planted leaks, on the CPU or on a GPU."""
    listed = {name for name, fault in FAULTS.items() if fault.needs == "memory"}
    assert listed
    assert listed <= set(LEAKS) | set(GPU_LEAKS)


@pytest.mark.parametrize("every", [10, 50])
def test_list_that_grows_rarely_is_named(every):
    """A few large objects show in malloc first; the list that holds them is still named."""
    kept = Cache()
    steps = itertools.count()

    def advance():
        if next(steps) % every == 0:
            kept.entries.append(np.ones(128 * every))

    report = soak(lambda: Subject(advance), warm_up=10, cycles=8000)
    assert report.kind == LEAK, report
    assert "Cache.entries" in report.owners[0], report


@pytest.mark.parametrize("cycles", [60, 400])
def test_subject_that_keeps_nothing_is_clean(cycles):
    """If nothing is kept no meter rises, in a short run and in a longer one."""
    report = soak(loop, warm_up=10, cycles=cycles)
    assert report.kind in (CLEAN, ENDS), report
    assert report.ok, report
    assert not report.owners
    assert report.finding("descriptors").kind == report.finding("threads").kind == CLEAN


def test_bounded_history_is_growth_that_ends():
    """A ring that fills is not a leak."""
    kept = []

    def advance():
        if len(kept) < 60:
            kept.append(np.ones(16 * 1024))

    assert soak(lambda: Subject(advance, owners={"ring": kept}), warm_up=5, cycles=300).kind == ENDS


def test_ring_that_is_not_full_yet_is_noted():
    """While a ring fills, the growth of malloc looks like a leak; the report says which ring is filling."""
    recent = collections.deque(maxlen=1000)
    report = soak(lambda: Subject(lambda: recent.append(np.ones(512))), warm_up=5, cycles=300)
    assert report.kind == LEAK, report
    assert report.owners[0].startswith(Heap.owner), report
    assert any(note.startswith("still filling: entries of a deque of at most 1,000") for note in report.notes), report


def test_what_is_not_released_is_reported():
    """A descriptor, a process or a part that outlives the close is reported; the part with its holder."""
    held, opened, started = [], [], []

    def make():
        part = Loop()
        held.append([part])
        opened.append(os.open(os.devnull, os.O_RDONLY))
        started.append(subprocess.Popen(["sleep", "600"]))
        return Subject(part.turn, owners={"loop": part})

    report = soak(make, warm_up=2, cycles=20, close_timeout=0.1)
    for descriptor, process in zip(opened, started):
        os.close(descriptor)
        process.kill()
        process.wait()
    assert any(text.startswith("children: ") for text in report.kept), report
    assert any(text.startswith("descriptors: ") for text in report.kept), report
    assert any(text.startswith("loop lives on, held by") and "held" not in text[:4] for text in report.kept), report
    assert not report.ok


@pytest.mark.parametrize("mib, tolerated", [(40, True), (90, False)])
def test_memory_above_the_tolerance_must_be_released(mib, tolerated):
    """Of the memory from malloc, more than 64 MiB after the close is reported; less is not."""
    kept = []

    def make():
        kept.append(np.ones((mib << 20) * len(kept) + 1, np.uint8))  # nothing in the rehearsal
        return Subject(lambda: None)

    report = soak(make, warm_up=1, cycles=20, close_timeout=0.1)
    kept.clear()
    assert (not any("heap" in text for text in report.kept)) == tolerated, report


def test_memory_that_is_released_late_is_waited_for():
    """Memory that a thread of a library releases after a moment does not count as kept."""

    class Late(Heap):
        """A heap that shrinks at its fourth reading."""

        readings = 0

        def _read(self):
            self.readings += 1
            return 1e9 if self.readings < 4 else 0.0

    meter = Late()
    assert what_was_kept([meter], {"heap": 0.0}, {}, timeout=5.0) == []
    assert meter.readings == 4


@pytest.mark.parametrize("fatal", [2, 3, 20], ids=["rehearsal", "warm-up", "cycles"])
def test_subject_that_fails_is_closed(fatal):
    """A subject that raises is closed, whenever it raises, and the exception is passed on."""
    made, closed, turns = [], [], []

    def advance():
        turns.append(None)
        if len(turns) == fatal:
            raise RuntimeError("planted")

    def make():
        made.append(None)
        return Subject(advance, close=lambda: closed.append(None))

    with pytest.raises(RuntimeError, match="planted"):
        soak(make, warm_up=3, cycles=50)
    assert len(made) == len(closed) == (1 if fatal <= 2 else 2)


@pytest.mark.parametrize("cycles", [8, 10, 33, 100])
def test_objects_are_counted_all_over_the_run(cycles):
    """In runs of few cycles and of many, there is one census in each part of the run, and the last is at the end."""
    censuses = []
    for cycle, (_, count_objects) in enumerate(schedule(cycles, seconds=0.0), 1):
        if count_objects:
            censuses.append(cycle)
    assert censuses == [pytest.approx(fraction * cycles, abs=1.0) for fraction in CENSUS_TIMES]
    assert len(set(censuses)) == len(censuses)
    assert censuses[-1] == cycles


def test_objects_of_a_run_of_few_cycles_are_not_judged():
    """Four cycles in which a list grows are too few to call it a leak."""
    kept = []
    report = soak(lambda: Subject(lambda: kept.extend(range(100))), warm_up=1, cycles=4)
    assert report.finding("objects").kind == NOT_ENOUGH, report
    assert report.kind == NOT_ENOUGH, report


@pytest.mark.parametrize("period", [80, 84, 88])
def test_list_that_is_emptied_at_intervals_is_clean(period):
    """A buffer that is flushed at intervals is fuller at some censuses than at others, and is not a leak."""
    rows, steps = [], itertools.count(1)

    def advance():
        rows.extend(range(200))
        if next(steps) % period == 0:
            rows.clear()

    report = soak(lambda: Subject(advance), warm_up=10, cycles=300)
    assert report.finding("objects").kind == CLEAN, report


@pytest.mark.parametrize("cycles, seconds", [(0, 0.0), (-5, 0.0), (5, -1.0), (5, math.nan), (5, math.inf)])
def test_soak_that_never_ends_is_refused(cycles, seconds):
    """Without a cycle, or with a time that never passes, the soak is refused before anything is made."""
    with pytest.raises(ConfigError, match="soak"):
        soak(lambda: pytest.fail("made"), warm_up=1, cycles=cycles, seconds=seconds)


def test_trace_names_the_line_that_allocates():
    """With tracing, the line that allocates what grows is named."""
    kept = []

    def advance():
        kept.append(bytearray(2000))  # the line

    report = soak(lambda: Subject(advance), warm_up=2, cycles=200, trace=True)
    assert report.kind == LEAK
    assert os.path.basename(__file__) in report.sites[0], report


def test_readings_are_spread_over_the_run():
    """Every meter is read at 32 stations at least, from the first cycles to the last."""
    report = soak(loop, warm_up=3, cycles=100)
    for curve in report.curves.values():
        steps = [point[0] for point in curve if point[0] > 3]
        assert len(steps) >= 32
        assert steps[0] <= 10
        assert steps[-1] == 103


def test_soak_by_time_lasts_at_least_that_long():
    """With a duration, cycles continue until both limits have passed."""
    turns = []
    report = soak(lambda: Subject(lambda: turns.append(time.sleep(0.001))), warm_up=1, cycles=2, seconds=0.5)
    assert report.steps > 2
    assert report.seconds >= 0.5


def test_cost_of_sampling_is_reported():
    """The report contains the share of the time that sampling took."""
    report = soak(loop, warm_up=1, cycles=50)
    assert 0.0 < report.share < 1.0
    assert "sampling" in str(report)


def on_gpu(kinds, scope=WHOLE_GPU, others=False):
    """Return a report with its notes, for given verdicts by meter and a given scope of the driver's meter."""
    report = SoakReport(kind=LEAK if LEAK in kinds.values() else CLEAN, owners=["memory outside"])
    report.findings = [MeterVerdict(name, "bytes", kind) for name, kind in kinds.items()]
    report.peaks = {"driver": 1000.0}
    driver = DriverMeter()
    driver.scope, driver.others, driver.of_others, driver.blind = scope, others, 100, None
    note_scope(report, driver)
    return report


def test_growth_of_a_gpu_that_others_use_is_not_our_leak():
    """If only the complete GPU can be read and others use it, growth that no allocator shows is not a leak."""
    assert on_gpu({"driver": LEAK, "torch": CLEAN}, others=True).kind == NOT_ENOUGH
    assert on_gpu({"driver": LEAK, "torch": LEAK}, others=True).kind == LEAK
    assert on_gpu({"driver": LEAK, "torch": CLEAN}, others=False).kind == LEAK


def test_peak_of_the_complete_gpu_is_without_the_memory_of_others():
    """Memory that others used before is subtracted from the peak of the complete GPU."""
    assert on_gpu({"driver": CLEAN}).peaks["driver"] == 900.0
    assert on_gpu({"driver": CLEAN}, scope="this process").peaks["driver"] == 1000.0


def test_report_is_written_for_machines_and_for_people(tmp_path):
    """The report consists of JSON with every number, a picture of the curves, and a self-contained page."""
    report = soak(loop, warm_up=2, cycles=40)
    page = write_soak(report, tmp_path / "report")
    content = json.loads((tmp_path / "report" / "soak.json").read_text())
    assert content["kind"] == report.kind
    assert content["ok"] is report.ok
    assert {finding["meter"] for finding in content["findings"]} == {finding.meter for finding in report.findings}
    assert content["curves"]["heap"] == [list(point) for point in report.curves["heap"]]
    assert (tmp_path / "report" / "soak.png").read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "data:image/png;base64," in text
    assert 'src="http' not in text
    assert "heap" in text


def test_soak_leaves_no_object_behind():
    """The subject, and everything that was measured of it, is gone afterwards."""
    soak(loop, warm_up=1, cycles=20)
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Loop]
