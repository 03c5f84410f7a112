"""What an evaluation looks like: success by goal, endings over time, paths and places of failures, and progress."""

from __future__ import annotations

import math
from typing import Dict, Mapping, Sequence, Tuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Circle, Rectangle, Wedge
from matplotlib.ticker import MaxNLocator

from mapush.env.metrics import ENDINGS, wilson_interval
from mapush.env.resets import GOAL_DISTANCE
from mapush.env.terminations import SUCCESS_DISTANCE
from mapush.objects import PushObject
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
from mapush.reports.published import PUBLISHED, STEPS_BETWEEN

Curve = Sequence[Tuple[int, float, Tuple[float, float]]]  # env steps, success rate and its interval

PATH_STEPS = 10  # env steps between two points of a drawn path
RATES = LinearSegmentedColormap.from_list(
    "rates", (OUTCOME_COLOURS["collision"], "#f6e8c3", OUTCOME_COLOURS["success"])
)


def progress(curves: Mapping[str, Curve], task_name: str) -> Markup:
    """Draw the success rate over training of each of `curves`, and MAPush's."""
    with drawing("progress", (9.6, 3.6)) as figure:
        axes = figure.axes[0]
        published = [item.success_rate for item in PUBLISHED[task_name]]
        steps = [STEPS_BETWEEN / 1e6 * (index + 1) for index in range(len(published))]
        axes.plot(steps, published, "s--", color=MUTED, markersize=4, label="MAPush, published")
        for (name, curve), colour in zip(curves.items(), series_colours(len(curves))):
            steps = [step / 1e6 for step, _, _ in curve]
            rates, bounds = [rate for _, rate, _ in curve], [interval for _, _, interval in curve]
            draw_rates(axes, steps, rates, bounds, color=colour, fmt="o-", markersize=4.5, label=name)
        axes.set(xlabel="env steps of training [million]", ylabel="success rate", ylim=(-0.03, 1.03), xlim=(0, None))
        axes.legend(loc="best")
    return figure.svg


def goal_map(name: str, title: str, episodes: Episodes, item: PushObject) -> Markup:
    """Draw the success rate by where the goal was, seen from above, in the object's own frame."""
    successes, trials = success_by_goal(episodes)
    low, high = GOAL_DISTANCE
    edges, width = np.linspace(low, high, RINGS + 1), 360.0 / SECTORS
    with drawing(name, (4.7, 4.9)) as figure:
        axes = figure.axes[0]
        for ring, sector in np.ndindex(RINGS, SECTORS):
            won, tried, middle = successes[ring, sector], trials[ring, sector], sector * width
            colour = RATES(won / tried) if tried else GRID
            span = (middle - width / 2, middle + width / 2)
            axes.add_patch(Wedge((0, 0), edges[ring + 1], *span, width=edges[1] - low, fc=colour, ec=PAPER, lw=1.5))
            radius, angle = (edges[ring] + edges[ring + 1]) / 2, math.radians(middle)
            text, ink = (f"{won}/{tried}", "#0f1820") if tried else ("–", MUTED)
            place = radius * math.cos(angle), radius * math.sin(angle)
            axes.text(*place, text, ha="center", va="center", fontsize=8, color=ink)
        _draw_footprint(axes, item)
        for distance in edges:
            turn = math.radians(width / 2)
            axes.text(
                distance * math.cos(turn),
                distance * math.sin(turn),
                f"{distance:g} m",
                ha="center",
                va="center",
                fontsize=6.5,
                color=MUTED,
                bbox=dict(boxstyle="round,pad=0.15", fc=PAPER, ec="none"),
            )
        _plan_view(axes, title, (-1.03 * high, 1.03 * high), (-1.03 * high, 1.03 * high))
        axes.axis("off")
    return figure.svg


def rates_by_goal(policies: Dict[str, Episodes]) -> Markup:
    """Draw the success rate by distance alone and by direction alone, with intervals, for each of `policies`."""
    low, high = GOAL_DISTANCE
    edges = np.linspace(low, high, RINGS + 1)
    directions = np.arange(SECTORS) * 360.0 / SECTORS
    several = len(policies) > 1
    size, rows, columns = ((9.6, 3.1), 1, 2) if several else ((4.7, 4.9), 2, 1)
    with drawing("rates", size, rows, columns, sharey=True) as figure:
        for shift, (name, episodes) in zip(_around_zero(len(policies)), policies.items()):
            successes, trials = success_by_goal(episodes)
            places = ((edges[:-1] + edges[1:]) / 2.0 + 0.05 * shift, directions + 7.0 * shift)
            for axes, axis, middle in zip(figure.axes, (1, 0), places):
                _points(axes, middle, successes.sum(axis), trials.sum(axis), name)
        figure.axes[0].set(xlabel="distance of the goal [m]", xticks=edges, xlim=(low, high))
        figure.axes[1].set(xlabel="direction of the goal from the object's x axis [°]", xticks=directions)
        for axes in figure.axes:
            axes.set(ylabel="success rate", ylim=(-0.03, 1.03))
        if several:
            figure.axes[0].legend(loc="best", fontsize=8)
    return figure.svg


def _around_zero(number: int) -> np.ndarray:
    return np.arange(number) - (number - 1) / 2.0


def _points(axes: Axes, places: np.ndarray, successes: np.ndarray, trials: np.ndarray, label: str) -> None:
    """Draw rates with their intervals, where there were trials."""
    tried = trials > 0
    rates = successes[tried] / trials[tried]
    bounds = [wilson_interval(int(won), int(of)) for won, of in zip(successes[tried], trials[tried])]
    colour = SERIES_COLOURS[len(axes.containers) % len(SERIES_COLOURS)]
    draw_rates(axes, places[tried], rates, bounds, fmt="o", color=colour, markersize=5, label=label)


def endings_over_time(name: str, title: str, episodes: Episodes) -> Markup:
    """Draw when episodes ended, by how they did."""
    longest = max(math.ceil(episodes.seconds.max()), 1)
    with drawing(name, (4.7, 4.2)) as figure:
        axes = figure.axes[0]
        shown = [ending for ending in ENDINGS if (episodes.ending == ending).any()]
        times = [episodes.seconds[episodes.ending == ending] for ending in shown]
        labels = [f"{ending} ({len(time)})" for ending, time in zip(shown, times)]
        colours = [OUTCOME_COLOURS[ending] for ending in shown]
        bins = np.linspace(0, longest, min(longest, 21) + 1).tolist()
        axes.hist(times, bins, stacked=True, color=colours, label=labels, edgecolor=PAPER, linewidth=0.5)
        axes.set(xlabel="time at which the episode ended [s]", ylabel="episodes", xlim=(0, longest))
        figure.title(title)
        axes.grid(axis="x", visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8)
    return figure.svg


def paths(name: str, title: str, episodes: Episodes) -> Markup:
    """Draw the paths of the object towards the goal: of successes, and of failures."""
    low, high = _extent(episodes.paths)
    width, height = high - low
    with drawing(name, (9.6, 4.4 * height / width + 0.9), columns=2, sharey=True) as figure:
        for axes, failed in zip(figure.axes, (False, True)):
            chosen = np.flatnonzero(episodes.success != failed)
            axes.add_patch(Circle((0, 0), SUCCESS_DISTANCE, fc=OUTCOME_COLOURS["success"], ec="none", alpha=0.15))
            axes.plot(0, 0, "+", color=OUTCOME_COLOURS["success"], markersize=8, markeredgewidth=1.5)
            colours = [OUTCOME_COLOURS[episodes.ending[index]] for index in chosen]
            lines = [_thin_path(episodes.paths[index]) for index in chosen]
            alpha = 0.9 if failed else 0.45
            axes.add_collection(LineCollection(lines, colors=colours, linewidths=0.9, alpha=alpha))
            for line, colour in zip(lines if failed else [], colours):
                axes.plot(*line[-1], "x", color=colour, markersize=5, markeredgewidth=1.4)
            what = "{} {}".format(len(chosen), "failures" if failed else "successes")
            _plan_view(axes, f"{title}: {what}" if title else what, (low[0], high[0]), (low[1], high[1]))
        figure.axes[0].set_ylabel("sideways [m]")
    return figure.svg


def failure_map(name: str, title: str, episodes: Episodes, item: PushObject) -> Markup:
    """Draw where robots collided and fell, and where objects were when the time was up, seen from above."""
    with drawing(name, (4.7, 4.2)) as figure:
        axes = figure.axes[0]
        size = max(math.hypot(*part.half_size[:2]) + math.hypot(*part.offset[:2]) for part in item.parts)
        axes.add_patch(Circle((0, 0), size, fc=GRID, ec="none"))
        axes.annotate("", (size, 0), (0, 0), arrowprops=dict(arrowstyle="->", color=MUTED, lw=1.2))
        axes.text(size, 0, " to the goal", va="center", color=MUTED, fontsize=8)
        for ending in ("collision", "fall"):
            spots = episodes.spots[episodes.ending == ending]
            if not len(spots):
                continue
            axes.plot(
                *spots.T,
                "o",
                color=OUTCOME_COLOURS[ending],
                markersize=5,
                alpha=0.8,
                markeredgecolor=PAPER,
                label=f"{ending} ({len(spots)})",
            )
        reach = max(2.0, float(np.abs(episodes.spots).max()) + 0.2)
        _plan_view(axes, title, (-reach, reach), (-reach, reach))
        axes.set_ylabel("sideways [m]")
        axes.legend(loc="upper left", fontsize=8)
    return figure.svg


def _thin_path(path: np.ndarray) -> np.ndarray:
    return np.concatenate((path[:-1:PATH_STEPS], path[-1:]))


def _extent(lines: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Return two corners around the goal's disc and nearly all of `lines`: a few that go astray shall not count."""
    low, high = np.percentile(np.concatenate([_thin_path(line) for line in lines]), (0.5, 99.5), axis=0)
    return np.minimum(low, -1.1 * SUCCESS_DISTANCE) - 0.1, np.maximum(high, 1.1 * SUCCESS_DISTANCE) + 0.1


def _plan_view(axes: Axes, title: str, x: Tuple[float, float], y: Tuple[float, float]) -> None:
    axes.set_aspect("equal")
    axes.set(title=title, xlabel="towards the goal [m]", xlim=x, ylim=y)


def _draw_footprint(axes: Axes, item: PushObject) -> None:
    """Draw the object from above, in its own frame, with its x axis."""
    for part in item.parts:
        (x, y), (half_x, half_y) = part.offset[:2], part.half_size[:2]
        corner = (x - half_x, y - half_y)
        shape = Circle((x, y), half_x) if part.shape == "cylinder" else Rectangle(corner, 2 * half_x, 2 * half_y)
        shape.set(facecolor=GRID, edgecolor=MUTED, linewidth=0.8)
        axes.add_patch(shape)
    axes.annotate("", (0.5, 0), (0, 0), arrowprops=dict(arrowstyle="->", color=INK, lw=1.2))
    axes.text(0.25, 0.05, "x", ha="center", va="bottom", color=INK, fontsize=8)
