"""Samples of meters on one axis of steps and time, within a share of the time, in bounded storage."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from harness.memory.meters import Meter

TIME_SHARE = 0.01  # of the time, that sampling may take
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
    """What reading one meter cost [s], how often and when it was read."""

    spent: float = 0.0
    readings: int = 0
    at: float = float("-inf")

    def is_due(self, now: float, share: float) -> bool:
        """Return whether another reading would stay within this share of the time since the last one."""
        return self.spent <= share * (now - self.at) * max(self.readings, 1)


class Recorder:
    """Reads meters while something runs.

    Each meter has its part of the time that sampling may take, so a dear one is read seldom and the cheap ones at every
    call. Readings of every meter count as spent, and are taken whether there is time for them or not.

    Args:
      meters: what to read.
      time_share: of the time, that sampling may take.
      clock: monotonic [s].

    Attributes:
      meters: what is read.
      series: the curve of each meter, by its name.
      spent: what reading took so far [s].
      jumps: how often the clock ran backwards, or too far to be true.
    """

    def __init__(
        self, meters: Sequence[Meter], time_share: float = TIME_SHARE, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.meters = tuple(meters)
        self.series: Dict[str, Series] = {meter.name: Series() for meter in meters}
        self.spent, self.jumps = 0.0, 0
        self._allowed = time_share / max(len(self.meters), 1)
        self._accounts = {meter.name: _Account() for meter in meters}
        self._clock, self._now, self._elapsed = clock, clock(), 0.0

    @property
    def elapsed(self) -> float:
        """Time since the recorder was made [s], without the jumps of the clock."""
        self._advance()
        return self._elapsed

    @property
    def share(self) -> float:
        """Part of the time that reading took."""
        return self.spent / max(self.elapsed, 1e-9)

    def sample(self, step: int, every: bool = False) -> None:
        """Read the meters: every one, or those whose time allows it."""
        self._advance()
        for meter in self.meters:
            account = self._accounts[meter.name]
            if every or account.is_due(self._elapsed, self._allowed):
                self._read(meter, account, step)

    def peak(self, name: str) -> Optional[float]:
        """Return the most that a meter showed; None if it showed nothing."""
        return max((point.high for point in self.series[name].points()), default=None)

    @contextlib.contextmanager
    def other_reading(self) -> Iterator[None]:
        """Count the time of this context as spent, too."""
        self._advance()
        begin = self._elapsed
        yield
        self._advance(LONGEST_READING)
        self.spent += self._elapsed - begin

    def _read(self, meter: Meter, account: _Account, step: int) -> None:
        begin = self._elapsed
        value = meter.read()
        self._advance(LONGEST_READING)
        account.spent += self._elapsed - begin
        account.readings, account.at = account.readings + 1, begin
        self.spent += self._elapsed - begin
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
