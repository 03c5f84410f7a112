"""Runs in which an env ends when none did: its clock is put forward to the time limit.

Where all episodes end at the same time, or at times that no action changes, no run shows what the end of one env does
to the others. So the long run is played again up to a step in which none ends, the clock of one env is put forward, and
the next steps are compared with those of the long run: the same step from the same state, with an end in one env and
without. If the others differ, the clock is put forward by less, so that the env does not end: then they must be the
same, or it is the clock itself that they depend on, and nothing is said.
"""

from __future__ import annotations

from typing import List, Optional

import numpy as np

from harness.contracts.clocks import Clock, Reading, clocks_in, put_forward, read_numbers
from harness.contracts.comparison import Bystanders
from harness.contracts.cross_talk import CrossTalk, DisturbedRun, PutForward, actions_of_run
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import episodes, flagged_lengths, time_limit
from harness.contracts.factory_call import close_quietly
from harness.interface.drivers import ActionDriver
from harness.interface.far_env import of_env
from harness.interface.player import Player, Seen

MAX_RUNS = 3
WINDOW_STEPS = 3  # that are compared, the one with the end included
MIN_AGE = 2  # of all envs at the step before
READ_AFTER = (1, 2, 4)  # steps after the start of the run, and after the first two ends, when clocks are read
NUM_ENDS = 2  # at different times
SHARE = 0.05  # of the budget


def early_end_runs(subject: EnvUnderTest) -> List[DisturbedRun]:
    """Return runs in which one env ends early; none if no clock is found, or no time limit is known."""
    history = subject.long_run().seen
    ended = episodes(history)
    limit = time_limit(ended) or max(flagged_lengths(ended), default=None)
    begins = [0, *sorted({span.end for span in ended})[:NUM_ENDS]]
    if limit is None or len(begins) == 1:
        return []
    affordable = subject.steps(begins[-1] + READ_AFTER[-1], runs=1 + MAX_RUNS, share=SHARE)
    history = history[: affordable + 1]
    clocks = _find_clocks(subject, history, begins)
    if not clocks:
        return []
    runs = []
    for number, step in enumerate(calm_steps(history, limit)):
        env = number * 2 % subject.sizes.num_envs
        run = _play(subject, history, PutForward(env, step, clocks, limit - 1))
        if run is not None:
            runs.append(run)
    return runs


def ages_in(history: List[Seen]) -> np.ndarray:
    """Return how old the episode of each env is after each step of a run, (T, N)."""
    ages = np.zeros((len(history), len(history[0].obs)), int)
    for step, seen in enumerate(history[1:], start=1):
        ages[step] = np.where(seen.ended, 0, ages[step - 1] + 1)
    return ages


def calm_steps(history: List[Seen], limit: int) -> List[int]:
    """Return steps after which no env ends for a while, and all are in the middle of an episode."""
    ages = ages_in(history)
    found: List[int] = []
    for step in range(1, len(history) - WINDOW_STEPS):
        window = history[step + 1 : step + 1 + WINDOW_STEPS]
        is_calm = not any(seen.ended.any() for seen in window)
        is_apart = not found or step > found[-1] + WINDOW_STEPS
        if is_calm and is_apart and ages[step].min() >= MIN_AGE and ages[step].max() < limit - 1:
            found.append(step)
    return found[:: max(1, len(found) // MAX_RUNS)][:MAX_RUNS]


def _find_clocks(subject: EnvUnderTest, history: List[Seen], begins: List[int]) -> List[Clock]:
    """Return the clocks of an environment that plays the beginning of the long run.

    Args:
      subject: the environment.
      history: the beginning of the long run.
      begins: steps after which clocks are read: 0, and those of the first ends.
    """
    ages = ages_in(history)
    has_ended = np.cumsum([seen.ended for seen in history[1:]], axis=0) > 0
    when = {begin + steps for begin in begins for steps in READ_AFTER}
    player = subject.player(watch=False)
    readings = []
    try:
        for step in range(1, len(history)):
            player.step(history[step].actions)
            if step in when:
                numbers = of_env(player.env, read_numbers, subject.sizes.num_envs)
                readings.append(Reading(ages[step], has_ended[step - 1], numbers))
    finally:
        close_quietly(player.env)
    if not readings or not readings[-1].is_later.any():
        return []
    return clocks_in(readings)


def _play(subject: EnvUnderTest, history: List[Seen], forward: PutForward) -> Optional[DisturbedRun]:
    """Return the run in which an env ends early; None if it does not, or if its clock alone changes the others."""
    run = _compare(subject, history, forward)
    if run is None or run.found is None:
        return run
    without_end = _compare(subject, history, forward._replace(age=forward.age - WINDOW_STEPS), ends=False)
    if without_end is None or without_end.found is not None:
        return None
    return run


def _compare(
    subject: EnvUnderTest, history: List[Seen], forward: PutForward, ends: bool = True
) -> Optional[DisturbedRun]:
    """Play the long run with the clock of one env put forward; None if ends do not come as they should."""
    player = subject.player(watch=False)
    spared = np.arange(subject.sizes.num_envs) != forward.env
    bystanders = Bystanders(spared)
    driver = ActionDriver(subject.sizes, subject.seed)
    found = None
    try:
        player.replay(history[1 : forward.after + 1])
        put_clocks_forward(player, forward)
        for step in range(forward.after + 1, forward.after + 1 + WINDOW_STEPS):
            seen = player.step(driver.legal(history[step].actions, player.seen[-1]))
            if step == forward.after + 1 and (seen.ended != (~spared & ends)).any():
                return None
            difference = bystanders.difference(history[step], seen)
            if difference is not None:
                found = CrossTalk(step, difference, history[step], seen)
                break
        actions = actions_of_run(player.seen)
    finally:
        close_quietly(player.env)
    words = f"the clock of env {forward.env} was put forward to its time limit"
    return DisturbedRun(found, ends, words, None, spared, actions, forward)


def put_clocks_forward(player: Player, forward: PutForward) -> None:
    """Put the clocks of one env of a player forward."""
    of_env(player.env, put_forward, player.sizes.num_envs, forward.clocks, forward.env, forward.age)
