"""What a long run shows about the ends of its episodes: how far a new start is from an old end.

Observations change little from step to step, and much from the end of an episode to the start of the next. All
distances are in units of the usual large change of each entry (its 99th percentile within episodes). If starts are
clearly further away than that, the size of the change at, before and after a reported end tells in which step the
episode was really reset.
"""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.factory_call import close_quietly
from harness.interface.drivers import ActionDriver, drive
from harness.interface.player import Seen, stack

NUM_RESETS = 4  # in mid-episode, to learn where episodes start
STEPS_BETWEEN_RESETS = 3
MAX_ENDS = 20  # the latest ends, which also show what goes wrong only after many steps
MIN_ENDS = 3  # for a statement about jumps
MIN_START_DISTANCE = 3.0  # usual large changes, from which a new start can be distinguished from a step
MAX_STEP_DISTANCE = 1.5  # usual large changes, up to which an observation follows from the one before
USUAL_QUANTILE = 0.99  # of the changes in a step, which is the usual large change
MIN_USUAL = 1e-6  # so that an entry that never changes can be divided by it


def resets(subject: EnvUnderTest, count: int = NUM_RESETS) -> List[Seen]:
    """Return what `reset` returns at first and then in mid-episode, `count` times."""
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed)
    found = [player.seen[0]]
    for _ in range(count - 1):
        drive(player, driver, STEPS_BETWEEN_RESETS)
        found.append(player.reset())
    close_quietly(player.env)
    return found


@dataclasses.dataclass(frozen=True)
class Jumps:
    """How much observations change where episodes end, in units of a usual large change within an episode.

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
        """Measure a run.

        Args:
          subject: the environment.
          history: the run.
          ended: episodes that ended neither in its first two steps nor in its last.
        """
        usual = usual_change(history, "obs")
        starts = stack(resets(subject), "obs").reshape((-1,) + usual.shape)
        distances = []
        for steps_back in (1, 2):  # dones may come a step late
            last = [history[span.end - steps_back].obs[span.env] for span in ended]
            distances.append(_median_distance(starts, last, usual))
        return cls(
            to_start=max(distances),
            before=_changes(history, ended, -1, usual),
            at=_changes(history, ended, 0, usual),
            after=_changes(history, ended, 1, usual),
        )

    def is_near(self, jumps: np.ndarray) -> bool:
        """Return whether these observations follow from the ones before, and a new start would not."""
        if self.to_start <= MIN_START_DISTANCE:
            return False
        return bool(np.median(jumps) < MAX_STEP_DISTANCE and np.quantile(jumps, 0.9) < 0.5 * self.to_start)

    def is_far(self, jumps: np.ndarray) -> bool:
        """Return whether these observations are as far from the ones before as a new start is."""
        return self.to_start > MIN_START_DISTANCE and bool(np.median(jumps) > 0.5 * self.to_start)


def jumps_at_ends(subject: EnvUnderTest) -> Optional[Jumps]:
    """Return how far observations jump where episodes of the long run end; None if too few ended."""
    history = subject.long_run().seen
    ended = inner_ends(history)
    if len(ended) < MIN_ENDS:
        return None
    return Jumps.of(subject, history, ended)


def inner_ends(history: List[Seen]) -> List[EpisodeSpan]:
    """Return the latest episodes that ended with steps before and after."""
    ended = [span for span in episodes(history) if 2 <= span.end < len(history) - 1]
    return ended[-MAX_ENDS:]


def largest(change: np.ndarray, usual: np.ndarray) -> float:
    """Return the largest entry of a change (A, D), each in units of what is usual for it."""
    return float((abs(change) / usual).max())


def _median_distance(starts: np.ndarray, ends: List[np.ndarray], usual: np.ndarray) -> float:
    """Return the median distance between all starts and all ends."""
    distances = []
    for start in starts:
        for end in ends:
            distances.append(largest(start - end, usual))
    return float(np.median(distances))


def _changes(history: List[Seen], ended: List[EpisodeSpan], shift: int, usual: np.ndarray) -> np.ndarray:
    """Return how much observations change in the step `shift` steps after each end, (ends,)."""
    changes = []
    for span in ended:
        step = span.end + shift
        change = history[step].obs[span.env] - history[step - 1].obs[span.env]
        changes.append(largest(change, usual))
    return np.array(changes)


def usual_change(history: List[Seen], name: str) -> np.ndarray:
    """Return the usual large change of each entry in a step that is not next to an end, (A, D)."""
    values, at_end = stack(history, name), stack(history[1:], "ended")
    calm = ~at_end
    calm[1:] &= ~at_end[:-1]
    calm[:-1] &= ~at_end[1:]
    changes = abs(np.diff(values, axis=0))[calm]
    if len(changes) == 0:
        return np.full(values.shape[2:], np.inf)
    return np.maximum(np.quantile(changes, USUAL_QUANTILE, axis=0), MIN_USUAL)


def at_end(history: List[Seen], name: str, ended: List[EpisodeSpan]) -> Tuple[np.ndarray, np.ndarray]:
    """Return a field at the step that ended each episode and at the step before it, (ends, A, D) each."""
    new, old = [], []
    for span in ended:
        new.append(getattr(history[span.end], name)[span.env])
        old.append(getattr(history[span.end - 1], name)[span.env])
    return np.stack(new), np.stack(old)
