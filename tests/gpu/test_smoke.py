"""A short life of a run for each object, through the command line: trained, killed, resumed, evaluated, recorded.

The objects share the GPU, because starting processes takes the most time.
"""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mapush import checkpoint as checkpoints
from mapush.objects import OBJECTS

pytestmark = pytest.mark.gpu

SIM = "warp"
NUM_ENVS, NUM_STEPS, STEPS_PER_DECISION = 500, 4, 10
ROLLOUT = NUM_ENVS * NUM_STEPS * STEPS_PER_DECISION  # env steps
EPISODES = 37  # of the evaluation
PATIENCE = 300.0  # kernels may have to be compiled [s]
MIB = 2**20


def command(module, *words):
    """Return the words of a command line."""
    return [sys.executable, "-m", module] + [str(word) for word in words]


def run(module, *words):
    """Run a module to its end; it must go well. Return what it said."""
    ended = subprocess.run(command(module, *words), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def train_until_killed(name, folder):
    """Train without end and kill the process after its first checkpoint; return the env steps of the newest one."""
    words = [name, "--sim", SIM, "--num-envs", NUM_ENVS, "--num-steps", NUM_STEPS, "--checkpoint-every", 2 * ROLLOUT]
    said = folder.parent / "said.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            command("mapush.train", *words, "--run-dir", folder), stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + PATIENCE
    try:
        while not list(folder.glob("checkpoints/step_*.pt")):
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    return checkpoints.step_of(checkpoints.latest(folder))


def live(name, folder):
    """Train, kill, resume for two rollouts and evaluate; return the folder of the run."""
    saved = train_until_killed(name, folder)
    last = saved + 2 * ROLLOUT
    said = run("mapush.train", "--resume", folder, "--total-steps", last)
    assert "{}/{}".format(saved + ROLLOUT, last) in said and "done; evaluate with" in said
    words = ["--checkpoint", checkpoints.latest(folder), "--num-envs", EPISODES, "--json", folder / "results.json"]
    run("mapush.evaluate", name, "--sim", SIM, *words)
    return folder


def free_memory():
    """Return how much of the GPU is free [bytes]."""
    return torch.cuda.mem_get_info()[0]


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """What was free before the runs [bytes], and the runs, which have ended: a future folder for each object."""
    free = free_memory()
    with ThreadPoolExecutor(len(OBJECTS)) as pool:
        runs = {name: pool.submit(live, name, tmp_path_factory.mktemp(name) / "run") for name in OBJECTS}
    return free, runs


@pytest.fixture(scope="module", params=sorted(OBJECTS))
def folder(request, lives):
    """The run that pushed one of the objects."""
    _, runs = lives
    return runs[request.param].result()


def test_run_logs_each_rollout_once_and_finite_numbers(folder):
    """No row is missing or there twice after the kill, and only means over no episodes are nan."""
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
    assert len(weights) > 10 and all(value.isfinite().all() for value in weights)


def tensors(nest):
    """Yield all tensors in nested dicts and lists."""
    if isinstance(nest, torch.Tensor):
        yield nest
    elif isinstance(nest, (dict, list, tuple)):
        for item in nest.values() if isinstance(nest, dict) else nest:
            yield from tensors(item)


def test_run_is_evaluated_by_the_published_protocol(folder):
    """The last policy plays an episode in each env, which ends in one way and within its time."""
    [result] = json.loads((folder / "results.json").read_text())["results"]
    assert result["step"] == checkpoints.step_of(checkpoints.latest(folder))
    metrics = result["metrics"]
    assert metrics["episodes"] == sum(metrics["endings"].values()) == EPISODES
    assert 0.0 <= metrics["success_rate"] <= 1.0 and 0.0 < metrics["finished_time"] <= 20.0


def test_runs_give_the_memory_back(lives):
    """When all processes have ended, one of each three by a kill, the GPU is as free as before."""
    free, runs = lives
    assert all(run.exception() is None for run in runs.values())
    deadline = time.monotonic() + 10.0
    while free_memory() < free - 64 * MIB and time.monotonic() < deadline:
        time.sleep(0.1)
    assert free_memory() >= free - 64 * MIB


@pytest.mark.render
def test_runs_are_recorded(lives, tmp_path):
    """An episode of each policy becomes a film that can be played."""
    import imageio_ffmpeg

    def record(name):
        _, runs = lives
        film = tmp_path / (name + ".mp4")
        words = ["--checkpoint", runs[name].result(), "--mode", "viewer", "--record", film, "--episodes", 1]
        run("mapush.evaluate", name, "--sim", SIM, *words)
        return imageio_ffmpeg.count_frames_and_secs(str(film))

    with ThreadPoolExecutor(len(OBJECTS)) as pool:
        films = list(pool.map(record, OBJECTS))
    for frames, seconds in films:
        assert frames > 5 and seconds == pytest.approx(frames / 25, abs=0.1)
