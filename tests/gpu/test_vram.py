"""The memory of a run on a real GPU: as predicted, within a limit, and none if the run cannot fit."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import pytest
import torch

from mapush.presets import preset
from mapush.run import capacity
from mapush.run.capacity import GIB, predict

pytestmark = pytest.mark.gpu

SHORT = "--num-steps 5 --task.steps-per-decision 1 --happo.ppo-epoch 2 --happo.critic-epoch 2".split()
LIMIT = "8GiB"


def start(run_dir, *words):
    """Start a training of cuboid in a new process."""
    command = [sys.executable, "-m", "mapush.train", "cuboid", "--sim", "warp", "--run-dir", run_dir] + list(words)
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    """Wait for a process; return its exit code, what it printed, and its peak of GPU memory [bytes]."""
    before = least = torch.cuda.mem_get_info()[0]
    with process:
        while process.poll() is None:
            least = min(least, torch.cuda.mem_get_info()[0])
            time.sleep(0.01)
        return process.returncode, process.stdout.read(), before - least


def config_of(num_envs):
    """Return the configuration of a run with the flags `SHORT`."""
    config = preset("cuboid", "default")
    happo = dataclasses.replace(config.happo, ppo_epoch=2, critic_epoch=2)
    task = dataclasses.replace(config.task, steps_per_decision=1)
    sim = dataclasses.replace(config.sim, backend="warp")
    return dataclasses.replace(config, num_envs=num_envs, num_steps=5, happo=happo, task=task, sim=sim)


def two_rollouts(num_envs):
    """Return the flags of a run of two short iterations."""
    return ["--num-envs", num_envs, "--total-steps", 2 * 5 * num_envs] + SHORT


def test_run_takes_what_was_predicted(tmp_path):
    """The prediction is within a tenth of the peak that the driver reports."""
    torch.cuda.init()
    num_envs = 2048
    code, text, used = finish(start(tmp_path / "run", *two_rollouts(num_envs)))
    assert code == 0, text
    assert predict(config_of(num_envs)).total == pytest.approx(used, rel=0.1)


def test_run_within_a_limit_trains_on_a_gpu_in_use(tmp_path):
    """Nine tenths of the envs that fit into 8 GiB can train if only 8 GiB are free."""
    torch.cuda.init()
    limit = 8 * GIB
    num_envs = capacity.largest_num_envs(config_of(10**7), limit) * 9 // 10
    taken = torch.empty(torch.cuda.mem_get_info()[0] - limit, dtype=torch.uint8, device="cuda")
    code, text, used = finish(start(tmp_path / "run", *two_rollouts(num_envs), "--vram-limit", LIMIT))
    del taken
    torch.cuda.empty_cache()
    assert code == 0, text
    assert 0.75 * limit < used <= limit


def test_run_that_cannot_fit_is_refused_at_once(tmp_path):
    """Ten million envs end with one message, which names the number that fits, and only the context is allocated."""
    torch.cuda.init()
    started = time.monotonic()
    code, text, used = finish(start(tmp_path / "run", *two_rollouts(10**7), "--vram-limit", LIMIT))
    assert code == 2, text
    assert "\nCapacityError: 10000000 envs do not fit" in text
    assert "is the most that fits" in text
    assert "Traceback" not in text
    assert used < 2 * GIB
    assert time.monotonic() - started < 60.0
    assert not (tmp_path / "run").exists()
