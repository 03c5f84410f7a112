"""Figures of an evaluation: progress, success by goal, endings over time, paths, and places of failures."""

from __future__ import annotations

import math
from typing import Any, List, Mapping, Sequence, Tuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Circle, Patch, Polygon, Rectangle, Wedge
from matplotlib.ticker import MaxNLocator

from mapush.env.metrics import ENDINGS, wilson_interval
from mapush.env.resets import GOAL_DISTANCE
from mapush.evaluation.results import Evaluation
from mapush.objects import Part, PushObject
from mapush.own.solids import NO_ROTATION
from mapush.reports.episode_data import RINGS, SECTORS, Episodes, success_by_goal
from mapush.reports.figures import (
    GRID,
    INK,
    MUTED,
    OUTCOME_COLOURS,
    PAPER,
    SERIES_COLOURS,
    draw_rates,
    drawing,
    series_colours,
)
from mapush.reports.formatting import UNKNOWN
from mapush.reports.rate_curve import published_curve, rate_curve

PATH_STEPS = 10  # env steps between two points of a drawn path
DARK_INK = "#0f1820"  # on coloured cells, which are as light in the dark page
SECTOR_DEGREES = 360.0 / SECTORS
RATES = LinearSegmentedColormap.from_list(
    "rates", (OUTCOME_COLOURS["collision"], "#f6e8c3", OUTCOME_COLOURS["success"])
)


# -- success ---------------------------------------------------------------------------------------------------------


def progress(evaluations: Mapping[str, Sequence[Evaluation]], task_name: str) -> Markup:
    """Draw the success rate over training of each policy or run, and what MAPush published for this object."""
    with drawing("progress", (9.6, 3.6)) as figure:
        axes = figure.axes[0]
        published = published_curve(task_name)
        if published.steps:
            axes.plot(published.steps, published.rates, "s--", color=MUTED, markersize=4, label="MAPush, published")
        for (name, group), colour in zip(evaluations.items(), series_colours(len(evaluations))):
            curve = rate_curve(group)
            draw_rates(axes, curve.steps, curve.rates, curve.bounds, color=colour, fmt="o-", markersize=4.5, label=name)
        axes.set(xlabel="env steps of training [million]", ylabel="success rate", ylim=(-0.03, 1.03), xlim=(0, None))
        axes.legend(loc="best")
    return figure.svg


def goal_map(name: str, title: str, episodes: Episodes, item: PushObject) -> Markup:
    """Draw the success rate by the position of the goal, seen from above, in the object's own frame."""
    successes, trials = success_by_goal(episodes)
    low, high = GOAL_DISTANCE
    edges = np.linspace(low, high, RINGS + 1)
    with drawing(name, (4.7, 4.9)) as figure:
        axes = figure.axes[0]
        for ring, sector in np.ndindex(RINGS, SECTORS):
            _draw_cell(axes, ring, sector, int(successes[ring, sector]), int(trials[ring, sector]))
        _draw_footprint(axes, item)
        for distance in edges:
            _label_ring(axes, distance)
        _plan_view(axes, title, (-1.03 * high, 1.03 * high), (-1.03 * high, 1.03 * high))
        axes.axis("off")
    return figure.svg


def _draw_cell(axes: Axes, ring: int, sector: int, won: int, tried: int) -> None:
    """Draw one bin of `goal_map`, with the numbers of successes and episodes; a bin without episodes is grey."""
    colour: Any = GRID
    text, ink = UNKNOWN, MUTED
    if tried > 0:
        colour = RATES(won / tried)
        text, ink = f"{won}/{tried}", DARK_INK
    low, high = GOAL_DISTANCE
    width = (high - low) / RINGS
    inner = low + ring * width
    outer = inner + width
    middle = sector * SECTOR_DEGREES
    first, last = middle - SECTOR_DEGREES / 2, middle + SECTOR_DEGREES / 2
    axes.add_patch(Wedge((0, 0), outer, first, last, width=width, fc=colour, ec=PAPER, lw=1.5))
    x, y = _polar((inner + outer) / 2, middle)
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=ink)


def _label_ring(axes: Axes, distance: float) -> None:
    x, y = _polar(distance, SECTOR_DEGREES / 2)
    box = dict(boxstyle="round,pad=0.15", fc=PAPER, ec="none")
    axes.text(x, y, f"{distance:g} m", ha="center", va="center", fontsize=6.5, color=MUTED, bbox=box)


def _polar(radius: float, degrees: float) -> Tuple[float, float]:
    angle = math.radians(degrees)
    return radius * math.cos(angle), radius * math.sin(angle)


def rates_by_goal(policies: Mapping[str, Episodes]) -> Markup:
    """Draw the success rate by the goal's distance and by its direction, with intervals, for each policy."""
    low, high = GOAL_DISTANCE
    edges = np.linspace(low, high, RINGS + 1)
    middles = (edges[:-1] + edges[1:]) / 2.0
    directions = np.arange(SECTORS) * 360.0 / SECTORS
    size, rows, columns = (4.7, 4.9), 2, 1
    if len(policies) > 1:
        size, rows, columns = (9.6, 3.1), 1, 2
    with drawing("rates", size, rows, columns, sharey=True) as figure:
        by_distance, by_direction = figure.axes
        for index, (name, episodes) in enumerate(policies.items()):
            shift = index - (len(policies) - 1) / 2.0  # so that intervals of several policies lie side by side
            successes, trials = success_by_goal(episodes)
            _draw_bins(by_distance, middles + 0.05 * shift, successes.sum(1), trials.sum(1), name)
            _draw_bins(by_direction, directions + 7.0 * shift, successes.sum(0), trials.sum(0), name)
        by_distance.set(xlabel="distance of the goal [m]", xticks=edges, xlim=(low, high))
        by_direction.set(xlabel="direction of the goal from the object's x axis [°]", xticks=directions)
        for axes in figure.axes:
            axes.set(ylabel="success rate", ylim=(-0.03, 1.03))
        if len(policies) > 1:
            by_distance.legend(loc="best", fontsize=8)
    return figure.svg


def _draw_bins(axes: Axes, places: np.ndarray, successes: np.ndarray, trials: np.ndarray, label: str) -> None:
    """Draw the rates of the bins that have episodes, with their intervals."""
    tried = trials > 0
    successes, trials = successes[tried], trials[tried]
    bounds = [wilson_interval(int(won), int(of)) for won, of in zip(successes, trials)]
    colour = SERIES_COLOURS[len(axes.containers) % len(SERIES_COLOURS)]
    draw_rates(axes, places[tried], successes / trials, bounds, fmt="o", color=colour, markersize=5, label=label)


# -- failures --------------------------------------------------------------------------------------------------------


def endings_over_time(name: str, title: str, episodes: Episodes) -> Markup:
    """Draw when the episodes ended, by how they did."""
    times: List[np.ndarray] = []
    labels: List[str] = []
    colours: List[str] = []
    for ending in ENDINGS:
        seconds = episodes.seconds[episodes.ending == ending]
        if len(seconds) > 0:
            times.append(seconds)
            labels.append(f"{ending} ({len(seconds)})")
            colours.append(OUTCOME_COLOURS[ending])
    longest = max(math.ceil(episodes.seconds.max()), 1)
    bins = np.linspace(0, longest, min(longest, 21) + 1).tolist()
    with drawing(name, (4.7, 4.2)) as figure:
        axes = figure.axes[0]
        axes.hist(times, bins, stacked=True, color=colours, label=labels, edgecolor=PAPER, linewidth=0.5)
        axes.set(xlabel="time at which the episode ended [s]", ylabel="episodes", xlim=(0, longest))
        figure.title(title)
        axes.grid(axis="x", visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8)
    return figure.svg


def failure_map(name: str, title: str, episodes: Episodes, item: PushObject) -> Markup:
    """Draw where robots collided and fell, seen from above, with the object in the middle."""
    with drawing(name, (4.7, 4.2)) as figure:
        axes = figure.axes[0]
        radius = max(_reach_of(part) for part in item.parts)
        axes.add_patch(Circle((0, 0), radius, fc=GRID, ec="none"))
        axes.annotate("", (radius, 0), (0, 0), arrowprops=dict(arrowstyle="->", color=MUTED, lw=1.2))
        axes.text(radius, 0, " to the goal", va="center", color=MUTED, fontsize=8)
        for ending in ("collision", "fall"):
            spots = episodes.spots[episodes.ending == ending]
            if len(spots) > 0:
                _draw_spots(axes, spots, OUTCOME_COLOURS[ending], f"{ending} ({len(spots)})")
        reach = max(2.0, float(np.abs(episodes.spots).max()) + 0.2)
        _plan_view(axes, title, (-reach, reach), (-reach, reach))
        axes.set_ylabel("sideways [m]")
        axes.legend(loc="upper left", fontsize=8)
    return figure.svg


def _reach_of(part: Part) -> float:
    """Return a distance from the object's origin within which all of `part` lies, seen from above [m]."""
    if part.shape in ("box", "cylinder") and part.rpy == NO_ROTATION:
        return math.hypot(*part.half_size[:2]) + math.hypot(*part.offset[:2])
    return max(math.hypot(x, y) for x, y in part.outline())


def _draw_spots(axes: Axes, spots: np.ndarray, colour: str, label: str) -> None:
    x, y = spots.T
    axes.plot(x, y, "o", color=colour, markersize=5, alpha=0.8, markeredgecolor=PAPER, label=label)


# -- paths -----------------------------------------------------------------------------------------------------------


def paths(name: str, title: str, episodes: Episodes, item: PushObject) -> Markup:
    """Draw the paths of the object towards the goal: successes on the left, failures on the right."""
    low, high = _extent(episodes.paths, item.goal_radius)
    width, height = high - low
    with drawing(name, (9.6, 4.4 * height / width + 0.9), columns=2, sharey=True) as figure:
        left, right = figure.axes
        successes, failures = np.flatnonzero(episodes.success), np.flatnonzero(~episodes.success)
        for axes in (left, right):
            axes.add_patch(Circle((0, 0), item.goal_radius, fc=OUTCOME_COLOURS["success"], ec="none", alpha=0.15))
        _draw_paths(left, episodes, successes, alpha=0.45, cross=False)
        _draw_paths(right, episodes, failures, alpha=0.9, cross=True)
        for axes, what in ((left, f"{len(successes)} successes"), (right, f"{len(failures)} failures")):
            if title:
                what = f"{title}: {what}"
            _plan_view(axes, what, (low[0], high[0]), (low[1], high[1]))
        left.set_ylabel("sideways [m]")
    return figure.svg


def _draw_paths(axes: Axes, episodes: Episodes, chosen: np.ndarray, alpha: float, cross: bool) -> None:
    """Draw the paths of the `chosen` episodes, with a cross at their ends if so wished."""
    axes.plot(0, 0, "+", color=OUTCOME_COLOURS["success"], markersize=8, markeredgewidth=1.5)
    lines: List[np.ndarray] = []
    colours: List[str] = []
    for index in chosen:
        lines.append(_thin_path(episodes.paths[index]))
        colours.append(OUTCOME_COLOURS[episodes.ending[index]])
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=0.9, alpha=alpha))
    if cross:
        for line, colour in zip(lines, colours):
            x, y = line[-1]
            axes.plot(x, y, "x", color=colour, markersize=5, markeredgewidth=1.4)


def _thin_path(path: np.ndarray) -> np.ndarray:
    return np.concatenate((path[:-1:PATH_STEPS], path[-1:]))


def _extent(lines: Sequence[np.ndarray], goal_radius: float) -> Tuple[np.ndarray, np.ndarray]:
    """Return two corners around the goal's disc and nearly all of `lines`; a few that go astray do not count."""
    points = np.concatenate([_thin_path(line) for line in lines])
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    return np.minimum(low, -1.1 * goal_radius) - 0.1, np.maximum(high, 1.1 * goal_radius) + 0.1


# -- seen from above -------------------------------------------------------------------------------------------------


def _plan_view(axes: Axes, title: str, x: Tuple[float, float], y: Tuple[float, float]) -> None:
    axes.set_aspect("equal")
    axes.set(title=title, xlabel="towards the goal [m]", xlim=x, ylim=y)


def _draw_footprint(axes: Axes, item: PushObject) -> None:
    """Draw the object from above, in its own frame, with its x axis."""
    for part in item.parts:
        axes.add_patch(_outline_of(part))
    axes.annotate("", (0.5, 0), (0, 0), arrowprops=dict(arrowstyle="->", color=INK, lw=1.2))
    axes.text(0.25, 0.05, "x", ha="center", va="bottom", color=INK, fontsize=8)


def _outline_of(part: Part) -> Patch:
    (x, y), (half_x, half_y) = part.offset[:2], part.half_size[:2]
    if part.shape not in ("box", "cylinder") or part.rpy != NO_ROTATION:
        return Polygon(part.outline(), closed=True, fc=GRID, ec=MUTED, lw=0.8)
    if part.shape == "cylinder":
        return Circle((x, y), half_x, fc=GRID, ec=MUTED, lw=0.8)
    return Rectangle((x - half_x, y - half_y), 2 * half_x, 2 * half_y, fc=GRID, ec=MUTED, lw=0.8)
