"""How the time of a check is shared out among its contracts."""

from __future__ import annotations

import math
import time

from harness.contracts.long_run import FIT
from harness.findings import NO_TIME, NotJudgedError

MAX_OVERDRAFT = 0.05  # of the budget, beyond which no further contract is judged, and no further step taken


class TimeShares:
    """The time of a check, which begins now.

    Args:
      budget_s: how long all contracts may take together [s].
      shares: factor of the share of the budget that each contract may take; more than 1 if only few contracts run.
    """

    def __init__(self, budget_s: float, shares: float) -> None:
        self.budget_s = budget_s
        self._shares = shares
        self._started = time.perf_counter()

    def time_for(self, share: float) -> float:
        """Return a share of the budget [s], but at most half of the time that is left."""
        return min(share * self._shares * self.budget_s, 0.5 * self.time_left)

    @property
    def time_left(self) -> float:
        """The part of the budget that is left [s]; negative if it is overdrawn."""
        return self.budget_s - (time.perf_counter() - self._started)

    def budget_for(self, seconds: float, share: float = 0.1) -> int:
        """Return the budget with which a contract has time for runs of this length [s]."""
        return math.ceil(1.1 * seconds / (share * self._shares * FIT))

    def require_time(self) -> None:
        """Give up the running contract if the budget is overdrawn.

        Raises:
          NotJudgedError: it is overdrawn by more than `MAX_OVERDRAFT`.
        """
        if self.time_left < -MAX_OVERDRAFT * self.budget_s:
            raise NotJudgedError(NO_TIME)

    def require_time_for(self, seconds: float, share: float) -> None:
        """Give up the running contract if what it needs takes more than a share of the budget.

        Raises:
          NotJudgedError: it does; the message names the budget that would do.
        """
        if seconds > self.time_for(share):
            used = self.budget_s - self.time_left
            enough = math.ceil(max(seconds / (share * self._shares), used + 2.0 * seconds))
            raise NotJudgedError(f"it takes about {seconds:.0f} s, more than its share; --budget {enough} would do")
