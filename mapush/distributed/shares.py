"""A rank's part of a run: as many envs as every other rank has, with starts and noise of its own."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TypeVar

from mapush.config import RunConfig
from mapush.distributed.ranks import Ranks

Config = TypeVar("Config", bound=RunConfig)


def share_of(config: Config, ranks: Ranks) -> Config:
    """Return the configuration from which a rank makes its envs: its part of them, and a seed of its own.

    Rank 0 keeps the seed, so that one rank makes what a run without ranks does.

    Args:
      config: of the complete run; `num_envs` must be a multiple of the number of ranks.
      ranks: this process among the others.
    """
    if ranks.size == 1:
        return config
    return dataclasses.replace(config, num_envs=config.num_envs // ranks.size, seed=env_seed(config.seed, ranks.rank))


def env_seed(seed: int, rank: int) -> int:
    """Return the seed of a rank's envs, from 0 to 2**31 - 1: the run's own for rank 0, an unrelated one for others."""
    if rank == 0:
        return seed
    digest = hashlib.sha256(f"{seed} {rank}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
