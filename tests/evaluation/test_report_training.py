"""The report of training runs, from folders that are complete, incomplete, old or without a run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from pages import Document

from mapush.config import to_dict
from mapush.presets import preset
from mapush.report import main
from mapush.reports.figures import MAX_POINTS, thinned
from mapush.reports.run_data import read_run
from mapush.run.folder import RunFolder
from mapush.run.logger import RunLogger

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

ROWS = 7
METRICS = {
    "reward/target": -0.25,
    "reward/push": 0.015625,
    "episode/success": 0.5,
    "episode/collision": 0.25,
    "episode/fall": 0.125,
    "episode/timeout": 0.125,
    "episode/return": -3.0,
    "episode/length": 300.0,
    "episodes": 40.0,
}


def make_run(path, seed=1, rows=ROWS):
    """Write the files of a training run, with numbers that are easy to distinguish."""
    config = preset("cuboid", "quick")
    config = type(config)(**dict(vars(config), seed=seed, num_envs=64))
    RunFolder.create(config, path).close()
    logger = RunLogger(path, config)
    for row in range(1, rows + 1):
        metrics = {name: value * row for name, value in METRICS.items()}
        logger.report(1000 * row, row, 5000.0 + row, {"value_loss": 1.0 / row, "entropy": 3.0 - row / 10}, {}, metrics)
    logger.close()
    for step in (2000, 7000):
        checkpoint = path / "checkpoints" / f"step_{step:012d}.pt"
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_bytes(bytes(2**20))
    return path


def add_results(path):
    """Write the files of an evaluation into the folder of the run."""
    metrics = {"success_rate": 0.875, "success_rate_interval": [0.8125, 0.9375]}
    (path / "evaluation").mkdir()
    (path / "evaluation" / "results.json").write_text(json.dumps({"results": [{"step": 7000, "metrics": metrics}]}))


@pytest.fixture()
def run(tmp_path):
    """A complete run that has been evaluated."""
    path = make_run(tmp_path / "run")
    add_results(path)
    return path


def read(path):
    """Return the page of a run."""
    return Document(path / "report.html")


def test_report_of_a_run_shows_the_contents_of_its_folder(run, capsys):
    """The newest success, return, speed, memory, checkpoints and versions are on the page."""
    assert main([str(run)]) == 0
    assert f"report: {run / 'report.html'}" in capsys.readouterr().out
    page = read(run)
    tiles = {tile[0]: tile[1] for tile in page.tiles}
    assert tiles["success rate"] == "0.875"
    assert tiles["mean return"] == "-21"
    assert tiles["speed"] == "5,007"
    assert tiles["env steps"] == "7,000"
    assert tiles["memory"].endswith("MiB")
    rows = page.table("written")
    assert [(row[1], row[2], row[4], row[5]) for row in rows] == [
        ("0.002", "1.0", "–", ""),
        ("0.007", "1.0", "0.875", "0.812 to 0.938"),
    ]
    versions = next(table[1:] for table in page.tables if table[1][0] == "python")
    assert dict(versions) == json.loads((run / "versions.json").read_text())
    assert "could not be shown" not in page.text
    assert page.outside() == []


def test_settings_that_differ_from_the_preset_are_marked(run):
    """Only they are visible at once; all settings are in a table that is hidden until clicked."""
    main([str(run)])
    page = read(run)
    first, everything = [table[1:] for table in page.tables if table[0][0] == "setting"]
    assert first == [["num_envs", "64", "256"]]
    assert len(everything) == len(read_run(run, "x").settings)
    assert first[0] in everything
    assert page.source.count('<tr class="marked">') == 2


def test_several_runs_are_overlaid_and_compared(run, tmp_path):
    """Each run has its own colour in all figures, and settings that differ between runs are marked."""
    other = make_run(tmp_path / "other", seed=2, rows=5)
    assert main([str(run), str(other), "--out", str(tmp_path / "both.html")]) == 0
    page = Document(tmp_path / "both.html")
    assert [tile[:2] for tile in page.tiles] == [["run", "0.875"], ["other", "2.500"]]
    marked = next(table[1:] for table in page.tables if table[0] == ["setting", "run", "other", "preset"])
    assert marked == [["num_envs", "64", "64", "256"], ["seed", "1", "2", "1"]]
    for path in (run, other):
        config = (path / "config.json").read_text()
        (path / "config.json").write_text(config.replace('"quick"', '"forgotten"'))
    main([str(run), str(other), "--out", str(tmp_path / "both.html")])
    assert Document(tmp_path / "both.html").table("setting") == [["seed", "1", "2", "–"]]
    assert "var(--series-1)" in page.source
    assert not (run / "report.html").exists()


def test_panels_show_every_reward_term_and_every_column_of_the_learner(run):
    """Each column of the log that is a curve has a panel."""
    main([str(run)])
    page = read(run)
    for title in ("target", "push", "total", "value loss", "entropy of the policy [nats]", "resident memory [MiB]"):
        assert f">{title}</text>" in page.source, title


def test_log_with_an_incomplete_last_row_is_read_without_it(run):
    """A kill in the middle of a row, or of its last number, loses only that row."""
    log = run / "progress.csv"
    whole = log.read_text()
    for lost in (1, 2, 40):
        log.write_text(whole[:-lost])
        assert read_run(run, "x").log["step"].tolist() == [1000.0 * row for row in range(1, ROWS)]
    log.write_text(whole + "8000,8\n")
    assert read_run(run, "x").log["step"].tolist() == [1000.0 * row for row in range(1, ROWS + 1)]
    assert main([str(run)]) == 0


@pytest.mark.parametrize(
    "damage, phrase",
    [
        (lambda run: (run / "progress.csv").unlink(), "progress.csv is not there"),
        (lambda run: (run / "progress.csv").write_text(""), "progress.csv has no rows yet"),
        (lambda run: (run / "progress.csv").write_text("step,iteration\n"), "progress.csv has no rows yet"),
        (lambda run: (run / "versions.json").unlink(), "versions.json is not there"),
        (lambda run: (run / "versions.json").write_text("{"), "versions.json does not parse"),
        (lambda run: shutil.rmtree(str(run / "evaluation")), "have not been evaluated"),
        (lambda run: (run / "evaluation" / "results.json").write_text("[]"), "results.json is of a different version"),
        (lambda run: shutil.rmtree(str(run / "checkpoints")), "None yet"),
    ],
)
def test_incomplete_run_has_a_page_that_says_what_is_missing(run, damage, phrase):
    """The page shows what exists and names what is missing."""
    damage(run)
    assert main([str(run)]) == 0
    page = read(run)
    assert phrase in page.text
    assert ["num_envs", "64", "256"] in page.table("setting")


def test_run_of_an_older_version_is_shown_with_what_it_has(run):
    """Added or removed columns, settings and presets do not matter."""
    config = json.loads((run / "config.json").read_text())
    config.update(preset="forgotten", retired=[1, 2], num_envs=None)
    del config["happo"]["lr"]
    (run / "config.json").write_text(json.dumps(config))
    (run / "progress.csv").write_text("step,fps,reward/old\n10,5.5,\n20,6.5,inf\n")
    assert main([str(run)]) == 0
    page = read(run)
    everything = [table for table in page.tables if table[0][0] == "setting"][-1]
    assert ["retired", "1, 2", "–"] in everything
    assert "nan" not in page.text.split()
    assert {tile[0]: tile[1] for tile in page.tiles}["speed"] == "6.5"


@pytest.mark.parametrize(
    "argv, phrases",
    [
        (["nowhere"], ["there is no run here", "nowhere", "config.json"]),
        (["broken"], ["does not parse", "config.json"]),
        (["listed"], ["does not parse", "config.json"]),
        (["run", "--out", "file/page.html"], ["the report cannot be written", "--out FILE"]),
    ],
)
def test_command_that_cannot_report_exits_with_two_and_says_why(argv, phrases, run, tmp_path, capsys, monkeypatch):
    """A missing run, a broken configuration and a page that cannot be written are one clear error each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    for name, text in (("broken", "{"), ("listed", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for phrase in phrases:
        assert phrase in message


def test_long_curve_is_thinned_to_its_means():
    """A long curve keeps its shape in few points, a short one keeps all points, and NaN is left out."""
    steps = np.arange(10.0 * MAX_POINTS)
    places, values = thinned(steps, 2.0 * steps + 1.0)
    assert len(places) == MAX_POINTS
    assert places[0] == 4.5
    assert values == pytest.approx(2.0 * places + 1.0)
    few = np.array([1.0, np.nan, 3.0])
    assert [part.tolist() for part in thinned(np.arange(3.0), few)] == [[0.0, 2.0], [1.0, 3.0]]
    assert all(part.size == 0 for part in thinned(np.arange(2.0), np.full(2, np.nan)))


def test_settings_of_a_preset_are_those_of_the_code(run):
    """A run is compared with the preset that it names."""
    found = read_run(run, "x").preset
    wanted = to_dict(preset("cuboid", "quick"))
    assert found["happo.lr"] == wanted["happo"]["lr"]
    assert found["num_envs"] == wanted["num_envs"] == 256
