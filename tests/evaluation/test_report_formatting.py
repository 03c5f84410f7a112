"""Numbers, intervals and names, as pages and terminal show them."""

from __future__ import annotations

import math

import pytest

from mapush.reports.formatting import interval, millions, number, short_names

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


def test_millions_of_env_steps():
    """The unit is left to the heading."""
    assert millions(20_000_000) == "20"
    assert millions(7000) == "0.007"
    assert millions(None) == "–"


def test_short_names_are_unique():
    """The folders are left out only where names stay different without them."""
    assert short_names(["runs/cuboid/a", "runs/cuboid/b"]) == ["a", "b"]
    assert short_names(["runs/cuboid/a", "runs/tblock/a"]) == ["runs/cuboid/a", "runs/tblock/a"]
