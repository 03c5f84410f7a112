"""Tests of the sampler: bounded storage that keeps the extremes, a share of the time, clocks that jump."""

from __future__ import annotations

import pytest

from harness.memory.meters import Blind, Meter
from harness.memory.object_sizes import sizes
from harness.memory.sampler import STATION_BUDGET_S, STATIONS, TIME_SHARE, Sampler, Series

pytestmark = pytest.mark.memory


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time [s]."""
        return self.now


class Timed(Meter):
    """A meter whose reading takes `cost` seconds of a clock."""

    owner = "nobody"

    def __init__(self, name: str, clock: Clock, cost: float) -> None:
        self.name, self._clock, self._cost, self.readings = name, clock, cost, 0

    def _read(self) -> float:
        self._clock.now += self._cost
        self.readings += 1
        return float(self.readings)


class Dark(Meter):
    """A meter that is always blind."""

    name, owner = "dark", "nobody"

    def _read(self) -> float:
        raise Blind("there is no light")


def value_at(step):
    """Return a value that no other step has; the values are in no order."""
    return float((step * 7919 + 13) % 100_003)


def filled(count, capacity=8):
    series = Series(capacity)
    for step in range(count):
        series.add(step, 0.1 * step, value_at(step))
    return series


@pytest.mark.parametrize("count", [1, 8, 9, 100, 1000])
def test_full_series_keeps_span_and_extremes(count):
    """Merging keeps the first step, the minimum, the maximum and the order of the steps."""
    points = filled(count).points()
    values = [value_at(step) for step in range(count)]
    steps = [point.step for point in points]
    assert len(points) <= 8
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert min(point.low for point in points) == min(values)
    assert max(point.high for point in points) == max(values)


def test_full_series_merges_neighbours_only():
    """Each point has exactly the extremes of the samples from its step to the next point's step."""
    points = filled(1000).points() + [None]
    for point, following in zip(points, points[1:]):
        end = 1000 if following is None else int(following.step)
        values = [value_at(step) for step in range(int(point.step), end)]
        assert (point.low, point.high) == (min(values), max(values))


def test_series_does_not_grow_with_its_samples():
    """Ten thousand samples take as much storage as the first."""
    series = Series()
    before = sum(sizes(series, "series", set()).values())
    for step in range(10_000):
        series.add(step, 0.0, 1.0)
    assert sum(sizes(series, "series", set()).values()) == pytest.approx(before, abs=200)


def test_samples_of_one_step_are_one_point():
    """Two readings at the same step cannot give a slope."""
    series = Series()
    for value in (3.0, 1.0, 2.0):
        series.add(5, 0.0, value)
    assert [(point.step, point.low, point.high) for point in series.points()] == [(5.0, 1.0, 3.0)]


def test_sampler_stays_within_its_share_of_the_time():
    """An expensive meter is read rarely, a cheap meter often; together they stay within the share."""
    clock = Clock()
    cheap, expensive = Timed("cheap", clock, 1e-5), Timed("expensive", clock, 0.1)
    sampler = Sampler([cheap, expensive], time_share=0.01, clock=clock)
    for step in range(100_000):
        clock.now += 0.01
        sampler.sample(step)
    assert sampler.share <= 0.0101
    assert cheap.readings > 50_000
    assert 40 <= expensive.readings <= 60
    assert sampler.spent == pytest.approx(1e-5 * cheap.readings + 0.1 * expensive.readings)


def test_readings_of_an_expensive_meter_are_spread_evenly():
    """Time that was not used cannot be used up at once later."""
    clock = Clock()
    expensive = Timed("expensive", clock, 0.1)
    sampler = Sampler([expensive], time_share=0.01, clock=clock)
    clock.now += 1000.0
    for step in range(100):
        clock.now += 0.01
        sampler.sample(step)
    assert expensive.readings == 1


def soaked(seconds, *costs, stations=range(1, STATIONS + 1)):
    """Sample a soak of evenly spread stations after a warm-up; return sampler and meters."""
    clock = Clock()
    meters = [Timed(str(index), clock, cost) for index, cost in enumerate(costs)]
    sampler = Sampler(meters, clock=clock)
    sampler.sample(0)
    for number, station in enumerate(stations):
        for _ in range(100):
            clock.now += seconds / len(stations) / 100
            sampler.sample(number)
        sampler.sample(number, station)
    return sampler, meters


@pytest.mark.parametrize("seconds", [0.01, 1.0, 10.0])
def test_every_meter_is_read_at_every_station_of_a_short_soak(seconds):
    """If all readings together take at most two seconds, every meter is read, whatever share of the time that is."""
    sampler, meters = soaked(seconds, *[0.002] * 20)
    assert all(meter.readings >= STATIONS for meter in meters)
    assert sampler.spent < STATION_BUDGET_S + 0.1


def test_meters_of_a_long_soak_take_less_than_half_a_percent():
    """The meters of a training on a GPU, several of them expensive, take less than 0.5 % of eight minutes."""
    sampler, meters = soaked(480.0, *[0.001] * 12, 0.005, 0.01, 0.01, 0.03)
    assert sampler.share < 0.005
    assert all(meter.readings >= STATIONS for meter in meters)


@pytest.mark.parametrize("stations", [range(1, 33), [*range(3, 32, 3), 32], range(4, 33, 4)])
@pytest.mark.parametrize("seconds", [1.0, 4000.0])
def test_meter_that_is_too_expensive_is_read_eight_times(seconds, stations):
    """A verdict needs eight readings; more would exceed the budget, and other meters are not affected."""
    sampler, (expensive, cheap) = soaked(seconds, 5.0, 1e-4, stations=stations)
    assert expensive.readings == 1 + 8
    assert cheap.readings >= len(stations)
    points = sampler.series["0"].points(after=-1)
    assert points[-1].step == len(stations) - 1, "the last station is one of them"


def test_readings_at_stations_count():
    """A meter whose stations used up its budget is not read between them."""
    sampler, (expensive,) = soaked(480.0, 0.06)
    assert expensive.readings == pytest.approx(STATIONS + 1, abs=2)
    assert sampler.share <= TIME_SHARE + 0.06 / 480.0


def test_cpu_time_is_reported_next_to_wall_time():
    """A reading that waits for a CPU takes longer than it computes."""
    clock, cpu = Clock(), Clock()
    sampler = Sampler([Timed("slow", clock, 4.0)], clock=clock, cpu_clock=cpu)
    cpu.now += 50.0  # of the training

    def read():
        clock.now, cpu.now = clock.now + 4.0, cpu.now + 1.0
        return 1.0

    sampler.meters[0].read = read
    sampler.sample(0)
    clock.now += 4.0
    with sampler.other_reading():
        clock.now, cpu.now = clock.now + 2.0, cpu.now + 1.5
    assert sampler.share == pytest.approx(0.6)
    assert sampler.cpu_share == pytest.approx(0.25)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0], ids=["backwards", "forwards"])
def test_clock_that_jumps_during_a_reading_costs_nothing(jump):
    """An hour that a reading did not take does not count as spent, and does not keep the meter from being read."""
    clock = Clock()
    meter = Timed("meter", clock, jump)
    sampler = Sampler([meter], clock=clock)
    sampler.sample(0)
    meter._cost = 1e-4
    for step in range(1, 101):
        clock.now += 0.1
        sampler.sample(step)
    assert sampler.jumps == 1
    assert meter.readings > 50
    assert sampler.spent < 0.1
    assert sampler.elapsed == pytest.approx(10.0, abs=0.1)


def test_times_never_run_backwards():
    """If a clock is set back between two samples, the times of the curve stay in order."""
    clock = Clock()
    sampler = Sampler([Timed("meter", clock, 0.0)], clock=clock)
    for step in range(10):
        clock.now += -500.0 if step == 5 else 1.0
        sampler.sample(step)
    seconds = [point.seconds for point in sampler.series["meter"].points()]
    assert seconds == sorted(seconds)
    assert sampler.jumps == 1


def test_blind_meter_has_no_points_and_says_why():
    """A value that cannot be read is not 0."""
    meter = Dark()
    sampler = Sampler([meter])
    sampler.sample(0, station=1)
    assert not sampler.series["dark"].points()
    assert sampler.peak("dark") is None
    assert meter.blind == "there is no light"
