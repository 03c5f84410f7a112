"""Does a meter show a leak? A verdict on its curve, which also says what the curve cannot show.

The curve is judged from the end of the warm-up to the close by its minima: memory that a step takes and gives back is
not a leak.

1. Noise. A fall is not a leak, so the deepest fall of the curve is noise. The *unit* is the larger of that fall and the
   meter's quantum. Growth below `RESOLVED_UNITS` units cannot be distinguished from none. The meter is then *clean*,
   down to a floor of `RESOLVED_UNITS` units per span.
2. Slope. The span is cut into batches, each long enough that at least one unit of growth is expected in it. The sign
   test on the slopes of the batches gives a confidence interval for their median. It assumes neither normal nor
   independent errors, so one jump, or a few stairs, does not look like steady growth. The estimate itself is the median
   of the slopes between all pairs of minima (Theil 1950; Sen 1968, doi:10.1080/01621459.1968.10480934).
3. Growth that ends. If the last third of the batches has less than half of its proportional part of the growth, the
   verdict is *growth that ends*. Jumps are capped first.
4. Leak. If even the lower end of the interval is at least `STEADY_FLOOR_SHARE` of the floor, the verdict is *leak*.
   Otherwise the curve grew in jumps, and the verdict is *not enough data*.
"""

from __future__ import annotations

import dataclasses
import math
from typing import List, Optional, Sequence, Tuple

import numpy as np

from harness.memory.meters import BYTES, Meter
from harness.memory.sampler import Point, Series
from harness.units import MIB

LEAK = "leak"
ENDS = "growth that ends"
CLEAN = "clean"
NOT_ENOUGH = "not enough data"
NOT_JUDGED = "not judged"  # what ran saw too little, whatever its curves look like

RESOLVED_UNITS = 4  # units of growth that can be distinguished from none
MIN_POINTS = 8  # points without which there is no verdict
MAX_MINIMA = 64  # minima that are judged
MIN_BATCHES, MAX_BATCHES = 4, 16
CONFIDENCE = 0.95  # of the interval, if there are enough batches
ENDED_SHARE = 0.5  # of the growth that the last third would have if growth were steady
STEADY_FLOOR_SHARE = 0.25  # of the floor: the least lower end of the interval that means steady growth
JUMP_FACTOR = 4.0  # a batch that grew by more than this many median growths has a jump

_STEP_COLUMN = Point._fields.index("step")
_LOW_COLUMN = Point._fields.index("low")


@dataclasses.dataclass(frozen=True)
class MeterVerdict:
    """The verdict on one meter.

    Attributes:
      meter: name of the meter.
      unit: unit of the numbers.
      kind: `LEAK`, `ENDS`, `CLEAN` or `NOT_ENOUGH`.
      why: reason for `NOT_ENOUGH`.
      slope: Theil-Sen estimate of the growth per step [unit].
      interval: confidence interval of the growth per step [unit].
      confidence: confidence of the interval, 0 to 1.
      floor: smallest growth per step that would have been noticed [unit].
      growth: growth from the end of the warm-up to the close [unit].
      steps: steps between the end of the warm-up and the close.
      points: number of minima that were judged.
      axis: what a step is: "step", or "second" for a command that is measured from outside.
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
    axis: str = "step"

    def __str__(self) -> str:
        if math.isnan(self.slope):
            return f"{self.meter}: {self.kind}: {self.why}"
        low = amount(self.interval[0], self.unit)
        high = amount(self.interval[1], self.unit)
        text = f"{self.meter}: {self.kind}: {amount(self.slope, self.unit)} per {self.axis} in [{low}, {high}], "
        text += f"floor {amount(self.floor, self.unit)}; "
        text += f"{amount(self.growth, self.unit)} in {self.steps:,.0f} {self.axis}s"
        if self.why:
            text += f" ({self.why})"
        return text


def judge(meter: Meter, series: Series, after: float, until: float = math.inf, axis: str = "step") -> MeterVerdict:
    """Return the verdict on a meter.

    Args:
      meter: the meter.
      series: its curve.
      after: the step at which the warm-up ended; earlier points do not count.
      until: the last step that counts.
      axis: what a step is, in reports.
    """
    points = [point for point in series.points(after) if point.step <= until]
    if meter.blind or not points:
        return MeterVerdict(meter.name, meter.unit, NOT_ENOUGH, meter.blind or "it was not read", axis=axis)
    if len(points) < MIN_POINTS:
        why = f"{len(points)} readings, at least {MIN_POINTS} are needed"
        return MeterVerdict(meter.name, meter.unit, NOT_ENOUGH, why, points=len(points), axis=axis)
    return dataclasses.replace(_judge_minima(meter, *_minima(points)), axis=axis)


def _judge_minima(meter: Meter, steps: np.ndarray, lows: np.ndarray) -> MeterVerdict:
    unit = max(meter.quantum, _deepest_fall(lows))
    span = steps[-1] - steps[0]
    growth = lows[-1] - lows[0]
    floor = RESOLVED_UNITS * unit / span
    slope = theil_sen(steps, lows)
    lengths, growths = _batches(steps, lows, batches=int(np.clip(growth / unit, MIN_BATCHES, MAX_BATCHES)))
    low, high, confidence = sign_interval(growths / lengths)
    kind, why = LEAK, ""
    if growth < RESOLVED_UNITS * unit:
        kind = CLEAN
    elif _has_ended(growths):
        kind = ENDS
    elif low < STEADY_FLOOR_SHARE * floor:
        kind, why = NOT_ENOUGH, "it grew in few jumps: run longer"
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


def _minima(points: Sequence[Point]) -> Tuple[np.ndarray, np.ndarray]:
    """Return the first step and the minimum of at most `MAX_MINIMA` groups of consecutive points."""
    curve = np.array(points, float)
    steps, lows = [], []
    for group in np.array_split(curve, min(len(curve), MAX_MINIMA)):
        steps.append(group[0, _STEP_COLUMN])
        lows.append(group[:, _LOW_COLUMN].min())
    return np.array(steps), np.array(lows)


def _deepest_fall(values: np.ndarray) -> float:
    """Return the largest drop of a value below an earlier value."""
    return float((np.maximum.accumulate(values) - values).max())


def theil_sen(steps: np.ndarray, values: np.ndarray) -> float:
    """Return the median of the slopes between all pairs of values."""
    earlier, later = np.triu_indices(len(steps), k=1)
    slopes = (values[later] - values[earlier]) / (steps[later] - steps[earlier])
    return float(np.median(slopes))


def _batches(steps: np.ndarray, values: np.ndarray, batches: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the length in steps and the growth of each of at most `batches` batches."""
    count = min(batches, len(steps) - 1)
    edges = np.linspace(0, len(steps) - 1, count + 1).round().astype(int)
    return np.diff(steps[edges]), np.diff(values[edges])


def _has_ended(growths: np.ndarray) -> bool:
    """Return whether the last third of the batches grew by less than `ENDED_SHARE` of its proportional part."""
    usual = float(np.median(growths))
    if usual > 0.0:
        growths = np.minimum(growths, JUMP_FACTOR * usual)
    last = math.ceil(len(growths) / 3)
    proportional = last / len(growths) * growths.sum()
    return bool(growths[-last:].sum() < ENDED_SHARE * proportional)


def sign_interval(slopes: Sequence[float]) -> Tuple[float, float, float]:
    """Return the ends of a confidence interval for the median of the slopes, and its confidence.

    If the median is m, each slope lies below m with probability 1/2, so the number of slopes below m is binomial. The
    interval between the k-th smallest and the k-th largest slope misses m with the probability of the two binomial
    tails below k. The interval returned is the narrowest whose confidence is at least `CONFIDENCE`, or the widest
    possible if there are too few slopes. Nothing is assumed about the distribution of the errors.
    """
    ordered = sorted(slopes)
    count = len(ordered)
    missed = 0.0
    interval = (ordered[0], ordered[-1], 1.0 - 2.0**-count * 2.0)
    for left_out in range((count - 1) // 2):
        missed += 2.0 * math.comb(count, left_out) / 2.0**count
        if missed > 1.0 - CONFIDENCE:
            break
        interval = (ordered[left_out], ordered[-1 - left_out], 1.0 - missed)
    return interval


def amount(value: float, unit: str) -> str:
    """Return a number with its unit as text; bytes in the largest unit that fits."""
    if math.isnan(value):
        return "?"
    if unit != BYTES:
        return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"
    for size, name in ((MIB * 1024, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if abs(value) >= size:
            return f"{value / size:.2f} {name}"
    return f"{value:.0f} B" if abs(value) >= 10 else f"{value:.2g} B"


def overall(findings: Sequence[MeterVerdict], main: str) -> Tuple[str, str]:
    """Return the verdict on a complete run, and the reason.

    Args:
      findings: the verdicts on all meters.
      main: name of the meter that must be clean for the run to be clean.
    """
    leaking: List[MeterVerdict] = []
    ending: List[MeterVerdict] = []
    main_verdict: Optional[MeterVerdict] = None
    for finding in findings:
        if finding.kind == LEAK:
            leaking.append(finding)
        if finding.kind == ENDS:
            ending.append(finding)
        if finding.meter == main:
            main_verdict = finding
    if leaking:
        return LEAK, "; ".join(map(str, leaking))
    if main_verdict is None:
        return NOT_ENOUGH, f"no meter is named {main}"
    if main_verdict.kind == NOT_ENOUGH:
        return NOT_ENOUGH, str(main_verdict)
    if ending:
        return ENDS, "; ".join(map(str, ending))
    return CLEAN, str(main_verdict)
