"""Samples of meters over steps and time, taken within a fixed share of the time and kept in bounded storage."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from harness.memory.meters import Meter

TIME_SHARE = 0.004
"""Share of the time that reading the meters may take."""
STATIONS = 32
"""Points of a run at which every meter is read."""
STATION_BUDGET_S = 2.0
"""Time that all readings may take regardless of the share, so that short runs are sampled often enough [s]."""
SPARSE_STATIONS = 4
"""A meter that has used up its budget is read at every n-th station only."""
CAPACITY = 512  # points of a curve
LONGEST_READING_S = 60.0
"""If a reading seems to take longer, the clock has jumped [s]."""


class Point(NamedTuple):
    """The values of a meter around one moment.

    Attributes:
      step: first step that the point covers.
      seconds: time of that step since the sampler was made [s].
      low: smallest value.
      high: largest value.
    """

    step: float
    seconds: float
    low: float
    high: float


_WIDTH = len(Point._fields)


class Series:
    """The curve of one meter, in an amount of memory that never grows.

    When the storage is full, neighbouring points are merged into one that keeps the minimum and the maximum. Minima
    show what stays in use; maxima show what was needed at most.

    Args:
      capacity: maximum number of points.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = max(capacity - capacity % 2, 2)
        self._values = array.array("d", [0.0]) * (self._capacity * _WIDTH)  # the points, one after the other
        self._length = 0
        self._samples_per_point = 1
        self._samples_in_last = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Point:
        start = range(self._length)[index] * _WIDTH
        return Point(*self._values[start : start + _WIDTH])

    def add(self, step: float, seconds: float, value: float) -> None:
        """Add one sample. Samples of the same step share a point."""
        if self._length > 0:
            last = self[-1]
            if self._samples_in_last < self._samples_per_point or last.step == step:
                self._put(self._length - 1, last._replace(low=min(last.low, value), high=max(last.high, value)))
                self._samples_in_last += 1
                return
        if self._length == self._capacity:
            self._halve()
        self._put(self._length, Point(step, seconds, value, value))
        self._length += 1
        self._samples_in_last = 1

    def points(self, after: float = float("-inf")) -> List[Point]:
        """Return the points that begin after a step."""
        found = []
        for index in range(self._length):
            point = self[index]
            if point.step > after:
                found.append(point)
        return found

    def _put(self, index: int, point: Point) -> None:
        self._values[index * _WIDTH : (index + 1) * _WIDTH] = array.array("d", point)

    def _halve(self) -> None:
        """Merge each pair of neighbours into one point."""
        for index in range(self._length // 2):
            first, second = self[2 * index], self[2 * index + 1]
            merged = first._replace(low=min(first.low, second.low), high=max(first.high, second.high))
            self._put(index, merged)
        self._length //= 2
        self._samples_per_point *= 2


@dataclasses.dataclass
class _ReadingCost:
    """How often one meter was read, and at what cost.

    Attributes:
      spent: time that all readings took [s].
      readings: number of readings.
      last_read: time of the last reading [s].
      station: station of the last reading at a station.
    """

    spent: float = 0.0
    readings: int = 0
    last_read: float = float("-inf")
    station: int = 0

    def allows_reading(self, now: float, share: float) -> bool:
        """Return whether one more reading stays within a share of all time and of the time since the last reading."""
        expected = self.spent / max(self.readings, 1)
        within_pause = expected <= share * (now - self.last_read)
        within_total = self.spent + expected <= share * now
        return within_pause and within_total


class Sampler:
    """Reads meters while something runs.

    Each meter gets the same part of the time that sampling may take. So expensive meters are read rarely, and cheap
    meters at every call. At the stations of a run every meter is read, as long as all readings together take no more
    than `STATION_BUDGET_S` plus the share of the time. Beyond that, a meter that has used up its own part is read at
    every `SPARSE_STATIONS`-th station only, including the last.

    Args:
      meters: the meters to read.
      time_share: share of the time that sampling may take.
      clock: monotonic time [s].
      cpu_clock: CPU time of this thread [s].

    Attributes:
      meters: the meters.
      series: the curve of each meter by name.
      spent: time that sampling has taken so far [s].
      cpu_spent: CPU time of this thread within `spent` [s].
      jumps: how often the clock ran backwards or jumped too far ahead.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        time_share: float = TIME_SHARE,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.meters = tuple(meters)
        self.series: Dict[str, Series] = {}
        self._costs: Dict[str, _ReadingCost] = {}
        for meter in meters:
            self.series[meter.name] = Series()
            self._costs[meter.name] = _ReadingCost()
        self.spent = 0.0
        self.cpu_spent = 0.0
        self.jumps = 0
        self._time_share = time_share
        self._spent_on_meters = 0.0
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._now = clock()
        self._elapsed = 0.0

    @property
    def elapsed(self) -> float:
        """Time since the sampler was made, without jumps of the clock [s]."""
        self._advance_clock()
        return self._elapsed

    @property
    def share(self) -> float:
        """Share of the time that sampling took."""
        return self.spent / max(self.elapsed, 1e-9)

    @property
    def cpu_share(self) -> float:
        """Share of the time in which sampling had a CPU; less than `share` where it had to wait for a CPU."""
        return self.cpu_spent / max(self.elapsed, 1e-9)

    def sample(self, step: int, station: int = 0) -> None:
        """Read the meters whose budget allows it, and the meters that are due at this station.

        Args:
          step: current step.
          station: 1 to `STATIONS`; 0 between stations.
        """
        self._advance_clock()
        for meter in self.meters:
            cost = self._costs[meter.name]
            if self._fits_budget(cost) or (station and self._is_due_at(station, cost)):
                self._read(meter, cost, step)
                if station:
                    cost.station = station

    def leave_out_gpu(self) -> None:
        """Forget the meters of a GPU that turned out not to be used."""
        self.meters = tuple(meter for meter in self.meters if not meter.on_gpu)

    def peak(self, name: str) -> Optional[float]:
        """Return the largest value of a meter; None if it has no values."""
        points = self.series[name].points()
        return max((point.high for point in points), default=None)

    @contextlib.contextmanager
    def other_reading(self) -> Iterator[None]:
        """Count the time of this context as time spent on sampling."""
        self._advance_clock()
        begin, cpu_begin = self._elapsed, self._cpu_clock()
        yield
        self._advance_clock(LONGEST_READING_S)
        self.spent += self._elapsed - begin
        self.cpu_spent += self._cpu_clock() - cpu_begin

    def _fits_budget(self, cost: _ReadingCost) -> bool:
        """Return whether all meters together, and this meter, have time left for one more reading."""
        if self._spent_on_meters > self._time_share * self._elapsed:
            return False
        return cost.allows_reading(self._elapsed, self._time_share / len(self.meters))

    def _is_due_at(self, station: int, cost: _ReadingCost) -> bool:
        """Return whether there is time for this meter at a station, or it has been skipped often enough."""
        budget = STATION_BUDGET_S + self._time_share * self._elapsed
        if self._spent_on_meters <= budget or cost.spent <= budget / len(self.meters):
            return True
        return station // SPARSE_STATIONS > cost.station // SPARSE_STATIONS

    def _read(self, meter: Meter, cost: _ReadingCost, step: int) -> None:
        begin = self._elapsed
        with self.other_reading():
            value = meter.read()
        taken = self._elapsed - begin
        self._spent_on_meters += taken
        cost.spent += taken
        cost.readings += 1
        cost.last_read = begin
        if value is not None:
            self.series[meter.name].add(step, begin, value)

    def _advance_clock(self, longest: float = float("inf")) -> None:
        """Add the time since the last call, unless the clock has jumped; then count the jump.

        Args:
          longest: the longest time that is believed [s].
        """
        now = self._clock()
        passed = now - self._now
        self._now = now
        if 0.0 <= passed <= longest:
            self._elapsed += passed
        else:
            self.jumps += 1
