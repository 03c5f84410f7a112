"""Contracts of a report: what appears in the log, on the console and in the progress bar."""

from __future__ import annotations

import csv
import math
import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mapush.config import PushRunConfig
from mapush.errors import MapushError
from mapush.run.logger import RunLogger

pytestmark = pytest.mark.contracts

CONFIG = PushRunConfig(total_steps=7000, seed=3)
LOSSES, HEALTH = {"policy_loss": 0.5, "value_loss": 0.125}, {"contacts_peak": 11.0}
METRICS = {"reward/target": 1.5, "reward/push": -0.25, "episode/return": 40.0, "episode/success": 0.25, "episodes": 0.0}


def rows(folder):
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def log_file(folder):
    return (folder / "train.log").read_text()


def in_tensorboard(folder):
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


@pytest.fixture
def logger(tmp_path):
    """Return the log of a run without a terminal."""
    made = RunLogger(tmp_path, CONFIG)
    yield made
    made.close()


def test_report_row_has_the_reward_the_speed_and_all_it_was_given(logger, tmp_path):
    """The total reward is the sum of its terms; losses are under train/ and the simulator's report under sim/."""
    logger.report(2000, 2, 123.0, LOSSES, HEALTH, METRICS)
    (row,) = rows(tmp_path)
    expected = {"step": 2000, "iteration": 2, "reward/total": 1.25, "fps": 123.0}
    expected.update({"train/policy_loss": 0.5, "train/value_loss": 0.125, "sim/contacts_peak": 11.0}, **METRICS)
    assert set(row) == set(expected) | {"rss_mib", "wall_s"}
    assert {name: float(row[name]) for name in expected} == expected
    assert list(row)[:2] == ["step", "iteration"]
    assert list(row)[2:] == sorted(list(row)[2:])


def test_log_first_row_decides_the_columns(logger, tmp_path):
    """A metric that appears later is only in TensorBoard; a missing one leaves its field empty."""
    logger.report(1000, 1, 5.0, LOSSES, HEALTH, METRICS)
    logger.report(2000, 2, 6.0, {}, HEALTH, dict(METRICS, late=2.5))
    first, second = rows(tmp_path)
    assert set(first) == set(second)
    assert "late" not in first
    assert second["train/policy_loss"] == ""
    assert second["fps"] == "6.0"
    assert in_tensorboard(tmp_path)["late"] == [(2000, 2.5)]


def test_scalar_is_only_in_tensorboard(logger, tmp_path):
    """A single number needs no row."""
    logger.scalar("evaluation/success", 0.75, 4000)
    logger.close()
    assert in_tensorboard(tmp_path) == {"evaluation/success": [(4000, 0.75)]}
    assert not (tmp_path / "progress.csv").exists()


def test_log_file_counts_all_iterations_of_the_run(logger, tmp_path):
    """1,500 of 7,000 steps in 4 iterations make 18.7 iterations for the complete run, shown as 19."""
    logger.report(1500, 4, 99.6, LOSSES, HEALTH, METRICS)
    said = log_file(tmp_path)
    assert "updates 4/19 episodes, total num timesteps 1500/7000, FPS 100." in said
    assert "Average step reward is 1.250000." in said
    assert "episode reward" not in said
    assert "Success" not in said  # no episode has ended


def test_log_file_of_a_task_without_success_has_only_the_return(logger, tmp_path):
    """A task without success, such as walking, has no MAPush statistics; one ended episode is enough for its return."""
    walk = {"reward/height": -0.5, "episode/return": 40.0, "episodes": 1.0}
    logger.report(1500, 4, 99.6, LOSSES, HEALTH, walk)
    said = log_file(tmp_path)
    assert "Some episodes done, average episode reward is 40.0000." in said
    assert "Success" not in said


def test_say_prints_text_unchanged(logger, capsys):
    """Brackets are not interpreted as markup, and a long line stays one line."""
    text = "[bold] " + "word " * 60 + "[/end]"
    logger.say(text)
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    "step, success, share, told", [(2000, 0.25, "28.6 %", True), (9000, math.nan, "100.0 %", False)]
)
def test_progress_bar_shows_share_speed_and_success(tmp_path, capsys, monkeypatch, step, success, share, told):
    """On a terminal the bar shows the run, the share that is done (at most 100 %), the speed and the success rate."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    logger = RunLogger(tmp_path, CONFIG)
    logger.advance(step, 5644.2, success)
    logger.close()
    said = capsys.readouterr().out
    assert "cuboid seed 3" in said
    assert share in said
    assert "5,644 steps/s" in said
    assert re.search(r"\d:\d\d:\d\d\S* +\S*ETA\S* +\S*[-\d]:[-\d]{2}:[-\d]{2}", said)  # so far, and what is left
    assert ("success 25%" in said) == told
    assert "nan" not in said


def test_progress_bar_of_a_resumed_run_starts_where_the_run_was(tmp_path, capsys, monkeypatch):
    """The bar of a run that is resumed half way starts at half."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    RunLogger(tmp_path, CONFIG, step=3500).close()
    assert "50.0 %" in capsys.readouterr().out


def test_progress_bar_is_for_terminals(logger, capsys):
    """A console that is a file shows lines, but no bar."""
    logger.advance(2000, 5644.0, 0.25)
    logger.close()
    assert "steps/s" not in capsys.readouterr().out


def test_log_that_cannot_be_written_says_how_to_continue(logger, tmp_path):
    """If the row cannot be written, the error names the folder and how to resume."""
    (tmp_path / "progress.csv").mkdir()
    with pytest.raises(MapushError) as caught:
        logger.report(1000, 1, 5.0, LOSSES, HEALTH, METRICS)
    assert caught.value.where == str(tmp_path)
    assert f"--resume {tmp_path}" in caught.value.fix


def test_log_resumed_before_its_first_row_starts_again(tmp_path):
    """If no row remains, the next one decides the columns again; a row at the checkpoint's own step remains."""
    for step, resume_from, columns in ((1000, 0, {"one"}), (900, 999, {"two"}), (1500, 900, {"two"})):
        made = RunLogger(tmp_path, CONFIG, resume_from)
        made.report(step, 1, 5.0, {}, {}, dict(METRICS, **{name: 1.0 for name in columns}))
        made.close()
    assert [row["step"] for row in rows(tmp_path)] == ["900", "1500"]
    assert "two" in rows(tmp_path)[0]
    assert "one" not in rows(tmp_path)[0]
    assert not list(tmp_path.glob("*.part"))
