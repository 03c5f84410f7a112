"""Tests of the verdict on curves whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from harness.memory.meters import MIB, Meter
from harness.memory.sampler import Series
from harness.memory.verdict import (
    CLEAN,
    ENDS,
    LEAK,
    NOT_ENOUGH,
    RESOLVED_UNITS,
    amount,
    judge,
    overall,
    sign_interval,
    theil_sen,
)

pytestmark = pytest.mark.memory


class Scale(Meter):
    """A meter with a quantum."""

    owner = "a part"

    def __init__(self, quantum: float = 1.0, name: str = "scale") -> None:
        self.quantum, self.name = quantum, name

    def _read(self) -> float:
        raise NotImplementedError


def verdict(values, quantum=1.0, stride=10, after=-1.0):
    """Return the verdict on a curve that was sampled every `stride` steps."""
    series = Series()
    for index, value in enumerate(values):
        series.add(stride * index, 0.1 * index, value)
    return judge(Scale(quantum), series, after)


def stairs(rate, quantum, steps, stride, shift=0.0):
    """Return the readings of a meter that moves by `quantum`, of memory that grows by `rate` per step."""
    return [quantum * math.floor((shift + rate * step) / quantum) for step in range(0, steps, stride)]


@pytest.mark.parametrize("rate", [1.0, 512.0])
@pytest.mark.parametrize("samples", [9, 100, 3000])
def test_steady_growth_is_a_leak_of_that_rate(rate, samples):
    """For any rate and any number of samples, the estimate is the true rate."""
    found = verdict([rate * 10 * index for index in range(samples)])
    assert found.kind == LEAK
    assert found.slope == pytest.approx(rate)
    assert found.interval == pytest.approx((rate, rate))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6, 0.9])
def test_two_kib_per_step_are_seen_by_a_meter_of_two_mib_within_5000_steps(shift):
    """The driver's meter moves by 2 MiB: five stairs in 5,000 steps are a leak, wherever the first stair is."""
    found = verdict(stairs(2048, 2 * MIB, 5000, 20, shift * 2 * MIB), quantum=2 * MIB, stride=20)
    assert found.kind == LEAK
    assert found.floor < 2048
    assert found.interval[0] > 0.0
    assert found.slope == pytest.approx(2048, rel=0.35)


def test_constant_is_clean_down_to_the_floor():
    """A curve that does not move is clean; the floor says which growth would not have shown."""
    found = verdict([5.0] * 101, quantum=2.0)
    assert (found.kind, found.growth) == (CLEAN, 0.0)
    assert found.floor == pytest.approx(RESOLVED_UNITS * 2.0 / 1000)


def test_growth_below_the_floor_is_clean():
    """Growth of three quanta cannot be distinguished from none; growth of four can."""
    assert verdict([3.0 * index / 100 for index in range(101)]).kind == CLEAN
    assert verdict([4.0 * index / 100 for index in range(101)]).kind == LEAK


@pytest.mark.parametrize("seed", range(5))
def test_noise_around_a_level_is_clean(seed):
    """Noise that falls as far as it rises is not growth."""
    noise = np.random.default_rng(seed).normal(0.0, 50.0, 300)
    assert verdict(1000.0 + noise).kind == CLEAN


def test_sawtooth_is_clean_unless_it_climbs():
    """Memory that garbage collection returns is not a leak; memory that it leaves behind is."""
    teeth = [100.0 * (index % 7) for index in range(400)]
    assert verdict(teeth).kind == CLEAN
    assert verdict([tooth + 20.0 * index for index, tooth in enumerate(teeth)]).kind == LEAK


def test_growth_that_saturates_ends():
    """A cache that fills is not a leak."""
    found = verdict([1000.0 * (1.0 - math.exp(-index / 20.0)) for index in range(101)])
    assert found.kind == ENDS


@pytest.mark.parametrize("at, kind", [(10, ENDS), (50, ENDS), (90, NOT_ENOUGH)])
def test_single_jump_is_not_a_leak(at, kind):
    """One allocation, early or late, is not steady growth; after a late one there is not enough data."""
    assert verdict([1000.0 * (index >= at) for index in range(101)]).kind == kind


@pytest.mark.parametrize("jumps", [(90,), (10, 90), (30, 90), (20, 50, 90)])
def test_jumps_on_top_of_a_trickle_are_not_a_leak(jumps):
    """A curve that grows a little everywhere, but mostly in a few jumps, is not a leak."""
    curve = [0.05 * index + 300.0 * sum(index >= at for at in jumps) for index in range(101)]
    assert verdict(curve, quantum=64.0).kind == NOT_ENOUGH


def test_jump_on_top_of_a_leak_does_not_hide_it():
    """The estimate is robust: one jump of a hundred times the growth does not change the slope."""
    found = verdict([10.0 * index + 100_000.0 * (index >= 50) for index in range(101)])
    assert found.kind == LEAK
    assert found.slope == pytest.approx(1.0, rel=0.2)


def test_leak_that_begins_late_is_found():
    """Growth over the last part of the run is enough if it lasts to the end."""
    assert verdict([max(0.0, index - 50.0) for index in range(101)]).kind in (LEAK, NOT_ENOUGH)
    assert verdict([max(0.0, index - 20.0) for index in range(101)]).kind == LEAK


def test_random_walks_are_rarely_called_leaks():
    """At most 3 in 100 random walks without drift, the hardest noise there is, are taken for leaks."""
    generator = np.random.default_rng(0)
    walks = generator.normal(0.0, 100.0, (400, 120)).cumsum(axis=1)
    assert sum(verdict(walk).kind == LEAK for walk in walks) <= 12


def test_shrinking_is_clean():
    """Memory that is given back is not a leak."""
    assert verdict([-10.0 * index for index in range(101)]).kind == CLEAN


def test_verdict_does_not_depend_on_level_nor_on_the_unit_of_steps():
    """A shifted curve has the same verdict; steps that are ten times longer have a tenth of the slope."""
    curve = np.random.default_rng(1).normal(3.0, 5.0, 200).cumsum()
    one, shifted, longer = verdict(curve), verdict(curve + 1e6), verdict(curve, stride=100)
    assert one.kind == shifted.kind == longer.kind == LEAK
    assert shifted.slope == pytest.approx(one.slope, rel=1e-6)
    assert longer.slope == pytest.approx(one.slope / 10.0)
    assert longer.floor == pytest.approx(one.floor / 10.0)


def test_warm_up_is_not_judged():
    """Growth before the given step does not count."""
    curve = [min(10.0 * index, 500.0) for index in range(200)]
    assert verdict(curve).kind == ENDS
    assert verdict(curve, after=600.0).kind == CLEAN


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_few_samples_are_not_enough(samples):
    """With fewer than eight readings there is no verdict, but a reason."""
    found = verdict([100.0 * index for index in range(samples)])
    assert found.kind == NOT_ENOUGH
    assert found.why


def test_interval_covers_the_truth_where_noise_depends_on_the_past():
    """On a drift with autocorrelated noise, the interval contains the truth for at least nine in ten curves."""
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        noise = np.zeros(150)
        for index in range(1, 150):
            noise[index] = 0.7 * noise[index - 1] + generator.normal(0.0, 4.0)
        low, high = verdict(noise + 10.0 * np.arange(150)).interval
        covered += low <= 1.0 <= high
    assert covered >= 180


def test_sign_interval_is_that_of_all_signs():
    """The confidence of the interval is that of counting all patterns of signs."""
    slopes = [3.0, 1.0, 7.0, 5.0, 2.0, 9.0, 4.0, 8.0]
    low, high, confidence = sign_interval(slopes)
    inside = sorted(slopes).index(low)
    outside = 0
    for signs in itertools.product((0, 1), repeat=len(slopes)):
        outside += min(sum(signs), len(slopes) - sum(signs)) <= inside
    assert (low, high) == (1.0, 9.0) or confidence >= 0.95
    assert confidence == pytest.approx(1.0 - outside / 2 ** len(slopes))


def test_theil_sen_is_the_median_of_all_slopes():
    """The estimate is the median of the slopes computed pair by pair."""
    steps, values = np.array([0.0, 1.0, 4.0, 6.0]), np.array([0.0, 3.0, 2.0, 9.0])
    slopes = []
    for i, j in itertools.combinations(range(4), 2):
        slopes.append((values[j] - values[i]) / (steps[j] - steps[i]))
    assert theil_sen(steps, values) == np.median(slopes)


def test_run_is_never_clean_when_the_main_meter_is_blind():
    """Other clean meters do not make up for a blind main meter."""
    blind = Scale(name="driver")
    blind.blind = "no permission"
    quiet, dark = verdict([1.0] * 50), judge(blind, Series(), 0.0)
    kind, why = overall([quiet, dark], "driver")
    assert kind == NOT_ENOUGH
    assert "no permission" in why
    assert overall([quiet, dark], "scale")[0] == CLEAN
    assert overall([quiet], "driver")[0] == NOT_ENOUGH


def test_meter_that_went_blind_during_the_run_is_not_clean():
    """Readings before a meter went blind say nothing about the rest of the run."""
    series = Series()
    for step in range(100):
        series.add(step, 0.0, 5.0)
    meter = Scale()
    assert judge(meter, series, 0.0).kind == CLEAN
    meter.blind = "the driver was unloaded"
    found = judge(meter, series, 0.0)
    assert (found.kind, found.why) == (NOT_ENOUGH, "the driver was unloaded")


def test_run_leaks_if_one_meter_leaks():
    """A leak in any meter outweighs a missing main meter."""
    kind, why = overall([verdict([1.0] * 50), verdict([10.0 * index for index in range(50)])], "driver")
    assert kind == LEAK
    assert "scale: leak" in why


def test_run_that_grew_for_a_while_says_so():
    """Growth that ends is reported as such if nothing leaks."""
    ends = verdict([min(10.0 * index, 300.0) for index in range(100)])
    assert overall([verdict([1.0] * 50), ends], "scale")[0] == ENDS


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (512, "bytes", "512 B"),
        (0.114, "bytes", "0.11 B"),
        (0.0, "bytes", "0 B"),
        (2048, "bytes", "2.00 KiB"),
        (-3 * MIB, "bytes", "-3.00 MiB"),
        (8650, "blocks", "8,650 blocks"),
        (0.25, "threads", "0.25 threads"),
        (math.nan, "bytes", "?"),
    ],
)
def test_amount_is_readable(value, unit, text):
    """Bytes are written in the unit that fits; counts are written with their own unit."""
    assert amount(value, unit) == text
