"""The clocks of the envs within an environment, so that one of them can be put forward to its time limit.

A clock is an array or a list of N numbers that can be reached from the environment, and that is a linear function of
how old the episodes are: the same one for all envs, before and after ends. A number that counts all steps is none, so
clocks are read after ends at two different times.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from harness.apis.env_view import to_numpy
from harness.object_graph import arrays_and_lists

ROUNDING = 1e-6  # of the greatest value of a clock
MIN_AGES = 3  # different ages at which a clock must have been read


class Clock(NamedTuple):
    """Numbers that show how old the episodes are.

    Attributes:
      path: where they are, from the environment.
      slope: by how much a number changes in a step.
      start: the number of an episode that begins.
    """

    path: str
    slope: float
    start: float


class Reading(NamedTuple):
    """All numbers that may be clocks, at one step.

    Attributes:
      ages: steps since the start of the episode, (N,).
      is_later: whether the env has ended an episode before, (N,) bool; clocks may be put anywhere in the first one, so
        that ends are spread over time.
      numbers: by path, (N,) each.
    """

    ages: np.ndarray
    is_later: np.ndarray
    numbers: Dict[str, np.ndarray]


def read_numbers(env: Any, num_envs: int) -> Dict[str, np.ndarray]:
    """Return all arrays and lists of N numbers that can be reached from an environment, by path, (N,) each."""
    found = {}
    for path, value in arrays_and_lists(env, num_envs):
        found[path] = np.array(to_numpy(value), np.float64).reshape(num_envs)
    return found


def put_forward(env: Any, num_envs: int, clocks: Sequence[Clock], env_id: int, age: int) -> None:
    """Let the clocks of one env show this age [steps]."""
    by_path = {clock.path: clock for clock in clocks}
    for path, value in arrays_and_lists(env, num_envs):
        if path in by_path:
            number = by_path[path].start + by_path[path].slope * age
            if float(number).is_integer():
                number = int(number)
            value[env_id] = number


def clocks_in(readings: List[Reading]) -> List[Clock]:
    """Return the numbers that are a linear function of the ages in all readings, or else in all later episodes."""
    everywhere = [np.ones_like(reading.is_later) for reading in readings]
    return _clocks_where(readings, everywhere) or _clocks_where(readings, [reading.is_later for reading in readings])


def _clocks_where(readings: List[Reading], where: List[np.ndarray]) -> List[Clock]:
    """Return the numbers that are a linear function of the ages in some envs of each reading, (N,) bool each."""
    ages = np.concatenate([reading.ages[which] for reading, which in zip(readings, where)])
    if len(np.unique(ages)) < MIN_AGES:
        return []
    found = []
    for path in readings[0].numbers:
        if not all(path in reading.numbers for reading in readings):
            continue
        numbers = np.concatenate([reading.numbers[path][which] for reading, which in zip(readings, where)])
        if not np.isfinite(numbers).all():
            continue
        youngest, oldest = int(ages.argmin()), int(ages.argmax())
        slope = (numbers[oldest] - numbers[youngest]) / (ages[oldest] - ages[youngest])
        start = numbers[youngest] - slope * ages[youngest]
        scale = max(float(abs(numbers).max()), 1.0)
        if slope != 0.0 and (abs(start + slope * ages - numbers) < ROUNDING * scale).all():
            found.append(Clock(path, float(slope), float(start)))
    return found
