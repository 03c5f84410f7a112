"""A start of an episode, as the contracts of starts compare it."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np

Place = Tuple[str, int, int]  # field, agent, entry
BY_RESET = 1_000_000  # from which the starts after calls of reset are numbered


class Start(NamedTuple):
    """The start of an episode.

    Attributes:
      env: the env.
      number: which start of the env it is, from 0; calls of reset are counted from `BY_RESET`.
      together: the envs that began an episode in the same step.
      values: everything that is seen of the env, one number after the other.
    """

    env: int
    number: int
    together: Tuple[int, ...]
    values: np.ndarray
