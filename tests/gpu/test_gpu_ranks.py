"""Two ranks on two GPUs, over NCCL: recording graphs that communicate, and learning what one process learns."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch
from interrupts import interruptible
from learners_over_ranks import Case, reduce_and_capture, train_alone_in, train_case
from rank_jobs import TRAIN, running, training
from row_worlds import NUM_AGENTS, OBS_DIM, ROLLOUT, train_rows
from runs import assert_same, last_checkpoint

from harness.stack.rank_processes import RankProcesses
from mapush.config import HappoConfig
from mapush.evaluation.load_policy import load_policy

pytestmark = [pytest.mark.gpu, pytest.mark.two_gpus]

CFG = HappoConfig(hidden_sizes=(16, 12), lr=3e-3, critic_lr=3e-3, ppo_epoch=3, critic_epoch=4)
SMALL_BATCHES = dataclasses.replace(CFG, actor_num_mini_batch=3, critic_num_mini_batch=2)
CASES = [Case(2, CFG), Case(3, SMALL_BATCHES), Case(2, dataclasses.replace(SMALL_BATCHES, share_param=True))]
TOLERANCE = 1e-4
"""Largest difference of a number between two ranks and one process after three updates on the GPU."""


@pytest.fixture(scope="module")
def job():
    """Two ranks, each with a GPU of its own."""
    job = RankProcesses(2, device="cuda")
    yield job
    job.close()


@pytest.fixture(scope="module")
def one():
    """One process with a GPU."""
    one = RankProcesses(1, device="cuda")
    yield one
    one.close()


def tensors_of(structure, name=""):
    """Yield the floating-point tensors of nested dicts and lists with their paths."""
    if isinstance(structure, dict):
        for key, value in structure.items():
            yield from tensors_of(value, f"{name}/{key}")
    elif isinstance(structure, (list, tuple)):
        for index, value in enumerate(structure):
            yield from tensors_of(value, f"{name}/{index}")
    elif isinstance(structure, torch.Tensor) and structure.is_floating_point():
        yield name, structure


def test_graph_is_recorded_right_after_an_all_reduce_a_hundred_times(job):
    """The watchdog of NCCL asks for events while a graph is recorded; neither may disturb the other."""
    expected = []
    for number in range(1, 101):
        expected += [8.0 * number, 8.0 * number + 4.0]  # twice the sum over two ranks, of the sum over two ranks
    rounded = pytest.approx(expected, rel=1e-6)  # the mean of a thousand equal numbers is not exactly one of them
    assert job.call(reduce_and_capture, 100) == [rounded, rounded]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_two_gpus_learn_what_one_does(job, one, index):
    """Weights, optimisers, value normaliser and metrics agree after three updates, most steps of which are replayed."""
    case = CASES[index]
    (alone,) = one.call(train_alone_in, case, 2)
    first, second = job.call(train_case, case)
    assert_same(first.agent, second.agent)
    assert first.metrics == second.metrics
    expected = dict(tensors_of(alone.agent))
    assert len(expected) > 20
    for name, tensor in tensors_of(first.agent):
        torch.testing.assert_close(tensor, expected[name], atol=TOLERANCE, rtol=TOLERANCE, msg=name)
    for of_rank, of_one in zip(first.metrics, alone.metrics):
        assert of_rank == pytest.approx(of_one, abs=1e-3, nan_ok=True)


def test_run_on_two_gpus_trains_saves_and_is_resumed(job, one, tmp_path):
    """The replicas are compared at the start, at each checkpoint and after the resume; the policy can be loaded."""
    settings = {"device": "cuda", "replica_check_every": 1}
    assert job.call(_train, tmp_path / "run", 4, False, settings) == ["", ""]
    assert job.call(_train, tmp_path / "run", 6, True, settings) == ["", ""]
    assert one.call(_train, tmp_path / "run", 8, True, settings) == [""]
    assert last_checkpoint(tmp_path / "run").step == 8 * ROLLOUT
    policy = load_policy(tmp_path / "run")
    assert policy.act(torch.zeros(4, NUM_AGENTS, OBS_DIM)).shape == (4, NUM_AGENTS, 3)


@pytest.mark.parametrize("stopped", [False, True])
def test_job_on_two_gpus_leaves_nccl_in_time(stopped, tmp_path):
    """It trains to the end, or until Ctrl-C, and no rank has to leave without closing its process groups."""
    words = training(tmp_path, iterations=400 if stopped else 6, more=["--device", "cuda"])
    with interruptible(), running(tmp_path, [*TRAIN, *words, "--gpus", "2"]) as job:
        if stopped:
            job.wait_for_rows(4)
            os.killpg(job.process.pid, signal.SIGINT)
        ended = job.end(60.0)
    assert ended.err == []
    assert ended.code == (130 if stopped else 0)
    assert last_checkpoint(tmp_path / "run").step > 0


def _train(ranks, folder, iterations, resume, settings):
    return train_rows(ranks, folder, iterations, resume, **settings)
