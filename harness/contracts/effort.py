"""How much work the contracts do at most; a small time budget reduces it further."""

from __future__ import annotations

import dataclasses
from typing import Tuple


@dataclasses.dataclass(frozen=True)
class Effort:
    """Upper limits of the work that contracts do.

    Attributes:
      long_run_steps: steps of the run that most contracts look at; a defect that starts at step 1,000 shows.
      max_searches: sequences of actions that are tried in the search for a short failure.
      impulse_starts: numbers of steps before an impulse; a defect that starts late shows after the later ones.
      endless_steps: steps after which an episode counts as one that never ends.
      episodes: how many episodes each env ends, and how often it is reset, to see whether it goes on.
      growth_steps: steps between two counts of what an environment keeps.
      max_kept_entries: number of entries above which something that still grows counts as unbounded.
    """

    long_run_steps: int = 1100
    max_searches: int = 25
    impulse_starts: Tuple[int, ...] = (1, 55, 1040)
    endless_steps: int = 3000
    episodes: int = 260
    growth_steps: int = 500
    max_kept_entries: int = 2500


USUAL_EFFORT = Effort()
