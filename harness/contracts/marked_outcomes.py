"""Ends that are marked as time limits although the episode succeeded or failed in the same step.

Nobody states which number is an outcome. Two kinds of evidence are looked for:

- infos. A flag whose name speaks of an outcome ends an episode if several unmarked ends have this flag and no other,
  and if it is never set in a step that ends nothing. Only if all unmarked ends have flags of outcomes, a marked end
  that has one of them is a finding.
- rewards. If nearly all unmarked ends have rewards that no step within an episode has, some marked ends with such a
  reward are a finding.

Most marked ends must be free of either, because a task may also judge an episode where its time is up.

Outcomes in the very last step are rare. So in one more run, the envs rest at the beginning of each episode for as long
as the time limit exceeds the length of an episode that succeeded or failed, and act then.
"""

from __future__ import annotations

import re
from typing import Iterator, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.factory_call import close_quietly
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver, at_rest, drive
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
MIN_REWARD = 1e-6  # that is no rounding
MIN_GAP = 0.25  # of the range of the rewards within episodes, by which those of ends exceed it
MIN_MARKED = 2  # marked ends with the reward of an outcome, which are not an accident
MOST_STEPS = 500  # of the run in which outcomes come late
SHARE = 0.05  # of the budget


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


def require_no_late_outcome(subject: EnvUnderTest, limit: int) -> None:
    """Raise if ends are marked in a run in which many episodes succeed or fail about where the time is up.

    Args:
      subject: the environment.
      limit: the time limit.
    """
    history = subject.long_run().seen
    lengths = [span.length for span in episodes(history) if not span.truncated and not span.first]
    if len(lengths) < MIN_UNMARKED or not shows_outcomes(history):
        return
    steps = subject.steps(MOST_STEPS, runs=1, share=SHARE)
    if steps < 2 * limit:
        return
    player = subject.player(watch=False)
    driver = LateDriver(ActionDriver(subject.sizes, subject.seed + 71), lengths, limit, subject.seed)
    drive(player, driver, steps)
    close_quietly(player.env)
    require_no_marked_outcome(player.seen)


class LateDriver:
    """Lets each env rest at the beginning of an episode, so that it succeeds or fails late.

    Args:
      driver: chooses the actions afterwards.
      lengths: of episodes that succeeded or failed.
      limit: the time limit.
      seed: of what is drawn.
    """

    def __init__(self, driver: ActionDriver, lengths: Sequence[int], limit: int, seed: int) -> None:
        self._driver = driver
        self._lengths = lengths
        self._limit = limit
        self._draw = np.random.default_rng([seed, 97])
        num_envs = driver.sizes.num_envs
        self._age = np.zeros(num_envs, int)
        self._rest_steps = self._drawn(num_envs)

    def __call__(self, seen: Seen) -> np.ndarray:
        """Return the next actions (N, A, K)."""
        if not seen.is_reset:
            self._age = np.where(seen.ended, 0, self._age + 1)
            self._rest_steps = np.where(seen.ended, self._drawn(len(self._age)), self._rest_steps)
        rests = (self._age < self._rest_steps)[:, None, None]
        actions = np.where(rests, at_rest(self._driver.sizes), self._driver(seen))
        return self._driver.legal(actions, seen)

    def _drawn(self, count: int) -> np.ndarray:
        return np.maximum(self._limit - self._draw.choice(self._lengths, count), 0)


def shows_outcomes(history: List[Seen]) -> bool:
    """Return whether the unmarked ends of a run show in infos or rewards that the episode succeeded or failed."""
    unmarked = [span for span in episodes(history) if not span.truncated]
    return bool(_decisive_flags(history, unmarked)) or _reward_ranges(history, unmarked) is not None


def _by_infos(history: List[Seen], marked: List[EpisodeSpan], unmarked: List[EpisodeSpan]) -> Optional[MarkedOutcome]:
    """Return a marked end with a flag that ends episodes, or None."""
    decisive = _decisive_flags(history, unmarked)
    found = []
    for span in marked:
        flags = sorted(_flags(history, span) & decisive)
        if flags:
            found.append((span, flags[0]))
    if not found or len(found) > MOST_MARKED * len(marked):
        return None
    span, flag = found[0]
    return MarkedOutcome(span, f"infos have {flag!r}, which ends an episode everywhere else", len(found))


def _decisive_flags(history: List[Seen], unmarked: List[EpisodeSpan]) -> Set[str]:
    """Return the flags that end episodes."""
    flags_at = [_flags(history, span) for span in unmarked]
    if not all(flags_at):
        return set()
    decisive: Set[str] = set()
    for flag in set().union(*flags_at):
        if sum(flags == {flag} for flags in flags_at) >= MIN_ONLY_FLAG:
            decisive.add(flag)
    return decisive - _set_within_episodes(history, decisive)


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
    ranges = _reward_ranges(history, unmarked)
    if ranges is None:
        return None
    found = []
    for span in marked:
        reward = _reward(history, span)
        if reward >= ranges.lowest_above or reward <= ranges.highest_below:
            found.append(span)
    if not MIN_MARKED <= len(found) <= MOST_MARKED * len(marked):
        return None
    evidence = f"a reward of {_reward(history, found[0]):g}, as at successes or failures"
    evidence += f"; within episodes it is {ranges.low:g} to {ranges.high:g}"
    return MarkedOutcome(found[0], evidence, len(found))


class _RewardRanges(NamedTuple):
    """Rewards within episodes, and those of unmarked ends that exceed them.

    Attributes:
      low: the lowest reward within episodes.
      high: the highest.
      highest_below: the highest reward of an unmarked end that is clearly below them.
      lowest_above: the lowest one that is clearly above.
    """

    low: float
    high: float
    highest_below: float
    lowest_above: float


def _reward_ranges(history: List[Seen], unmarked: List[EpisodeSpan]) -> Optional[_RewardRanges]:
    """Return the ranges of rewards; None unless nearly all unmarked ends stand out."""
    rewards, ended = stack(history[1:], "rewards").mean(axis=2), stack(history[1:], "ended")
    within = rewards[~ended]
    if not len(within):
        return None
    low, high = float(within.min()), float(within.max())
    gap = max(MIN_GAP * (high - low), MIN_REWARD)
    of_ends = [_reward(history, span) for span in unmarked]
    above = [reward for reward in of_ends if reward > high + gap]
    below = [reward for reward in of_ends if reward < low - gap]
    if len(above) + len(below) < STAND_OUT * len(unmarked):
        return None
    return _RewardRanges(low, high, max(below, default=-np.inf), min(above, default=np.inf))


def _reward(history: List[Seen], span: EpisodeSpan) -> float:
    """Return the mean reward of the agents in the step that ended an episode."""
    return float(history[span.end].rewards[span.env].mean())
