"""Figures on a page: text, colours and ids."""

from __future__ import annotations

import re

import pytest

from mapush.reports.figures import COLOURS, OUTCOME_COLOURS, draw_rates, drawing

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


@pytest.fixture(scope="module")
def svg():
    """A curve of small numbers."""
    with drawing("small", (4.0, 3.0)) as figure:
        axes = figure.axes[0]
        axes.plot([0.0, 1.0], [0.0005, 0.0045], color=OUTCOME_COLOURS["fall"], label="a <b> & c")
        axes.set(ylim=(0.0, 0.005), yticks=[0.0, 0.0025, 0.005])
        axes.legend()
    return str(figure.svg)


def test_numbers_at_the_axes_keep_their_digits(svg):
    """Coordinates are rounded to keep pages small; tick labels are not."""
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"0.0000", "0.0025", "0.0050"} <= set(texts)
    assert "a &lt;b&gt; &amp; c" in texts
    coordinates = re.findall(r"-?\d+\.(\d+)", " ".join(re.findall(r' d="([^"]*)"', svg)))
    assert coordinates
    assert max(map(len, coordinates)) <= 2


def test_colours_and_fonts_are_those_of_the_page(svg):
    """Every colour is a CSS variable of the page, so that figures follow dark mode; fonts are inherited."""
    assert "var(--fall)" in svg
    assert "var(--grid)" in svg
    assert "var(--ink)" in svg
    assert not set(re.findall(r"#[0-9a-f]{6}", svg))
    assert not any(colour in svg for colour in COLOURS.values())
    assert set(re.findall('font-family: ([^;"]*)', svg)) == {"inherit"}
    assert "<style" not in svg


def test_ids_of_two_figures_are_different(svg):
    """Figures on the same page do not share ids."""
    with drawing("other", (4.0, 3.0)) as figure:
        figure.axes[0].plot([0.0, 1.0], [0.0, 1.0], "o", clip_on=True)
    other = str(figure.svg)
    ids = [set(re.findall(r'\bid="([^"]*)"', each)) for each in (svg, other)]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]
    for each, own in zip((svg, other), ids):
        assert set(re.findall(r'(?:url\(|href=")#([^)"]*)', each)) <= own


def test_rates_at_the_ends_of_their_range_are_drawn():
    """A rate of 0 or 1, which by rounding can lie outside its interval, is drawn."""
    with drawing("rates", (4.0, 3.0)) as figure:
        draw_rates(figure.axes[0], [1.0, 2.0], [1.0, 0.0], [(0.9, 1.0 - 1e-16), (1e-17, 0.1)], fmt="o")
    assert "<svg" in figure.svg


def test_drawing_twice_gives_the_same_svg():
    """The same numbers give the same page."""

    def draw():
        with drawing("twice", (4.0, 3.0)) as figure:
            figure.axes[0].plot([0.0, 1.0], [0.0, 1.0], "o-")
        return figure.svg

    assert draw() == draw()
