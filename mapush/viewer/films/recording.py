"""Record the episodes that are played."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import List, Optional, Tuple

from mapush.evaluation.episode import Episode
from mapush.run.shown_progress import SilentProgress
from mapush.viewer.films.film import Film
from mapush.viewer.scoreboard import Scoreboard


class Recording:
    """Add episodes that have ended to a film; episodes that were cut short never get here.

    Args:
      film: the film.
      path: the file of the film.
      only_failures: leave successful episodes out.
      at_once: write each episode when it ends; otherwise write all of them at the end, so that somebody who watches
        does not have to wait.
      progress: gets every env step that is drawn.
    """

    def __init__(
        self,
        film: Film,
        path: Path,
        only_failures: bool,
        at_once: bool,
        progress: Optional[SilentProgress] = None,
    ) -> None:
        self._progress = progress or SilentProgress()
        self._film = film
        self._path = path
        self._only_failures = only_failures
        self._at_once = at_once
        self._waiting: List[Tuple[Episode, Scoreboard]] = []
        self._written = 0

    def add(self, episode: Episode, board: Scoreboard) -> None:
        """Take an episode.

        Args:
          episode: an episode that has ended.
          board: the results of the episodes before; copied.
        """
        if self._only_failures and episode.ending == "success":
            return
        self._waiting.append((episode, copy.deepcopy(board)))
        if self._at_once:
            self._write()

    def close(self) -> None:
        """Write the episodes that wait, and finish the film, even if the user interrupts that."""
        try:
            if self._waiting:
                print(f"writing {self._path} (Ctrl-C leaves the rest out)", flush=True)
            self._write()
        finally:
            self._film.close()
            kind = "failures" if self._only_failures else "episodes"
            print(f"{kind} recorded to {self._path}: {self._written}", flush=True)

    def _write(self) -> None:
        while self._waiting:
            episode, board = self._waiting.pop(0)
            self._progress.stage(f"drawing episode {episode.number}", len(episode.frames), "env steps")
            self._film.add(episode, functools.partial(_lines, board, episode, self._progress))
            self._written += 1


def _lines(board: Scoreboard, episode: Episode, progress: SilentProgress, step: int) -> Tuple[str, ...]:
    progress.update(step)
    return board.lines(episode, episode.frames[step], step)
