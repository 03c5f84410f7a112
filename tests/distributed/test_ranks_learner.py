"""Contracts of the learner over ranks: N ranks with E envs each learn what one process with N x E envs learns."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import pytest
import torch
from learners_over_ranks import Case, train_alone, train_case
from runs import assert_same

from mapush.config import HappoConfig

pytestmark = pytest.mark.distributed

TOLERANCE = 1e-5
CFG = HappoConfig(hidden_sizes=(16, 12), lr=3e-3, critic_lr=3e-3, ppo_epoch=2, critic_epoch=3)


def case_of(num_agents, share_param, minibatches, **more):
    """Return a case with these settings of the learner."""
    counts = dict(actor_num_mini_batch=minibatches, critic_num_mini_batch=minibatches)
    return Case(num_agents, dataclasses.replace(CFG, share_param=share_param, **counts, **more))


CASES = [case_of(*settings) for settings in itertools.product((2, 3), (False, True), (1, 3))]
CASES += [
    Case(2, CFG, inactive=False),
    case_of(2, False, 1, use_valuenorm=False, use_policy_active_masks=False),
    case_of(3, False, 3, action_aggregation="mean", use_clipped_value_loss=False, use_linear_lr_decay=True),
]
trained_alone = functools.lru_cache(maxsize=None)(train_alone)


def named_tensors(structure, name=""):
    """Yield every tensor of nested dicts and lists with its path."""
    parts = ()
    if isinstance(structure, dict):
        parts = structure.items()
    elif isinstance(structure, (list, tuple)):
        parts = enumerate(structure)
    for key, value in parts:
        yield from named_tensors(value, f"{name}/{key}")
    if isinstance(structure, torch.Tensor):
        yield name, structure


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("index", range(len(CASES)))
def test_ranks_learn_what_one_process_does(jobs, size, index):
    """Actions, parameters, optimisers and value normaliser agree after three iterations; so do all metrics.

    Agents are inactive in different numbers on each rank, one of them in all samples of rank 0. So a mean of the
    ranks' means would differ from the mean over all samples.
    """
    case = CASES[index]
    one = trained_alone(case, size)
    ranks = jobs.of(size).call(train_case, case)
    actions = torch.cat([trained.actions for trained in ranks], dim=1)
    torch.testing.assert_close(actions, one.actions, atol=TOLERANCE, rtol=0.0)
    expected = dict(named_tensors(one.agent))
    assert len(expected) > 20
    for name, tensor in named_tensors(ranks[0].agent):
        torch.testing.assert_close(tensor, expected[name], atol=TOLERANCE, rtol=0.0, msg=name)
    for of_rank, of_one in zip(ranks[0].metrics, one.metrics):
        assert of_rank == pytest.approx(of_one, abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("size", [2, 3])
def test_replicas_stay_equal_bit_for_bit(jobs, size):
    """Weights, optimisers, value normaliser, rates and generator are the same on every rank, as are all metrics."""
    first, *others = jobs.of(size).call(train_case, CASES[5])
    for other in others:
        assert_same(first.agent, other.agent)
        assert first.metrics == other.metrics
        assert not torch.equal(first.actions, other.actions)
