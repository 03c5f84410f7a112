"""Contracts of `--gpus` with a built-in task: it trains, resumes on another number of ranks, and can be evaluated."""

from __future__ import annotations

import pytest
from rank_jobs import TRAIN, running
from runs import last_checkpoint

from mapush.evaluation.load_policy import load_policy

pytestmark = [pytest.mark.distributed, pytest.mark.mujoco, pytest.mark.slow]

ROLLOUT = 4 * 5 * 25  # envs, decisions, env steps of a decision


def words(steps):
    """Return the command line of a small run on the CPU."""
    sizes = ["--num-envs", "4", "--num-steps", "5", "--total-steps", str(steps), "--happo.hidden-sizes", "8"]
    batches = ["--happo.actor-num-mini-batch", "2", "--happo.critic-num-mini-batch", "2"]
    return ["cuboid", "--sim", "mujoco", "--sim.threads", "1", "--device", "cpu", "--run-dir", "run", *sizes, *batches]


def test_cuboid_trains_with_two_ranks_and_goes_on_with_one(tmp_path):
    """The policy of such a run is loaded like any other."""
    with running(tmp_path, [*TRAIN, *words(3 * ROLLOUT), "--gpus", "2"]) as job:
        ended = job.end(200.0)
    assert (ended.code, ended.err) == (0, [])
    first = last_checkpoint(tmp_path / "run")
    assert first.step >= 3 * ROLLOUT
    assert load_policy(tmp_path / "run").step == first.step
    more = [*TRAIN, "--resume", "run", "--total-steps", str(first.step + ROLLOUT)]
    with running(tmp_path, more, name="alone") as job:
        ended = job.end(200.0)
    assert ended.code == 0, ended.err
    assert "saved by 2 ranks, continued by 1" in ended.out
    assert last_checkpoint(tmp_path / "run").step > first.step
