"""Contracts of several ranks: what must be equal on all, what must differ, and who writes."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any, Callable, Dict, Iterator, List, Optional
from unittest import mock

import torch

from harness.findings import PLANTED_FAULT, ContractError
from harness.stack import rank_evidence as evidence
from harness.stack.rank_processes import RankProcesses
from harness.stack.rank_world import ACTION_DIM, ENVS_OF_A_RANK, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM
from mapush import assembly
from mapush.distributed.ranks import Ranks

TOLERANCE = 1e-4
"""Largest difference of what several ranks and one process learn: both compute in float32, in another order."""
MAX_BLOCKS_PER_ROW = 30
"""Blocks of Python's memory that a rank may keep for each row of the log, which has some 30 names and numbers.

Without a bug, caches that fill for the first time took up to 12.
"""


@dataclasses.dataclass
class RanksUnderTest:
    """A job of several ranks on this machine, over gloo. Its processes start when they are first needed.

    Attributes:
      size: number of ranks.
      seed: seed for weights, actions and initial states.
    """

    size: int = 2
    seed: int = 0
    _job: Optional[RankProcesses] = None

    def call(self, function: Callable[..., Any], *args: Any) -> List[Any]:
        """Return what a function of `rank_evidence` returns on each rank.

        Raises:
          MapushError: it failed on a rank, or the ranks wait for each other for ever.
        """
        if self._job is None or self._job.closed:
            self._job = RankProcesses(self.size, os.environ.get(PLANTED_FAULT, ""))
        return self._job.call(function, *args)

    def close(self) -> None:
        """End the processes."""
        if self._job is not None:
            self._job.close()

    def pairs(self) -> Iterator[Any]:
        """Yield each two ranks."""
        for first in range(self.size):
            for second in range(first + 1, self.size):
                yield first, second


def rank_replicas(job: RanksUnderTest) -> None:
    """Weights, optimisers, value normaliser, rates and generators of all ranks stay equal, bit for bit."""
    of_ranks = job.call(evidence.replicas, job.seed)
    for rank in range(1, job.size):
        for iteration, (expected, got) in enumerate(zip(of_ranks[0], of_ranks[rank])):
            moment = f"after iteration {iteration}"
            if iteration == 0:
                moment = "at the start"
            _require_same(expected, got, f"the replicas differ {moment}", f"ranks 0 and {rank}")


def rank_replica_check(job: RanksUnderTest) -> None:
    """A replica that differs, in one bit or in the order of two numbers, ends the run on all ranks with its name."""
    for change in evidence.CHANGES:
        for rank, message in enumerate(job.call(evidence.check_of_changed_replica, change, job.seed)):
            if not message:
                raise ContractError(
                    f"the replica check does not notice {change}",
                    where=f"rank {rank}",
                    got="no error",
                    expected="a ReplicaError that names the tensor",
                )


def rank_statistics(job: RanksUnderTest) -> None:
    """From the same samples, ranks learn what one process does: normalisations, losses, gradients, value normaliser.

    Agents are inactive and rewards are large in different numbers on each rank. So a mean of the ranks' means would
    differ from the mean over all samples.
    """
    expected_metrics, expected = evidence.alone(job.size, job.seed)
    for rank, (metrics, got) in enumerate(job.call(evidence.statistics, job.size, job.seed)):
        for name, tensor in expected.items():  # first the value normaliser, on which the critic depends
            if not torch.allclose(got[name], tensor, rtol=TOLERANCE, atol=TOLERANCE):
                _fail_statistics(job.size, rank, name, got[name], tensor)
        for of_rank, of_one in zip(metrics, expected_metrics):
            for name, number in of_one.items():
                got_number, tensor = torch.tensor(of_rank[name]), torch.tensor(number)
                if not torch.allclose(got_number, tensor, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                    _fail_statistics(job.size, rank, name, got_number, tensor)


def _fail_statistics(size: int, rank: int, name: str, got: torch.Tensor, expected: torch.Tensor) -> None:
    worst = (got - expected).abs().argmax()
    raise ContractError(
        f"{size} ranks learn something else than one process: {name}",
        where=f"rank {rank}",
        got=f"{float(got.flatten()[worst]):.6g}",
        expected=f"{float(expected.flatten()[worst]):.6g}, from the same samples",
        cause="a mean, a sum or a gradient is taken over the samples of one rank only",
        fix="add it up over the ranks with Ranks.sum_",
    )


def rank_order(job: RanksUnderTest) -> None:
    """All ranks update the agents in the same order, which differs from update to update."""
    first, *others = job.call(evidence.orders, job.seed)
    for rank, order in enumerate(others, start=1):
        if order != first:
            raise ContractError(
                "the ranks update the agents in different orders",
                where=f"ranks 0 and {rank}, three updates of four agents",
                got=f"{order} on rank {rank}",
                expected=f"{first}, as on rank 0",
                cause="gradients of different agents are added up, and the factor is that of other policies",
                fix="draw the order from the generator that is the same on all ranks",
            )
    if first[0] == first[1] == first[2]:
        raise ContractError("the order of the agents is always the same", got=str(first[0]))


def rank_streams(job: RanksUnderTest) -> None:
    """Ranks draw different starts, noise and minibatches, from generators of the learner that stay equal."""
    of_ranks = job.call(evidence.drawn, job.seed)
    for first, second in job.pairs():
        one, other = of_ranks[first], of_ranks[second]
        where = f"ranks {first} and {second}"
        if not torch.equal(one.generator, other.generator):
            raise ContractError("the learners' generators differ", where=where, expected="the same numbers drawn")
        if _any_row_equal(one.starts, other.starts):
            fix = "seed the envs of each rank by itself: mapush.distributed.shares.env_seed"
            raise ContractError("two ranks begin in the same states", where=where, fix=fix)
        if _any_row_equal(one.noise, other.noise):
            fix = "draw the noise of all ranks, and take the rank's own rows"
            raise ContractError("two ranks draw the same noise", where=where, fix=fix)
        if one.order == other.order:
            raise ContractError("two ranks divide their samples alike", where=where, got=str(one.order))
    for rank, one in enumerate(of_ranks):
        if sorted(one.order) != list(range(len(one.order))):
            raise ContractError("minibatches leave samples out", where=f"rank {rank}", got=str(one.order))


def _any_row_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether a row of (E, ...) is almost equal to the same row of a second tensor."""
    difference = (one - other).abs().flatten(1).amax(dim=1)
    return bool((difference < TOLERANCE).any())


def rank_collectives(job: RanksUnderTest) -> None:
    """Every rank adds up the same tensors in the same order, whatever its samples are, so that none waits for ever."""
    sums = []
    for rank in range(job.size):
        ranks = evidence.SilentRanks(rank, job.size)
        counts = {"actor_num_mini_batch": 5, "critic_num_mini_batch": 2}
        learner = evidence.happo(ranks, num_agents=2, seed=job.seed, **counts)
        rows = ranks.rows(ENVS_OF_A_RANK)
        learner.update(evidence.unequal_rollout(learner, job.size * ENVS_OF_A_RANK, rows, job.seed))
        sums.append(ranks.sums)
    for rank in range(1, job.size):
        if sums[rank] != sums[0]:
            raise ContractError(
                "the ranks add up different tensors",
                where=f"ranks 0 and {rank}, one update",
                got=f"{len(sums[rank])} sums on rank {rank}",
                expected=f"the {len(sums[0])} sums of rank 0, of the same sizes",
                cause="the number of minibatches depends on the samples; the collectives fall out of step",
                fix="take it from the configuration",
            )


def rank_devices(job: RanksUnderTest) -> None:
    """The learner of each rank computes on the rank's own device, although the configuration names the same for all."""
    asked: List[str] = []

    def device_of(name: str) -> torch.device:
        asked.append(name)
        return torch.device("cpu")

    sizes = {
        "num_agents": NUM_AGENTS,
        "obs_dim": OBS_DIM,
        "share_obs_dim": SHARE_OBS_DIM,
        "action_dim": ACTION_DIM,
    }
    own = [f"cuda:{rank}" for rank in range(job.size)]
    with mock.patch.object(assembly, "device_of", device_of):
        for rank, device in enumerate(own):
            ranks = Ranks(rank, job.size, device)
            config = dataclasses.replace(evidence.config_of(ranks, job.seed), device="cuda")
            assembly.make_agent(config, sizes, ranks=ranks)
    if asked != own:
        raise ContractError(
            "two ranks share a device",
            where="the learner's device, with --device cuda",
            got=", ".join(asked),
            expected=", ".join(own),
            cause='a bare "cuda" is GPU 0 in every process',
            fix="take the device from Ranks.device",
        )


def rank_writes(job: RanksUnderTest) -> None:
    """Rank 0 alone writes to the run's folder: checkpoints, log, configuration."""
    with tempfile.TemporaryDirectory() as folder:
        first, *others = job.call(evidence.written, folder, job.seed)
    for rank, paths in enumerate(others, start=1):
        if paths:
            raise ContractError(
                "a rank other than 0 writes",
                where=f"rank {rank}",
                got=", ".join(sorted(set(paths))[:4]),
                expected="nothing",
                cause="files that two processes write at a time are lost or torn",
                fix="write only where Ranks.is_main",
            )
    if not any("checkpoints" in path for path in first):
        raise ContractError("rank 0 writes no checkpoint", got=f"{len(first)} other files")


def rank_memory(job: RanksUnderTest) -> None:
    """A rank that writes nothing keeps nothing of the log: its memory does not grow with the number of rows."""
    rows = evidence.LOGGED_ITERATIONS - evidence.COUNTED_FROM
    with tempfile.TemporaryDirectory() as folder:
        of_ranks = job.call(evidence.blocks_kept, folder, job.seed)
    for rank, blocks in enumerate(of_ranks[1:], start=1):
        if blocks > MAX_BLOCKS_PER_ROW * rows:
            raise ContractError(
                "a rank that writes nothing grows with the log",
                where=f"rank {rank}, {rows} rows",
                got=f"{blocks} more blocks of memory",
                expected=f"at most {MAX_BLOCKS_PER_ROW * rows}",
                cause="rows are collected on every rank and emptied on rank 0 only",
                fix="send them to rank 0 and forget them",
            )


def rank_checkpoint(job: RanksUnderTest) -> None:
    """A checkpoint holds what each rank needs: resumed on as many ranks, each continues bit for bit.

    The job saves in the middle of a rollout. A second one, which has trained already, is restored from the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        of_ranks = job.call(evidence.resumed, folder, job.seed)
    for rank, found in enumerate(of_ranks):
        _require_same(found.saved, found.restored, "a resumed job is not what was saved", f"rank {rank}")
    for rank, found in enumerate(of_ranks):
        _require_same(found.expected, found.got, "a resumed job diverges", f"rank {rank}")


def _require_same(expected: Dict[str, Any], got: Dict[str, Any], what: str, where: str) -> None:
    """Require that all values, by path, are the same bits."""
    differing = [path for path in expected if got.get(path) != expected[path]]
    if differing:
        raise ContractError(
            f"{what}: {differing[0]}",
            where=where,
            got=f"{len(differing)} of {len(expected)} values differ: {', '.join(differing[:4])}",
            expected="the same bits",
        )
