"""What is said about the episodes: the text on a screen or in a film."""

from __future__ import annotations

import dataclasses
import math
from typing import Dict, List, Optional, Tuple

from mapush.evaluation.episode import Episode, Frame
from mapush.sim.physics import STEP_DT

TERMS_PER_LINE = 3
ATTEMPTS = 50  # episodes that are played at most for each failure that is wanted


@dataclasses.dataclass(frozen=True)
class Tally:
    """Sums over the episodes that have ended; those of the degrees are over the successes alone."""

    played: int = 0
    successes: int = 0
    finished_time: float = 0.0
    collision_degree: float = 0.0
    collaboration_degree: float = 0.0

    def plus(self, outcome: Dict[str, float]) -> Tally:
        """Return the sums with those of one episode more, see `PushEnv`."""
        success = int(outcome["success"] > 0)
        return Tally(
            self.played + 1,
            self.successes + success,
            self.finished_time + outcome["finished_time"],
            self.collision_degree + success * outcome["collision_degree"],
            self.collaboration_degree + success * outcome["collaboration"],
        )


class Scoreboard:
    """Counts the episodes that have ended, by the measures of the calculator.

    Args:
      title: what is shown.
      episodes: how many are wanted; None: as many as the user likes.
      only_failures: those wanted are failures; but if they are rare, `ATTEMPTS` for each are enough.

    Attributes:
      tally: of the episodes that have ended; replaced as a whole, as others may read it meanwhile.
      last: in a few words how the last of them ended; '' before.
    """

    def __init__(self, title: str, episodes: Optional[int] = None, only_failures: bool = False) -> None:
        self.title, self.episodes, self.only_failures = title, episodes, only_failures
        self.tally = Tally()
        self.last = ""

    @property
    def over(self) -> bool:
        """Whether there were enough."""
        if self.episodes is None:
            return False
        played = self.tally.played
        wanted = played - self.tally.successes if self.only_failures else played
        return wanted >= self.episodes or played >= ATTEMPTS * self.episodes

    def add(self, episode: Episode) -> None:
        """Count an episode that has ended."""
        self.tally = self.tally.plus(episode.outcome)
        self.last = f"{episode.ending} after {episode.seconds:.1f} s"

    def totals(self) -> Dict[str, float]:
        """Return the four measures of the episodes so far, see `EvaluationMetrics`; nan where there is none."""
        tally = self.tally
        return {
            "success_rate": _share(tally.successes, tally.played),
            "finished_time": _share(tally.finished_time, tally.played),
            "collision_degree": _share(tally.collision_degree, tally.successes),
            "collaboration_degree": _share(tally.collaboration_degree, tally.successes),
        }

    def lines(self, episode: Episode, frame: Frame, step: int) -> Tuple[str, ...]:
        """Return what to write over `frame`, which is number `step` of `episode`, counted from 0."""
        ended = bool(episode.ending) and step == len(episode.frames) - 1
        lines = [
            f"{self.title}, episode {episode.number}",
            "time {:.1f} s{}".format((step + 1) * STEP_DT, ": " + episode.ending if ended else ""),
            f"object to goal {frame.distance:.2f} m",
        ]
        return tuple(lines + reward_lines(frame.rewards) + self._results())

    def _results(self) -> List[str]:
        played, successes = self.tally.played, self.tally.successes
        if not played:
            return []
        totals = self.totals()
        lines = [
            f"last: {self.last}",
            "success {} of {}, finished time {:.1f} s".format(successes, played, totals["finished_time"]),
        ]
        degrees = "collaboration {collaboration_degree:.2f}, collision {collision_degree:.2f}"
        return lines + ([degrees.format(**totals)] if successes else [])


def reward_lines(rewards: Dict[str, float]) -> List[str]:
    """Return the reward and its terms as text; nothing if they are not known."""
    if not rewards:
        return []
    terms = [f"{name} {value:+.3f}" for name, value in rewards.items()]
    rows = [terms[start : start + TERMS_PER_LINE] for start in range(0, len(terms), TERMS_PER_LINE)]
    return [f"reward {sum(rewards.values()):+.3f}"] + ["   ".join(row) for row in rows]


def _share(total: float, count: int) -> float:
    return total / count if count else math.nan
