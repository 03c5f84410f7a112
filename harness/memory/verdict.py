"""Does it leak? A verdict on the curve of a meter that says what it can tell, and what it cannot.

The curve of one meter, from the end of the warm-up to the close, is judged by its minima, for what a step borrows and
gives back is no leak:

1. A fall is no leak, so the deepest fall is noise. What a meter cannot tell apart is the greater of that and of the
   steps in which it moves: its `unit`. Growth by less than `RESOLVED` units is none: the meter is *clean*, down to its
   floor of `RESOLVED` units per span.
2. The span is cut into batches, none so short that less than one unit is to be expected in it. The slopes of the
   batches give an interval by the sign test, which takes neither normal nor independent errors: one jump, or a few
   stairs, cannot pass for growth everywhere. The estimate is the median of the slopes between all pairs of minima
   (Theil 1950; Sen 1968, doi:10.1080/01621459.1968.10480934).
3. Growth of which the last third of the batches has less than half its part is *growth that ends*; jumps count little.
4. If even the lower end of the interval is no less than `STEADY` of the floor, it is a *leak*; else it grew in jumps,
   and there is *not enough data*.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Optional, Sequence, Tuple

import numpy as np

from harness.memory.meters import BYTES, MIB, Meter
from harness.memory.sampler import Series

LEAK, ENDS, CLEAN, NOT_ENOUGH = "leak", "growth that ends", "clean", "not enough data"

RESOLVED = 4  # units of growth that are told from none
FEWEST_POINTS = 8
MOST_POINTS = 64  # minima that are looked at
BATCHES = (4, 16)  # fewest and most
CONFIDENCE = 0.95  # of the interval, where there are batches enough
ENDED = 0.5  # of the part that the last third would have of steady growth
STEADY = 0.25  # of the floor: what the interval begins with at least where growth is no matter of jumps
JUMP = 4.0  # times the median growth of a batch: what is beyond is a jump


@dataclasses.dataclass(frozen=True)
class MeterVerdict:
    """What one meter says.

    Attributes:
      meter: its name.
      unit: of its numbers.
      kind: `LEAK`, `ENDS`, `CLEAN` or `NOT_ENOUGH`.
      why: of `NOT_ENOUGH`.
      slope: growth per step; Theil and Sen's estimate.
      interval: of the growth per step.
      confidence: of the interval.
      floor: least growth per step that could be told from none.
      growth: from the end of the warm-up to the close.
      steps: between them.
      points: minima that were judged.
    """

    meter: str
    unit: str
    kind: str
    why: str = ""
    slope: float = math.nan
    interval: Tuple[float, float] = (math.nan, math.nan)
    confidence: float = math.nan
    floor: float = math.nan
    growth: float = math.nan
    steps: float = 0.0
    points: int = 0

    def __str__(self) -> str:
        if math.isnan(self.slope):
            return f"{self.meter}: {self.kind}: {self.why}"
        text = "{}: {}: {} per step in [{}, {}], floor {}; {} in {:,.0f} steps".format(
            self.meter, self.kind, *(amount(value, self.unit) for value in self._numbers()), self.steps
        )
        return text + (f" ({self.why})" if self.why else "")

    def _numbers(self) -> Tuple[float, ...]:
        return (self.slope, *self.interval, self.floor, self.growth)


def judge(meter: Meter, series: Series, after: float) -> MeterVerdict:
    """Judge what a meter showed after a step."""
    points = series.points(after)
    if meter.blind or not points:
        return MeterVerdict(meter.name, meter.unit, NOT_ENOUGH, meter.blind or "it was not read")
    if len(points) < FEWEST_POINTS:
        why = f"{len(points)} readings, at least {FEWEST_POINTS} are needed"
        return MeterVerdict(meter.name, meter.unit, NOT_ENOUGH, why, points=len(points))
    steps, lows = _minima([point.step for point in points], [point.low for point in points])
    return _judge(meter, steps, lows)


def _judge(meter: Meter, steps: np.ndarray, lows: np.ndarray) -> MeterVerdict:
    unit = max(meter.quantum, _deepest_fall(lows))
    span, growth = steps[-1] - steps[0], lows[-1] - lows[0]
    floor = RESOLVED * unit / span
    slope = _theil_sen(steps, lows)
    times, growths = _batches(steps, lows, int(np.clip(growth / unit, *BATCHES)))
    low, high, confidence = _sign_interval(growths / times)
    kind, why = LEAK, ""
    if growth < RESOLVED * unit:
        kind = CLEAN
    elif _has_ended(growths):
        kind = ENDS
    elif low < STEADY * floor:
        kind, why = NOT_ENOUGH, "it grew in few jumps: run for longer"
    return MeterVerdict(
        meter.name,
        meter.unit,
        kind,
        why,
        slope=slope,
        interval=(min(low, slope), max(high, slope)),
        confidence=confidence,
        floor=floor,
        growth=float(growth),
        steps=float(span),
        points=len(lows),
    )


def _minima(steps: Sequence[float], lows: Sequence[float]) -> Tuple[np.ndarray, np.ndarray]:
    """Return at most `MOST_POINTS` minima of consecutive values, and the first step of each."""
    groups = np.array_split(np.arange(len(steps)), min(len(steps), MOST_POINTS))
    return (
        np.array([steps[group[0]] for group in groups], float),
        np.array([min(lows[index] for index in group) for group in groups], float),
    )


def _deepest_fall(values: np.ndarray) -> float:
    return float((np.maximum.accumulate(values) - values).max())


def _theil_sen(steps: np.ndarray, values: np.ndarray) -> float:
    later, earlier = np.triu_indices(len(steps), k=1)[::-1]
    return float(np.median((values[later] - values[earlier]) / (steps[later] - steps[earlier])))


def _batches(steps: np.ndarray, values: np.ndarray, batches: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the lengths of so many batches, or of as many as there can be, in steps, and the growth in each."""
    edges = np.linspace(0, len(steps) - 1, min(batches, len(steps) - 1) + 1).round().astype(int)
    return np.diff(steps[edges]), np.diff(values[edges])


def _has_ended(growths: np.ndarray) -> bool:
    """Return whether the last third of the batches has less than `ENDED` times its part of the growth."""
    usual = float(np.median(growths))
    if usual > 0.0:
        growths = np.minimum(growths, JUMP * usual)
    last = math.ceil(len(growths) / 3)
    return bool(growths[-last:].sum() < ENDED * last / len(growths) * growths.sum())


def _sign_interval(slopes: Sequence[float]) -> Tuple[float, float, float]:
    """Return an interval of the median that takes no assumption on the errors, and its confidence."""
    ordered, count = sorted(slopes), len(slopes)
    outside, best = 0.0, (ordered[0], ordered[-1], 1.0 - 2.0**-count * 2.0)
    for left_out in range((count - 1) // 2):
        outside += 2.0 * math.comb(count, left_out) / 2.0**count
        if outside > 1.0 - CONFIDENCE:
            break
        best = (ordered[left_out], ordered[-1 - left_out], 1.0 - outside)
    return best


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, for people."""
    if math.isnan(value):
        return "?"
    if unit != BYTES:
        return ("{:,.0f} {}" if abs(value) >= 100 else "{:.3g} {}").format(value, unit)
    for size, name in ((MIB * 1024, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if abs(value) >= size:
            return f"{value / size:.2f} {name}"
    return ("{:.0f} B" if abs(value) >= 10 else "{:.2g} B").format(value)


def overall(findings: Sequence[MeterVerdict], main: str) -> Tuple[str, str]:
    """Return the verdict on a whole run, and why.

    Args:
      findings: of all meters.
      main: name of the meter without which nothing is clean.
    """
    leaking = [finding for finding in findings if finding.kind == LEAK]
    if leaking:
        return LEAK, "; ".join(str(finding) for finding in leaking)
    judged: Optional[MeterVerdict] = next((finding for finding in findings if finding.meter == main), None)
    if judged is None or judged.kind == NOT_ENOUGH:
        return NOT_ENOUGH, str(judged) if judged is not None else f"there is no meter {main}"
    ending = [finding for finding in findings if finding.kind == ENDS]
    if ending:
        return ENDS, "; ".join(str(finding) for finding in ending)
    return CLEAN, str(judged)
