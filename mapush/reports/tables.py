"""Tables for the terminal, and the success curve as CSV and PNG."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mapush.reports.published import PUBLISHED, STEPS_BETWEEN

if TYPE_CHECKING:
    from mapush.evaluation.acceptance import AcceptanceResult, Measure
    from mapush.evaluation.results import Evaluation


def metrics_table(evaluation: Evaluation) -> Table:
    """Lay out what one policy scored, one row for each measure."""
    metrics = evaluation.metrics
    name = "untrained" if evaluation.path is None else str(evaluation.path)
    table = _table(
        f"{name}, {metrics.episodes} episodes",
        ("measure", "value", "95 % interval", "unit"),
        ("value", "95 % interval"),
    )
    table.add_row("success rate", _number(metrics.success_rate), _interval(metrics.success_rate_interval), "")
    table.add_row("finished time", _number(metrics.finished_time), _interval(metrics.finished_time_interval), "s")
    table.add_row("finished time, successes only", _number(evaluation.success_time), "", "s")
    table.add_row("collision degree", _number(metrics.collision_degree), "", "")
    degree, interval = metrics.collaboration_degree, metrics.collaboration_degree_interval
    table.add_row("collaboration degree", _number(degree), _interval(interval), "")
    table.add_section()
    for cause, count in metrics.endings.items():
        table.add_row("ended by " + cause, str(count), "", "episodes")
    return table


def run_table(evaluations: Sequence[Evaluation]) -> Table:
    """Lay out what the checkpoints of a run scored, one row for each."""
    causes = [cause for cause in evaluations[0].metrics.endings if cause != "success"]
    headings = ["M steps", "success rate", "95 % interval", "time [s]", "collab."] + causes
    table = _table("Success over training", headings, headings)
    for evaluation in evaluations:
        metrics = evaluation.metrics
        table.add_row(
            f"{evaluation.step / 1e6:.3g}",
            _number(metrics.success_rate),
            _interval(metrics.success_rate_interval),
            _number(metrics.finished_time),
            _number(metrics.collaboration_degree),
            *(str(metrics.endings[cause]) for cause in causes),
        )
    return table


def success_csv(runs: Dict[str, Sequence[Evaluation]], task_name: str, path: Path) -> None:
    """Write the success rate and mean duration over training of each of `runs`, and MAPush's published ones, as CSV."""
    rows: List[Tuple[Any, ...]] = [
        (name, item.step, item.metrics.success_rate, *item.metrics.success_rate_interval, item.metrics.finished_time)
        for name, evaluations in runs.items()
        for item in evaluations
    ]
    published = enumerate(PUBLISHED[task_name], start=1)
    rows += [("MAPush", STEPS_BETWEEN * k, item.success_rate, "", "", item.finished_time) for k, item in published]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", "env_steps", "success_rate", "low", "high", "finished_time_s"))
        writer.writerows(rows)


def success_curve(runs: Dict[str, Sequence[Evaluation]], task_name: str, path: Path) -> None:
    """Draw the success rate over training of each of `runs`, beside MAPush's published one, as a PNG at `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, evaluations in runs.items():
        steps = [evaluation.step / 1e6 for evaluation in evaluations]
        low, high = zip(*(evaluation.metrics.success_rate_interval for evaluation in evaluations))
        axes.plot(steps, [evaluation.metrics.success_rate for evaluation in evaluations], "o-", label=name)
        axes.fill_between(steps, low, high, alpha=0.2)
    published = [item.success_rate for item in PUBLISHED[task_name]]
    steps = [STEPS_BETWEEN / 1e6 * (index + 1) for index in range(len(published))]
    axes.plot(steps, published, "s--", color="gray", label="MAPush")
    axes.set(xlabel="million env steps", ylabel="success rate", title=task_name, ylim=(-0.02, 1.02), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def acceptance_table(results: Sequence[AcceptanceResult]) -> Table:
    """Lay out the acceptance tests of a walking policy, one row for each measure."""
    table = _table("Acceptance of the walking policy", ("measure", "limit", "measured", ""), ("limit", "measured"))
    for result in results:
        table.add_row(f"[bold]{result.name}[/bold]")
        for measure in result.measures:
            value = f"{_number(measure.value)} {measure.unit}".strip()
            table.add_row("  " + measure.name, _limit(measure), value, _verdict(measure))
        table.add_section()
    return table


def _table(title: str, headings: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=True)
    return table


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _interval(interval: Tuple[float, float]) -> str:
    return "" if math.isnan(interval[0]) else "{} to {}".format(*(_number(value) for value in interval))


def _limit(measure: Measure) -> str:
    bounds: List[Tuple[str, float]] = []
    if measure.low is not None:
        bounds.append((">=", measure.low))
    if measure.high is not None:
        bounds.append(("<=", measure.high))
    return " ".join(f"{sign} {bound:g}" for sign, bound in bounds)


def _verdict(measure: Measure) -> str:
    if measure.low is None and measure.high is None:
        return ""
    return "[green]pass[/green]" if measure.passed else "[red]FAIL[/red]"
