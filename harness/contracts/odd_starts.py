"""Starts that are unlike all others of their env, although the same start was drawn: they depend on what ended before.

In the runs of `clean_start`, all generators are seeded alike before each step. So an env that draws its starts always
starts in the same place, however the episode before it ended. An env that starts elsewhere after a rare outcome shows
it by a start that is odd:

- most starts of the env are equal bit for bit, one with the same other envs included, and the odd one is not;
- the env started as usual before and after it in the same run, so it is no level that rises;
- the episode of the same number started as usual in the other run, so it is no side that changes with the number;
- a part of the numbers that are never the same in two starts is equal all the same. If none is, the step drew more or
  less than usual before it drew the start, which says nothing.
"""

from __future__ import annotations

import collections
from typing import Counter, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from harness.contracts.starts_of_runs import BY_RESET, Place, Start
from harness.findings import ContractError
from harness.interface.moment import place_in_words

MIN_USUAL = 3  # starts of an env that are equal
USUALLY = 0.6  # fraction of its starts that must be equal
MIN_DRAWN_ALIKE = 0.2  # fraction of the numbers that always differ, for an odd start that was drawn as the usual one
MIN_ODD = 2  # starts, for a finding


class OddStart(NamedTuple):
    """A start that is unlike the usual one.

    Attributes:
      start: the start.
      usual: what the env usually shows, one number after the other.
    """

    start: Start
    usual: np.ndarray


def require_no_odd_starts(runs: Sequence[List[Start]], variability: np.ndarray, places: Sequence[Place]) -> None:
    """Raise if several starts are odd.

    Args:
      runs: the starts of two runs in which generators were seeded alike before each step.
      variability: how often each number differs from start to start if generators are left alone.
      places: where each number is seen.
    """
    always = variability == 1.0
    if not always.any():
        return
    one, other = (_by_env(starts) for starts in runs)
    odd: List[OddStart] = []
    total = 0
    for env in sorted(set(one) & set(other)):
        total += len(one[env]) + len(other[env])
        odd += _odd_starts(one[env], other[env], always) + _odd_starts(other[env], one[env], always)
    if len(odd) < MIN_ODD:
        return
    first = odd[0]
    index = int(np.flatnonzero(first.start.values != first.usual)[0])
    field, agent, entry = places[index]
    raise ContractError(
        f"the start of an episode depends on how the one before ended: {field} entry {entry}",
        where=f"{place_in_words((first.start.env, agent, entry))}, after a reset within a step",
        got=f"{first.start.values[index]:g}, though the same start was drawn; {len(odd)} of {total} starts are so, "
        "and the env starts as usual before and after",
        expected=f"{first.usual[index]:g}, as at most starts of the env: all generators had the same state",
        cause="after some outcomes, a part of the state is not drawn, or is changed afterwards",
        fix="start every episode in the same way, whatever ended the one before",
    )


def _by_env(starts: List[Start]) -> Dict[int, List[Start]]:
    """Return the starts of each env after resets within steps, in order."""
    by_env: Dict[int, List[Start]] = collections.defaultdict(list)
    for start in starts:
        if start.number < BY_RESET:
            by_env[start.env].append(start)
    return by_env


def _odd_starts(starts: List[Start], of_other: List[Start], always: np.ndarray) -> List[OddStart]:
    """Return the starts of an env in a run that are odd.

    Args:
      starts: of the env, in order.
      of_other: those of the other run.
      always: the numbers that always differ, (V,) bool.
    """
    expected = _usual_start(starts + of_other)
    if expected is None:
        return []
    usual_together = set()
    for start in starts + of_other:
        if np.array_equal(start.values, expected):
            usual_together.add(start.together)
    is_usual = [np.array_equal(start.values, expected) for start in starts]
    found = []
    for number, (start, other) in enumerate(zip(starts, of_other)):
        is_between = any(is_usual[:number]) and any(is_usual[number + 1 :])
        is_other_usual = np.array_equal(other.values, expected)
        if is_usual[number] or not is_between or not is_other_usual or start.together not in usual_together:
            continue
        if (start.values == expected)[always].mean() >= MIN_DRAWN_ALIKE:
            found.append(OddStart(start, expected))
    return found


def _usual_start(starts: List[Start]) -> Optional[np.ndarray]:
    """Return what most starts of an env show, or None."""
    counts: Counter[bytes] = collections.Counter(start.values.tobytes() for start in starts)
    most, count = counts.most_common(1)[0]
    if count < MIN_USUAL or count < USUALLY * len(starts):
        return None
    return np.frombuffer(most)
