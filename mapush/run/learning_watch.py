"""A word when a run does not learn: what the numbers show, the likely cause, and what to do."""

from __future__ import annotations

import collections
import math
from typing import Callable, Deque, Dict, List, Optional, Tuple

from mapush.config import RunConfig

SIGNALS = ("reward/total", "episode/return", "episode/success")
"""Numbers of which at least one rises in a run that learns."""
FIRST_ROWS = 3
LAST_ROWS = 10
NOISE_LEVELS = 2.5
"""How far the mean of the last rows must be above that of the first, in standard deviations from row to row."""

MIN_ROWS = 40
"""Rows before a run can be judged by its course."""
NARROW = 0.05
"""Standard deviation of the actions, as a share of the initial one, below which a policy has stopped exploring."""
SUCCESSFUL = 0.5
"""Success rate from which on a narrow policy is a good one."""
LARGE_KL = 0.5
"""KL divergence of an update [nat]; runs that learned had 0.005 to 0.04."""
LARGE_KL_ROWS = 3
EXPLAINED = 0.05
"""Explained variance below which the values are no better than a constant."""
UNEXPLAINED_ROWS = 50
UNEXPLAINED_SHARE = 0.3
UNMOVED_SHARE = 0.5
"""Shares of a run after which values that explain nothing, and a reward that never moved, are reported."""

Numbers = Dict[str, float]


class LearningWatch:
    """Looks at each row of a run, and reports each kind of failure to learn at most once.

    Its memory is bounded. A resumed run shows it the rows that it has logged, so that nothing is reported twice.

    Args:
      config: configuration of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._signals = {name: _Signal() for name in SIGNALS}
        self._rows = 0
        self._large_kl_rows = 0
        self._unexplained_rows = 0
        self._best_success = 0.0
        self._kinds: List[Tuple[str, Callable[[float, Numbers], Optional[str]]]] = [
            ("entropy", self._entropy_gone),
            ("kl", self._kl_exploding),
            ("values", self._values_explain_nothing),
            ("reward", self._reward_never_moving),
        ]

    def look(self, step: int, row: Numbers) -> List[str]:
        """Return a line for each kind of failure that this row shows first.

        Args:
          step: env steps taken so far.
          row: the numbers of `RunLogger.report`; those that are missing are not judged.
        """
        self._rows += 1
        for name, signal in self._signals.items():
            signal.add(row.get(name, math.nan))
        self._best_success = max(self._best_success, _known(row.get("episode/success", 0.0)))
        share = step / self._config.total_steps
        lines = []
        for kind in list(self._kinds):
            line = kind[1](share, row)
            if line is not None:
                lines.append(f"warning: {line}")
                self._kinds.remove(kind)
        return lines

    @property
    def _improved(self) -> bool:
        return any(signal.has_risen for signal in self._signals.values())

    def _entropy_gone(self, share: float, row: Numbers) -> Optional[str]:
        happo = self._config.happo
        initial = happo.std_y_coef / (1.0 + math.exp(-1.0))  # the actor's log_std starts at std_x_coef
        std = row.get("train/std", math.inf)
        if std >= NARROW * initial:
            return None
        if self._best_success >= SUCCESSFUL or ("episode/success" not in row and self._improved):
            return None
        return (
            f"the policy has stopped exploring before it succeeds: the standard deviation of its actions is {std:.2g}, "
            f"{std / initial:.0%} of the initial one. Likely cause: the entropy bonus is too small for these rewards. "
            f"Raise --happo.entropy-coef (now {happo.entropy_coef:g})"
        )

    def _kl_exploding(self, share: float, row: Numbers) -> Optional[str]:
        kl = row.get("train/approx_kl", math.nan)
        if kl > LARGE_KL:
            self._large_kl_rows += 1
        else:
            self._large_kl_rows = 0
        if self._large_kl_rows < LARGE_KL_ROWS:
            return None
        happo = self._config.happo
        return (
            f"the updates are too large: KL divergence {kl:.2g} (0.005 to 0.05 is usual), {LARGE_KL_ROWS} rows in a "
            f"row above {LARGE_KL}. Likely cause: the learning rate is too high. Lower --happo.lr (now {happo.lr:g}) "
            f"or --happo.ppo-epoch (now {happo.ppo_epoch})"
        )

    def _values_explain_nothing(self, share: float, row: Numbers) -> Optional[str]:
        explained = row.get("train/explained_variance", math.nan)
        if explained < EXPLAINED:
            self._unexplained_rows += 1
        elif explained >= EXPLAINED:  # and not nan
            self._unexplained_rows = 0
        long = self._unexplained_rows >= UNEXPLAINED_ROWS and share >= UNEXPLAINED_SHARE
        if not long or self._improved:
            return None
        happo = self._config.happo
        return (
            f"the values explain nothing of the returns: explained variance below {EXPLAINED} in the last "
            f"{self._unexplained_rows} rows. Likely cause: the critic's state lacks what decides the reward, or the "
            f"critic learns too fast or too slowly. Check share_obs, or change --happo.critic-lr (now "
            f"{happo.critic_lr:g}) or --happo.gamma (now {happo.gamma:g})"
        )

    def _reward_never_moving(self, share: float, row: Numbers) -> Optional[str]:
        if share < UNMOVED_SHARE or self._rows < MIN_ROWS or self._improved:
            return None
        if not any(signal.known for signal in self._signals.values()):
            return None
        return (
            f"{share:.0%} of the run is over and the reward has not risen: {row.get('reward/total', math.nan):.4g} a "
            f"step. Likely cause: the reward is too rare to be found by chance, or one term outweighs the others. "
            "Compare the reward/ columns of progress.csv, and give a reward for partial progress"
        )


class _Signal:
    """Decides whether a number has risen, compared with its noise from row to row.

    The noise is taken from the differences of consecutive rows, so that a slow rise does not count as noise.
    """

    def __init__(self) -> None:
        self.has_risen = False
        self._first: Deque[float] = collections.deque(maxlen=FIRST_ROWS)
        self._last: Deque[float] = collections.deque(maxlen=LAST_ROWS)
        self._squares = 0.0
        self._differences = 0

    @property
    def known(self) -> bool:
        """Whether it has had any value."""
        return len(self._last) > 0

    def add(self, value: float) -> None:
        """Take the next row's value; nan is ignored."""
        if math.isnan(value):
            return
        if self._last:
            self._squares += (value - self._last[-1]) ** 2
            self._differences += 1
        if len(self._first) < FIRST_ROWS:
            self._first.append(value)
        self._last.append(value)
        if self._differences >= FIRST_ROWS + LAST_ROWS:
            noise = math.sqrt(self._squares / self._differences / 2.0)
            rise = sum(self._last) / LAST_ROWS - sum(self._first) / FIRST_ROWS
            self.has_risen = self.has_risen or rise > NOISE_LEVELS * noise


def _known(value: float) -> float:
    if math.isnan(value):
        return 0.0
    return value
