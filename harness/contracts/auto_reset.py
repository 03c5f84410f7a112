"""The contract of the reset within a step.

Three defects are distinguished:

- An env reports an end in every step from some step on. Either it is never reset, or its clock is not. It counts as
  stuck if the last series of ends is clearly longer than any earlier one.
- The observation that comes with an end follows from the one before, although starts are elsewhere (`Jumps`). Then the
  reset happens in a different step than the done.
- The reset is incomplete. A number that is equal after every call of `reset` must also have that value after a reset
  within a step. A number that `reset` draws at random must not continue its old course at every end. How often a drawn
  start is by accident within one step's change of the old end is measured. If it is practically impossible that this
  was an accident at all ends of the run, nothing was drawn.
"""

from __future__ import annotations

import functools
from typing import Callable, List, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.timeline import MAX_ENDS, Jumps, at_end, jumps_at_ends, resets, usual_change
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen, stack

MIN_ENDS_IN_A_ROW = 4  # more than in any earlier series, for an env to count as stuck
SERIES_RATIO = 3
FRESH_CHANGE = 0.7  # of the standard deviation in a step, for observations that are drawn again in each step
MIN_SPREAD = 1e-12
NUM_RESETS = 6  # that are compared with resets within a step
MIN_STARTS = 20  # that show which numbers are equal after every reset
CONSTANT_TOLERANCE = 1e-3  # of the largest value of a number
MIN_SCALE = 1e-3
MANY_RESETS = 300  # in a row, if a number is off at a few ends
MANY_SHARE = 0.05  # of the budget that they may take
MIN_OFF = 3  # ends at which a number is off, to look at so many resets
MAX_ACCIDENT = 1e-3  # probability above which what is off at a few ends may be an accident
MIN_ENDS_OF_ENV = 3  # of one env, all of which are off, which is no accident
MIN_CHANCE = 1e-6  # probability below which an observation is not an accident


@contract("auto-reset")
def auto_reset(subject: EnvUnderTest) -> None:
    """An env whose episode ended starts the next one within that step, by itself and completely."""
    history = subject.long_run().seen
    ended = episodes(history)
    if not ended:
        raise NotJudgedError("no episode ended")
    require_running(history)
    jumps = subject.once(jumps_at_ends)
    if jumps is not None:
        require_timely_ends(jumps, ended)
    require_complete_reset(subject, history, ended)


def require_running(history: List[Seen]) -> None:
    """Raise if an env reports an end in every step from some step on."""
    ended = stack(history[1:], "ended")
    for env in range(ended.shape[1]):
        series = _series_of_ends(ended[:, env])
        last = int(series[-1])
        if last < MIN_ENDS_IN_A_ROW + SERIES_RATIO * series[:-1].max(initial=0):
            continue
        first = len(ended) - last + 1
        what = f"env {env} stays done: it is not reset"
        cause = "no auto-reset: HARL calls reset once and never again"
        if is_drawn_each_step(stack(history[first:], "obs")[:, env]):
            what = f"every step ends an episode of env {env}"
            cause = "the clock of the time limit is not reset with the episode"
        raise ContractError(
            what,
            step=first + 1,
            where=f"steps {first} to {len(ended)}",
            expected="a new episode within the step that ended the old one, of more than one step",
            cause=cause,
        )


def _series_of_ends(ended: np.ndarray) -> np.ndarray:
    """Return how many ends there are before, between and after the steps (T,) without one."""
    without = np.flatnonzero(np.concatenate(([True], ~ended, [True])))
    return np.diff(without) - 1


def is_drawn_each_step(obs: np.ndarray) -> bool:
    """Return whether the observations of one env (T, A, D) do not follow from the ones before."""
    spread = obs.std(axis=0)
    change = np.median(abs(np.diff(obs, axis=0)), axis=0)
    relative = (change / np.maximum(spread, MIN_SPREAD))[spread > 0]
    return bool(len(relative) and np.median(relative) > FRESH_CHANGE)


def require_timely_ends(jumps: Jumps, ended: List[EpisodeSpan]) -> None:
    """Raise if what comes with a done follows from the step before, although starts are elsewhere."""
    if not jumps.is_near(jumps.at):
        return
    where = f"env {ended[0].env}, step {ended[0].end}"
    at, before, after = np.median(jumps.at), np.median(jumps.before), np.median(jumps.after)
    got = (
        f"a change of {at:.1f} times a usual large one at the done, {before:.1f} one step earlier, "
        f"{after:.1f} one step later"
    )
    expected = f"the first observation of the next episode, about {jumps.to_start:.1f} times away"
    if jumps.is_far(jumps.before):
        raise ContractError(
            "dones come one step late",
            contract="dones",
            where=where,
            got=got,
            expected=expected,
            cause="they belong to the step before: the last reward and the new start count as one episode",
        )
    cause = "the env is not reset"
    if jumps.is_far(jumps.after):
        cause = (
            "the env resets in the next step (gymnasium's default), whose action is ignored although HARL trains on it"
        )
    raise ContractError(
        "the observation that comes with a done is the last of the old episode",
        contract="terminal-observation",
        where=where,
        got=got,
        expected=expected,
        cause=cause,
        fix="reset within the step that ends the episode",
    )


def require_complete_reset(subject: EnvUnderTest, history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if part of what is seen continues from one episode to the next, although `reset` sets it again."""
    starts = resets(subject, NUM_RESETS)
    names = ["obs", "share_obs"]
    if history[0].available is not None:
        names.append("available")
    more = functools.partial(subject.once, many_resets)
    for name in names:
        require_constants(name, starts, history, ended, more)
    for name in ("obs", "share_obs"):
        require_fresh_draws(name, starts, history, ended[-MAX_ENDS:])


def many_resets(subject: EnvUnderTest) -> List[Seen]:
    """Return what many calls of `reset` in a row return, as many as there is time for."""
    count = min(MANY_RESETS, subject.steps(MANY_RESETS, runs=1, share=MANY_SHARE))
    player = subject.player(watch=False)
    for _ in range(count):
        player.reset()
    close_quietly(player.env)
    return player.seen


def require_constants(
    name: str,
    starts: List[Seen],
    history: List[Seen],
    ended: List[EpisodeSpan],
    more_starts: Callable[[], List[Seen]] = list,
) -> None:
    """Raise if a number that is the same after every `reset` is different after a reset within a step.

    Args:
      name: of the field.
      starts: what calls of `reset` returned.
      history: the run.
      ended: its episodes.
      more_starts: returns what more calls returned; called if a difference may be an accident.
    """
    first = np.concatenate(stack(starts, name))
    if len(first) < MIN_STARTS:
        return
    later, _ = at_end(history, name, ended)
    largest_values = abs(stack(history, name)).max(axis=(0, 1))
    scale = np.maximum(largest_values, MIN_SCALE)
    is_constant = first.max(axis=0) - first.min(axis=0) == 0.0
    is_off = is_constant & (abs(later - first[0]) > CONSTANT_TOLERANCE * scale)
    envs = np.array([span.env for span in ended])
    off = _off_by_no_accident(is_off, envs, len(first))
    if not off and (is_off.sum(axis=0) >= MIN_OFF).any():
        more = more_starts()
        if more:
            later_calls = np.concatenate(stack(more, name))
            is_off &= (later_calls == first[0]).all(axis=0)
            off = _off_by_no_accident(is_off, envs, len(first) + len(later_calls))
    if not off:
        return
    end, agent, entry = off[0]
    raise ContractError(
        f"a reset within a step leaves {name} entry {entry} as it was",
        where=f"env {ended[end].env}, agent {agent}, step {ended[end].end}",
        got=f"{later[end, agent, entry]:g}",
        expected=f"{first[0, agent, entry]:g}, as after every call of reset",
        cause="part of the state, a clock, a flag or a memory of the last action is not reset",
    )


def _off_by_no_accident(is_off: np.ndarray, envs: np.ndarray, num_starts: int) -> List[Tuple[int, int, int]]:
    """Return end, agent and entry of the numbers that are off (ends, A, D) by no accident."""
    off = []
    for end, agent, entry in np.argwhere(is_off).tolist():
        if not may_be_accident(is_off[:, agent, entry], envs, num_starts):
            off.append((end, agent, entry))
    return off


def may_be_accident(is_off: np.ndarray, envs: np.ndarray, num_starts: int) -> bool:
    """Return whether a number may be off after some ends and after no start although both are drawn alike.

    A distance sensor that usually sees nothing is such a number. By accident, all of those that are off are ends with
    the probability that so many of all ends and starts, drawn without order, are ends.

    Args:
      is_off: after which ends the number is off, (number of ends,) bool.
      envs: the env of each end.
      num_starts: after how many starts it is not.
    """
    for env in set(envs[is_off].tolist()):
        of_env = is_off[envs == env]
        if of_env.all() and len(of_env) >= MIN_ENDS_OF_ENV:
            return False
    chance = 1.0
    for number in range(int(is_off.sum())):
        chance *= (len(is_off) - number) / (num_starts + len(is_off) - number)
    return chance > MAX_ACCIDENT


def require_fresh_draws(name: str, starts: List[Seen], history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if a number that `reset` draws continues its old course after every reset within a step."""
    usual = usual_change(history, name)
    new, old = at_end(history, name, ended)
    drawn = stack(starts, name)
    envs = [span.env for span in ended]
    near_old_end = abs(drawn[:, envs] - old) <= usual
    draws = near_old_end.shape[0] * near_old_end.shape[1]
    chance = (near_old_end.sum(axis=(0, 1)) + 1.0) / (draws + 2.0)  # that a start is near an old end by accident
    always_near = (abs(new - old) <= usual).all(axis=0)
    moments = len({span.end for span in ended})  # ends in one step may share a draw
    found = np.argwhere(always_near & np.isfinite(usual) & (chance**moments < MIN_CHANCE))
    if len(found) == 0:
        return
    agent, entry = found[0]
    raise ContractError(
        f"a reset within a step does not reset {name} entry {entry}",
        where=f"agent {agent}, first in env {ended[0].env} at step {ended[0].end}",
        got=f"it goes on from the old episode at all {len(ended)} ends",
        expected="a new value, as after a call of reset",
        cause="the reset within a step does less than reset",
    )
