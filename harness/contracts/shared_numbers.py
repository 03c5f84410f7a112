"""Whether what infos say of an episode depends on what is done in other envs.

A run in which some envs are disturbed is compared with the long run: an env that was not disturbed and that shows the
same in both must also give the same return and length. Numbers are compared whose names speak of one episode, or are
those of a total, a mean or an extreme of what every step gives, as `total_cost` of `cost`; only ends have them, and a
replay of the same actions repeats them.

A statistic of all envs is legal. So a number is left out if several envs that end in one step give the same one, if it
only rises, as the number of the episode does, or if it always lies within the range of the returns or lengths of all
episodes so far, as their mean does.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Set, Tuple

import numpy as np

from harness.contracts.end_infos import is_equal, numbers_by_env, numbers_of_ends
from harness.contracts.ended_episodes import TOLERANCE, EndedEpisode, ended_episodes, quantities, speaks_of_one_episode
from harness.contracts.env_under_test import EnvUnderTest
from harness.findings import ContractError
from harness.interface.player import Seen

AGGREGATE_OF = re.compile(r"^(total|sum|mean|avg|average|min|max|lowest|highest|peak)_", re.IGNORECASE)
MIN_CHANGED = 2  # ends at which a number is different after other actions in other envs


class Changed(NamedTuple):
    """A number in the infos of an end that is different after other actions in other envs."""

    path: str
    env: int
    step: int
    got: float
    expected: float
    disturbed: str


def own_numbers(subject: EnvUnderTest) -> Set[str]:
    """Return the paths of numbers in infos that should belong to one episode of one env."""
    history = subject.long_run().seen
    if subject.errors.of("infos-fresh") is not None:  # the infos of different envs mix
        return set()
    ended = ended_episodes(history)
    of_steps = {path.split("/")[-1] for path in numbers_by_env(history[1]).get(0, {})}
    found = set()
    for path in numbers_of_ends(history, subject.replayed):
        speaks = speaks_of_one_episode(path) or AGGREGATE_OF.sub("", path.split("/")[-1]) in of_steps
        if speaks and not _rises(ended, path) and not is_within_range(ended, path):
            found.add(path)
    return found


def _rises(ended: List[EndedEpisode], path: str) -> bool:
    """Return whether a number never falls from one end to the next."""
    values = [one.numbers[path] for one in ended if path in one.numbers]
    return bool((np.diff(values) >= 0.0).all())


def is_within_range(ended: List[EndedEpisode], path: str) -> bool:
    """Return whether a number always lies within the range of the returns, or lengths, of all episodes so far.

    The own return of each episode does so, too; but then it is judged by `episode-infos`.
    """
    is_of_team = all(np.ptp(one.returns) == 0.0 for one in ended)
    for quantity in quantities(ended[0]):
        if quantity == "the return of all agents together" and is_of_team:
            continue  # the team's return several times, of which the range is so wide that it says nothing
        if _lies_within(ended, path, quantity):
            return True
    return False


def _lies_within(ended: List[EndedEpisode], path: str, quantity: str) -> bool:
    low, high = np.inf, -np.inf
    together: Dict[int, Tuple[float, float]] = {}  # range of the quantity so far, by the step of the end
    for one in ended:
        value = quantities(one)[quantity]
        low, high = min(low, value), max(high, value)
        together[one.span.end] = (low, high)
    for one in ended:
        low, high = together[one.span.end]
        margin = TOLERANCE * (1.0 + max(abs(low), abs(high)))
        if path in one.numbers and not low - margin <= one.numbers[path] <= high + margin:
            return False
    return True


def changed_numbers(
    paths: Set[str], original: List[Seen], played: List[Seen], same: np.ndarray, disturbed: str
) -> List[Changed]:
    """Return the numbers of ends that are different in two runs.

    Args:
      paths: of the numbers.
      original: the long run.
      played: a run with other actions in some envs.
      same: the envs that took the same actions and showed the same in all steps of both runs, (N,) bool.
      disturbed: what was disturbed, in words.
    """
    found: List[Changed] = []
    if not paths:
        return found
    for step, (recorded, seen) in enumerate(zip(original, played)):
        if recorded.is_reset or not (recorded.ended & same).any():
            continue
        expected, got = numbers_by_env(recorded), numbers_by_env(seen)
        for env in map(int, np.flatnonzero(recorded.ended & same)):
            for path in sorted(paths & set(expected.get(env, {})) & set(got.get(env, {}))):
                if is_equal(expected[env][path], got[env][path]) or _is_shared(expected, recorded.ended, env, path):
                    continue
                found.append(Changed(path, env, step, got[env][path], expected[env][path], disturbed))
    return found


def _is_shared(numbers: Dict[int, Dict[str, float]], ended: np.ndarray, env: int, path: str) -> bool:
    """Return whether a different env that ended in the same step gives the same number."""
    value = numbers[env][path]
    for other in map(int, np.flatnonzero(ended)):
        if other != env and is_equal(value, numbers.get(other, {}).get(path)):
            return True
    return False


def require_own_numbers(changed: List[Changed]) -> None:
    """Raise if a number of several ends depends on the actions in other envs."""
    for first in changed:
        same_path = [one for one in changed if one.path == first.path]
        if len(same_path) < MIN_CHANGED:
            continue
        raise ContractError(
            "infos of an env depend on the actions in other envs",
            step=first.step,
            where=f"infos[{first.env}][0][{first.path!r}], step {first.step}; {first.disturbed}",
            got=f"{first.got:g}, though the env shows the same; so it is at {len(same_path)} ends",
            expected=f"{first.expected:g}, as after the recorded actions",
            cause="a list or a sum is shared by all envs: a default argument that is changed, or a class attribute",
            fix="keep it in each env's own attributes, or in an array with one entry for each env",
        )
