"""Where this process is among the ranks of a job, as torchrun says in environment variables."""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Optional

from mapush.errors import ConfigError

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
NAMES = (*NUMBERS, "MASTER_ADDR")


class Place(NamedTuple):
    """The place of this process in a job.

    Attributes:
      rank: its number among all processes of the job.
      size: how many processes the job has.
      local_rank: its number among those of this node.
      address: host of the store through which the ranks find each other.
      port: port of that store.
      has_agent: torchrun's agent has started this process.
      agent_hosts_store: that agent keeps the store; otherwise rank 0 does.
      run_id: name of the job and the attempt, which keeps those on one store apart.
    """

    rank: int
    size: int
    local_rank: int
    address: str
    port: int
    has_agent: bool
    agent_hosts_store: bool
    run_id: str

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"

    @property
    def hosts_store(self) -> bool:
        """Whether this process keeps the store."""
        return self.rank == 0 and not self.agent_hosts_store


def place_of(environment: Mapping[str, str]) -> Optional[Place]:
    """Return the place of this process; None if it is the only one.

    Args:
      environment: environment variables.

    Raises:
      ConfigError: WORLD_SIZE is set, but not as torchrun does it.
    """
    size = environment.get("WORLD_SIZE", "1")
    if size == "1":
        return None
    missing = [name for name in NAMES if name not in environment]
    if missing:
        raise _not_by_torchrun(f"WORLD_SIZE={size} without {', '.join(missing)}")
    wrong: List[str] = []
    for name in NUMBERS:
        if not environment[name].isdecimal():
            wrong.append(f"{name}={environment[name]}")
    if wrong:
        raise _not_by_torchrun(", ".join(wrong))
    rank, ranks = int(environment["RANK"]), int(size)
    if rank >= ranks:
        raise _not_by_torchrun(f"RANK={rank} with WORLD_SIZE={ranks}")
    return Place(
        rank=rank,
        size=ranks,
        local_rank=int(environment["LOCAL_RANK"]),
        address=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
        has_agent="TORCHELASTIC_RUN_ID" in environment,
        agent_hosts_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        run_id=f"{environment.get('TORCHELASTIC_RUN_ID', 'job')}/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}",
    )


def _not_by_torchrun(got: str) -> ConfigError:
    return ConfigError(
        "WORLD_SIZE is set, but this process was not started by torchrun",
        got=got,
        cause="the variable is left over in this shell or container",
        fix="unset WORLD_SIZE; for several ranks use --gpus N or torchrun, see docs/several-gpus.md",
    )
