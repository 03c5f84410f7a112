"""A short life of a run for each object, through the command line: trained, killed, resumed, evaluated, recorded."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import time

import pytest
import torch

from mapush import checkpoint as checkpoints
from mapush.objects import OBJECTS

pytestmark = pytest.mark.gpu

SIM = "warp"
NUM_ENVS, NUM_STEPS, STEPS_PER_DECISION = 500, 4, 10
ROLLOUT = NUM_ENVS * NUM_STEPS * STEPS_PER_DECISION  # env steps
PATIENCE = 180.0  # kernels may have to be compiled [s]
MIB = 2**20


def command(module, *words):
    """Return the words of a command line."""
    return [sys.executable, "-m", module] + [str(word) for word in words]


def run(module, *words):
    """Run a module to its end; it must go well. Return what it said."""
    ended = subprocess.run(command(module, *words), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def free_memory():
    """Return how much of the GPU is free [bytes]."""
    return torch.cuda.mem_get_info()[0]


def assert_given_back(free):
    """Assert that as much of the GPU is free as before, `free` [bytes], at the latest some seconds after a kill."""
    deadline = time.monotonic() + 10.0
    while free_memory() < free - 64 * MIB and time.monotonic() < deadline:
        time.sleep(0.1)
    assert free_memory() >= free - 64 * MIB


def train_until_killed(folder, name):
    """Train without end and kill the process after its first checkpoint; return the env steps of the newest one."""
    words = [name, "--sim", SIM, "--num-envs", NUM_ENVS, "--num-steps", NUM_STEPS, "--checkpoint-every", 2 * ROLLOUT]
    with (folder.parent / "said.txt").open("w") as said:
        process = subprocess.Popen(
            command("mapush.train", *words, "--run-dir", folder), stdout=said, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + PATIENCE
    while not list(folder.glob("checkpoints/step_*.pt")):
        assert process.poll() is None and time.monotonic() < deadline, (folder.parent / "said.txt").read_text()
        time.sleep(0.05)
    process.kill()
    process.wait()
    return checkpoints.step_of(checkpoints.latest(folder))


@pytest.fixture(scope="module", params=sorted(OBJECTS))
def name(request):
    """The object that is pushed."""
    return request.param


@pytest.fixture(scope="module")
def finished(name, tmp_path_factory):
    """A run that was killed, resumed, and finished two rollouts later; the GPU is as free as before."""
    folder = tmp_path_factory.mktemp(name) / "run"
    free = free_memory()
    saved = train_until_killed(folder, name)
    assert_given_back(free)
    said = run("mapush.train", "--resume", folder, "--total-steps", saved + 2 * ROLLOUT)
    assert "done; evaluate with" in said and "{}/{}".format(saved + ROLLOUT, saved + 2 * ROLLOUT) in said
    assert_given_back(free)
    return folder


def test_run_logs_each_rollout_once_and_finite_numbers(finished):
    """No row is missing or there twice after the kill, and only means over no episodes are nan."""
    with (finished / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = checkpoints.step_of(checkpoints.latest(finished))
    assert [int(row["step"]) for row in rows] == list(range(ROLLOUT, last + 1, ROLLOUT))
    for row in rows:
        no_episodes = float(row["episodes"]) == 0
        broken = [column for column, value in row.items() if not math.isfinite(float(value))]
        assert not [column for column in broken if not (no_episodes and column.startswith("episode/"))]
    assert float(rows[-1]["episodes"]) >= float(rows[0]["episodes"])


def test_run_leaves_finite_weights(finished):
    """Every number of the learner in the last checkpoint is finite."""
    saved = checkpoints.load(checkpoints.latest(finished))
    weights = list(tensors(saved.agent))
    assert len(weights) > 10 and all(value.isfinite().all() for value in weights)


def tensors(nest):
    """Yield all tensors of floating point in nested dicts and lists."""
    if isinstance(nest, torch.Tensor):
        if nest.is_floating_point():
            yield nest
    elif isinstance(nest, (dict, list, tuple)):
        for item in nest.values() if isinstance(nest, dict) else nest:
            yield from tensors(item)


def test_run_is_evaluated(finished, name, tmp_path):
    """The policy is evaluated by the published protocol: an episode of each env, which ended in one way."""
    free, results = free_memory(), tmp_path / "results.json"
    policy = checkpoints.latest(finished)
    run("mapush.evaluate", name, "--checkpoint", policy, "--num-envs", 37, "--sim", SIM, "--json", results)
    assert_given_back(free)
    [result] = json.loads(results.read_text())["results"]
    assert result["step"] == checkpoints.step_of(policy)
    metrics = result["metrics"]
    assert metrics["episodes"] == sum(metrics["endings"].values()) == 37
    assert 0.0 <= metrics["success_rate"] <= 1.0 and 0.0 < metrics["finished_time"] <= 20.0


@pytest.mark.render
def test_run_is_recorded(finished, name, tmp_path):
    """An episode of the policy becomes a film that can be played."""
    import imageio_ffmpeg

    film = tmp_path / "episode.mp4"
    words = ["--checkpoint", finished, "--mode", "viewer", "--record", film, "--episodes", 1, "--sim", SIM]
    run("mapush.evaluate", name, *words)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(film))
    assert frames > 5 and seconds == pytest.approx(frames / 25, abs=0.1)
