"""What a user may say about a task, and the contract that holds rewards to it."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen

CLEAR = 0.3  # a correlation that is no accident
TAIL = 90  # steps at the end of the run that are looked at by themselves: a fault may start late
LOST = 5  # ends in a row without a reward that are no accident where every other step has one
FEWEST = 30  # rewards of which the task must say something
LAGS = (0, 1, 2, -1)  # [steps]


class Task:
    """What the harness cannot know about a task; override what you know.

    Args:
      state_type: HARL's: "EP" if agents share state and reward, "FP" if not.
      agents_by_effect: whether an agent's own action moves more of its own observation than of its mates'.
      delay: steps that an action takes to show, by design.
    """

    def __init__(self, state_type: str = "EP", agents_by_effect: bool = True, delay: int = 0) -> None:
        self.state_type = state_type
        self.agents_by_effect = agents_by_effect
        self.delay = delay

    def reward(self, previous: Seen, current: Seen) -> Optional[np.ndarray]:
        """Return what the reward of the step from `previous` to `current` should rise and fall with, (N,) or (N, A).

        A potential's difference, such as the progress of the object towards the goal, is enough. NaN: nothing is
        known of this env at this step; None: nothing at all. Steps at which an episode ended are left out.
        """
        return None

    def effect(self, agent: int, axis: int) -> Optional[Tuple[int, float]]:
        """Return the entry of the agent's own observation that this axis of its action moves the most, and the sign.

        The sign is that of the change over the first steps under a positive action; 0 if it depends. None: unknown.
        """
        return None


@contract("reward-task")
def reward_task(subject: EnvUnderTest) -> None:
    """The reward rises and falls with what the task says it should, in the same step."""
    if subject.task is None:
        raise NotJudgedError("no task is stated: --task PACKAGE.MODULE:TASK, or check_env(task=...)")
    history = subject.long_run().seen
    expected, actual = _pairs(subject, history)
    if expected is None:
        raise NotJudgedError("the task says nothing about the reward")
    if np.isfinite(expected).sum() < FEWEST:
        raise NotJudgedError("the task says something about the reward of too few steps")
    _require_agreement(expected, actual)
    tail = (expected[-TAIL:], actual[-TAIL:])
    if len(actual) > 4 * TAIL and max(map(abs, _agreements(*tail).values())) > CLEAR:
        _require_agreement(*tail)
    _require_last_reward(history)


def _agreements(expected: np.ndarray, actual: np.ndarray) -> Dict[int, float]:
    """Return the correlation of the rewards with what was expected, for each lag."""
    return {lag: _correlation(expected, actual, lag) for lag in LAGS}


def _require_agreement(expected: np.ndarray, actual: np.ndarray) -> None:
    agreement = _agreements(expected, actual)
    best = max(LAGS, key=lambda lag: abs(agreement[lag]))
    got = "correlations " + ", ".join(f"{agreement[lag]:+.2f} at lag {lag}" for lag in LAGS)
    if best == 0 and agreement[0] > CLEAR:
        return
    if abs(agreement[best]) <= CLEAR:
        raise ContractError("the reward has nothing to do with what the task states", got=got)
    if agreement[best] < 0:
        raise ContractError("the reward has the wrong sign", got=got, fix="negate it")
    late = "{} step{} {}".format(abs(best), "s" * (abs(best) > 1), "late" if best > 0 else "early")
    cause = "it is computed from the positions before the step" if best > 0 else "it looks ahead"
    raise ContractError(f"the reward comes {late}", got=got, cause=cause)


def _require_last_reward(history: List[Seen]) -> None:
    """Raise if the step that ends an episode is the only one without a reward."""
    rewards = np.stack([seen.rewards for seen in history[1:]])
    ended = np.stack([seen.ended for seen in history[1:]])
    last, others = rewards[ended], rewards[~ended]
    rewarded = np.flatnonzero((last != 0.0).any(axis=1))
    lost = len(last) - (rewarded[-1] + 1 if len(rewarded) else 0)
    if lost >= LOST and (others != 0.0).mean() > 0.9:
        raise ContractError(
            "the reward of the step that ends an episode is lost",
            got=f"exactly 0 at the last {lost} ends",
            cause="it is computed from the state after the reset, or it is cleared with the episode",
        )


def _pairs(subject: EnvUnderTest, history: List[Seen]) -> Tuple[Optional[np.ndarray], np.ndarray]:
    """Return expected and actual rewards (T, N), NaN where an episode ended."""
    expected, actual = [], []
    for previous, current in zip(history, history[1:]):
        value = subject.task.reward(previous, current)
        if value is None:
            return None, np.zeros(0)
        value = np.asarray(value, np.float64).reshape(len(current.rewards), -1).mean(axis=1)
        expected.append(np.where(current.ended, np.nan, value))
        actual.append(np.where(current.ended, np.nan, current.rewards.mean(axis=1)))
    return np.array(expected), np.array(actual)


def _correlation(expected: np.ndarray, actual: np.ndarray, lag: int) -> float:
    """Return how well the rewards follow what was expected `lag` steps before."""
    if lag > 0:
        expected, actual = expected[:-lag], actual[lag:]
    elif lag < 0:
        expected, actual = expected[-lag:], actual[:lag]
    both = np.isfinite(expected) & np.isfinite(actual)
    a, b = expected[both], actual[both]
    if len(a) < 10 or a.std() < 1e-12 or b.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
