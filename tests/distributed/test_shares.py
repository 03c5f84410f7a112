"""Contracts of how ranks share a run: envs, seeds, minibatches, and the numbers of the log."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from row_worlds import config_of

from mapush.config import PushRunConfig
from mapush.distributed.job_metrics import job_report
from mapush.distributed.ranks import ALONE, Ranks
from mapush.distributed.shares import env_seed, require_even_shares, share_of
from mapush.env.metrics import EpisodeMetrics
from mapush.errors import ConfigError
from mapush.happo.update import own_order
from mapush.train import train

pytestmark = pytest.mark.distributed


def test_share_has_its_part_of_the_envs_and_a_seed_of_its_own():
    """The parts make up the run; rank 0 keeps the seed, and nothing else differs."""
    config = PushRunConfig(num_envs=12, seed=7)
    shares = [share_of(config, Ranks(rank, 3)) for rank in range(3)]
    assert sum(share.num_envs for share in shares) == 12
    assert shares[0].seed == 7
    assert len({share.seed for share in shares}) == 3
    for share in shares:
        assert dataclasses.replace(share, num_envs=12, seed=7) == config
    assert share_of(config, ALONE) is config


def test_seeds_of_envs_differ_between_ranks_and_runs():
    """No rank of one run has the envs of a rank of a run with a neighbouring seed, as seed + rank would."""
    seeds = [env_seed(seed, rank) for seed in range(50) for rank in range(16)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**31


@pytest.mark.parametrize(
    "changes, size, got, fix",
    [
        (dict(num_envs=12), 5, "--num-envs 12", "--num-envs 10 or 15"),
        (dict(num_envs=2), 3, "--num-envs 2", "--num-envs 3"),
        (
            dict(actor_num_mini_batch=5),
            2,
            "--happo.actor-num-mini-batch 5",
            "actor-num-mini-batch 6",
        ),
        (
            dict(critic_num_mini_batch=7),
            3,
            "--happo.critic-num-mini-batch 7",
            "critic-num-mini-batch 8",
        ),
    ],
)
def test_settings_that_do_not_divide_are_refused_with_the_nearest_that_do(changes, size, got, fix, tmp_path):
    """Nothing is made, and nothing is left."""
    config = config_of(8)
    if "num_envs" in changes:
        config = dataclasses.replace(config, **changes)
    else:
        config = dataclasses.replace(config, happo=dataclasses.replace(config.happo, **changes))
    with pytest.raises(ConfigError) as caught:
        train(config, tmp_path / "run", ranks=Ranks(0, size))
    assert caught.value.got == got
    assert fix in str(caught.value.fix)
    assert not (tmp_path / "run").exists()
    require_even_shares(config, 1)


def test_own_order_visits_the_rows_of_a_rank_as_the_permutation_of_all_does():
    """Each rank's order is that of its rows in the common permutation; one process takes the permutation itself."""
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    for rank in range(3):
        expected = [row - 5 * rank for row in order.tolist() if row // 5 == rank]
        assert own_order(order, Ranks(rank, 3)).tolist() == expected
    assert torch.equal(own_order(order, ALONE), order)


class _RanksOfOneProcess(Ranks):
    """Rank 0 of two; `gather` also returns what rank 1 would have sent."""

    def __init__(self):
        super().__init__(0, 2)
        self.sent = []

    def gather(self, value):
        """Return the values of this call and of the one before."""
        self.sent.insert(0, value)
        return self.sent


@pytest.mark.parametrize("episodes", [0, 3, 14, 50])
def test_metrics_of_ranks_are_those_of_one_process(episodes):
    """Means are taken over as many recent episodes as in one process, each with the same weight; counts are added."""
    capacity = 20
    one = EpisodeMetrics(("return", "success"), 4, torch.device("cpu"), capacity)
    parts = [EpisodeMetrics(("return", "success"), 2, torch.device("cpu"), capacity) for _ in range(2)]
    random = torch.Generator().manual_seed(episodes)
    counted = 0
    while counted < episodes:
        done = torch.tensor([counted < 9, True, True, True])  # at first, rank 0 ends as many as rank 1
        outcome = {name: torch.rand(4, generator=random) for name in ("return", "success")}
        counted += int(done.sum())
        one.add_episodes(done, outcome)
        for part, rows in zip(parts, (slice(0, 2), slice(2, 4))):
            part.add_episodes(done[rows], {name: value[rows] for name, value in outcome.items()})
    cost = torch.rand(4, generator=random)
    one.add_step({"cost": cost})
    parts[0].add_step({"cost": cost[:2]})
    parts[1].add_step({"cost": cost[2:]})
    ranks = _RanksOfOneProcess()
    job_report(ranks, parts[1], {"fullest": 0.75})
    merged, health = job_report(ranks, parts[0], {"fullest": 0.5})
    rss = merged.pop("rss_mib")
    assert rss > 50.0
    assert health == {"fullest": 0.75}
    expected = one.summary()
    if counted > capacity:  # one process keeps the last of all, two keep the last of each
        expected["episode/return"] = merged["episode/return"]
        expected["episode/success"] = merged["episode/success"]
        rows = [part._episodes[_last(part, 10)] for part in parts]
        assert merged["episode/return"] == pytest.approx(float(torch.cat(rows)[:, 0].double().mean()))
    assert merged == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    "rates, expected", [((0.25, 0.75), 0.5), ((math.nan, 0.75), 0.75), ((math.nan, math.nan), math.nan)]
)
def test_success_of_a_group_is_the_mean_over_the_ranks_that_have_one(rates, expected):
    """A rank in which no episode of the group has ended does not make the job's rate unknown."""
    ranks = _RanksOfOneProcess()
    for rate in rates:
        metrics = EpisodeMetrics(("success",), 2, torch.device("cpu"))
        summary = metrics.summary
        metrics.summary = lambda last=None, rate=rate, summary=summary: {**summary(last), "success/cuboid_4": rate}
        merged, _ = job_report(ranks, metrics, {})
    assert merged["success/cuboid_4"] == pytest.approx(expected, nan_ok=True)


def _last(metrics, count):
    newest = int(metrics._count)
    return [(newest - 1 - age) % metrics.capacity for age in range(count)]
