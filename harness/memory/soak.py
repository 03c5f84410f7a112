"""A soak: warm-up, cycles, close; what grew meanwhile, whose it is, and whether all came back.

report = soak(lambda: Subject(advance=iterate, close=env.close, owners={"env": env}), warm_up=5, cycles=200)
assert report.ok, report
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import tracemalloc
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from harness.memory.after_close import settled, weak_references, what_was_kept
from harness.memory.attribution import Reading, owners_to_blame, parts_to_blame
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
from harness.memory.object_sizes import Elders, Owned, Population
from harness.memory.sampler import STATIONS, Sampler
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, LEAK, NOT_ENOUGH, MeterVerdict, amount, judge, overall
from mapush.errors import ConfigError

PATIENCE = 10.0  # within which all must come back after the close [s]
LOOKS = (0.157, 0.371, 0.513, 0.794, 1.0)
"""Parts of a run after which the objects of Python are counted, so uneven that no period fits them."""
FEWEST_OBJECTS = 32  # that must have become more, for a leak of objects
REHEARSAL = 2  # cycles before anything is measured: libraries load, contexts and pools of threads are made


def _nothing() -> None:
    pass


@dataclasses.dataclass
class Subject:
    """What is soaked.

    Attributes:
      advance: runs one cycle.
      steps: of one cycle.
      close: releases everything.
      owners: its parts by name; one that is reached through another counts by itself.
      buffers: returns peak and limit, by name, of what has room for so much.
    """

    advance: Callable[[], Any]
    steps: int = 1
    close: Callable[[], Any] = _nothing
    owners: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    buffers: Callable[[], Dict[str, Tuple[float, float]]] = dict


def soak(
    make: Callable[[], Subject],
    warm_up: int,
    cycles: int,
    seconds: float = 0.0,
    gpu: Optional[DriverMeter] = None,
    trace: bool = False,
    patience: float = PATIENCE,
) -> SoakReport:
    """Run a subject for long, and judge its memory.

    Args:
      make: makes it; called once more before, for a rehearsal.
      warm_up: cycles before those that are judged.
      cycles: how many are judged at least.
      seconds: for how long they run at least [s].
      gpu: the meter of the GPU that it uses, if it does, made before anything used that.
      trace: find the lines of Python that allocate what grows; this slows Python down several times.
      patience: within which all must come back after the close [s].
    Raises:
      ConfigError: it would never end.
    """
    if cycles < 1 or not 0.0 <= seconds < math.inf:
        got = f"cycles {cycles}, seconds {seconds}"
        raise ConfigError("a soak that cannot end", got=got, expected="1 cycle or more, and a finite time")
    meters = (_gpu_meters(gpu) if gpu is not None else []) + process_meters()
    with contextlib.closing(make()) as rehearsal:
        for _ in range(REHEARSAL):
            rehearsal.advance()
    del rehearsal
    before = settled(meters)
    with Elders() as elders, contextlib.closing(make()) as subject:
        report = _under_the_meters(subject, elders, meters, warm_up, cycles, seconds, trace)
        report.buffers = subject.buffers()
    if gpu is not None:
        _note_scope(report, gpu)
    roots = weak_references(subject.owners)
    del subject
    report.kept = what_was_kept(meters, before, roots, patience)
    return report


def _under_the_meters(
    subject: Subject, elders: Elders, meters: List[Meter], warm_up: int, cycles: int, seconds: float, trace: bool
) -> SoakReport:
    recorder = Sampler(_owned(subject.owners) + meters)
    step = done = 0
    for _ in range(warm_up):
        subject.advance()
        step += subject.steps
        recorder.sample(step)
    with _tracing(trace):
        with recorder.other_reading():
            population = Population(elders, step)
        begin = Reading(recorder, step, trace)
        for station, counts in _stations(cycles, seconds):
            subject.advance()
            step, done = step + subject.steps, done + 1
            recorder.sample(step, station)
            if counts:
                with recorder.other_reading():
                    population.look(step)
        end = Reading(recorder, step, trace)
    report = SoakReport(steps=step - begin.step, seconds=recorder.elapsed)
    report.share, report.cpu_share = recorder.share, recorder.cpu_share
    elders.release()
    report.sites = end.sites_since(begin)
    main = meters[0].name if isinstance(meters[0], DriverMeter) else Resident.name
    _judge(report, recorder, begin, end, population, max(FEWEST_OBJECTS, done // 4), main)
    return report


def _gpu_meters(driver: DriverMeter) -> List[Meter]:
    kinds = (TorchAllocated, TorchReserved, TorchFragments, WarpPool)
    return [driver] + [kind(driver.device) for kind in kinds]


def _owned(owners: Mapping[str, Any]) -> List[Meter]:
    return [
        Owned(name, root, tuple(other for other in owners.values() if other is not root))
        for name, root in owners.items()
    ]


def _stations(cycles: int, seconds: float) -> Iterator[Tuple[int, bool]]:
    """Yield once before each cycle until both `cycles` and `seconds` have passed.

    Of all cycles, those after which everything is to be read yield the number of their station; others yield 0. The
    last one is station `STATIONS`. With it goes whether the objects of Python are to be counted.
    """
    started, done, passed, looks = time.monotonic(), 0, 0, 0
    while passed < STATIONS:
        done += 1
        progress = done / cycles if not seconds else min(done / cycles, (time.monotonic() - started) / seconds)
        reached = min(int(progress * STATIONS), STATIONS)
        due = sum(progress >= look for look in LOOKS)
        yield (reached if reached > passed else 0), due > looks
        passed, looks = max(passed, reached), max(looks, due)


@contextlib.contextmanager
def _tracing(wanted: bool) -> Iterator[None]:
    if wanted:
        tracemalloc.start()
    try:
        yield
    finally:
        if wanted:
            tracemalloc.stop()


def _judge(
    report: SoakReport, recorder: Sampler, begin: Reading, end: Reading, population: Population, least: int, main: str
) -> None:
    meters, series = recorder.meters, recorder.series
    findings = [judge(meter, series[meter.name], begin.step) for meter in meters]
    report.findings = findings + [_judge_objects(population, least, report.steps)]
    report.kind, report.why = overall(report.findings, main)
    report.blind = {meter.name: meter.blind for meter in meters if meter.blind}
    report.peaks = {meter.name: recorder.peak(meter.name) for meter in meters}
    report.curves = {name: [tuple(point) for point in curve.points()] for name, curve in series.items()}
    if recorder.jumps:
        report.notes.append(f"the clock jumped {recorder.jumps} times; steps, not times, were judged")
    if report.kind == LEAK:
        named = parts_to_blame(findings, meters, begin, end) + [str(each) for each in population.owners(least)]
        few = [] if named else [str(each) for each in population.owners(FEWEST_OBJECTS)]
        report.owners = owners_to_blame(named + few, findings, meters)
        report.notes += [f"still filling: {each}; let the warm-up fill it" for each in population.filling(least)]


def _judge_objects(population: Population, least: int, steps: int) -> MeterVerdict:
    """Return a leak if any type or container grew evenly between all censuses."""
    if len(population.counts) <= len(LOOKS):
        return MeterVerdict("objects", "objects", NOT_ENOUGH, "the run is too short to count the objects often enough")
    growth = float(max(population.growth(least).values(), default=0))
    rate = growth / steps
    return MeterVerdict(
        "objects",
        "objects",
        LEAK if growth else CLEAN,
        slope=rate,
        interval=(rate, rate),
        floor=least / steps,
        growth=growth,
        steps=float(steps),
        points=len(population.counts),
    )


def _note_scope(report: SoakReport, driver: DriverMeter) -> None:
    """Say what the driver's meter covered; what others may have caused is no leak of ours."""
    if driver.blind:
        return
    if driver.why_no_nvml:
        report.notes.append(driver.why_no_nvml)
    report.notes.append(f"driver: {driver.scope}")
    if driver.scope == WHOLE_GPU and report.peaks["driver"] is not None:
        report.peaks["driver"] -= driver.of_others
        report.notes.append(f"less {amount(driver.of_others, BYTES)} that others had at the start")
    leaking = [finding.meter for finding in report.findings if finding.kind == LEAK]
    if driver.others and leaking == ["driver"]:
        report.kind, report.owners = NOT_ENOUGH, []
        report.why = "the GPU filled, but nothing of this process did, and others use it: run alone to tell"
