"""How two runs are compared: bit for bit, step by step."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from harness.interface.moment import place_in_words
from harness.interface.player import COMPARED_FIELDS, Seen
from harness.interface.same_bytes import same_bytes

Place = Tuple[int, ...]  # env, agent, entry, as many as the field has


class Difference(NamedTuple):
    """A place at which the same step of two runs differs.

    Attributes:
      field: name of the field of `Seen`.
      place: env, agent and entry.
    """

    field: str
    place: Place

    @property
    def env(self) -> int:
        """The env that differs."""
        return self.place[0]

    def where(self) -> str:
        """Return the place in words."""
        return f"{self.field}, {place_in_words(self.place)}"

    def value(self, seen: Seen) -> str:
        """Return the value that a step has at this place, as text."""
        return str(getattr(seen, self.field)[self.place])


def first_difference(
    one: Seen, other: Seen, envs: np.ndarray, fields: Sequence[str] = COMPARED_FIELDS
) -> Optional[Difference]:
    """Return the first difference of two steps; two NaN are equal.

    Args:
      one: a step.
      other: the same step of a different run.
      envs: which envs to compare, (N,) bool.
      fields: which fields of `Seen` to compare.
    """
    for name in fields:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None or not a.size or not b.size or same_bytes(a, b):
            continue
        differs = (a != b) & ~((a != a) & (b != b))
        differs[~envs] = False
        if differs.any():
            return Difference(name, tuple(map(int, np.argwhere(differs)[0])))
    return None


def first_divergence(one: List[Seen], other: List[Seen]) -> Optional[Tuple[int, Difference]]:
    """Return the first step at which two runs differ, and where; None if they are equal."""
    for step, (a, b) in enumerate(zip(one, other)):
        found = first_difference(a, b, np.ones(len(a.obs), bool))
        if found is not None:
            return step, found
    return None


class Bystanders:
    """The envs that take the same actions in two runs, while the actions of the other envs differ.

    Starts may be drawn from a generator that all envs share. So once an episode of the other envs has ended at a
    different time, a bystander that starts an episode in a different place than before is no longer compared.

    Args:
      undisturbed: which envs take the same actions in both runs, (N,) bool.

    Attributes:
      compared: which of them are still compared, (N,) bool.
      diverged: whether an episode of the other envs has ended at a different time.
      moved: which bystanders started an episode elsewhere in the step that was compared last, (N,) bool.
    """

    def __init__(self, undisturbed: np.ndarray) -> None:
        self._disturbed = ~undisturbed
        self.compared = undisturbed.copy()
        self.diverged = False
        self.moved = np.zeros_like(undisturbed)

    def difference(self, one: Seen, other: Seen) -> Optional[Difference]:
        """Return the first difference of the next step of both runs in a compared env, or None."""
        self.diverged |= bool((one.ended != other.ended)[self._disturbed].any())
        if self.diverged:
            elsewhere = one.ended & other.ended & (one.obs != other.obs).any(axis=(1, 2))
            self.moved = self.compared & elsewhere
            self.compared &= ~elsewhere
        return first_difference(one, other, self.compared)
