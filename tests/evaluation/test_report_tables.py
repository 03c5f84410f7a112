"""Tables in the terminal."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.report import evaluation_of, made_up_trace
from mapush.reports.tables import metrics_table, run_table

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


@pytest.fixture(scope="module")
def evaluation():
    """An evaluation of made-up episodes."""
    return evaluation_of(made_up_trace(23, seed=1, max_length=60), 20_000_000, "step_000020000000.pt")


def text_of(table):
    """Return what the terminal shows of a table."""
    text = io.StringIO()
    Console(file=text, width=200).print(table)
    return text.getvalue()


def test_run_table_has_a_row_for_each_checkpoint_and_units_in_its_headings(evaluation):
    """Square brackets are units, not styles of rich."""
    newer = dataclasses.replace(evaluation, step=30_000_000)
    lines = text_of(run_table([evaluation, newer])).splitlines()
    heading = next(line for line in lines if "M steps" in line)
    assert "time [s]" in heading
    rate = f"{evaluation.metrics.success_rate:.3f}"
    assert max(len(line.rstrip()) for line in lines) <= 80
    low, high = evaluation.metrics.collision_rate_interval
    collided = f"{evaluation.metrics.collision_rate:.3f} {low:.3f} to {high:.3f}"
    assert sum(collided in " ".join(line.split()) for line in lines) == 2
    rows = [line.split()[:2] for line in lines if rate in line]
    assert rows == [["20", rate], ["30", rate]]


def test_metrics_table_shows_every_measure_and_the_name_literally(evaluation):
    """A path may contain square brackets."""
    text = text_of(metrics_table(dataclasses.replace(evaluation, path=Path("[bold]policy.pt"))))
    assert "[bold]policy.pt, 23 episodes" in text
    for name in (
        "success rate",
        "finished time",
        "collision rate",
        "collision degree",
        "collaboration degree",
        "ended by timeout",
    ):
        assert name in text
