"""Contracts of the log of a run: TensorBoard, a CSV with the same numbers, and steps that occur once."""

from __future__ import annotations

import csv

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mapush.config import PushRunConfig
from mapush.run.logger import RunLogger

pytestmark = pytest.mark.contracts

CONFIG = PushRunConfig(total_steps=7000)


def row(value):
    return {
        "fps": 5644.0,
        "reward/total": value,
        "reward/target": value / 2,
        "episodes": 11.0,
        "episode/return": value * 3,
        "episode/success": 0.25,
        "episode/collision": 0.125,
    }


def scalars(folder):
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


def rows(folder):
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def write(folder, steps, resume_from=0):
    logger = RunLogger(folder, CONFIG, resume_from)
    for step in steps:
        logger.log(step, step // 1000, row(float(step)))
    logger.close()
    logger.close()


def test_log_tensorboard_and_csv_hold_the_same_numbers(tmp_path):
    """Every metric of every row is in both files, under the same name, at its step."""
    write(tmp_path, [1000, 2000, 3000])
    in_csv = {
        name: [(int(r["step"]), float(r[name])) for r in rows(tmp_path)] for name in [*row(0.0), "rss_mib", "wall_s"]
    }
    in_tensorboard = scalars(tmp_path)
    assert set(in_tensorboard) == set(in_csv)
    for name, points in in_csv.items():
        assert [step for step, _ in points] == [1000, 2000, 3000]
        for (step, value), (logged_step, logged_value) in zip(points, in_tensorboard[name]):
            assert step == logged_step, name
            assert value == pytest.approx(logged_value, rel=1e-6), name
    assert all(value > 10.0 for _, value in in_csv["rss_mib"])


def test_log_resumed_run_drops_what_came_after_the_checkpoint(tmp_path):
    """A run killed after step 3000 and resumed from 2000 has each step once."""
    write(tmp_path, [1000, 2000, 3000])
    write(tmp_path, [3500], resume_from=2000)
    assert [int(r["step"]) for r in rows(tmp_path)] == [1000, 2000, 3500]
    assert [step for step, _ in scalars(tmp_path)["fps"]] == [1000, 2000, 3500]


def test_log_half_written_row_is_dropped_on_resume(tmp_path):
    """A row that a kill has cut short does not stop the next run."""
    write(tmp_path, [1000, 2000])
    path = tmp_path / "progress.csv"
    path.write_text(path.read_text() + "30")
    write(tmp_path, [2500], resume_from=2000)
    assert [int(r["step"]) for r in rows(tmp_path)] == [1000, 2000, 2500]
