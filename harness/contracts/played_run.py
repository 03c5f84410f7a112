"""The episodes that ended in a run, with what each of their steps showed: rewards, and numbers in infos."""

from __future__ import annotations

import collections
from typing import Callable, Counter, Dict, List, NamedTuple, Sequence, Set

import numpy as np

from harness.contracts.ended_episodes import EndedEpisode, ended_episodes
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

REWARD = "the reward"
Aggregate = Callable[[np.ndarray], float]
AGGREGATES: Dict[str, Aggregate] = {
    "sum": lambda series: float(series.sum()),
    "mean": lambda series: float(series.mean()),
    "minimum": lambda series: float(series.min()),
    "maximum": lambda series: float(series.max()),
}


class PlayedEpisode(NamedTuple):
    """An episode that ended, and what every step of it showed.

    Attributes:
      ended: the episode.
      steps: the reward of agent 0, and each number that agent 0's infos have in every step, (L,) by path.
      before: the same of the earlier episodes of its env, one array each, by path.
    """

    ended: EndedEpisode
    steps: Dict[str, np.ndarray]
    before: Dict[str, List[np.ndarray]]


class PlayedRun:
    """The episodes that ended in a run, E of them.

    Args:
      history: the run.

    Attributes:
      episodes: the episodes, in the order in which they ended.
      lengths: their number of steps, (E,) float64.
      returns: the sum of agent 0's rewards, (E,).
      first: which of them are the first of their env, (E,) bool.
      sources: the paths that every episode shows in each of its steps.
    """

    def __init__(self, history: List[Seen]) -> None:
        self._history = history
        self.episodes = _played_episodes(history)
        lengths, returns, first = [], [], []
        counts: Counter[str] = collections.Counter()
        for one in self.episodes:
            lengths.append(float(one.ended.span.length))
            returns.append(float(one.ended.returns[0]))
            first.append(one.ended.span.first)
            counts.update(one.steps.keys())
        self.lengths, self.returns, self.first = np.array(lengths), np.array(returns), np.array(first, bool)
        self.sources = [path for path, count in counts.items() if count == len(self.episodes)]

    def paths_of_ends(self) -> List[str]:
        """Return the paths of numbers that the infos of all ends have, and no others."""
        within: Set[str] = set()
        for seen in self._history[1:]:
            for env, numbers in enumerate(_numbers_by_env(seen)):
                if not seen.ended[env]:
                    within.update(numbers)
        counts: Counter[str] = collections.Counter()
        for one in self.episodes:
            counts.update(one.ended.numbers.keys())
        return [path for path, count in counts.items() if path not in within and count == len(self.episodes)]

    def values(self, path: str) -> np.ndarray:
        """Return a number of `paths_of_ends` at each end, (E,)."""
        return np.array([one.ended.numbers[path] for one in self.episodes])

    def own(self, source: str, aggregate: Aggregate) -> np.ndarray:
        """Return a number of `sources`, aggregated over the steps of each episode, (E,)."""
        return np.array([aggregate(one.steps[source]) for one in self.episodes])

    def so_far(self, source: str, aggregate: Aggregate) -> np.ndarray:
        """Return the same over all episodes of each episode's env, up to this one, (E,)."""
        values = []
        for one in self.episodes:
            values.append(aggregate(np.concatenate([*one.before.get(source, []), one.steps[source]])))
        return np.array(values)


def _played_episodes(history: List[Seen]) -> List[PlayedEpisode]:
    running: Dict[int, List[Dict[str, float]]] = collections.defaultdict(list)
    before: Dict[int, Dict[str, List[np.ndarray]]] = collections.defaultdict(dict)
    ended = iter(ended_episodes(history))
    found = []
    for seen in history[1:]:
        for env, numbers in enumerate(_numbers_by_env(seen)):
            running[env].append(numbers)
        for env in map(int, np.flatnonzero(seen.ended)):
            steps = _series(running.pop(env))
            found.append(PlayedEpisode(next(ended), steps, dict(before[env])))
            for path, series in steps.items():
                before[env][path] = [*before[env].get(path, []), series]
    return found


def _numbers_by_env(seen: Seen) -> List[Dict[str, float]]:
    """Return the reward and the numbers in the infos of agent 0, for each env."""
    found: List[Dict[str, float]] = []
    for reward in seen.rewards[:, 0]:
        found.append({REWARD: float(reward)})
    for env, agent, info in leaves(seen.infos):
        if agent == 0 and env < len(found):
            found[env].update(numbers_in(info))
    return found


def _series(steps: Sequence[Dict[str, float]]) -> Dict[str, np.ndarray]:
    """Return the numbers that every step has, (L,) by path."""
    series: Dict[str, List[float]] = collections.defaultdict(list)
    for numbers in steps:
        for path, value in numbers.items():
            series[path].append(value)
    return {path: np.array(values) for path, values in series.items() if len(values) == len(steps)}
