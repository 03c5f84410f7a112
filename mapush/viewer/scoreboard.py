"""Count the episodes that have ended, and write the results as text."""

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
    """Sums over the episodes that have ended.

    Attributes:
      played: number of episodes.
      successes: number of successful episodes.
      finished_time: sum over all episodes [s].
      collision_degree: sum over the successful episodes.
      collaboration_degree: sum over the successful episodes.
    """

    played: int = 0
    successes: int = 0
    finished_time: float = 0.0
    collision_degree: float = 0.0
    collaboration_degree: float = 0.0

    def plus(self, outcome: Dict[str, float]) -> Tally:
        """Return the sums after one more episode; see `PushEnv` for its outcome."""
        success = int(outcome["success"] > 0)
        return Tally(
            played=self.played + 1,
            successes=self.successes + success,
            finished_time=self.finished_time + outcome["finished_time"],
            collision_degree=self.collision_degree + success * outcome["collision_degree"],
            collaboration_degree=self.collaboration_degree + success * outcome["collaboration"],
        )


class Scoreboard:
    """Count the episodes that have ended, by the measures of the published protocol.

    Args:
      title: name of the task.
      episodes: how many are wanted; None means that there are never enough.
      only_failures: count failures only; if they are rare, `ATTEMPTS` episodes per wanted failure are enough.

    Attributes:
      tally: sums over the episodes so far; replaced, never changed, as other threads may read it meanwhile.
      last: how the last episode ended, in a few words; '' before there is one.
    """

    def __init__(self, title: str, episodes: Optional[int] = None, only_failures: bool = False) -> None:
        self.title = title
        self.episodes = episodes
        self.only_failures = only_failures
        self.tally = Tally()
        self.last = ""

    @property
    def over(self) -> bool:
        """Whether there were enough episodes."""
        if self.episodes is None:
            return False
        played = self.tally.played
        counted = played
        if self.only_failures:
            counted -= self.tally.successes
        return counted >= self.episodes or played >= ATTEMPTS * self.episodes

    def add(self, episode: Episode) -> None:
        """Count an episode that has ended."""
        self.tally = self.tally.plus(episode.outcome)
        self.last = f"{episode.ending} after {episode.seconds:.1f} s"

    def totals(self) -> Dict[str, float]:
        """Return the four measures of `EvaluationMetrics` over the episodes so far; NaN if there are none."""
        tally = self.tally
        return {
            "success_rate": _mean(tally.successes, tally.played),
            "finished_time": _mean(tally.finished_time, tally.played),
            "collision_degree": _mean(tally.collision_degree, tally.successes),
            "collaboration_degree": _mean(tally.collaboration_degree, tally.successes),
        }

    def lines(self, episode: Episode, frame: Frame, step: int) -> Tuple[str, ...]:
        """Return the text of a frame.

        Args:
          episode: the episode.
          frame: the frame.
          step: number of the frame in the episode, counted from 0.
        """
        time = f"time {(step + 1) * STEP_DT:.1f} s"
        if episode.ending and step == len(episode.frames) - 1:
            time += f": {episode.ending}"
        lines = [f"{self.title}, episode {episode.number}", time, f"object to goal {frame.distance:.2f} m"]
        return tuple(lines + reward_lines(frame.rewards) + self._results())

    def _results(self) -> List[str]:
        played, successes = self.tally.played, self.tally.successes
        if played == 0:
            return []
        totals = self.totals()
        lines = [
            f"last: {self.last}",
            f"success {successes} of {played}, finished time {totals['finished_time']:.1f} s",
        ]
        if successes > 0:
            collaboration, collision = totals["collaboration_degree"], totals["collision_degree"]
            lines.append(f"collaboration {collaboration:.2f}, collision {collision:.2f}")
        return lines


def reward_lines(rewards: Dict[str, float]) -> List[str]:
    """Return the reward and its terms as text; nothing if they are not known."""
    if not rewards:
        return []
    lines = [f"reward {sum(rewards.values()):+.3f}"]
    terms = [f"{name} {value:+.3f}" for name, value in rewards.items()]
    for start in range(0, len(terms), TERMS_PER_LINE):
        lines.append("   ".join(terms[start : start + TERMS_PER_LINE]))
    return lines


def _mean(total: float, count: int) -> float:
    if count == 0:
        return math.nan
    return total / count
