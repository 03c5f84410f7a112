"""The episodes that ended in a run, with their returns and what infos say of them."""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

SPEAKS_OF_AN_EPISODE = re.compile(r"^(episode|ep|return|length)([^a-z]|$)", re.IGNORECASE)
SPEAKS_OF_MORE = re.compile(r"total|cumul|mean|avg|average|sum|max|min|std|num|count|rate", re.IGNORECASE)
TOLERANCE = 1e-3  # relative; rewards are float32, and their sum depends on the order


class EndedEpisode(NamedTuple):
    """An episode that ended.

    Attributes:
      span: the episode.
      returns: the sum of the rewards of each agent, (A,).
      last_rewards: the rewards of the step that ended it, (A,).
      numbers: the numbers in agent 0's info, by path.
    """

    span: EpisodeSpan
    returns: np.ndarray
    last_rewards: np.ndarray
    numbers: Dict[str, float]


def ended_episodes(history: List[Seen]) -> List[EndedEpisode]:
    """Return the episodes that ended in a run, in order, with returns and infos."""
    totals = np.zeros_like(history[1].rewards, dtype=np.float64)
    spans: Dict[Tuple[int, int], EpisodeSpan] = {(span.end, span.env): span for span in episodes(history)}
    found = []
    for step, seen in enumerate(history[1:], start=1):
        totals += seen.rewards
        for env in map(int, np.flatnonzero(seen.ended)):
            numbers = {}
            for of_env, agent, info in leaves(seen.infos):
                if (of_env, agent) == (env, 0):
                    numbers = dict(numbers_in(info))
            found.append(EndedEpisode(spans[step, env], totals[env].copy(), seen.rewards[env], numbers))
            totals[env] = 0.0
    return found


def quantities(one: EndedEpisode) -> Dict[str, float]:
    """Return what an entry may be, by what it is called in a message."""
    return {
        "the return": float(one.returns[0]),
        "the return of all agents together": float(one.returns.sum()),
        "the length": float(one.span.length),
    }


def speaks_of_one_episode(path: str) -> bool:
    """Return whether the path of a number in infos speaks of one episode."""
    if SPEAKS_OF_MORE.search(path):
        return False
    return any(SPEAKS_OF_AN_EPISODE.match(name) for name in path.split("/"))
