"""The groups of a mixed run: for each object and team size, a part of the envs with a configuration of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import Any, Dict, List, Optional

from mapush.config.run_config import MixedRunConfig, PushRunConfig, RunConfig
from mapush.config.task_config import TaskConfig
from mapush.errors import ConfigError
from mapush.objects import OBJECTS

LARGE_REACH = 1.0  # an object that reaches farther has rewards of its own [m]


def groups_of(config: MixedRunConfig) -> List[PushRunConfig]:
    """Return the configuration of each group of envs, in order of the objects, then of the team sizes.

    Raises:
      ConfigError: the envs cannot be shared evenly; with the nearest numbers that can.
    """
    task = config.task
    kinds = list(itertools.product(task.objects, task.team_sizes))
    require_even_groups(config.num_envs, len(kinds))
    groups: List[PushRunConfig] = []
    for index, (name, num_agents) in enumerate(kinds):
        group = with_one_object(config, name, num_agents)
        share, seed = config.num_envs // len(kinds), group_seed(config.seed, index)
        groups.append(dataclasses.replace(group, num_envs=share, seed=seed))
    return groups


def with_one_object(config: MixedRunConfig, object_name: str, num_agents: Optional[int] = None) -> PushRunConfig:
    """Return the configuration of a run in which the same policy pushes one object in teams of one size.

    Args:
      config: the mixed run.
      object_name: what is pushed; it may be one that is not in the mix.
      num_agents: size of the team; None is the object's own.
    """
    reward = config.task.reward
    if OBJECTS[object_name].reach > LARGE_REACH:
        reward = config.task.large_object_reward
    task = TaskConfig(
        object=object_name,
        num_agents=num_agents,
        view="any_team",
        seats=config.task.seats,
        steps_per_decision=config.task.steps_per_decision,
        reward=reward,
    )
    values: Dict[str, Any] = {}
    for field in dataclasses.fields(RunConfig):
        values[field.name] = getattr(config, field.name)
    values["task_name"] = object_name
    return PushRunConfig(**values, task=task)


def require_even_groups(num_envs: int, groups: int) -> None:
    """Refuse a number of envs that is not a multiple of the number of groups.

    Raises:
      ConfigError: with the nearest numbers that are.
    """
    if num_envs % groups == 0:
        return
    below = num_envs // groups * groups
    nearest = [str(number) for number in (below, below + groups) if number > 0]
    raise ConfigError(
        "the groups of envs would have different sizes",
        got=f"--num-envs {num_envs}",
        expected=f"a multiple of {groups}, the number of objects times team sizes",
        fix=f"--num-envs {' or '.join(nearest)}",
    )


def group_seed(seed: int, index: int) -> int:
    """Return the seed of a group's envs, from 0 to 2**31 - 1, unrelated to those of other groups and runs."""
    digest = hashlib.sha256(f"{seed} group {index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
