"""What training runs look like: curves over env steps, one colour for each run."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from mapush.env.metrics import ENDINGS
from mapush.reports.figures import MUTED, OUTCOME_COLOURS, draw_rates, drawing, series_colours, thinned
from mapush.reports.published import PUBLISHED, STEPS_BETWEEN
from mapush.reports.run_data import RunData


def success(runs: Sequence[RunData]) -> Markup:
    """Draw the success rate over training: of the episodes of training, and of the checkpoints."""
    with drawing("success", (9.6, 3.6)) as figure:
        axes = figure.axes[0]
        reach = max(run.log["step"].max() for run in runs) / 1e6
        for task_name in (
            sorted({run.task_name for run in runs} & set(PUBLISHED)) if reach > STEPS_BETWEEN / 1e6 else ()
        ):
            rates = [item.success_rate for item in PUBLISHED[task_name]]
            axes.plot(
                STEPS_BETWEEN / 1e6 * (1 + np.arange(len(rates))),
                rates,
                "s--",
                color=MUTED,
                markersize=4,
                label="MAPush, published: " + task_name,
            )
        for run, colour in zip(runs, series_colours(len(runs))):
            _curve(axes, run, "episode/success", color=colour, label=f"{run.name}: while training")
            if run.results:
                steps = [result.step / 1e6 for result in run.results]
                rates = [result.success_rate for result in run.results]
                bounds = [result.interval for result in run.results]
                label = f"{run.name}: evaluated"
                draw_rates(axes, steps, rates, bounds, fmt="o", color=colour, markersize=6, label=label)
        axes.set(ylabel="success rate", ylim=(-0.03, 1.03), xlim=(0, 1.05 * reach))
        _finish(axes)
    return figure.svg


def endings(name: str, run: RunData) -> Markup:
    """Draw which share of the most recent episodes ended how, one above the other."""
    with drawing(name, (4.7, 3.0)) as figure:
        axes = figure.axes[0]
        shown = [ending for ending in ENDINGS if "episode/" + ending in run.log]
        curves = [thinned(run.log["step"] / 1e6, run.log["episode/" + ending]) for ending in shown]
        axes.stackplot(
            curves[0][0],
            [values for _, values in curves],
            labels=shown,
            colors=[OUTCOME_COLOURS[ending] for ending in shown],
            alpha=0.85,
        )
        axes.set(ylabel="share of the episodes", ylim=(0, 1), title=run.name, xlim=(0, None))
        _finish(axes)
    return figure.svg


def panels(name: str, runs: Sequence[RunData], titles: Dict[str, str]) -> Markup:
    """Draw one small panel for each column of the log.

    Args:
      name: of the figure.
      runs: each with a curve of its own in every panel.
      titles: of the panels, by column of the log.
    """
    columns = min(len(titles), 4 if len(titles) % 3 == 1 else 3)  # no panel is left alone in a row
    rows = -(-len(titles) // columns)
    with drawing(name, (9.6, 2.2 * rows + 0.3), rows, columns) as figure:
        for axes in figure.axes[len(titles) :]:
            axes.axis("off")
        for axes, (column, title) in zip(figure.axes, titles.items()):
            for run, colour in zip(runs, series_colours(len(runs))):
                _curve(axes, run, column, color=colour, label=run.name)
            axes.set_title(title, fontsize=9)
            axes.margins(x=0.02)
        for axes in figure.axes[len(titles) - columns : len(titles)]:
            axes.set_xlabel("env steps [million]")
        if len(runs) > 1:
            figure.axes[0].legend(fontsize=8)
    return figure.svg


def _curve(axes: Axes, run: RunData, column: str, **style: Any) -> None:
    if column in run.log:
        steps, values = thinned(run.log["step"] / 1e6, run.log[column])
        axes.plot(steps, values, **style)


def _finish(axes: Axes) -> None:
    axes.set_xlabel("env steps [million]")
    axes.legend(loc="best", fontsize=8)


def columns_with(runs: Sequence[RunData], wanted: Callable[[str], bool]) -> List[str]:
    """Return the columns of any of `runs` that are `wanted` and hold a number, in alphabetical order."""
    names = {name for run in runs for name in run.log if wanted(name)}
    return sorted(name for name in names if any(run.last(name) is not None for run in runs))
