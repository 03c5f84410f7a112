"""Contract of what infos say of an episode that ended: its return and its length are those of that episode only.

Nobody states which entry of an info is the return. It is inferred: an entry whose name speaks of an episode, and which
in the first episode of each env is the sum of the rewards, or the number of steps, must be so in all later episodes. If
all first episodes are alike, it may be a setting, but not if it goes on as the sum over all episodes of its env.
"""

from __future__ import annotations

import collections
import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

SPEAKS_OF_AN_EPISODE = re.compile(r"^(episode|ep|return|length)([^a-z]|$)", re.IGNORECASE)
SPEAKS_OF_MORE = re.compile(r"total|cumul|mean|avg|average|sum|max|min|std|num|count|rate", re.IGNORECASE)
MIN_FIRST = 3  # first episodes that show what an entry is
MIN_VALUES = 2  # different values that they have: an entry that is always the same is a setting
MIN_LATER = 3  # later episodes that are judged
TOLERANCE = 1e-3  # relative; rewards are float32, and their sum depends on the order


class _Ended(NamedTuple):
    """An episode that ended: its return for each agent, (A,), and the numbers in agent 0's info, by path."""

    span: EpisodeSpan
    returns: np.ndarray
    numbers: Dict[str, float]


@contract("episode-infos")
def episode_infos(subject: EnvUnderTest) -> None:
    """The return and the length that infos give at an end are those of the episode that ended."""
    history = subject.long_run().seen
    if subject.errors.of("infos-fresh") is not None:
        raise NotJudgedError("infos are shared, so those of different envs mix")
    ended = _ended_episodes(history)
    later = [one for one in ended if not one.span.first]
    num_first = len(ended) - len(later)
    if num_first < MIN_FIRST:
        raise subject.too_few("first episodes that ended", num_first, MIN_FIRST)
    if len(later) < MIN_LATER:
        raise subject.too_few("later episodes that ended", len(later), MIN_LATER)
    meanings = list(_meanings(ended))
    if not meanings:
        raise NotJudgedError("no entry of the infos is the return or the length of the episodes that ended first")
    for path, quantity in meanings:
        _require_the_same_meaning(path, quantity, later)


def _ended_episodes(history: List[Seen]) -> List[_Ended]:
    totals = np.zeros_like(history[1].rewards, dtype=np.float64)
    spans: Dict[Tuple[int, int], EpisodeSpan] = {(span.end, span.env): span for span in episodes(history)}
    found = []
    for step, seen in enumerate(history[1:], start=1):
        totals += seen.rewards
        for env in map(int, np.flatnonzero(seen.ended)):
            numbers = {}
            for of_env, agent, info in leaves(seen.infos):
                if (of_env, agent) == (env, 0):
                    numbers = dict(numbers_in(info))
            found.append(_Ended(spans[step, env], totals[env].copy(), numbers))
            totals[env] = 0.0
    return found


def _quantities(one: _Ended) -> Dict[str, float]:
    """Return what an entry may be, by what it is called in a message."""
    return {
        "the return": float(one.returns[0]),
        "the return of all agents together": float(one.returns.sum()),
        "the length": float(one.span.length),
    }


def _meanings(ended: List[_Ended]) -> Iterator[Tuple[str, str]]:
    """Yield path and quantity of the entries that are a known quantity of every first episode."""
    first = [one for one in ended if one.span.first]
    for path in first[0].numbers:
        if not _speaks_of_one_episode(path):
            continue
        distinct = {one.numbers.get(path) for one in first}
        for quantity in _quantities(first[0]):
            is_known = _is(path, first, [_quantities(one)[quantity] for one in first])
            if is_known and (len(distinct) >= MIN_VALUES or _is(path, ended, _totals(ended, quantity))):
                yield path, quantity
                break


def _is(path: str, ended: List[_Ended], expected: List[float]) -> bool:
    values = [one.numbers.get(path, np.nan) for one in ended]
    return np.allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE)


def _totals(ended: List[_Ended], quantity: str) -> List[float]:
    """Return for each episode the sum of a quantity over the episodes of its env so far."""
    totals: Dict[int, float] = collections.defaultdict(float)
    found = []
    for one in ended:
        totals[one.span.env] += _quantities(one)[quantity]
        found.append(totals[one.span.env])
    return found


def _speaks_of_one_episode(path: str) -> bool:
    if SPEAKS_OF_MORE.search(path):
        return False
    return any(SPEAKS_OF_AN_EPISODE.match(name) for name in path.split("/"))


def _require_the_same_meaning(path: str, quantity: str, later: List[_Ended]) -> None:
    wrong = []
    for one in later:
        value, expected = one.numbers.get(path, np.nan), _quantities(one)[quantity]
        if not np.isclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE):
            wrong.append((one.span, value, expected))
    if 2 * len(wrong) <= len(later):
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
