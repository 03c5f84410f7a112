"""Figures of training runs: curves over env steps, one colour per run."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from mapush.env.metrics import ENDINGS
from mapush.reports.figures import MUTED, OUTCOME_COLOURS, draw_rates, drawing, series_colours, thinned
from mapush.reports.published import PUBLISHED, STEPS_BETWEEN
from mapush.reports.rate_curve import RateCurve, published_curve
from mapush.reports.run_data import RunData


def success(runs: Sequence[RunData]) -> Markup:
    """Draw the success rate over training: of the episodes of training, of the checkpoints, and MAPush's."""
    with drawing("success", (9.6, 3.6)) as figure:
        axes = figure.axes[0]
        last_step = max(run.log["step"].max() for run in runs)
        if last_step > STEPS_BETWEEN:
            _draw_published(axes, runs)
        for run, colour in zip(runs, series_colours(len(runs))):
            _draw_curve(axes, run, "episode/success", color=colour, label=f"{run.name}: while training")
            if run.results:
                _draw_results(axes, run, colour)
        axes.set(ylabel="success rate", ylim=(-0.03, 1.03), xlim=(0, 1.05 * (last_step / 1e6)))
        _finish(axes)
    return figure.svg


def _draw_published(axes: Axes, runs: Sequence[RunData]) -> None:
    tasks = {run.task_name for run in runs}
    for task_name in sorted(tasks & set(PUBLISHED)):
        curve = published_curve(task_name)
        axes.plot(curve.steps, curve.rates, "s--", color=MUTED, markersize=4, label=f"MAPush, published: {task_name}")


def _draw_results(axes: Axes, run: RunData, colour: str) -> None:
    curve = RateCurve()
    for result in run.results:
        curve.add(result.step, result.success_rate, result.interval)
    label = f"{run.name}: evaluated"
    draw_rates(axes, curve.steps, curve.rates, curve.bounds, fmt="o", color=colour, markersize=6, label=label)


def endings(name: str, run: RunData) -> Markup:
    """Draw the shares of the endings of the most recent episodes, stacked."""
    with drawing(name, (4.7, 3.0)) as figure:
        axes = figure.axes[0]
        shown: List[str] = []
        curves: List[np.ndarray] = []
        for ending in ENDINGS:
            if f"episode/{ending}" in run.log:
                steps, values = thinned(run.log["step"] / 1e6, run.log[f"episode/{ending}"])
                shown.append(ending)
                curves.append(values)
        colours = [OUTCOME_COLOURS[ending] for ending in shown]
        axes.stackplot(steps, curves, labels=shown, colors=colours, alpha=0.85)
        axes.set(ylabel="share of the episodes", ylim=(0, 1), title=run.name, xlim=(0, None))
        _finish(axes)
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
                _draw_curve(axes, run, column, color=colour, label=run.name)
            axes.set_title(title, fontsize=9)
            axes.margins(x=0.02)
        for axes in figure.axes[len(titles) - columns : len(titles)]:
            axes.set_xlabel("env steps [million]")
        if len(runs) > 1:
            figure.axes[0].legend(fontsize=8)
    return figure.svg


def _draw_curve(axes: Axes, run: RunData, column: str, **style: Any) -> None:
    if column in run.log:
        steps, values = thinned(run.log["step"] / 1e6, run.log[column])
        axes.plot(steps, values, **style)


def _finish(axes: Axes) -> None:
    axes.set_xlabel("env steps [million]")
    axes.legend(loc="best", fontsize=8)
