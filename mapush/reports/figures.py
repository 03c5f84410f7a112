"""Draw figures as SVG that takes its font and its colours from the page around it."""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from typing import Any, Dict, Iterator, List, Match, Sequence, Tuple, cast

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b2733", "#5f6a75", "#dde2e7", "#fefefe"
OUTCOME_COLOURS = {"success": "#0b9e73", "collision": "#d55e01", "fall": "#a45fc4", "timeout": "#5b8db9"}
SERIES_COLOURS = ("#2673b9", "#e08a1e", "#3c9d4e", "#c2417c", "#7a62c9", "#16a3b0")
COLOURS: Dict[str, str] = {"ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, **OUTCOME_COLOURS}
"""CSS variables of the page, and the colours that stand for them while a figure is drawn."""
for _index, _colour in enumerate(SERIES_COLOURS):
    COLOURS[f"series-{_index}"] = _colour

TITLE_LENGTHS = {1: 100, 2: 46, 3: 28, 4: 18}  # of a panel's title, by the number of panels in a row [characters]
MAX_POINTS = 400  # of a curve; more cannot be distinguished

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
    """A figure that is being drawn.

    Attributes:
      axes: its panels, row by row.
      svg: the result, after the context of `drawing` has ended.
    """

    def __init__(self, figure: Figure, axes: Sequence[Axes]) -> None:
        self._figure = figure
        self.axes = axes
        self.svg = Markup()

    def legend_below(self) -> None:
        """Name the curves below all panels, where the legend hides nothing."""
        self._figure.legend(loc="outside lower center", ncols=4, fontsize=8)

    def title(self, text: str) -> None:
        """Write `text`, if any, above all panels."""
        if text:
            self._figure.suptitle(text, x=0.02, ha="left", fontsize=10.0, weight="bold")


@contextlib.contextmanager
def drawing(name: str, size: Tuple[float, float], rows: int = 1, columns: int = 1, **options: Any) -> Iterator[Drawing]:
    """Make a figure to draw on, and turn it into SVG when the context ends.

    Args:
      name: name of the figure, unique on its page.
      size: width and height [inches]; a page is about 10 wide.
      rows: rows of panels.
      columns: columns of panels.
      options: options of `Figure.subplots`.
    """
    style = dict(_STYLE)
    style["svg.hashsalt"] = name  # otherwise the ids differ from run to run
    with matplotlib.rc_context(cast(Any, style)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(rows, columns, squeeze=False, **options)
        result = Drawing(figure, list(panels.flat))
        yield result
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    result.svg = _inline(text.getvalue(), name)


def _inline(svg: str, name: str) -> Markup:
    """Return the `svg` element of a file, so that it fits into a page.

    The page gives it its size, colours and fonts; its ids get a prefix, so that they are unique on the page; and
    coordinates are rounded, which keeps the page small.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' width="[^"]*" height="[^"]*"', ' role="img"', svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = _FONT.sub("font-family: inherit", svg)
    return Markup(_TAG.sub(_round_numbers, svg))


def _round_numbers(tag: Match[str]) -> str:
    return _DECIMALS.sub(_rounded, tag.group())


def _rounded(found: Match[str]) -> str:
    return f"{float(found.group()):.2f}"


def series_colours(number: int) -> List[str]:
    """Return the colours of `number` curves."""
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(number)]


def draw_rates(axes: Axes, places: Any, rates: Sequence[float], bounds: Sequence[Any], **style: Any) -> None:
    """Draw rates with their intervals.

    Args:
      axes: the panel.
      places: positions on the x axis, shape (n,).
      rates: the rates, shape (n,).
      bounds: bounds of their intervals, shape (n, 2).
      style: options of `Axes.errorbar`.
    """
    low, high = np.transpose(bounds)
    errors = np.stack((np.subtract(rates, low), np.subtract(high, rates)))
    errors = errors.clip(0.0)  # by rounding, a rate of 1 can lie above its interval
    axes.errorbar(places, rates, errors, elinewidth=1.0, capsize=3, **style)


def thinned(steps: np.ndarray, values: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return a curve of at most `MAX_POINTS` points, each the mean of equally many neighbours.

    Args:
      steps: x values, shape (n,).
      values: y values, shape (n,); points that are NaN or infinite are left out.
    """
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    parts = min(len(steps), MAX_POINTS)
    if parts == 0:
        return steps, values
    return _means(steps, parts), _means(values, parts)


def step_unit(last_step: float) -> Tuple[float, str]:
    """Return in what env steps are counted on an axis that ends at `last_step`: how many, and the label of the axis."""
    if last_step < 1e5:
        return 1e3, "env steps [thousand]"
    return 1e6, "env steps [million]"


def wrapped(title: str, columns: int) -> str:
    """Return the title of a panel in lines that fit next to each other where a row has `columns` panels."""
    return textwrap.fill(title, TITLE_LENGTHS[columns])


def _means(values: np.ndarray, parts: int) -> np.ndarray:
    return np.array([part.mean() for part in np.array_split(values, parts)])
