"""Ends that are marked as time limits although the episode succeeded or failed in the same step.

Nobody states which number is an outcome. Two kinds of evidence are looked for:

- infos. A flag whose name speaks of an outcome ends an episode if several unmarked ends have this flag and no other,
  and if it is never set in a step that ends nothing. Only if such flags explain all unmarked ends, a marked end that
  has one of them is a finding.
- rewards. If nearly all unmarked ends have rewards that no step within an episode has, some marked ends with such a
  reward are a finding.

Most marked ends must be free of either, because a task may also judge an episode where its time is up.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Set

import numpy as np

from harness.contracts.timeline import EpisodeSpan, episodes
from harness.findings import ContractError
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen, stack

SPEAKS_OF_AN_OUTCOME = re.compile(
    r"succe|fail|crash|collision|collided|dead|death|died|(^|_)wo?n($|_)|(^|_)win($|_)|lost|solved|goal|fell|fallen|"
    r"terminated|terminal$|out_of",
    re.IGNORECASE,
)
MIN_UNMARKED = 5  # ends, for a statement about outcomes
MIN_ONLY_FLAG = 3  # unmarked ends that have a flag and no other one
MOST_MARKED = 1.0 / 3.0  # of all marked ends that may have an outcome; if more have one, it is meant
STAND_OUT = 0.8  # fraction of the unmarked ends whose rewards no step within an episode has
MIN_GAP = 0.25  # of the range of the rewards within episodes, by which those of ends exceed it
MIN_MARKED = 2  # marked ends with the reward of an outcome, which are not an accident


class MarkedOutcome(NamedTuple):
    """A marked end that has an outcome.

    Attributes:
      span: the episode.
      evidence: the outcome in words.
      num_found: how many marked ends have an outcome.
    """

    span: EpisodeSpan
    evidence: str
    num_found: int


def require_no_marked_outcome(history: List[Seen]) -> None:
    """Raise if ends are marked as time limits in whose step an episode succeeded or failed."""
    ended = episodes(history)
    marked = [span for span in ended if span.truncated]
    unmarked = [span for span in ended if not span.truncated]
    if len(unmarked) < MIN_UNMARKED or not marked:
        return
    found = _by_infos(history, marked, unmarked) or _by_rewards(history, marked, unmarked)
    if found is None:
        return
    span = found.span
    raise ContractError(
        "bad_transition is set although the episode succeeded or failed in that step",
        step=span.end,
        where=f"env {span.env}, step {span.end}, after {span.length} steps",
        got=f"{found.evidence}; so it is at {found.num_found} of {len(marked)} marked ends",
        expected="bad_transition only where nothing but the time limit ends an episode",
        cause="the time limit has precedence over the outcome: HARL bootstraps after a true end",
        fix="truncated = out_of_time & ~success & ~failure",
    )


def _by_infos(history: List[Seen], marked: List[EpisodeSpan], unmarked: List[EpisodeSpan]) -> Optional[MarkedOutcome]:
    """Return a marked end with a flag that ends episodes, or None."""
    flags_at = [_flags(history, span) for span in unmarked]
    decisive = set()
    for flag in set().union(*flags_at):
        if sum(flags == {flag} for flags in flags_at) >= MIN_ONLY_FLAG:
            decisive.add(flag)
    if not decisive or not all(flags & decisive for flags in flags_at):
        return None
    decisive -= _set_within_episodes(history, decisive)
    found = []
    for span in marked:
        flags = sorted(_flags(history, span) & decisive)
        if flags:
            found.append((span, flags[0]))
    if not found or len(found) > MOST_MARKED * len(marked):
        return None
    span, flag = found[0]
    return MarkedOutcome(span, f"infos have {flag!r}, which ends an episode everywhere else", len(found))


def _flags(history: List[Seen], span: EpisodeSpan) -> Set[str]:
    """Return the paths of the flags of outcomes that agent 0's info has set at an end."""
    found: Set[str] = set()
    for env, agent, info in leaves(history[span.end].infos):
        if (env, agent) == (span.env, 0):
            found.update(_set_flags(info))
    return found


def _set_flags(info: object) -> Iterator[str]:
    for path, value in numbers_in(info, booleans=True):
        if value == 1.0 and SPEAKS_OF_AN_OUTCOME.search(path.split("/")[-1]):
            yield path


def _set_within_episodes(history: List[Seen], flags: Set[str]) -> Set[str]:
    """Return which flags are set in a step that ends no episode."""
    found: Set[str] = set()
    for seen in history[1:]:
        for env, agent, info in leaves(seen.infos):
            if agent == 0 and env < len(seen.ended) and not seen.ended[env]:
                found.update(flags.intersection(_set_flags(info)))
    return found


def _by_rewards(history: List[Seen], marked: List[EpisodeSpan], unmarked: List[EpisodeSpan]) -> Optional[MarkedOutcome]:
    """Return a marked end with a reward that only unmarked ends have, or None."""
    rewards, ended = stack(history[1:], "rewards").mean(axis=2), stack(history[1:], "ended")
    within = rewards[~ended]
    if not len(within):
        return None
    low, high = float(within.min()), float(within.max())
    gap = max(MIN_GAP * (high - low), 1e-6)
    of_outcomes: Dict[str, List[float]] = {"above": [], "below": []}
    for span in unmarked:
        reward = rewards[span.end - 1, span.env]
        if reward > high + gap:
            of_outcomes["above"].append(reward)
        elif reward < low - gap:
            of_outcomes["below"].append(reward)
    if sum(map(len, of_outcomes.values())) < STAND_OUT * len(unmarked):
        return None
    lowest_above = min(of_outcomes["above"], default=np.inf)
    highest_below = max(of_outcomes["below"], default=-np.inf)
    found = []
    for span in marked:
        reward = rewards[span.end - 1, span.env]
        if reward >= lowest_above or reward <= highest_below:
            found.append(span)
    if not MIN_MARKED <= len(found) <= MOST_MARKED * len(marked):
        return None
    reward = rewards[found[0].end - 1, found[0].env]
    evidence = f"a reward of {reward:g}, as at successes or failures; within episodes it is {low:g} to {high:g}"
    return MarkedOutcome(found[0], evidence, len(found))
