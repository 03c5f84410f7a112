"""Contract of what infos say of an episode that ended: its return and its length are those of that episode only.

Nobody states which entry of an info is the return. It is inferred: an entry whose name speaks of an episode, and which
in the first episode of each env is the sum of the rewards, or the number of steps, must be so in later episodes. If all
first episodes are alike, it may be a setting, but not if it goes on as a sum over the episodes of its env.

A number whose name says that it is the length, and that is so for several lengths, must be so at all ends.

Numbers that only ends have are compared with sums and means over the steps as well (`told_totals`). They must not go on
over episodes (`running_on`), nor be those of one agent for all (`numbers_of_agents`). A distance must not always be 0
(`unmoved_numbers`). An outcome must not stay set (`sticking_flags`), and not say that the episode goes on
(`unfinished_outcomes`).

A minimum or maximum that is called one of the episode must not go on either: it does if it often stays the same from
one end of an env to the next, and changes in one direction only.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Tuple

import numpy as np

from harness.contracts.ended_episodes import TOLERANCE, EndedEpisode, ended_episodes, quantities, speaks_of_one_episode
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.interrupted_episodes import require_fresh_counts
from harness.contracts.numbers_of_agents import require_numbers_of_each_agent
from harness.contracts.registry import contract
from harness.contracts.running_on import require_no_running_on
from harness.contracts.sticking_flags import require_no_sticking_flags
from harness.contracts.told_totals import require_true_totals
from harness.contracts.unfinished_outcomes import require_finished_outcomes
from harness.contracts.unmoved_numbers import require_no_unmoved
from harness.findings import ContractError, NotJudgedError

MIN_FIRST = 3  # first episodes that show what an entry is
MIN_VALUES = 2  # different values that they have: an entry that is always the same is a setting
MIN_LATER = 3  # later episodes that are judged
MIN_WRONG_LATELY = 8  # last episodes of a run, all of them wrong, for a finding if most others are right
LENGTH_NAME = re.compile(r"^((.*/)?(episode|ep)_(l|len|length|steps)|(episode|ep)/(l|len|length))$", re.IGNORECASE)
MIN_LENGTHS = 3  # different lengths that such a number has, and ends at which it has not, for a finding
EXTREME_NAME = re.compile(r"(^|[_/])(min|max|lowest|highest|worst|best|peak)(_|$)", re.IGNORECASE)
OF_AN_EPISODE = re.compile(r"^(episode|ep)/", re.IGNORECASE)
OF_ALL_EPISODES = re.compile(r"(^|[_/])(ever|all|total|record|so_far|run|life)([_/]|$)", re.IGNORECASE)
MIN_KEPT = 6  # ends at which a minimum or maximum of all episodes stays the same, and as many at which it changes
MIN_ADDED = 3  # episodes by which a number has risen, to be a sum


@contract("episode-infos")
def episode_infos(subject: EnvUnderTest) -> None:
    """The return and the length that infos give at an end are those of the episode that ended."""
    history = subject.long_run().seen
    if subject.errors.of("infos-fresh") is not None:
        raise NotJudgedError("infos are shared, so those of different envs mix")
    ended = ended_episodes(history)
    later = [one for one in ended if not one.span.first]
    num_first = len(ended) - len(later)
    if num_first < MIN_FIRST:
        raise subject.too_few("first episodes that ended", num_first, MIN_FIRST)
    if len(later) < MIN_LATER:
        raise subject.too_few("later episodes that ended", len(later), MIN_LATER)
    num_known = 0
    for path, quantity in _meanings(ended):
        num_known += 1
        _require_the_same_meaning(path, quantity, later)
    num_known += _require_lengths(ended)
    for path in _extremes(ended):
        num_known += _require_extreme_of_one_episode(path, ended)
    num_known += require_true_totals(history)
    require_no_sticking_flags(history)
    require_no_running_on(history)
    require_no_unmoved(history)
    require_finished_outcomes(history)
    require_fresh_counts(subject)
    require_numbers_of_each_agent(subject)
    if not num_known:
        raise NotJudgedError("no entry of the infos is the return or the length of the episodes that ended first")


def _meanings(ended: List[EndedEpisode]) -> Iterator[Tuple[str, str]]:
    """Yield path and quantity of the entries that are a known quantity of every first episode."""
    first = [one for one in ended if one.span.first]
    for path in first[0].numbers:
        if not speaks_of_one_episode(path):
            continue
        distinct = {one.numbers.get(path) for one in first}
        for quantity in quantities(first[0]):
            is_known = _is(path, first, [quantities(one)[quantity] for one in first])
            if is_known and (len(distinct) >= MIN_VALUES or _adds_up(path, ended, quantity)):
                yield path, quantity
                break


def _require_lengths(ended: List[EndedEpisode]) -> int:
    """Raise if a number that is called the length is so for several lengths, but not at all ends.

    Returns:
      How many numbers are the length.
    """
    num_known = 0
    for path in ended[0].numbers:
        if not LENGTH_NAME.search(path):
            continue
        right = {one.span.length for one in ended if one.numbers.get(path) == one.span.length}
        wrong = [one for one in ended if path in one.numbers and one.numbers[path] != one.span.length]
        if len(right) < MIN_LENGTHS:
            continue
        num_known += 1
        if len(wrong) < MIN_LENGTHS:
            continue
        span = wrong[0].span
        raise ContractError(
            "infos give a wrong number for the length of an episode",
            where=f"infos[{span.env}][0][{path!r}], step {span.end}",
            got=f"{wrong[0].numbers[path]:g}; wrong at {len(wrong)} of {len(ended)} ends",
            expected=f"{span.length}",
            cause="the length of some outcomes is written down by hand, or counted from a different step",
            fix="count the steps of each episode, whatever ends it",
        )
    return num_known


def _extremes(ended: List[EndedEpisode]) -> List[str]:
    """Return the paths of what is called a minimum or a maximum of an episode."""
    found = []
    for path in ended[-1].numbers:
        is_extreme = OF_AN_EPISODE.search(path) and EXTREME_NAME.search(path)
        if is_extreme and not OF_ALL_EPISODES.search(path):
            found.append(path)
    return found


def _require_extreme_of_one_episode(path: str, ended: List[EndedEpisode]) -> bool:
    """Raise if a minimum or maximum is one of all episodes of its env so far.

    Returns:
      Whether there were enough ends to judge it.
    """
    latest: Dict[int, float] = {}
    changes: List[float] = []
    for one in ended:
        if path not in one.numbers:
            continue
        value = one.numbers[path]
        if one.span.env in latest:
            changes.append(value - latest[one.span.env])
        latest[one.span.env] = value
    rises, falls = int((np.array(changes) > 0.0).sum()), int((np.array(changes) < 0.0).sum())
    same = changes.count(0.0)
    if min(rises, falls) > 0 or max(rises, falls) < MIN_KEPT or same < MIN_KEPT:
        return len(changes) >= 2 * MIN_KEPT
    direction = "rises" if rises else "falls"
    raise ContractError(
        f"{path} in infos is that of all episodes of its env so far, not of the one that ended",
        where=f"infos[*][0][{path!r}]",
        got=f"from end to end of an env, it {direction} {max(rises, falls)} times, stays the same {same} times, "
        "and never goes back",
        expected="the minimum or maximum of the episode that ended",
        cause="it is not set again where an episode ends within a step",
        fix="set it again in the function that starts an episode; if it is by design, call it a record",
    )


def _is(path: str, ended: List[EndedEpisode], expected: List[float]) -> bool:
    values = [one.numbers.get(path, np.nan) for one in ended]
    return np.allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE)


def _adds_up(path: str, ended: List[EndedEpisode], quantity: str) -> bool:
    """Return whether a number, where it is not the quantity of its episode, rises by it from end to end of its env."""
    latest: Dict[int, float] = {}
    num_added = 0
    for one in ended:
        value, own = one.numbers.get(path, np.nan), quantities(one)[quantity]
        before = latest.get(one.span.env, 0.0)
        latest[one.span.env] = value
        if _is_near(value, own):
            continue
        if not _is_near(value, before + own):
            return False
        num_added += 1
    return num_added >= MIN_ADDED


def _is_near(value: float, expected: float) -> bool:
    return bool(np.isclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE))


def _require_the_same_meaning(path: str, quantity: str, later: List[EndedEpisode]) -> None:
    wrong = []
    num_lately = 0  # wrong ones since the last that is right
    for one in later:
        value, expected = one.numbers.get(path, np.nan), quantities(one)[quantity]
        if _is_near(value, expected):
            num_lately = 0
            continue
        wrong.append((one.span, value, expected))
        num_lately += 1
    if 2 * len(wrong) <= len(later) and num_lately < MIN_WRONG_LATELY:
        return
    span, value, expected = wrong[0]
    raise ContractError(
        f"infos give a wrong number for {quantity} of an episode",
        where=f"infos[{span.env}][0][{path!r}], step {span.end}",
        got=f"{value:g}; wrong in {len(wrong)} of {len(later)} later episodes, right in the first of each env",
        expected=f"{expected:g}",
        cause="it is not set to 0 where an episode ends within a step, or it is read after the next one began",
        fix="read it before the env is reset, then set it to 0",
    )
