"""The contract that no reward is lost at the edges of episodes.

Where nearly every step has a reward, so must the steps that a time limit ends, and the first steps of new episodes.
Where many steps have none, only those are compared that follow two steps with a reward: if nearly all of them have a
reward within episodes, those that a time limit ends must have one, too.

Where rewards are rarer, infos may show it. An entry that is called a return, and that is the sum of the rewards of
several episodes, must not differ from the sum just where the last step has no reward at all. That may be an accident if
rewards are rare, unless the run has none at all. Nor must it lack just those last rewards that exceed all others, such
as that of a success.
"""

from __future__ import annotations

import re
from typing import List, NamedTuple

import numpy as np

from harness.contracts.ended_episodes import TOLERANCE, EndedEpisode, ended_episodes, quantities, speaks_of_one_episode
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen, stack

MIN_LOST = 5  # consecutive steps of a kind without a reward, which are not an accident
USUALLY_REWARDED = 0.9  # fraction of the other steps that must have a reward
MIN_USUAL = 100  # steps that follow two steps with a reward
RETURN_NAME = re.compile(r"(^|_)(r|ret|returns?|rewards?|score)$", re.IGNORECASE)
MIN_SUMS = 3  # different returns, not 0, that are sums of rewards
MIN_INCOMPLETE = 3  # returns that are not, and whose last reward is 0
LARGE = 3.0  # times the largest other reward, for a last reward that is missed
ALMOST = 0.1  # fraction of it that may be counted all the same
MIN_EXPECTED = 5.0  # of their last rewards that were not 0, if last steps had a reward as often as others


class _Steps(NamedTuple):
    """The steps of a run, (T, N) bool each.

    Attributes:
      rewarded: those with a reward.
      ended: those that end an episode.
      limited: those that a time limit ends.
      first: those that follow an end.
    """

    rewarded: np.ndarray
    ended: np.ndarray
    limited: np.ndarray
    first: np.ndarray


@contract("no-lost-reward")
def no_lost_reward(subject: EnvUnderTest) -> None:
    """No reward is lost at a time limit, in the first step of an episode, or from the return that infos give."""
    history = subject.long_run().seen
    if subject.errors.of("infos-fresh") is None:  # else the infos of different envs mix
        _require_complete_returns(history)
    steps = _steps_of(history)
    usual = steps.rewarded[~steps.ended & ~steps.first]
    if len(usual) == 0 or usual.mean() <= USUALLY_REWARDED:
        _judge_after_rewarded_steps(subject, steps)
        return
    most = max(int(steps.limited.sum()), int(steps.first.sum()))
    if most < MIN_LOST:
        raise subject.too_few("ends of episodes", most, MIN_LOST)
    _require_rewards(steps, "that a time limit ends", steps.limited)
    _require_rewards(steps, "after the end of an episode", steps.first & ~steps.ended)


def _steps_of(history: List[Seen]) -> _Steps:
    rewards, ended = stack(history[1:], "rewards"), stack(history[1:], "ended")
    first = np.zeros_like(ended)
    first[1:] = ended[:-1]
    limited = ended & stack(history[1:], "truncated").all(axis=2)
    return _Steps((rewards != 0.0).any(axis=2), ended, limited, first)


def _judge_after_rewarded_steps(subject: EnvUnderTest, steps: _Steps) -> None:
    """Judge only the steps that follow two steps of the same episode with a reward.

    Raises:
      ContractError: those that a time limit ends have no reward.
      NotJudgedError: many of them have no reward, or there are too few.
    """
    goes_on = steps.rewarded & ~steps.ended
    follows = np.zeros_like(goes_on)
    follows[2:] = goes_on[1:-1] & goes_on[:-2]
    usual = steps.rewarded[follows & ~steps.ended]
    if len(usual) < MIN_USUAL or usual.mean() <= USUALLY_REWARDED:
        raise NotJudgedError("many steps have no reward")
    limited = steps.limited & follows
    if limited.sum() < MIN_LOST:
        raise subject.too_few("ends of episodes after steps with a reward", int(limited.sum()), MIN_LOST)
    _require_rewards(steps, "that a time limit ends", limited)


def _require_rewards(steps: _Steps, what: str, where: np.ndarray) -> None:
    """Raise if the latest steps of a kind have no reward."""
    lost = _lost_lately(steps.rewarded, where)
    if len(lost) < MIN_LOST:
        return
    step, env = lost[0]
    raise ContractError(
        f"the reward of the step {what} is lost",
        step=int(step) + 1,
        where=f"env {env}, step {step + 1}",
        got=f"exactly 0 in the last {len(lost)} of these steps; other steps have a reward",
        expected="the reward of that step",
        cause="it is computed from the state after the reset, or what it is compared with is not known yet",
        fix="compute rewards before the reset; set what they are compared with in the reset",
    )


def _lost_lately(rewarded: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return step and env, (count, 2), of the latest consecutive steps of a kind that have no reward."""
    places = np.argwhere(where)
    with_reward = np.flatnonzero(rewarded[where])
    if len(with_reward):
        places = places[with_reward[-1] + 1 :]
    return places


def _require_complete_returns(history: List[Seen]) -> None:
    """Raise if returns in infos contain last rewards that were not given, or lack some that were."""
    ended = ended_episodes(history)
    if not ended:
        return
    steps = _steps_of(history)
    rewarded = float(steps.rewarded[~steps.ended].sum() / max((~steps.ended).sum(), 1))
    for path in ended[0].numbers:
        if not speaks_of_one_episode(path) or not RETURN_NAME.search(path.split("/")[-1]):
            continue
        for quantity in ("the return", "the return of all agents together"):
            incomplete = incomplete_returns(ended, path, quantity, rewarded)
            if incomplete:
                raise _without_last_reward(ended, incomplete, path, quantity)
            lacking = lacking_returns(ended, path, quantity, _largest_within(history, quantity))
            if lacking:
                raise _last_reward_not_counted(ended, lacking, path, quantity)


def incomplete_returns(ended: List[EndedEpisode], path: str, quantity: str, rewarded: float) -> List[EndedEpisode]:
    """Return the episodes whose return in infos is not the sum of their rewards, if it is their last one that is lost.

    Args:
      ended: the episodes of a run.
      path: of the number in infos.
      quantity: what it should be, of `quantities`.
      rewarded: fraction of the steps within episodes that have a reward.
    """
    sums, incomplete = set(), []
    for one in ended:
        value, expected = one.numbers.get(path, np.nan), quantities(one)[quantity]
        if not np.isclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE):
            incomplete.append(one)
        elif abs(value) > TOLERANCE:
            sums.add(value)
    if len(incomplete) < MIN_INCOMPLETE or any(one.last_rewards.any() for one in incomplete):
        return []
    is_return = len(sums) >= MIN_SUMS and rewarded * len(incomplete) >= MIN_EXPECTED
    if is_return or rewarded == 0.0:
        return incomplete
    return []


def _largest_within(history: List[Seen], quantity: str) -> float:
    """Return the largest absolute reward of the steps within episodes, of agent 0 or of all agents together."""
    rewards = stack(history[1:], "rewards")[~stack(history[1:], "ended")]
    if quantity == "the return":
        rewards = rewards[:, :1]
    return float(abs(rewards.sum(axis=1)).max(initial=0.0))


def lacking_returns(ended: List[EndedEpisode], path: str, quantity: str, largest: float) -> List[EndedEpisode]:
    """Return the episodes whose return in infos lacks the last reward, if only those do that end with a large one.

    Args:
      ended: the episodes of a run.
      path: of the number in infos.
      quantity: what it should be, of `quantities`.
      largest: absolute reward of a step within episodes.
    """
    sums, lacking = set(), []
    largest_counted, smallest_missed = 0.0, np.inf  # of the last rewards
    for one in ended:
        value, expected = one.numbers.get(path, np.nan), quantities(one)[quantity]
        last = float(one.last_rewards.sum())
        if quantity == "the return":
            last = float(one.last_rewards[0])
        if np.isclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE):
            largest_counted = max(largest_counted, abs(last))
            if abs(value) > TOLERANCE:
                sums.add(value)
        elif abs(expected - value - last) <= largest + ALMOST * abs(last):
            smallest_missed = min(smallest_missed, abs(last))
            lacking.append(one)
        else:
            return []
    if len(sums) < MIN_SUMS or len(lacking) < MIN_INCOMPLETE:
        return []
    if smallest_missed <= LARGE * max(largest, largest_counted):
        return []
    return lacking


def _last_reward_not_counted(
    ended: List[EndedEpisode], lacking: List[EndedEpisode], path: str, quantity: str
) -> ContractError:
    first = lacking[0]
    span = first.span
    return ContractError(
        "the return that infos give lacks the last reward",
        step=span.end,
        where=f"infos[{span.env}][0][{path!r}], step {span.end}",
        got=f"{first.numbers.get(path, np.nan):g}, after a last reward of {first.last_rewards[0]:g}; so it is at "
        f"{len(lacking)} of {len(ended)} ends, all that have so large a reward",
        expected=f"{quantities(first)[quantity]:g}, which is {quantity}: the sum of the rewards",
        cause="the rewards are added up before the reward of the end, such as that of a success, is known",
        fix="add up the reward that is returned",
    )


def _without_last_reward(
    ended: List[EndedEpisode], incomplete: List[EndedEpisode], path: str, quantity: str
) -> ContractError:
    first = incomplete[0]
    span = first.span
    return ContractError(
        "the last reward of an episode is in the return that infos give, but was never given",
        step=span.end,
        where=f"infos[{span.env}][0][{path!r}], step {span.end}",
        got=f"{first.numbers.get(path, np.nan):g}, and a reward of 0 in the last step; so it is at "
        f"{len(incomplete)} of {len(ended)} ends",
        expected=f"{quantities(first)[quantity]:g}, which is {quantity}: the sum of the rewards",
        cause="the reward is cleared with the rest of the env before it is returned, or changed after it was added up",
        fix="keep the reward of the step that ends an episode until it is returned",
    )
