"""A rank's part of a run: as many envs as every other rank has, with starts and noise of its own."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import List, TypeVar

from mapush.config import RunConfig
from mapush.distributed.ranks import Ranks
from mapush.errors import ConfigError

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


def require_even_shares(config: RunConfig, size: int) -> None:
    """Refuse a run whose ranks would have different numbers of envs, or minibatches of different sizes.

    Args:
      config: of the complete run.
      size: number of ranks.

    Raises:
      ConfigError: with the nearest numbers that divide.
    """
    if size == 1:
        return
    if config.num_envs % size != 0:
        below = config.num_envs // size * size
        nearest = [str(number) for number in (below, below + size) if number > 0]
        raise ConfigError(
            f"{size} ranks cannot share the envs evenly",
            got=f"--num-envs {config.num_envs}",
            expected=f"a multiple of {size}",
            fix=f"--num-envs {' or '.join(nearest)}",
        )
    envs = config.num_envs // size
    samples = envs * config.num_steps
    for name in ("actor_num_mini_batch", "critic_num_mini_batch"):
        count = getattr(config.happo, name)
        flag = f"--happo.{name.replace('_', '-')}"
        if samples % count != 0:
            nearest = [f"{flag} {number}" for number in _nearest_divisors(samples, count)]
            raise ConfigError(
                "a rank cannot divide its samples evenly into minibatches",
                got=f"{flag} {count}",
                expected=f"a divisor of {samples} = {envs} envs of a rank x {config.num_steps} steps",
                fix=" or ".join(nearest),
            )


def _nearest_divisors(number: int, to: int) -> List[int]:
    """Return the largest divisor of a number below `to`, and the smallest above it if there is one."""
    divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
    below = [divisor for divisor in divisors if divisor < to]
    above = [divisor for divisor in divisors if divisor > to]
    return below[-1:] + above[:1]


def env_seed(seed: int, rank: int) -> int:
    """Return the seed of a rank's envs, from 0 to 2**31 - 1: the run's own for rank 0, an unrelated one for others."""
    if rank == 0:
        return seed
    digest = hashlib.sha256(f"{seed} {rank}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
