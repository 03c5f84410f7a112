"""Samples of meters on one axis of steps and time, within a share of the time, in bounded storage."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from harness.memory.meters import Meter

TIME_SHARE = 0.004  # of the time, that reading the meters may take
STATIONS = 32  # of a run, at which every meter is read
GRACE = 2.0  # [s]; so much all readings may take whatever part of the time that is
SPARSE = 4  # of so many stations, one is for a meter that has had its part
CAPACITY = 512  # points of a curve
LONGEST_READING = 60.0  # [s]; what seems to take longer is a clock that jumped


class Point(NamedTuple):
    """What a meter showed around one moment.

    Attributes:
      step: first step of the moment.
      seconds: its time since the recorder was made [s].
      low: least value.
      high: greatest value.
    """

    step: float
    seconds: float
    low: float
    high: float


_WIDTH = len(Point._fields)


class Series:
    """The curve of one meter; it never takes more memory than at the beginning.

    When it is full, neighbours become one point, of which minimum and maximum are kept: minima show what stays, maxima
    what was needed at most.

    Args:
      capacity: most points.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = max(capacity - capacity % 2, 2)
        self._values = array.array("d", [0.0]) * (self._capacity * _WIDTH)  # of one point after the other
        self._length = 0
        self._samples = 1  # in a whole point
        self._in_last = 0  # samples in the last point

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Point:
        start = range(self._length)[index] * _WIDTH
        return Point(*self._values[start : start + _WIDTH])

    def add(self, step: float, seconds: float, value: float) -> None:
        """Take one sample."""
        if self._length and (self._in_last < self._samples or self[-1].step == step):
            last = self[-1]
            self._put(self._length - 1, last._replace(low=min(last.low, value), high=max(last.high, value)))
            self._in_last += 1
            return
        if self._length == self._capacity:
            self._halve()
        self._put(self._length, Point(step, seconds, value, value))
        self._length, self._in_last = self._length + 1, 1

    def points(self, after: float = float("-inf")) -> List[Point]:
        """Return the points that begin after a step."""
        return [point for point in (self[index] for index in range(self._length)) if point.step > after]

    def _put(self, index: int, point: Point) -> None:
        self._values[index * _WIDTH : (index + 1) * _WIDTH] = array.array("d", point)

    def _halve(self) -> None:
        for index in range(self._length // 2):
            first, second = self[2 * index], self[2 * index + 1]
            both = first._replace(low=min(first.low, second.low), high=max(first.high, second.high))
            self._put(index, both)
        self._length, self._samples = self._length // 2, 2 * self._samples


@dataclasses.dataclass
class _Account:
    """What reading one meter cost [s], how often, when and at which station it was read."""

    spent: float = 0.0
    readings: int = 0
    at: float = float("-inf")
    station: int = 0

    def is_due(self, now: float, share: float) -> bool:
        """Return whether another reading would stay within this share of all time, and of that since the last one."""
        cost = self.spent / max(self.readings, 1)
        return cost <= share * (now - self.at) and self.spent + cost <= share * now


class Sampler:
    """Reads meters while something runs.

    Each meter has its part of the time that sampling may take, so a dear one is read seldom and the cheap ones at every
    call. At the stations of a run all are read as long as that takes no more than `GRACE` and the share of the time;
    then a meter that has had its part is read at one of `SPARSE` stations only, the last one among them.

    Args:
      meters: what to read.
      time_share: of the time, that sampling may take.
      clock: monotonic [s].
      cpu_clock: CPU time of this thread [s].

    Attributes:
      meters: what is read.
      series: the curve of each meter, by its name.
      spent: what reading took so far [s].
      cpu_spent: for how much of that this thread had a CPU [s].
      jumps: how often the clock ran backwards, or too far to be true.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        time_share: float = TIME_SHARE,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.meters = tuple(meters)
        self.series: Dict[str, Series] = {meter.name: Series() for meter in meters}
        self.spent, self.cpu_spent, self.jumps = 0.0, 0.0, 0
        self._time_share, self._reading = time_share, 0.0
        self._accounts = {meter.name: _Account() for meter in meters}
        self._clock, self._cpu_clock, self._now, self._elapsed = clock, cpu_clock, clock(), 0.0

    @property
    def elapsed(self) -> float:
        """Time since the recorder was made [s], without the jumps of the clock."""
        self._advance()
        return self._elapsed

    @property
    def share(self) -> float:
        """Part of the time that reading took."""
        return self.spent / max(self.elapsed, 1e-9)

    @property
    def cpu_share(self) -> float:
        """Part of the time for which reading had a CPU; less than `share` where it had to wait for one."""
        return self.cpu_spent / max(self.elapsed, 1e-9)

    def sample(self, step: int, station: int = 0) -> None:
        """Read the meters whose time allows it, and those whose turn it is at this station, 1 to `STATIONS`."""
        self._advance()
        for meter in self.meters:
            account = self._accounts[meter.name]
            if self._is_due(account) or (station and self._has_turn(account, station)):
                self._read(meter, account, step)
                account.station = station or account.station

    def peak(self, name: str) -> Optional[float]:
        """Return the most that a meter showed; None if it showed nothing."""
        return max((point.high for point in self.series[name].points()), default=None)

    @contextlib.contextmanager
    def other_reading(self) -> Iterator[None]:
        """Count the time of this context as spent, too."""
        self._advance()
        begin, cpu_begin = self._elapsed, self._cpu_clock()
        yield
        self._advance(LONGEST_READING)
        self.spent += self._elapsed - begin
        self.cpu_spent += self._cpu_clock() - cpu_begin

    def _is_due(self, account: _Account) -> bool:
        """Return whether there is time for another reading, of all meters and of this one."""
        in_time = self._reading <= self._time_share * self._elapsed
        return in_time and account.is_due(self._elapsed, self._time_share / len(self.meters))

    def _has_turn(self, account: _Account, station: int) -> bool:
        """Return whether all meters, or this one, have taken less than they may, or have missed some stations."""
        allowed = GRACE + self._time_share * self._elapsed
        in_time = self._reading <= allowed or account.spent <= allowed / len(self.meters)
        return in_time or station // SPARSE > account.station // SPARSE

    def _read(self, meter: Meter, account: _Account, step: int) -> None:
        begin = self._elapsed
        with self.other_reading():
            value = meter.read()
        self._reading += self._elapsed - begin
        account.spent += self._elapsed - begin
        account.readings, account.at = account.readings + 1, begin
        if value is not None:
            self.series[meter.name].add(step, begin, value)

    def _advance(self, longest: float = float("inf")) -> None:
        """Let time pass; of a jump of the clock nothing but the number is kept."""
        now = self._clock()
        passed, self._now = now - self._now, now
        if 0.0 <= passed <= longest:
            self._elapsed += passed
        else:
            self.jumps += 1
