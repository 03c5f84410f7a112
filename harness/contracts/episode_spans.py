"""The episodes of a run: where they ended, how long they were, and whether a time limit ended them.

Time limit: `bad_transition` marks episodes that a time limit ended, so the most frequent length of the marked episodes
is the limit. Without marks, a limit shows as a pile-up: several episodes in different envs have exactly the greatest
length, and hardly any have one step less.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Dict, List, Optional

import numpy as np

from harness.interface.player import Seen

MIN_PILED_UP = 4  # episodes of the greatest length, for a time limit without marks
MIN_PILED_UP_ENVS = 2
MIN_PILED_UP_LENGTH = 3
ENOUGH_EPISODES = 6  # of an env in a run, above which shorter episodes show nothing more
PILE_UP_RATIO = 3  # by which they must exceed the episodes that are one step shorter


@dataclasses.dataclass(frozen=True)
class EpisodeSpan:
    """An episode that ended.

    Attributes:
      env: the env in which it was played.
      end: index in the run of the step that ended it.
      length: number of steps.
      truncated: whether `bad_transition` was set.
      first: whether it is the first one of its env, whose start may not have been the start of an episode.
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
            span = EpisodeSpan(
                env=env,
                end=step,
                length=step - started.get(env, 0),
                truncated=bool(seen.truncated[env].all()),
                first=env not in started,
            )
            found.append(span)
            started[env] = step
    return found


def time_limit(ended: List[EpisodeSpan]) -> Optional[int]:
    """Return the length at which a time limit ends episodes, or None."""
    flagged = flagged_lengths(ended)
    if flagged:
        length, count = collections.Counter(flagged).most_common(1)[0]
        if count > 0.5 * len(flagged):
            return length
        return None
    return _pile_up(ended)


def _pile_up(ended: List[EpisodeSpan]) -> Optional[int]:
    """Return the greatest length of the episodes if so many have it that a time limit must have ended them."""
    envs_by_length: Dict[int, List[int]] = collections.defaultdict(list)
    for span in ended:
        envs_by_length[span.length].append(span.env)
    longest = max(envs_by_length, default=0)
    envs, envs_one_less = envs_by_length[longest], envs_by_length[longest - 1]
    if len(envs) < MIN_PILED_UP or len(set(envs)) < MIN_PILED_UP_ENVS or longest < MIN_PILED_UP_LENGTH:
        return None
    if len(envs) <= PILE_UP_RATIO * len(envs_one_less):
        return None
    return longest


def reached_horizon(ended: List[EpisodeSpan], stated: Optional[int]) -> Optional[int]:
    """Return the time limit that the env states, if several episodes were as long and none was longer."""
    lengths = [span.length for span in ended if not span.first]
    if lengths and max(lengths) == stated and lengths.count(stated) >= 2:
        return stated
    return None


def flagged_lengths(ended: List[EpisodeSpan]) -> List[int]:
    """Return the lengths of the episodes that are marked as ended by a time limit, except the first of each env."""
    return [span.length for span in ended if span.truncated and not span.first]


def advice_for_more(history: List[Seen]) -> str:
    """Return how to see more ends of episodes than a run shows that no budget makes longer; "" if nothing helps.

    Shorter episodes help if one time limit ends them. If each has a length of its own, "shorter" means nothing: then
    one time limit for all of them helps.
    """
    ended = episodes(history)
    limit = time_limit(ended)
    if ended and limit is None:
        lengths = [span.length for span in ended]
        return (
            f"its episodes end after {min(lengths)} to {max(lengths)} steps: for the check, build it with one short "
            "time limit (--kwargs)"
        )
    if limit is None or ENOUGH_EPISODES * limit > len(history):
        return "make episodes shorter for the check"
    return ""
