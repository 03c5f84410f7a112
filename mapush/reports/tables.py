"""Tables for the terminal, and the success rate over training as CSV and PNG."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, List, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as ConsoleTable

from mapush.reports.formatting import TIME_DECIMALS, fixed, interval, millions, number, rate
from mapush.reports.published import PUBLISHED, STEPS_BETWEEN
from mapush.reports.rate_curve import published_curve, rate_curve

if TYPE_CHECKING:
    from mapush.evaluation.acceptance import AcceptanceResult, Measure
    from mapush.evaluation.own_env import OwnEvaluation
    from mapush.evaluation.results import Evaluation

_IN_TWO_LINES = {"timeout": "time-\nout"}  # the table of a run fits into 80 columns

Runs = Mapping[str, Sequence["Evaluation"]]  # the evaluations of each run, by its name, oldest first


# -- terminal --------------------------------------------------------------------------------------------------------


def metrics_table(evaluation: Evaluation) -> ConsoleTable:
    """Return what one policy scored, one row per measure."""
    metrics = evaluation.metrics
    name = "untrained"
    if evaluation.path is not None:
        name = str(evaluation.path)
    title = f"{name}, {metrics.episodes} episodes"
    table = _table(title, texts=["measure"], numbers=["value", "95 % interval"])
    table.add_column("unit", no_wrap=True)
    table.add_row("success rate", rate(metrics.success_rate), interval(metrics.success_rate_interval), "")
    time_interval = interval(metrics.finished_time_interval, TIME_DECIMALS)
    table.add_row("finished time", fixed(metrics.finished_time, TIME_DECIMALS), time_interval, "s")
    table.add_row("finished time, successes only", fixed(evaluation.success_time, TIME_DECIMALS), "", "s")
    table.add_row("collision rate", rate(metrics.collision_rate), interval(metrics.collision_rate_interval), "")
    table.add_row("collision degree", rate(metrics.collision_degree), "", "")
    collaboration_interval = interval(metrics.collaboration_degree_interval)
    table.add_row("collaboration degree", rate(metrics.collaboration_degree), collaboration_interval, "")
    table.add_section()
    for cause, count in metrics.endings.items():
        table.add_row(f"ended by {cause}", str(count), "", "episodes")
    return table


def kinds_table(evaluation: Evaluation) -> ConsoleTable:
    """Return what one policy scored with each object and team size, one row each."""
    headings = ["robots", "episodes", "success rate", "95 % interval", "time [s]", "collisions"]
    table = _table("By object and team", texts=["object"], numbers=headings)
    for name, metrics in evaluation.kinds.items():
        object_name, _, num_agents = name.rpartition("_")
        table.add_row(
            escape(object_name),
            num_agents,
            str(metrics.episodes),
            rate(metrics.success_rate),
            interval(metrics.success_rate_interval),
            fixed(metrics.finished_time, TIME_DECIMALS),
            rate(metrics.collision_rate),
        )
    return table


def own_table(evaluation: OwnEvaluation) -> ConsoleTable:
    """Return what one policy scored in an environment of the user's own, one row per outcome."""
    name = "untrained"
    if evaluation.path is not None:
        name = str(evaluation.path)
    title = f"{name}, {evaluation.episodes} episodes of {evaluation.num_envs} envs"
    table = _table(title, texts=["measure"], numbers=["value", "95 % interval"])
    for outcome, measure in evaluation.measures.items():
        label = f"{measure.kind} of {outcome}"
        if measure.kind == "rate":
            label = f"{outcome} rate"
        table.add_row(escape(label), rate(measure.value), interval(measure.interval))
    return table


def run_table(evaluations: Sequence[Evaluation]) -> ConsoleTable:
    """Return what the checkpoints of a run scored, one row per checkpoint."""
    causes = [cause for cause in evaluations[0].metrics.endings if cause not in ("success", "collision")]
    headings = [
        "M steps",
        "success\nrate",
        "95 %\ninterval",
        "time [s]",
        "col-\nlab.",
        "colli-\nsions",
        "95 %\ninterval",
    ]
    headings += [_IN_TWO_LINES.get(cause, cause) for cause in causes]
    table = _table("Success over training", texts=[], numbers=headings, gap=0)
    column = millions([evaluation.step for evaluation in evaluations])
    for evaluation, steps in zip(evaluations, column):
        metrics = evaluation.metrics
        counts = [str(metrics.endings[cause]) for cause in causes]
        table.add_row(
            steps,
            rate(metrics.success_rate),
            interval(metrics.success_rate_interval),
            fixed(metrics.finished_time, TIME_DECIMALS),
            rate(metrics.collaboration_degree),
            rate(metrics.collision_rate),
            interval(metrics.collision_rate_interval),
            *counts,
        )
    return table


def acceptance_table(results: Sequence[AcceptanceResult]) -> ConsoleTable:
    """Return the acceptance tests of a walking policy, one row per measure."""
    table = _table("Acceptance of the walking policy", texts=["measure"], numbers=["limit", "measured"])
    table.add_column("", no_wrap=True)
    for result in results:
        table.add_row(f"[bold]{escape(result.name)}[/bold]")
        for measure in result.measures:
            table.add_row(f"  {measure.name}", _limit(measure), number(measure.value, measure.unit), _verdict(measure))
        table.add_section()
    return table


def _table(title: str, texts: Sequence[str], numbers: Sequence[str], gap: int = 1) -> ConsoleTable:
    """Return an empty table with columns of text, followed by columns of numbers.

    Args:
      title: its title.
      texts: headings of the columns of text.
      numbers: headings of the columns of numbers.
      gap: spaces between two columns, besides the one that is always there.
    """
    table = ConsoleTable(
        title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0)
    )
    for heading in texts:
        table.add_column(escape(heading), no_wrap=True)
    for heading in numbers:
        table.add_column(escape(heading), justify="right", no_wrap=True)
    return table


def _limit(measure: Measure) -> str:
    limits: List[str] = []
    if measure.low is not None:
        limits.append(f">= {measure.low:g}")
    if measure.high is not None:
        limits.append(f"<= {measure.high:g}")
    return " ".join(limits)


def _verdict(measure: Measure) -> str:
    if measure.low is None and measure.high is None:
        return ""
    if measure.passed:
        return "[green]pass[/green]"
    return "[red]FAIL[/red]"


# -- files -----------------------------------------------------------------------------------------------------------


def success_csv(runs: Runs, task_name: str, path: Path) -> None:
    """Write the success rate and mean duration over training of each run, and MAPush's published ones, as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", "env_steps", "success_rate", "low", "high", "finished_time_s"))
        for name, evaluations in runs.items():
            for evaluation in evaluations:
                metrics = evaluation.metrics
                low, high = metrics.success_rate_interval
                writer.writerow((name, evaluation.step, metrics.success_rate, low, high, metrics.finished_time))
        for count, published in enumerate(PUBLISHED.get(task_name, ()), start=1):
            step = count * STEPS_BETWEEN
            writer.writerow(("MAPush", step, published.success_rate, "", "", published.finished_time))


def success_curve(runs: Runs, task_name: str, path: Path) -> None:
    """Draw the success rate over training of each run, and MAPush's published one, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, evaluations in runs.items():
        curve = rate_curve(evaluations)
        low, high = zip(*curve.bounds)
        axes.plot(curve.steps, curve.rates, "o-", label=name)
        axes.fill_between(curve.steps, low, high, alpha=0.2)
    published = published_curve(task_name)
    if published.steps:
        axes.plot(published.steps, published.rates, "s--", color="gray", label="MAPush")
    axes.set(xlabel="million env steps", ylabel="success rate", title=task_name, ylim=(-0.02, 1.02), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
