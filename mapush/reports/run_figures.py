"""Figures of training runs: curves over env steps, one colour per run."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mapush.env.metrics import ENDINGS
from mapush.reports.figures import (
    MUTED,
    OUTCOME_COLOURS,
    draw_rates,
    drawing,
    series_colours,
    step_unit,
    thinned,
    wrapped,
)
from mapush.reports.formatting import Bounds
from mapush.reports.published import PUBLISHED, STEPS_BETWEEN
from mapush.reports.rate_curve import published_curve
from mapush.reports.run_data import RunData

MAX_TICKS = 5  # of an axis


def success(runs: Sequence[RunData]) -> Markup:
    """Draw the success rate over training: of the episodes of training, of the checkpoints, and MAPush's."""
    with drawing("success", (9.6, 3.6)) as figure:
        axes = figure.axes[0]
        if _last_step(runs) > STEPS_BETWEEN:
            _draw_published(axes, runs)
        for run, colour in zip(runs, series_colours(len(runs))):
            _draw_curve(axes, runs, run, "episode/success", color=colour, label=f"{run.name}: while training")
            if run.results:
                _draw_results(axes, runs, run, colour)
        axes.set(ylabel="success rate", ylim=(-0.03, 1.03))
        _finish(axes, runs)
        axes.legend(loc="best", fontsize=8)
    return figure.svg


def _draw_published(axes: Axes, runs: Sequence[RunData]) -> None:
    tasks = {run.task_name for run in runs}
    for task_name in sorted(tasks & set(PUBLISHED)):
        curve = published_curve(task_name)
        axes.plot(curve.steps, curve.rates, "s--", color=MUTED, markersize=4, label=f"MAPush, published: {task_name}")


def _draw_results(axes: Axes, runs: Sequence[RunData], run: RunData, colour: str) -> None:
    unit, _ = step_unit(_last_step(runs))
    steps: List[float] = []
    rates: List[float] = []
    bounds: List[Bounds] = []
    for result in run.results:
        steps.append(result.step / unit)
        rates.append(result.success_rate)
        bounds.append(result.interval)
    draw_rates(axes, steps, rates, bounds, fmt="o", color=colour, markersize=6, label=f"{run.name}: evaluated")


def endings(name: str, runs: Sequence[RunData], run: RunData) -> Markup:
    """Draw the shares of the endings of the most recent episodes of one run, stacked."""
    unit, _ = step_unit(_last_step(runs))
    with drawing(name, (4.7, 3.0)) as figure:
        axes = figure.axes[0]
        shown: List[str] = []
        curves: List[np.ndarray] = []
        for ending in ENDINGS:
            if f"episode/{ending}" in run.log:
                steps, values = thinned(run.log["step"] / unit, run.log[f"episode/{ending}"])
                shown.append(ending)
                curves.append(values)
        colours = [OUTCOME_COLOURS[ending] for ending in shown]
        if len(steps) == 1:  # the episodes since the start: without a width, nothing would be seen
            steps = np.array([0.0, steps[0]])
            curves = [np.repeat(values, 2) for values in curves]
        axes.stackplot(steps, curves, labels=shown, colors=colours, alpha=0.85)
        axes.set(ylabel="share of the episodes", ylim=(0, 1), title=wrapped(run.name, 2))
        _finish(axes, runs)
        figure.legend_below()
    return figure.svg


def panels(name: str, runs: Sequence[RunData], titles: Dict[str, str]) -> Markup:
    """Draw one small panel per column of the log.

    Args:
      name: name of the figure.
      runs: the runs; each has a curve in every panel.
      titles: titles of the panels, by column of the log.
    """
    columns = 3
    if len(titles) % 3 == 1:
        columns = 4  # so that no panel is alone in its row
    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    with drawing(name, (9.6, 2.2 * rows + 0.3), rows, columns) as figure:
        for axes in figure.axes[len(titles) :]:
            axes.axis("off")
        for axes, (column, title) in zip(figure.axes, titles.items()):
            for run, colour in zip(runs, series_colours(len(runs))):
                _draw_curve(axes, runs, run, column, color=colour, label=run.name)
            axes.set_title(wrapped(title, columns), fontsize=9)
            _finish(axes, runs)
            axes.set_xlabel("")
        for axes in figure.axes[len(titles) - columns : len(titles)]:
            axes.set_xlabel(step_unit(_last_step(runs))[1])
        if len(runs) > 1:
            figure.axes[0].legend(fontsize=8)
    return figure.svg


def _last_step(runs: Sequence[RunData]) -> float:
    return max(float(run.log["step"].max()) for run in runs)


def _draw_curve(axes: Axes, runs: Sequence[RunData], run: RunData, column: str, **style: Any) -> None:
    """Draw a column over the env steps; a curve of one point is a dot."""
    if column in run.log:
        unit, _ = step_unit(_last_step(runs))
        steps, values = thinned(run.log["step"] / unit, run.log[column])
        if len(steps) == 1:
            style["marker"] = "o"
        axes.plot(steps, values, **style)


def _finish(axes: Axes, runs: Sequence[RunData]) -> None:
    """Let the x axis begin with the training, and give both axes few ticks."""
    unit, label = step_unit(_last_step(runs))
    axes.set(xlabel=label, xlim=(0, 1.05 * _last_step(runs) / unit))
    axes.xaxis.set_major_locator(MaxNLocator(MAX_TICKS))
    axes.yaxis.set_major_locator(MaxNLocator(MAX_TICKS))
