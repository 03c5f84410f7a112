"""What a run of many steps says about its episodes: where they ended, and how far a new start lies from an old end."""

from __future__ import annotations

import collections
import dataclasses
from typing import Dict, List, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest, close_quietly, drive
from harness.interface.drivers import ActionDriver
from harness.interface.player import Seen

RESETS = 4  # in mid-episode, to learn where episodes start
LATEST = 20  # ends that are looked at: what goes wrong from a later step on shows in the latest ones
FAR = 3.0  # times a usual large change, from which a new start can be told from a step
NEAR = 1.5  # times a usual large change, up to which an observation follows from the one before


@dataclasses.dataclass(frozen=True)
class EpisodeSpan:
    """One that ended.

    Attributes:
      env: of which env.
      end: index of the step that ended it, in the run.
      length: [steps].
      truncated: whether `bad_transition` was set.
      first: whether it is the first one of its env, which may have been started in the middle.
    """

    env: int
    end: int
    length: int
    truncated: bool
    first: bool


def episodes(history: List[Seen]) -> List[EpisodeSpan]:
    """Return the episodes that ended in a run, in order."""
    started: Dict[int, int] = {}
    found = []
    for step, seen in enumerate(history[1:], start=1):
        for env in map(int, np.flatnonzero(seen.ended)):
            length = step - started.get(env, 0)
            found.append(EpisodeSpan(env, step, length, bool(seen.truncated[env].all()), env not in started))
            started[env] = step
    return found


def time_limit(ended: List[EpisodeSpan]) -> Optional[int]:
    """Return the length at which episodes pile up because a time limit ends them, or None."""
    flagged = flagged_lengths(ended)
    if flagged:
        length, count = collections.Counter(flagged).most_common(1)[0]
        return length if count > 0.5 * len(flagged) else None
    longest = max((one.length for one in ended), default=0)
    at_longest = {one.env for one in ended if one.length == longest}
    count = sum(one.length == longest for one in ended)
    piled_up = count >= 4 and len(at_longest) >= 2 and longest >= 3
    return longest if piled_up and count > 3 * sum(one.length == longest - 1 for one in ended) else None


def reached_horizon(ended: List[EpisodeSpan], stated: Optional[int]) -> Optional[int]:
    """Return the time limit that the env states, if several episodes were as long and none was longer."""
    lengths = [one.length for one in ended if not one.first]
    return stated if lengths and max(lengths) == stated and lengths.count(stated) >= 2 else None


def flagged_lengths(ended: List[EpisodeSpan]) -> List[int]:
    """Return the lengths of the episodes that count as ended by a time limit, but for the first of each env."""
    return [one.length for one in ended if one.truncated and not one.first]


def resets(subject: EnvUnderTest, count: int = RESETS) -> List[Seen]:
    """Return what resets in mid-episode give."""
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed)
    found = [player.seen[0]]
    for _ in range(count - 1):
        drive(player, driver, 3)
        found.append(player.reset())
    close_quietly(player.env)
    return found


@dataclasses.dataclass(frozen=True)
class Jumps:
    """How much what is seen changes where episodes end, in units of a usual large change within an episode.

    Attributes:
      to_start: usual distance of a new start from the end of an episode.
      before: change in the step before each end, (ends,).
      at: change in the step that ends the episode, (ends,).
      after: change in the step after it, (ends,).
    """

    to_start: float
    before: np.ndarray
    at: np.ndarray
    after: np.ndarray

    @classmethod
    def of(cls, subject: EnvUnderTest, history: List[Seen], ended: List[EpisodeSpan]) -> Jumps:
        """Measure a run; `ended` are episodes that did not end in its first two steps, nor in its last."""
        usual = usual_change(history, "obs")
        starts = np.stack([seen.obs for seen in resets(subject)]).reshape((-1,) + usual.shape)
        distances = []
        for back in (1, 2):  # dones may come a step late
            last = [history[one.end - back].obs[one.env] for one in ended]
            distances.append(np.median([largest(start - end, usual) for start in starts for end in last]))
        return cls(float(max(distances)), *(_changes(history, ended, shift, usual) for shift in (-1, 0, 1)))

    def is_near(self, jumps: np.ndarray) -> bool:
        """Return whether these observations follow from the ones before, where a new start would not."""
        told_apart = self.to_start > FAR
        return told_apart and np.median(jumps) < NEAR and float(np.quantile(jumps, 0.9)) < 0.5 * self.to_start

    def is_far(self, jumps: np.ndarray) -> bool:
        """Return whether these observations are as far from the ones before as a new start is."""
        return self.to_start > FAR and bool(np.median(jumps) > 0.5 * self.to_start)


def largest(change: np.ndarray, usual: np.ndarray) -> float:
    """Return the largest entry of a change (A, D), each in units of what is usual for it."""
    return float((abs(change) / usual).max())


def _changes(history: List[Seen], ended: List[EpisodeSpan], shift: int, usual: np.ndarray) -> np.ndarray:
    steps = [(one.end + shift, one.env) for one in ended]
    return np.array([largest(history[step].obs[env] - history[step - 1].obs[env], usual) for step, env in steps])


def usual_change(history: List[Seen], name: str) -> np.ndarray:
    """Return how much each entry changes in a step far from any end, at the 99th percentile, (A, D)."""
    values = np.stack([getattr(seen, name) for seen in history])
    calm = ~np.stack([seen.ended for seen in history[1:]])
    near_end = ~calm
    calm[1:] &= ~near_end[:-1]
    calm[:-1] &= ~near_end[1:]
    change = abs(np.diff(values, axis=0))[calm]
    return np.maximum(np.quantile(change, 0.99, axis=0), 1e-6) if len(change) else np.full(values.shape[2:], np.inf)


def at_end(history: List[Seen], name: str, ended: List[EpisodeSpan]) -> Tuple[np.ndarray, np.ndarray]:
    """Return a field at the step that ended each episode and at the step before it, (ends, A, D) each."""
    pairs = [(getattr(history[one.end], name)[one.env], getattr(history[one.end - 1], name)[one.env]) for one in ended]
    return np.stack([new for new, _ in pairs]), np.stack([old for _, old in pairs])
