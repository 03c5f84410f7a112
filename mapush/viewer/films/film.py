"""The interface of a film, and which env steps of an episode become its frames."""

from __future__ import annotations

from typing import Callable, List, Protocol, Sequence

from mapush.evaluation.episode import Episode
from mapush.sim.physics import STEP_DT

HOLD_S = 1.0  # how long the last frame of an episode stays

LinesOf = Callable[[int], Sequence[str]]  # returns the text of the frame of an env step, counted from 0


class Film(Protocol):
    """A file that episodes are added to, in the thread that opened it."""

    def add(self, episode: Episode, lines_of: LinesOf) -> None:
        """Append a finished episode.

        Args:
          episode: the episode, with at least one frame.
          lines_of: returns the text of the frame of a step.
        """

    def close(self) -> None:
        """Finish the file; a film without an episode leaves no file."""


def steps_of(episode: Episode, fps: int) -> List[int]:
    """Return the env step of each frame of a film; the last step is repeated for `HOLD_S`.

    Args:
      episode: the episode, with at least one frame.
      fps: frames of the film per second of the episode.
    """
    last = len(episode.frames) - 1
    steps_per_frame = round(1 / (fps * STEP_DT))
    moving = list(range(0, last, steps_per_frame))
    return moving + [last] * round(HOLD_S * fps)
