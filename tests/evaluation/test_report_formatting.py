"""Numbers, intervals and names, as pages and terminal show them."""

from __future__ import annotations

import math

import pytest

from mapush.reports.formatting import env_steps, fixed, interval, millions, number, short_names

pytestmark = pytest.mark.evaluation


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (None, "s", "–"),
        (math.nan, "", "–"),
        (0.0, "", "0"),
        (0.0012345, "", "0.00123"),
        (-21.04, "", "-21"),
        (999.4, "", "999"),
        (5007.3, "", "5,007"),
        (-1234567.0, "", "-1,234,567"),
        (13.61, "s", "13.6 s"),
    ],
)
def test_number_has_three_digits_its_unit_and_a_dash_if_it_is_unknown(value, unit, text):
    """Large numbers are written out instead, with commas."""
    assert number(value, unit) == text


def test_interval_has_both_bounds_or_nothing():
    """Bounds that are not known are left out."""
    assert interval((0.4094, 0.7132)) == "0.409 to 0.713"
    assert interval((math.nan, math.nan)) == ""


def test_interval_of_times_has_the_decimals_of_times():
    """Both bounds have as many decimals as the number next to them."""
    assert interval((4.951, 11.0), 1) == "5.0 to 11.0"


@pytest.mark.parametrize("value, text", [(1.0, "1.000"), (0.5974, "0.597"), (1234.5, "1,234.500"), (None, "–")])
def test_fixed_number_has_the_same_decimals_whatever_its_size(value, text):
    """Numbers of a column line up."""
    assert fixed(value, 3) == text


@pytest.mark.parametrize(
    "column, texts",
    [
        ([10_000_000, 20_000_000], ["10", "20"]),
        ([7_000, 20_000_000, None], ["0.007", "20.000", "–"]),
        ([2_500_000, 10_000_000], ["2.5", "10.0"]),
        ([20_480], ["0.020"]),
        ([10, 20, None, 10], ["0.00001", "0.00002", "–", "0.00001"]),
    ],
)
def test_millions_have_the_decimals_that_the_column_needs(column, texts):
    """The unit is left to the heading."""
    assert millions(column) == texts


def test_env_steps_below_a_million_are_written_out():
    """A run that has just begun has made 20,480 of its steps, and not 0.02 million."""
    assert [env_steps(20_480), env_steps(12_500_000), env_steps(None)] == ["20,480", "12.5 M", "–"]


def test_short_names_are_unique():
    """The folders are left out only where names stay different without them."""
    assert short_names(["runs/cuboid/a", "runs/cuboid/b"]) == ["a", "b"]
    assert short_names(["runs/cuboid/a", "runs/tblock/a"]) == ["runs/cuboid/a", "runs/tblock/a"]
