"""The results of the short runs of `lives.py`: logs, weights, evaluations, videos, and the memory of the GPU."""

from __future__ import annotations

import csv
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from lives import EPISODES, ROLLOUT, SIM, held, held_by_nobody, run

from mapush.objects import OBJECTS
from mapush.run import checkpoint as checkpoints
from mapush.run.capacity import predict
from mapush.run.folder import read_config

pytestmark = pytest.mark.gpu

MIB = 2**20


@pytest.fixture(scope="module", params=sorted(OBJECTS))
def life(request, lives):
    """The run that pushed one of the objects."""
    return lives.futures[request.param].result()


@pytest.fixture(scope="module")
def folder(life):
    """The folder of that run."""
    return life.folder


def test_run_takes_the_memory_that_was_predicted(life):
    """The prediction for each object is within a tenth of the peak that the driver reported for the training."""
    assert predict(read_config(life.folder)).total == pytest.approx(life.peak, rel=0.1)


def test_run_logs_each_rollout_once_and_finite_numbers(folder):
    """After the kill, no row is missing or repeated, and only means over zero episodes are nan."""
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = checkpoints.step_of(checkpoints.latest(folder))
    assert [int(row["step"]) for row in rows] == list(range(ROLLOUT, last + 1, ROLLOUT))
    for row in rows:
        broken = [column for column, value in row.items() if not math.isfinite(float(value))]
        if float(row["episodes"]) == 0:
            broken = [column for column in broken if not column.startswith("episode/")]
        assert not broken


def test_run_leaves_finite_weights(folder):
    """Every number of the learner in the last checkpoint is finite."""
    weights = list(tensors(checkpoints.load(checkpoints.latest(folder)).agent))
    assert len(weights) > 10
    assert all(value.isfinite().all() for value in weights)


def tensors(nest):
    """Yield all tensors in nested dicts and lists."""
    if isinstance(nest, torch.Tensor):
        yield nest
    elif isinstance(nest, dict):
        yield from tensors(list(nest.values()))
    elif isinstance(nest, (list, tuple)):
        for item in nest:
            yield from tensors(item)


def test_run_is_evaluated_by_the_published_protocol(folder):
    """The last policy plays one episode in each env, which has one ending and is within its time limit."""
    [result] = json.loads((folder / "results.json").read_text())["results"]
    assert result["step"] == checkpoints.step_of(checkpoints.latest(folder))
    metrics = result["metrics"]
    assert metrics["episodes"] == sum(metrics["endings"].values()) == EPISODES
    assert 0.0 <= metrics["success_rate"] <= 1.0
    assert 0.0 < metrics["finished_time"] <= 20.0


def test_runs_release_their_memory(lives):
    """All processes, half of which were killed, are gone from the GPU, and no memory is leaked."""
    pids = set()
    for future in lives.futures.values():
        pids.update(future.result().pids)
    deadline = time.monotonic() + 10.0
    while not all_released(pids, lives) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not pids & set(held())
    assert held_by_nobody() <= lives.lost_before + 64 * MIB


def all_released(pids, lives):
    """Return whether these processes hold no GPU memory, and none is leaked."""
    return not pids & set(held()) and held_by_nobody() <= lives.lost_before + 64 * MIB


@pytest.mark.render
def test_runs_are_recorded(lives, tmp_path):
    """An episode of each policy becomes a video that can be played."""
    import imageio_ffmpeg

    def record(name):
        film = tmp_path / (name + ".mp4")
        shown = ["--checkpoint", lives.futures[name].result().folder, "--mode", "viewer"]
        run("mapush.evaluate", name, "--sim", SIM, *shown, "--record", film, "--episodes", 1)
        return imageio_ffmpeg.count_frames_and_secs(str(film))

    with ThreadPoolExecutor(len(OBJECTS)) as pool:
        films = list(pool.map(record, OBJECTS))
    for frames, seconds in films:
        assert frames > 5
        assert seconds == pytest.approx(frames / 25, abs=0.1)
