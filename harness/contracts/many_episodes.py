"""The contract that an environment goes on: after many episodes, steps and calls of `reset`, it still works.

A table of a fixed length that is indexed by a number which only rises, such as the number of the episode, ends in an
IndexError hours after the start. Where episodes are short or steps are cheap, that number is reached in a few seconds.
So a new environment is driven until each of its envs has ended many episodes, or the time is up, and is then reset many
times. Actions are of the kinds that end most episodes early.
"""

from __future__ import annotations

import math
import time
from typing import Callable, NamedTuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.player import Player

SHARE = 0.1  # of the budget
RESETS_SHARE = 0.02  # of the budget, for calls of reset
STEPS_PER_LONG_RUN = 10  # the most steps, in lengths of the long run
MIN_EPISODES = 101  # of each env, so that a table of 100 is too short
STEPS_BETWEEN_RESETS = 2
MAX_BUDGET_FACTOR = 10.0  # times the budget of the check, up to which a larger budget is advised
KINDS = ("hold", "uniform", "alternate")
CAUSE = "something of a fixed length is indexed by the number of steps, episodes or resets, which only rises"
FIX = "index modulo its length, or let it grow at the other end: collections.deque(maxlen=...)"


class Endurance(NamedTuple):
    """How far the environment was driven.

    Attributes:
      steps: number of steps.
      episodes: number of episodes that ended in each env, (N,).
      seconds: how long it took [s].
    """

    steps: int
    episodes: np.ndarray
    seconds: float


@contract("many-episodes")
def many_episodes(subject: EnvUnderTest) -> None:
    """After many episodes, steps and calls of `reset`, they still work: no table comes to its end."""
    most_steps = STEPS_PER_LONG_RUN * subject.effort.long_run_steps
    subject.long_run()
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed + 61, KINDS)
    try:
        progress = drive_through_episodes(player, driver, subject.effort.episodes, most_steps, subject.time_for(SHARE))
        _reset_often(subject, player, driver)
    finally:
        close_quietly(player.env)
    least = int(progress.episodes.min())
    needed = min(MIN_EPISODES, subject.effort.episodes)
    if least < needed:
        raise _too_few(subject, progress, needed, progress.steps >= most_steps)
    subject.notes.append(f"many-episodes: each env ended {least} or more in {progress.steps:,} steps")


def drive_through_episodes(
    player: Player, driver: Callable[..., np.ndarray], enough: int, most_steps: int, most_s: float
) -> Endurance:
    """Drive a player until each env has ended enough episodes, or until its steps or its time are used up.

    Raises:
      ContractError: a step failed; the error says in which episode.
    """
    started = time.perf_counter()
    ended = np.zeros(player.sizes.num_envs, int)
    steps = 0
    while ended.min() < enough and steps < most_steps and time.perf_counter() - started < most_s:
        try:
            seen = player.step(driver(player.seen[-1]))
        except ContractError as error:
            raise _worn_out(error, f"after {steps:,} steps and {_in_words(ended)}") from error
        del player.seen[:-1]  # so that the harness itself keeps nothing that grows
        ended += seen.ended
        steps += 1
    return Endurance(steps, ended, time.perf_counter() - started)


def _reset_often(subject: EnvUnderTest, player: Player, driver: Callable[..., np.ndarray]) -> None:
    """Reset an environment many times, after a few steps each.

    Raises:
      ContractError: a reset or a step failed; the error says in which round.
    """
    most_s = subject.time_for(RESETS_SHARE)
    started = time.perf_counter()
    for calls in range(1, subject.effort.episodes + 1):
        try:
            player.reset()
            for _ in range(STEPS_BETWEEN_RESETS):
                player.step(driver(player.seen[-1]))
        except ContractError as error:
            raise _worn_out(error, f"after {calls:,} calls of reset in a row") from error
        del player.seen[:-1]
        if time.perf_counter() - started > most_s:
            return


def _worn_out(error: ContractError, when: str) -> ContractError:
    """Return the error of a step that failed late as one of this contract."""
    return ContractError(
        f"{error.what}, {when}",
        contract="many-episodes",
        step=error.step,
        where=error.where,
        got=error.got,
        expected="no end, however long it runs",
        cause=error.cause or CAUSE,
        fix=error.fix or FIX,
    )


def _in_words(ended: np.ndarray) -> str:
    """Return how many episodes have ended."""
    return f"{ended.sum():,} episodes, {ended.max():,} of them in env {ended.argmax()}"


def _too_few(subject: EnvUnderTest, progress: Endurance, needed: int, is_longest: bool) -> NotJudgedError:
    """Return why nothing can be said, with the budget that would do if it is not far away."""
    least = int(progress.episodes.min())
    reason = f"{least} episodes of an env in {progress.steps:,} steps, {needed} are needed"
    seconds = progress.seconds * needed / max(least, 1)
    before_s = subject.budget_s - subject.time_left - progress.seconds
    budget = max(subject.budget_for(2.0 * seconds, SHARE), math.ceil(before_s + 2.2 * seconds))
    if is_longest or budget > MAX_BUDGET_FACTOR * subject.budget_s:
        return NotJudgedError(f"{reason}: make episodes shorter for the check")
    return NotJudgedError(f"{reason}; --budget {budget} would do")
