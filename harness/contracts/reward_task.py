"""The contract that checks rewards against what the user states about the task.

Method: the task returns a quantity for each step, such as progress. The correlation of the rewards with that quantity
is measured at several lags. A correct reward correlates best, and positively, at lag 0. A negated reward correlates
negatively, a late or early reward correlates better at a different lag, and an unrelated reward at none. The last part
of the run is also measured by itself, because a defect may start late.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.contracts.task import Task
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen, stack

MIN_CORRELATION = 0.3  # below it, a correlation may be an accident
MIN_PAIRS = 10  # of reward and stated quantity, for a correlation
MIN_SPREAD = 1e-12  # standard deviation below which a quantity is constant
MIN_STATED = 30  # rewards for which the task must return a number
TAIL_STEPS = 90  # at the end of the run, which are also judged by themselves
MIN_LOST_REWARDS = 5  # consecutive ends without a reward that are not an accident
USUALLY_REWARDED = 0.9  # fraction of the other steps that must have a reward
LAGS = (0, 1, 2, -1)  # [steps]


@contract("reward-task")
def reward_task(subject: EnvUnderTest) -> None:
    """The reward rises and falls with what the task says it should, in the same step."""
    if subject.task is None:
        raise NotJudgedError("no task is stated: --task PACKAGE.MODULE:TASK, or check_env(task=...)")
    history = subject.long_run().seen
    expected, actual = stated_and_actual(subject.task, history)
    if expected is None:
        raise NotJudgedError("the task says nothing about the reward")
    if np.isfinite(expected).sum() < MIN_STATED:
        raise NotJudgedError("the task says something about the reward of too few steps")
    require_agreement(expected, actual)
    if len(actual) > 4 * TAIL_STEPS:
        expected, actual = expected[-TAIL_STEPS:], actual[-TAIL_STEPS:]
        if max(map(abs, correlations(expected, actual).values())) > MIN_CORRELATION:
            require_agreement(expected, actual)
    require_last_reward(history)


def stated_and_actual(task: Task, history: List[Seen]) -> Tuple[Optional[np.ndarray], np.ndarray]:
    """Return the stated quantities and the rewards, (T, N) each, NaN where an episode ended.

    The first is None if the task returns None for some step.
    """
    expected, actual = [], []
    for previous, current in zip(history, history[1:]):
        stated = task.reward(previous, current)
        if stated is None:
            return None, np.zeros(0)
        per_env = np.asarray(stated, np.float64).reshape(len(current.rewards), -1).mean(axis=1)
        expected.append(np.where(current.ended, np.nan, per_env))
        actual.append(np.where(current.ended, np.nan, current.rewards.mean(axis=1)))
    return np.array(expected), np.array(actual)


def correlations(expected: np.ndarray, actual: np.ndarray) -> Dict[int, float]:
    """Return the correlation of the rewards with the stated quantity, for each lag."""
    return {lag: correlation(expected, actual, lag) for lag in LAGS}


def correlation(expected: np.ndarray, actual: np.ndarray, lag: int) -> float:
    """Return the correlation of the rewards with the quantity that was stated `lag` steps before."""
    if lag > 0:
        expected, actual = expected[:-lag], actual[lag:]
    elif lag < 0:
        expected, actual = expected[-lag:], actual[:lag]
    known = np.isfinite(expected) & np.isfinite(actual)
    a, b = expected[known], actual[known]
    if len(a) < MIN_PAIRS or a.std() < MIN_SPREAD or b.std() < MIN_SPREAD:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def require_agreement(expected: np.ndarray, actual: np.ndarray) -> None:
    """Raise unless the rewards correlate best with what is stated for the same step."""
    by_lag = correlations(expected, actual)
    best = max(LAGS, key=lambda lag: abs(by_lag[lag]))
    if best == 0 and by_lag[0] > MIN_CORRELATION:
        return
    got = "correlations " + ", ".join(f"{by_lag[lag]:+.2f} at lag {lag}" for lag in LAGS)
    if abs(by_lag[best]) <= MIN_CORRELATION:
        raise ContractError("the reward is unrelated to what the task states", got=got)
    if by_lag[best] < 0:
        raise ContractError("the reward has the wrong sign", got=got, fix="negate it")
    direction, cause = "late", "it is computed from the positions before the step"
    if best < 0:
        direction, cause = "early", "it looks ahead"
    plural = "s" * (abs(best) > 1)
    raise ContractError(f"the reward comes {abs(best)} step{plural} {direction}", got=got, cause=cause)


def require_last_reward(history: List[Seen]) -> None:
    """Raise if only the steps that end an episode have no reward."""
    rewards, ended = stack(history[1:], "rewards"), stack(history[1:], "ended")
    at_end, elsewhere = rewards[ended], rewards[~ended]
    lost = 0  # ends without a reward since the last end with one
    for rewarded in (at_end != 0.0).any(axis=1):
        lost += 1
        if rewarded:
            lost = 0
    if lost >= MIN_LOST_REWARDS and (elsewhere != 0.0).mean() > USUALLY_REWARDED:
        raise ContractError(
            "the reward of the step that ends an episode is lost",
            got=f"exactly 0 at the last {lost} ends",
            cause="it is computed from the state after the reset, or it is cleared with the episode",
        )
