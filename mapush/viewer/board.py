"""What is said about the episodes: the text on a screen or in a film."""

from __future__ import annotations

import math
from typing import Dict, List, Optional, Tuple

from mapush.sim.base import STEP_DT
from mapush.viewer.episode import Episode, Frame

TERMS_PER_LINE = 3
ATTEMPTS = 50  # episodes that are played at most for each failure that is wanted


class Scoreboard:
    """Counts the episodes that have ended, by the measures of the calculator.

    Args:
      title: what is shown.
      episodes: how many are wanted; None: as many as the user likes.
      only_failures: those wanted are failures; but if they are rare, `ATTEMPTS` for each are enough.

    Attributes:
      outcomes: of the episodes that have ended, see `PushEnv`.
      last: in a few words how the last of them ended; '' before.
    """

    def __init__(self, title: str, episodes: Optional[int] = None, only_failures: bool = False) -> None:
        self.title, self.episodes, self.only_failures = title, episodes, only_failures
        self.outcomes: List[Dict[str, float]] = []
        self.last = ""

    @property
    def over(self) -> bool:
        """Whether there were enough."""
        if self.episodes is None:
            return False
        played = len(self.outcomes)
        wanted = sum(not outcome["success"] for outcome in self.outcomes) if self.only_failures else played
        return wanted >= self.episodes or played >= ATTEMPTS * self.episodes

    def add(self, episode: Episode) -> None:
        """Count an episode that has ended."""
        self.outcomes.append(episode.outcome)
        self.last = "{} after {:.1f} s".format(episode.ending, episode.seconds)

    def totals(self) -> Dict[str, float]:
        """Return the four measures of the episodes so far, see `EvaluationMetrics`; nan where there is none."""
        successes = [outcome for outcome in self.outcomes if outcome["success"]]
        return {
            "success_rate": _mean([outcome["success"] for outcome in self.outcomes]),
            "finished_time": _mean([outcome["finished_time"] for outcome in self.outcomes]),
            "collision_degree": _mean([outcome["collision_degree"] for outcome in successes]),
            "collaboration_degree": _mean([outcome["collaboration"] for outcome in successes]),
        }

    def lines(self, episode: Episode, frame: Frame, step: int) -> Tuple[str, ...]:
        """Return what to write over `frame`, which is number `step` of `episode`, counted from 0."""
        ended = bool(episode.ending) and step == len(episode.frames) - 1
        lines = [
            "{}, episode {}".format(self.title, episode.number),
            "time {:.1f} s{}".format((step + 1) * STEP_DT, ": " + episode.ending if ended else ""),
            "object to goal {:.2f} m".format(frame.distance),
        ]
        return tuple(lines + reward_lines(frame.rewards) + self._results())

    def _results(self) -> List[str]:
        if not self.outcomes:
            return []
        totals = self.totals()
        successes = sum(bool(outcome["success"]) for outcome in self.outcomes)
        lines = [
            "last: {}".format(self.last),
            "success {} of {}, finished time {:.1f} s".format(successes, len(self.outcomes), totals["finished_time"]),
        ]
        degrees = "collaboration {collaboration_degree:.2f}, collision {collision_degree:.2f}"
        return lines + ([degrees.format(**totals)] if successes else [])


def reward_lines(rewards: Dict[str, float]) -> List[str]:
    """Return the reward and its terms as text; nothing if they are not known."""
    if not rewards:
        return []
    terms = ["{} {:+.3f}".format(name, value) for name, value in rewards.items()]
    rows = [terms[start : start + TERMS_PER_LINE] for start in range(0, len(terms), TERMS_PER_LINE)]
    return ["reward {:+.3f}".format(sum(rewards.values()))] + ["   ".join(row) for row in rows]


def _mean(values: List[float]) -> float:
    return sum(values) / len(values) if values else math.nan
