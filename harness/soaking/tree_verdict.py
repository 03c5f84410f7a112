"""The verdict on a command that was measured from outside."""

from __future__ import annotations

import math
from typing import List, Optional, Tuple

from harness.memory.driver import WHOLE_GPU
from harness.memory.meters import BYTES, PROCESS, Meter
from harness.memory.sampler import Point
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import (
    LEAK,
    MIN_POINTS,
    NOT_ENOUGH,
    NOT_JUDGED,
    MeterVerdict,
    amount,
    judge,
    overall,
)
from harness.process.ending import BARS, Ending
from harness.soaking.tree_meters import Snapshot, TreeMeters

WARM_UP_S, WARM_UP_SHARE = 30.0, 1.0 / 3.0
"""Unless it is given, the warm-up takes this time [s], and at least this share of the run."""
SHORTEST_RUN_S = 60.0
"""A command that ran for less is not judged, unless the warm-up is given [s]."""
CLOSING_S, CLOSING_SHARE = 1.0, 0.05
"""How long before its end a program may begin to release what it holds: the longer of the two [s]."""
SECONDS_PER_HOUR = 3600.0
SKETCH_WIDTH = 40  # characters
MAX_OWNERS = 6
CAUSES_FIRST = ("children", "threads", "descriptors", "driver", "rss")
"""Meters in the order in which one that leaks explains those after it: a process brings threads, files and memory."""
MIN_OWNED_SHARE = 0.1  # of the growth, that something must have to be named


def judge_tree(watched: TreeMeters, warm_up: Optional[float], ending: Ending, stopped: bool) -> SoakReport:
    """Return the verdict on a command.

    Args:
      watched: the meters that looked at it.
      warm_up: when its start was over [s]; None if that is not known.
      ending: how it ended.
      stopped: whether it was ended because the meters had seen enough.
    """
    seconds = watched.seconds
    after = warm_up
    if after is None:
        after = max(WARM_UP_S, WARM_UP_SHARE * seconds)
    report = SoakReport(axis="second", steps=round(max(seconds - after, 0.0)), seconds=seconds)
    if seconds > 0.0:
        report.share = report.cpu_share = watched.spent / seconds
    for meter in watched.meters:
        _judge_meter(report, watched, meter, after, stopped)
    why = _too_short(watched, warm_up, after)
    if why:
        report.kind, report.why = NOT_JUDGED, _with_daemons(why, ending)
        return report
    main = "rss"
    if watched.gpu.was_used or watched.gpu.scope == WHOLE_GPU:
        main = "driver"
    report.kind, report.why = overall(report.findings, main)
    if report.kind == LEAK:
        report.owners = _owners(report.findings, watched, after, stopped)
    if report.kind == NOT_ENOUGH:
        report.kind = NOT_JUDGED
    report.notes += _verdicts_on_ranks(report.findings)
    report.notes.append(_floors(report.findings))
    if watched.gpu.exists:
        report.notes.append(f"driver: {watched.gpu.scope}")
        _withdraw_what_others_may_have_caused(report, watched)
    return report


def _judge_meter(report: SoakReport, watched: TreeMeters, meter: Meter, after: float, stopped: bool) -> None:
    curve = watched.series[meter.name]
    points = curve.points()
    if meter.on_gpu and not watched.gpu.exists:
        report.blind[meter.name] = watched.gpu.why_blind
        return
    until = _end_of(watched, meter, stopped)
    report.findings.append(judge(meter, curve, after, until, axis="second"))
    peak = max((point.high for point in points), default=None)
    report.peaks[meter.name] = peak
    report.curves[meter.name] = [tuple(point) for point in points]
    if meter.blind:
        report.blind[meter.name] = meter.blind
    if points and (meter.rank == PROCESS or points[0].low != peak):
        report.sketches[meter.name] = _sketch(points, meter.unit)


def _verdicts_on_ranks(findings: List[MeterVerdict]) -> List[str]:
    """Return a line with the verdict on each rank of a job; none if the command was not a job."""
    verdicts = [f"{finding.meter}: {finding.kind}" for finding in findings if finding.meter.startswith("rank ")]
    if not verdicts:
        return []
    return ["; ".join(verdicts)]


def _floors(findings: List[MeterVerdict]) -> str:
    """Return the slowest growth per hour that each meter would have shown."""
    floors = []
    for finding in findings:
        if finding.floor == finding.floor:  # not NaN: it was judged
            floors.append(f"{finding.meter} {amount(SECONDS_PER_HOUR * finding.floor, finding.unit)}")
    return f"growth below these floors per hour is invisible in this run: {', '.join(floors)}"


def _end_of(watched: TreeMeters, meter: Meter, stopped: bool) -> float:
    """Return the time of the last value of a meter that is judged [s].

    A program that ends by itself releases what it holds. The fall would look like noise, which hides what grew before.
    So the last value is the largest one shortly before the end.
    """
    points = watched.series[meter.name].points()
    if stopped or not points:
        return float("inf")
    end = points[-1].step
    begin = end - max(CLOSING_S, CLOSING_SHARE * end)
    highest, last = -math.inf, end
    for point in points:
        if point.step >= begin and point.low >= highest:
            highest, last = point.low, point.step
    return last


def _too_short(watched: TreeMeters, warm_up: Optional[float], after: float) -> str:
    """Return why a run was too short to be judged; "" if it was long enough."""
    seconds = watched.seconds
    if warm_up is None and seconds < SHORTEST_RUN_S:
        return (
            f"the command was seen for {seconds:.1f} s: at least {SHORTEST_RUN_S:.0f} s are needed, "
            "or --warm-up SECONDS, after which its start is over"
        )
    looks = len(watched.series["rss"].points(after))
    if looks < MIN_POINTS:
        return (
            f"the command was seen for {seconds:.1f} s, and {looks} times after the warm-up of {after:.1f} s: "
            f"at least {MIN_POINTS} times are needed, so let it run longer"
        )
    return ""


def _with_daemons(why: str, ending: Ending) -> str:
    left = ending.evidence.left
    if not left:
        return why
    return f"{why}; {left} of its processes still ran after its end and were killed: let it run in the foreground"


def _owners(findings: List[MeterVerdict], watched: TreeMeters, after: float, stopped: bool) -> List[str]:
    """Return what grew in the meters that leak, the closest to a cause first."""
    owners: List[str] = []
    meters = {meter.name: meter for meter in watched.meters}
    leaking = {finding.meter: finding for finding in findings if finding.kind == LEAK}
    for name in CAUSES_FIRST:
        if name in leaking:
            until = _end_of(watched, meters[name], stopped)
            before, last = _snapshots_around(watched.snapshots, after, until)
            owners += _owners_of(meters[name], leaking[name], before, last)
    if not owners:
        for name, finding in leaking.items():  # a rank, while the others released as much
            owners.append(f"{meters[name].owner}: +{amount(finding.growth, meters[name].unit)}")
    return owners[:MAX_OWNERS]


def _snapshots_around(snapshots: List[Snapshot], after: float, until: float) -> Tuple[Snapshot, Snapshot]:
    """Return the first snapshot after the warm-up, and the last that belongs to what is judged."""
    judged = [snapshot for snapshot in snapshots if after < snapshot.seconds <= until] or snapshots
    return judged[0], judged[-1]


def _owners_of(meter: Meter, finding: MeterVerdict, before: Snapshot, last: Snapshot) -> List[str]:
    earlier, later = before.parts[meter.name], last.parts[meter.name]
    grown: List[Tuple[float, str]] = []
    for name, value in later.items():
        growth = value - earlier.get(name, 0.0)
        if growth >= max(meter.quantum, MIN_OWNED_SHARE * finding.growth):
            grown.append((growth, name))
    if not grown:
        return [f"{meter.owner}: +{amount(finding.growth, meter.unit)}"]
    grown.sort(reverse=True)
    owners: List[str] = []
    for growth, name in grown:
        owners.append(f"{meter.owner} {_of(meter)}{name}: +{amount(growth, meter.unit)}")
    return owners


def _of(meter: Meter) -> str:
    return "of " if meter.unit == BYTES else ""


def _withdraw_what_others_may_have_caused(report: SoakReport, watched: TreeMeters) -> None:
    """Do not call it a leak of the command if only the memory of a shared GPU grew."""
    leaking = []
    for finding in report.findings:
        if finding.kind == LEAK:
            leaking.append(finding.meter)
    if watched.gpu.others and leaking == ["driver"]:
        report.kind, report.owners = NOT_JUDGED, []
        report.why = "the GPU filled, but its driver does not say whose memory it is: measure on an idle GPU"


def _sketch(points: List[Point], unit: str) -> str:
    """Draw a curve as one line of text, from its smallest to its largest value."""
    lows = [point.low for point in points]
    bottom, top = min(lows), max(lows)
    width = min(len(lows), SKETCH_WIDTH)
    bars = ""
    index = 0
    for column in range(width):
        seconds = points[0].step + column * (points[-1].step - points[0].step) / max(width - 1, 1)
        while index + 1 < len(points) and points[index + 1].step <= seconds:
            index += 1
        value = lows[index]
        height = int(len(BARS) * (value - bottom) / max(top - bottom, 1e-9))
        bars += BARS[min(height, len(BARS) - 1)]
    return f"{bars} {amount(lows[0], unit)} to {amount(lows[-1], unit)}, peak {amount(top, unit)}"


def exit_code_of(report: SoakReport) -> int:
    """Return 0 for no leak, 1 for a leak, 2 if that could not be judged."""
    if report.ok:
        return 0
    return 1 if report.kind == LEAK else 2
