"""Figures as SVG that takes its text and its colours from the page around it."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any, Dict, Iterator, List, Match, Sequence, Tuple, cast

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b2733", "#66717d", "#dde2e7", "#fefefe"
OUTCOME_COLOURS = {"success": "#0b9e73", "collision": "#d55e01", "fall": "#a45fc4", "timeout": "#5b8db9"}
SERIES_COLOURS = ("#2673b9", "#e08a1e", "#3c9d4e", "#c2417c", "#7a62c9", "#16a3b0")
COLOURS: Dict[str, str] = {
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "paper": PAPER,
    **OUTCOME_COLOURS,
    **{f"series-{index}": colour for index, colour in enumerate(SERIES_COLOURS)},
}
"""CSS variables of the page, and the colours that stand for them while a figure is drawn."""

MAX_POINTS = 400  # of a curve, more of which the eye cannot tell apart

_STYLE: Dict[str, Any] = {
    "font.size": 9.0,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.facecolor": "none",
    "legend.framealpha": 1.0,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
_FONT = re.compile(r"font-family: [^;\"]*")
_TAG = re.compile(r"<[^>]+>")
_DECIMALS = re.compile(r"\d+\.\d{3,}")


class Drawing:
    """A figure while it is drawn.

    Attributes:
      axes: its panels, row by row.
      svg: what was drawn, once the context of `drawing` has ended.
    """

    def __init__(self, figure: Figure, axes: Sequence[Axes]) -> None:
        self._figure = figure
        self.axes = axes
        self.svg = Markup()

    def title(self, text: str) -> None:
        """Write `text`, if any, above all panels."""
        if text:
            self._figure.suptitle(text, x=0.02, ha="left", fontsize=10.0, weight="bold")


@contextlib.contextmanager
def drawing(name: str, size: Tuple[float, float], rows: int = 1, columns: int = 1, **options: Any) -> Iterator[Drawing]:
    """Make a figure to draw on, and its SVG afterwards.

    Args:
      name: of the figure, unique on its page.
      size: width and height; a page is about 10 wide.
      rows: of panels.
      columns: of panels.
      options: for `Figure.subplots`.
    """
    with matplotlib.rc_context(cast(Any, dict(_STYLE, **{"svg.hashsalt": name}))):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        result = Drawing(figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat))
        yield result
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    result.svg = _inline(text.getvalue(), name)


def _inline(svg: str, name: str) -> Markup:
    """Return the `svg` element alone, with ids of its own, in the colours and fonts of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' width="[^"]*" height="[^"]*"', ' role="img"', svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = _FONT.sub("font-family: inherit", svg)
    return Markup(_TAG.sub(lambda tag: _DECIMALS.sub(_rounded, tag.group()), svg))


def _rounded(found: Match[str]) -> str:
    return f"{float(found.group()):.2f}"


def series_colours(number: int) -> List[str]:
    """Return a colour for each of so many curves."""
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(number)]


def draw_rates(axes: Axes, places: Any, rates: Sequence[float], bounds: Sequence[Any], **style: Any) -> None:
    """Draw rates at `places`, with their intervals `bounds`, (n, 2)."""
    low, high = np.transpose(bounds)
    errors = np.stack((np.subtract(rates, low), np.subtract(high, rates))).clip(0.0)  # a rate of 1 rounds to above
    axes.errorbar(places, rates, errors, elinewidth=1.0, capsize=3, **style)


def thinned(steps: np.ndarray, values: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return a curve of at most `MAX_POINTS` points: means over equal numbers of neighbours, without those of nan."""
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    parts = min(len(steps), MAX_POINTS)
    if parts == 0:
        return steps, values
    groups = zip(np.array_split(steps, parts), np.array_split(values, parts))
    means = np.array([(group.mean(), value.mean()) for group, value in groups])
    return means[:, 0], means[:, 1]
