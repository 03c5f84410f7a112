"""Soak a loop: run many cycles under the meters, judge what grows, name its owner, and check what the close releases.

    >>> from harness.memory.soak import Subject, soak
    >>> class Loop:
    ...     def __init__(self):
    ...         self.rows = []
    ...     def step(self):
    ...         self.rows.append([0.0] * 500)
    >>> def make():
    ...     loop = Loop()
    ...     return Subject(advance=loop.step, owners={"loop": loop})
    >>> report = soak(make, warm_up=10, cycles=300)
    >>> report.ok, report.kind
    (False, 'leak')
    >>> report.owners[0].split(":")[0]
    'loop loop.rows'

A subject usually has a `close`, too. In a test, assert `report.ok, report`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import tracemalloc
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

from typing_extensions import Literal

from harness.memory.after_close import settled, weak_references, what_was_kept
from harness.memory.attribution import PartsReading, owners_to_blame, parts_to_blame
from harness.memory.driver import WHOLE_GPU, DriverMeter
from harness.memory.meters import (
    BYTES,
    Meter,
    Resident,
    TorchAllocated,
    TorchFragments,
    TorchReserved,
    WarpPool,
    process_meters,
)
from harness.memory.object_census import ExistingObjects, ObjectCensus
from harness.memory.object_sizes import PartMeter
from harness.memory.sampler import STATIONS, Sampler
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, LEAK, NOT_ENOUGH, MeterVerdict, amount, judge, overall
from mapush.errors import ConfigError

CLOSE_TIMEOUT_S = 10.0
"""How long a soak waits after the close until everything is released [s]."""
CENSUS_TIMES = (0.157, 0.371, 0.513, 0.794, 1.0)
"""Fractions of a run after which the Python objects are counted; uneven, so that no periodic growth matches them."""
MIN_OBJECT_GROWTH = 32
"""Objects or entries that must have been added for a leak of objects."""
REHEARSAL_CYCLES = 2
"""Cycles before anything is measured. In them libraries load and pools of threads are made."""


def _nothing() -> None:
    pass


def say_nothing(doing: str, done: float = math.nan) -> None:
    """Show nobody how far the soak is."""


@dataclasses.dataclass
class Subject:
    """A loop to soak.

    Attributes:
      advance: runs one cycle.
      steps: steps in one cycle; growth is reported per step.
      close: releases everything.
      owners: parts of the loop by name, each measured separately: what belongs to one part does not count for another.
      buffers: returns peak and limit of each buffer with a fixed capacity, by name.
      notes: remarks for the report.
    """

    advance: Callable[[], Any]
    steps: int = 1
    close: Callable[[], Any] = _nothing
    owners: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    buffers: Callable[[], Dict[str, Tuple[float, float]]] = dict
    notes: Tuple[str, ...] = ()


def soak(
    make: Callable[[], Subject],
    warm_up: int,
    cycles: int,
    seconds: float = 0.0,
    gpu: Union[DriverMeter, None, Literal["auto"]] = "auto",
    trace: bool = False,
    close_timeout: float = CLOSE_TIMEOUT_S,
    once: bool = False,
    on_progress: Callable[..., Any] = say_nothing,
) -> SoakReport:
    """Run a subject for many cycles and judge its memory.

    Args:
      make: makes the subject. It is called twice: the first subject runs `REHEARSAL_CYCLES` and is closed again before
        anything is measured.
      warm_up: cycles before the judged cycles.
      cycles: minimum number of judged cycles.
      seconds: minimum duration of the judged cycles [s].
      gpu: the meter of the GPU that the subject uses, made before anything used that GPU; "auto" for the first GPU, if
        there is one and the subject uses it; None for a subject on the CPU.
      trace: also find the lines of Python that allocate what grows; this slows Python down several times.
      close_timeout: how long to wait after the close until everything is released [s].
      once: call `make` once, without a rehearsal, because it cannot be called twice in a process. Then nothing is said
        about what the close releases, because libraries load within the run.
      on_progress: called with what the soak does, in words, and with the share of the judged cycles that is done. It is
        called between cycles in the process that is judged, so it must keep nothing: a progress display belongs in a
        different process.

    Returns:
      The verdict, its reason, the owners of the growth and what was not released.

    Raises:
      ConfigError: there is no cycle to judge, or `seconds` is not a finite time.
    """
    length = _Length(warm_up, cycles, seconds)
    length.require_something()
    driver, may_be_unused = _driver_of(gpu)
    meters = _all_meters(driver)
    if not once:
        on_progress("rehearsal: making it")
        _rehearse(make)
    before = settled(meters)
    on_progress("making it")
    with ExistingObjects() as existing, contextlib.closing(make()) as subject:
        report = _run_measured(subject, existing, meters, length, trace, may_be_unused, on_progress)
        on_progress("closing it", 1.0)
        report.buffers = subject.buffers()
        report.notes += subject.notes
    meters = [meter for meter in meters if meter.name in report.peaks]
    if driver is not None and driver in meters:
        note_scope(report, driver)
    roots = weak_references(subject.owners)
    del subject
    on_progress("waiting until everything is released", 1.0)
    if once:
        report.notes.append("made once: what the close releases is not judged")
        return report
    report.kept = what_was_kept(meters, before, roots, close_timeout)
    return report


def _driver_of(gpu: Union[DriverMeter, None, str]) -> Tuple[Optional[DriverMeter], bool]:
    """Return the meter of the GPU, and whether the subject may turn out not to use that GPU."""
    if gpu is None or isinstance(gpu, DriverMeter):
        return gpu, False
    driver = DriverMeter()
    if not driver.exists:
        return None, False
    return driver, True


def _rehearse(make: Callable[[], Subject]) -> None:
    with contextlib.closing(make()) as rehearsal:
        for _ in range(REHEARSAL_CYCLES):
            rehearsal.advance()


def _all_meters(driver: Optional[DriverMeter]) -> List[Meter]:
    """Return the meters of the process, after those of a GPU if there is one."""
    of_process = process_meters()
    of_gpu: List[Meter] = []
    if driver is not None:
        of_gpu.append(driver)
        for kind in (TorchAllocated, TorchReserved, TorchFragments, WarpPool):
            of_gpu.append(kind(driver.device))
    return of_gpu + of_process


def _part_meters(owners: Mapping[str, Any]) -> List[Meter]:
    """Return a meter for each part, which leaves the other parts out."""
    meters: List[Meter] = []
    for name, root in owners.items():
        others = [other for other in owners.values() if other is not root]
        meters.append(PartMeter(name, root, shared=others))
    return meters


class _Length(NamedTuple):
    """How long a soak is; see `soak`."""

    warm_up: int
    cycles: int
    seconds: float

    def require_something(self) -> None:
        """Refuse a length without a cycle, or without an end; raise ConfigError."""
        if self.cycles < 1 or not 0.0 <= self.seconds < math.inf:
            got = f"cycles {self.cycles}, seconds {self.seconds}"
            raise ConfigError("invalid length of a soak", got=got, expected="at least 1 cycle, and a finite time")


def _run_measured(
    subject: Subject,
    existing: ExistingObjects,
    meters: List[Meter],
    length: _Length,
    trace: bool,
    may_be_unused: bool,
    on_progress: Callable[..., Any],
) -> SoakReport:
    """Run the warm-up and the judged cycles, and return everything but what the close leaves.

    If the GPU may turn out not to be used, and is not, its meters are left out of the report.
    """
    sampler = Sampler(_part_meters(subject.owners) + meters)
    step = done = reached = 0
    for cycle in range(length.warm_up):
        on_progress(f"warm-up, cycle {cycle + 1} of {length.warm_up}", 0.0)
        subject.advance()
        step += subject.steps
        sampler.sample(step)
    with _tracing(trace):
        with sampler.other_reading():
            census = ObjectCensus(existing, step)
        begin = PartsReading(sampler, step, trace)
        for station, count_objects in schedule(length.cycles, length.seconds):
            reached = max(reached, station - 1)
            on_progress(f"judged cycle {done + 1:,}", reached / STATIONS)
            subject.advance()
            step += subject.steps
            done += 1
            sampler.sample(step, station)
            if count_objects:
                with sampler.other_reading():
                    census.look(step)
        end = PartsReading(sampler, step, trace)
    report = SoakReport(steps=step - begin.step, seconds=sampler.elapsed)
    report.share = sampler.share
    report.cpu_share = sampler.cpu_share
    report.sites = end.sites_since(begin)
    existing.release()
    main_meter = Resident.name
    if isinstance(meters[0], DriverMeter):
        if may_be_unused and not meters[0].is_used:
            sampler.leave_out_gpu()
        else:
            main_meter = meters[0].name
    _judge(report, sampler, begin, end, census, max(MIN_OBJECT_GROWTH, done // 4), main_meter)
    return report


def schedule(cycles: int, seconds: float) -> Iterator[Tuple[int, bool]]:
    """Yield once before each cycle, until both the number of cycles and the time have passed.

    Progress is the fraction of the run that is done: of the cycles or of the time, whichever is behind. `STATIONS`
    stations are spread evenly over the progress, and the censuses over it at `CENSUS_TIMES`. A slow cycle may pass
    several stations; then only the last of them counts.

    Yields:
      The number of the station that the cycle reaches, 0 if none, and whether to count the Python objects after it.
    """
    started = time.monotonic()
    done = 0
    last_station = 0
    census_times = list(CENSUS_TIMES)
    while last_station < STATIONS:
        done += 1
        progress = done / cycles
        if seconds:
            progress = min(progress, (time.monotonic() - started) / seconds)
        station = min(int(progress * STATIONS), STATIONS)
        census_is_due = False
        while census_times and progress >= census_times[0]:
            census_times.pop(0)
            census_is_due = True
        if station > last_station:
            last_station = station
            yield station, census_is_due
        else:
            yield 0, census_is_due


@contextlib.contextmanager
def _tracing(wanted: bool) -> Iterator[None]:
    """Trace allocations in this context, if wanted."""
    if not wanted:
        yield
        return
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def _judge(
    report: SoakReport,
    sampler: Sampler,
    begin: PartsReading,
    end: PartsReading,
    census: ObjectCensus,
    least: int,
    main_meter: str,
) -> None:
    """Judge the meters and fill in the report.

    Args:
      report: the report on the judged cycles.
      sampler: the curves of the meters.
      begin: the parts after the warm-up.
      end: the parts at the end.
      census: counts of the Python objects.
      least: objects that must have been added for a leak of objects.
      main_meter: name of the meter that must be clean for the run to be clean.
    """
    findings = []
    for meter in sampler.meters:
        curve = sampler.series[meter.name]
        findings.append(judge(meter, curve, begin.step))
        report.peaks[meter.name] = sampler.peak(meter.name)
        report.curves[meter.name] = [tuple(point) for point in curve.points()]
        if meter.blind:
            report.blind[meter.name] = meter.blind
    report.findings = findings + [_judge_objects(census, least, report.steps)]
    report.kind, report.why = overall(report.findings, main_meter)
    if sampler.jumps:
        report.notes.append(f"the clock jumped {sampler.jumps} times; the verdict uses steps, not times")
    if report.kind == LEAK:
        named = parts_to_blame(findings, sampler.meters, begin, end)
        named += map(str, census.owners(least))
        if not named:
            named += map(str, census.owners(MIN_OBJECT_GROWTH))
        report.owners = owners_to_blame(named, findings, sampler.meters)
        for ring in census.filling(least):
            report.notes.append(f"still filling: {ring}; use a longer warm-up")


def _judge_objects(census: ObjectCensus, least: int, steps: int) -> MeterVerdict:
    """Return the verdict on the Python objects: a leak if any type or container grew steadily between all censuses."""
    if len(census.counts) <= len(CENSUS_TIMES):
        why = "the run is too short to count the objects often enough"
        return MeterVerdict("objects", "objects", NOT_ENOUGH, why)
    growth = float(max(census.growth(least).values(), default=0))
    kind = CLEAN
    if growth > 0.0:
        kind = LEAK
    rate = growth / steps
    return MeterVerdict(
        "objects",
        "objects",
        kind,
        slope=rate,
        interval=(rate, rate),
        floor=least / steps,
        growth=growth,
        steps=float(steps),
        points=len(census.counts),
    )


def note_scope(report: SoakReport, driver: DriverMeter) -> None:
    """Note what the driver's meter covered, and withdraw a leak that other processes may have caused."""
    if driver.blind:
        return
    if driver.why_no_nvml:
        report.notes.append(driver.why_no_nvml)
    report.notes.append(f"driver: {driver.scope}")
    peak = report.peaks["driver"]
    if driver.scope == WHOLE_GPU and peak is not None:
        report.peaks["driver"] = peak - driver.of_others
        report.notes.append(f"without {amount(driver.of_others, BYTES)} that others used at the start")
    leaking = []
    for finding in report.findings:
        if finding.kind == LEAK:
            leaking.append(finding.meter)
    if driver.others and leaking == ["driver"]:
        report.kind = NOT_ENOUGH
        report.owners = []
        report.why = "the GPU filled, but no allocator of this process grew, and others use it: soak on an idle GPU"
