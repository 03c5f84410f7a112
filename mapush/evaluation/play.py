"""Play the episodes of an evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from mapush.run.shown_progress import ShownProgress, SilentProgress

if TYPE_CHECKING:
    from mapush.env.metrics import FirstEpisodes
    from mapush.env.vec_env import Team, VecEnv


def first_episodes(
    env: VecEnv, agent: Team, episodes: Optional[int] = None, progress: Optional[SilentProgress] = None
) -> FirstEpisodes:
    """Play until every env has ended its share of the episodes, with deterministic actions; return these.

    Args:
      env: the environment.
      agent: chooses the actions.
      episodes: number of episodes; by default one of each env.
      progress: gets the number of ended episodes and the success rate so far after every decision.
    """
    from mapush.env.metrics import FirstEpisodes

    progress = progress or SilentProgress()
    decisions = 0
    observation = env.reset()
    first = FirstEpisodes(env.num_envs, episodes)
    while not first.complete:
        actions = agent.act_deterministic(observation.obs.to(agent.device))
        transition = env.step(actions.to(env.device))
        first.add(transition.done, transition.outcome)
        observation = transition.observation
        decisions += 1
        if progress.due:
            progress.update(first.ended, _so_far(first, decisions), total=first.episodes)
    env.check()
    return first


def label_of(path: Optional[Path], number: int, count: int) -> str:
    """Return what the progress of an evaluation calls a policy.

    Args:
      path: its checkpoint; None for untrained weights.
      number: counted from 1.
      count: number of policies that are evaluated.
    """
    name = "untrained weights"
    if path is not None:
        name = path.name
    if count == 1:
        return name
    return f"checkpoint {number} of {count}, {name}"


def progress_for(label: str) -> SilentProgress:
    """Return a progress that is shown; one that is silent without a label."""
    if not label:
        return SilentProgress()
    return ShownProgress()


def _so_far(first: FirstEpisodes, decisions: int) -> str:
    """Return the success rate of the episodes that have ended; before there are any, how long the first ones are."""
    rate = first.mean_so_far("success")
    if math.isnan(rate):
        return f"{decisions:,} decisions"
    return f"success {rate:.3f}"
