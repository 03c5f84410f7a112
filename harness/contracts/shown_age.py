"""Whether observations show how old an episode is, if a task states that they do.

Nobody but the author knows which number should show it. A number shows it if it is the same in all steps of one age,
has several values, and a policy can so tell an early step from a late one.
"""

from __future__ import annotations

from typing import List

import numpy as np

from harness.findings import ContractError
from harness.interface.player import Seen, stack

MIN_AGES = 3  # that a number must tell apart
SAME = 1e-4  # of the range of a number, within which it is the same


def require_shown_age(history: List[Seen]) -> None:
    """Raise if an agent sees no number that shows how old an episode is.

    Args:
      history: a run in which episodes end.
    """
    obs = stack(history, "obs")
    ages = ages_of(history)
    for agent in range(obs.shape[2]):
        if not any(_tells_ages_apart(obs[..., agent, entry], ages) for entry in range(obs.shape[3])):
            raise ContractError(
                "no number in obs shows how old an episode is",
                where=f"agent {agent}",
                got="no entry of obs is the same in all steps of one age, and different in others",
                expected="the time that is left or has passed, as the task states with time_left",
                cause="it is rounded to an integer, as by //, or it is read from a clock that does not run",
            )


def ages_of(history: List[Seen]) -> np.ndarray:
    """Return how many steps old the episode of each env is, (T, N); -1 in first episodes, which may begin later."""
    ages = np.full((len(history), len(history[0].obs)), -1)
    for step, seen in enumerate(history[1:], start=1):
        running = np.where(ages[step - 1] >= 0, ages[step - 1] + 1, -1)
        ages[step] = np.where(seen.ended, 0, running)
    return ages


def _tells_ages_apart(values: np.ndarray, ages: np.ndarray) -> bool:
    """Return whether a number (T, N) depends on nothing but the age, and is different at several ages."""
    by_age = []
    tolerance = SAME * max(float(np.ptp(values)), 1e-9)
    for age in range(int(ages.max()) + 1):
        of_age = values[ages == age]
        if len(of_age) and np.ptp(of_age) > tolerance:
            return False
        if len(of_age):
            by_age.append(float(of_age[0]))
    return len(set(by_age)) >= MIN_AGES
