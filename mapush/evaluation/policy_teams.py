"""A policy for any object and team, as one for the object and the team that it shall be used for."""

from __future__ import annotations

import dataclasses
from typing import Dict, Optional

from mapush.config import MixedRunConfig, PushRunConfig, team_size, with_one_object
from mapush.objects import OBJECTS
from mapush.run.checkpoint import Checkpoint


def for_team(checkpoint: Checkpoint, task_name: str, num_agents: Optional[int]) -> Checkpoint:
    """Return a policy for the object of a task and a team of this size; if it is for one team only, as it is.

    Of a policy for one team, only the configuration gets the size, so that whoever checks the sizes refuses it.

    Args:
      checkpoint: of any task.
      task_name: the task that the policy shall be used for.
      num_agents: size of the team; None is the size that it was trained for, or that of the object.

    Raises:
      ConfigError: the policy has no seats for so many robots.
    """
    config = checkpoint.config
    if isinstance(config, MixedRunConfig) and task_name in OBJECTS:
        config = with_one_object(config, task_name)
    if isinstance(config, MixedRunConfig) and num_agents is not None:
        return _resized(checkpoint, team_size(with_one_object(config, config.task.objects[0], num_agents).task))
    if not isinstance(config, PushRunConfig):
        return checkpoint
    if num_agents is not None:
        config = dataclasses.replace(config, task=dataclasses.replace(config.task, num_agents=num_agents))
    checkpoint = dataclasses.replace(checkpoint, config=config)
    if config.task.view == "any_team":
        return _resized(checkpoint, team_size(config.task))
    return checkpoint


def _resized(checkpoint: Checkpoint, num_agents: int) -> Checkpoint:
    """Return a checkpoint whose one actor acts for this number of robots."""
    sizes: Dict[str, int] = dict(checkpoint.sizes, num_agents=num_agents)
    agent = dict(checkpoint.agent, actors=[checkpoint.agent["actors"][0]] * num_agents)
    return dataclasses.replace(checkpoint, sizes=sizes, agent=agent)
