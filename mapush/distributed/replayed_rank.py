"""One rank of a job that has failed, repeated by one process: it draws what it drew, and can add up nothing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mapush.distributed.ranks import ALONE, Ranks
from mapush.errors import MapushError
from mapush.run.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

_RANK = "rank"  # in the `run` of a checkpoint of one rank: its number, and the number of ranks


class ReplayedRank(Ranks):
    """A rank without the others. Its envs and actions are as in the job; an update is impossible."""

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Refuse: the samples of the other ranks are not here; raise MapushError."""
        raise MapushError(
            "the update of several ranks cannot be repeated by one of them",
            where=f"rank {self.rank} of {self.size}",
            cause="the rollout did not fail this time; the numbers of the other ranks are missing",
            fix="continue the job from its last checkpoint with --resume, on as many ranks",
        )


def with_rank(saved: Checkpoint, ranks: Ranks) -> Checkpoint:
    """Return the state of a rank with a note of which rank it is."""
    if ranks.size == 1:
        return saved
    return dataclasses.replace(saved, run=dict(saved.run, **{_RANK: [ranks.rank, ranks.size]}))


def rank_of(saved: Checkpoint) -> Ranks:
    """Return the rank to repeat, from what `with_rank` returned."""
    if _RANK not in saved.run:
        return ALONE
    rank, size = saved.run[_RANK]
    return ReplayedRank(rank, size)
