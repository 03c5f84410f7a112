"""Contracts of the numbers that are returned: finite, within their spaces, and not written over the actions.

Zeros that replace a NaN are found in the long run. A zero counts as such a replacement if the number is hardly ever 0
and hardly ever the same twice, and the zero is isolated in its episode:

- between two values that are far from 0. Values of equal sign must be a quarter of the standard deviation away from 0,
  because a number may approach 0 and turn back. Values of different sign need hardly any distance: a number that is
  clipped at 0 never changes its sign, and one that passes through 0 is never exactly 0.
  The exception is a difference of two clipped numbers, which is 0 while both are at the same bound. So no zero counts
  in an env and step in which some number is at a bound that it reaches repeatedly.
- in the first or last step of an episode, next to a value that is further from 0 than the number usually moves in a
  step. Starts at 0 must be rare, as a reset may well set a number to 0.

- not next to a low value of a number with one sign only, as a stock that runs out, nor next to a value that occurs
  repeatedly: it belongs to a state in which the number has few values, 0 among them.

Independently of that, a zero counts if everything that an agent sees is 0, but only if that is rare. Rewards are looked
at in the same way. Finally, zeros may be frequent, but only where actions are outside of their bounds: a number that is
never 0 otherwise and becomes exactly 0 there, in not too few of these steps, was NaN before.
"""

from __future__ import annotations

from typing import List, Optional

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError
from harness.interface.moment import Moment
from harness.interface.player import Seen, stack
from harness.interface.same_bytes import same_bytes

MIN_STEPS = 20  # of a run in which zeros can be judged
MAX_ZEROS = 2  # exact zeros of a number that may be exceptions; a thousandth of its values in a long run
MAX_ZERO_FRACTION = 1e-3
MIN_DISTINCT = 0.5  # fraction of a number's values that must differ from each other
CLEAR_DISTANCE = 0.25  # of a number's standard deviation, by which a neighbour clearly differs from 0
REST_DISTANCE = 1e-3  # of a number's standard deviation, within which it may rest at 0
CLEAR_STEPS = 2.0  # times the usual change in a step, by which a neighbour clearly differs from 0
STARTS_PER_ZERO_START = 4  # starts for each start at 0, for a start at 0 to be rare
MAX_BLANK_ENVS = 0.5  # envs that may always show only zeros before that counts as normal
BOUND_TOLERANCE = 1e-5  # relative
MIN_TIMES_AT_BOUND = 3  # that the largest or smallest of a number's values occurs, for it to be a bound
MIN_REPEATED = 3  # times that a neighbour's value occurs, for a state in which a number has few values
MOSTLY = 0.5  # fraction of a number's values that are short decimals, for such a value to say nothing
LARGE = 0.99  # fraction of a number's changes in a step that are smaller than a large one
STEPS_TO_REACH = 2.0  # large changes, in which a number with one sign may reach 0
LOW = 0.25  # fraction of a number's values that are low, from which a number with one sign may reach 0
MIN_OUTSIDE_ZEROS = 3  # of a number, only after actions outside of their bounds
OUTSIDE_ZERO_FRACTION = 0.05  # of the steps with such actions: few zeros are those of two speeds at their bound, say
MIN_INSIDE = 200  # values after actions inside of them, of which none may be 0
HIDDEN = "a NaN or an infinity was replaced by 0, as np.nan_to_num does"
FIND_IT = "find where the NaN comes from instead of replacing it"


@contract("finite")
def finite(subject: EnvUnderTest) -> None:
    """No returned value is NaN or infinite, or a NaN silently replaced by zero."""
    history = subject.long_run().seen
    ended = stack(history[1:], "ended")
    observed = {name: stack(history, name) for name in ("obs", "share_obs")}
    excused = (at_bound(observed["obs"]) | at_bound(observed["share_obs"]))[..., None] | _has_left(history)
    for name, values in observed.items():
        _require_no_isolated_zero(name, values, ended, excused, first_step=0)
    rewards = stack(history[1:], "rewards")[..., None]
    spread = _middle_half(rewards)
    _require_no_isolated_zero("rewards", rewards, ended[:-1], excused[1:], first_step=1, usual_spread=spread)
    if not subject.sizes.discrete:
        require_no_zeros_outside(history, subject.sizes.low, subject.sizes.high)


def _has_left(history: List[Seen]) -> np.ndarray:
    """Return which agents are done although the episode goes on, (T + 1, N, A) bool: many then observe nothing."""
    left = np.zeros((len(history), *history[0].obs.shape[:2]), bool)
    for step, seen in enumerate(history[1:], start=1):
        left[step] = seen.dones & ~seen.ended[:, None]
    return left


def _middle_half(values: np.ndarray) -> np.ndarray:
    """Return half of the range of the middle half of each number: rare large rewards do not raise it, (A, D)."""
    low, high = np.quantile(values, (0.25, 0.75), axis=(0, 1))
    return np.asarray(0.5 * (high - low))


def _require_no_isolated_zero(
    name: str,
    values: np.ndarray,
    ended: np.ndarray,
    excused: np.ndarray,
    first_step: int,
    usual_spread: Optional[np.ndarray] = None,
) -> None:
    """Raise if a zero of these numbers (T + 1, N, A, D), the first of which are of `first_step`, is no measurement.

    Zeros do not count where `excused` (T + 1, N, A) bool says that an env is at a bound, or that an agent has left.
    """
    zeros = isolated_zeros(values, ended, usual_spread)
    zeros = zeros[~excused[zeros[:, 0], zeros[:, 1], zeros[:, 2]]]
    if len(zeros) == 0:
        return
    index, env, agent, entry = map(int, zeros[0])
    before, after = values[index - 1, env, agent, entry], values[index + 1, env, agent, entry]
    step = index + first_step
    raise ContractError(
        f"{name} drops to exactly 0",
        step=step,
        where=f"step {step}, env {env}, agent {agent}, entry {entry}",
        got=f"{before:g}, 0, {after:g}",
        cause=HIDDEN,
        fix=FIND_IT,
    )


def require_no_zeros_outside(history: List[Seen], low: np.ndarray, high: np.ndarray) -> None:
    """Raise if a number is 0 after actions outside of their bounds, (K,) each, and at no other step."""
    actions = stack(history[1:], "actions")
    outside = ((actions < low) | (actions > high)).any(axis=(2, 3))
    ended = stack(history[1:], "ended")
    for name in ("obs", "share_obs", "rewards"):
        values = stack(history[1:], name)
        values = values.reshape(values.shape[:3] + (-1,))
        zero = values == 0.0
        of_envs = [values[outside & ~ended], values[~outside]]
        num_inside = len(of_envs[1])
        if len(of_envs[0]) == 0 or num_inside < MIN_INSIDE:
            continue
        counts = (of_envs[0] == 0.0).sum(axis=0)
        enough = max(MIN_OUTSIDE_ZEROS, OUTSIDE_ZERO_FRACTION * len(of_envs[0]))
        suspect = (counts >= enough) & ~(of_envs[1] == 0.0).any(axis=0)
        suspect &= distinct(of_envs[1]) > MIN_DISTINCT
        for agent, entry in np.argwhere(suspect)[:1]:
            places = np.argwhere(zero[..., agent, entry] & outside & ~ended)
            step, env = map(int, places[0])
            raise ContractError(
                f"{name} drops to exactly 0 after actions outside of the action_space",
                step=step + 1,
                where=f"step {step + 1}, env {env}, agent {agent}, entry {entry}",
                got=f"0 in {counts[agent, entry]} of {len(of_envs[0])} such steps, in none of {num_inside} others",
                cause=HIDDEN,
                fix=FIND_IT,
            )


def distinct(samples: np.ndarray) -> np.ndarray:
    """Return the fraction of the samples (M, A, D) of each number that differ from each other, (A, D)."""
    differs_from_next = np.diff(np.sort(samples, axis=0), axis=0) != 0.0
    return np.asarray(differs_from_next.mean(axis=0))


def at_bound(values: np.ndarray) -> np.ndarray:
    """Return where an env shows a number that is exactly at a bound, as a clipped position is at a wall, (T, N) bool.

    A number of many values whose largest or smallest one occurs several times has a bound there. A bound of 0 must
    occur more often than zeros that replace a NaN may.

    Args:
      values: numbers of a run, (T, N, A, D).
    """
    samples = values.reshape((-1,) + values.shape[2:])
    varies = distinct(samples) > MIN_DISTINCT
    found = np.zeros(values.shape, bool)
    for bound in (samples.min(axis=0), samples.max(axis=0)):
        reached = values == bound
        least = np.where(bound == 0.0, MAX_ZEROS + 1 + MAX_ZERO_FRACTION * len(samples), MIN_TIMES_AT_BOUND)
        is_bound = varies & (reached.sum(axis=(0, 1)) >= least)
        found |= reached & is_bound
    return np.asarray(found.any(axis=(2, 3)))


def isolated_zeros(values: np.ndarray, ended: np.ndarray, spread: Optional[np.ndarray] = None) -> np.ndarray:
    """Return where a zero cannot be a measurement; the module's docstring has the method.

    Args:
      values: numbers of a run, (T + 1, N, A, D).
      ended: where an episode ended, (T, N) bool.
      spread: how far each number usually is from its mean, (A, D); its standard deviation by default.

    Returns:
      Step, env, agent and entry of each such zero, (count, 4).
    """
    if len(values) < MIN_STEPS:
        return np.zeros((0, 4), int)
    zero = values[1:-1] == 0.0
    samples = values.reshape((-1,) + values.shape[2:])
    varies = distinct(samples) > MIN_DISTINCT
    is_exception = zero.sum(axis=(0, 1)) <= MAX_ZEROS + MAX_ZERO_FRACTION * len(samples)
    if spread is None:
        spread = samples.std(axis=0)
    replaced = zero & varies & is_exception & _neighbours_differ(values, ended, spread)
    for place in np.argwhere(replaced):
        replaced[tuple(place)] = not _may_be_measured(values, ended, place + np.array([1, 0, 0, 0]))
    blank = zero.all(axis=-1, keepdims=True) & (values.shape[-1] > 2)
    blank_is_rare = blank.mean(axis=(0, 1)) < MAX_BLANK_ENVS / values.shape[1]
    found = replaced | (zero & blank & blank_is_rare)
    return np.argwhere(found) + np.array([1, 0, 0, 0])


def _may_be_measured(values: np.ndarray, ended: np.ndarray, place: np.ndarray) -> bool:
    """Return whether a zero at step, env, agent and entry may be a measurement, by its neighbours within the episode.

    A number that never is on the other side of 0, as a stock that runs out, may reach it from a low value in a step.
    Values that occur repeatedly, or are short decimals though most are not, belong to a state in which the number is a
    sum of few events, or of none.
    """
    step, env, agent, entry = map(int, place)
    neighbours = []
    if not ended[step - 1, env]:
        neighbours.append(values[step - 1, env, agent, entry])
    if step < len(ended) and not ended[step, env]:
        neighbours.append(values[step + 1, env, agent, entry])
    samples = values[:, :, agent, entry]
    may_be_short = _is_short(samples[samples != 0.0]).mean() > MOSTLY
    for neighbour in neighbours:
        if (samples == neighbour).sum() >= MIN_REPEATED or (_is_short(neighbour) and not may_be_short):
            return True
    is_one_sided = samples.min() >= 0.0 or samples.max() <= 0.0
    is_usual = (samples[1:] != 0.0) & (samples[:-1] != 0.0)
    large_step = np.quantile(abs(np.diff(samples, axis=0))[is_usual], LARGE)
    reach = min(np.quantile(abs(samples), LOW), STEPS_TO_REACH * large_step)
    return bool(is_one_sided and np.min(np.abs(neighbours)) < reach)


def _is_short(values: np.ndarray) -> np.ndarray:
    """Return which values have at most two decimals."""
    return np.isclose(values, np.round(values, 2), rtol=0.0, atol=1e-7)


def _neighbours_differ(values: np.ndarray, ended: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return where the neighbours of a value within its episode are clearly not 0, (T - 1, N, A, D) bool."""
    first_step, last_step = ended[:-1, :, None, None], ended[1:, :, None, None]
    before, after = values[:-2], values[2:]
    zero = values[1:-1] == 0.0
    usual_change = np.median(abs(np.diff(values, axis=0)), axis=(0, 1))
    clear = np.maximum(CLEAR_DISTANCE * spread, CLEAR_STEPS * usual_change)
    least = np.where(before * after < 0, REST_DISTANCE, CLEAR_DISTANCE) * spread
    between = ~first_step & ~last_step & (np.minimum(abs(before), abs(after)) > least)
    zero_starts = (zero & first_step).sum(axis=(0, 1)) + (values[0] == 0.0).sum(axis=0)
    zero_starts_are_rare = ended.sum() > STARTS_PER_ZERO_START * zero_starts
    at_start = first_step & ~last_step & (abs(after) > clear) & zero_starts_are_rare
    at_end = ~first_step & last_step & (abs(before) > clear)
    return between | at_start | at_end


@contract("finite", every_step=True, at_reset=True)
def finite_step(moment: Moment) -> None:
    """No returned value is NaN or infinite."""
    for name in ("obs", "share_obs", "rewards", "dones"):
        value = moment.parts.get(name)
        if value is None or value.dtype.kind != "f" or np.isfinite(value).all():
            continue
        kind = "infinity"
        if np.isnan(value).any():
            kind = "NaN"
        places = np.argwhere(~np.isfinite(value))
        raise moment.error(
            f"{name} holds {kind}",
            moment.at(*places[0]),
            got=f"{len(places)} of {value.size} values",
            expected="finite values",
        )


@contract("bounds", every_step=True, at_reset=True)
def bounds(moment: Moment) -> None:
    """An observation stays within its space."""
    stated = {"obs": moment.sizes.obs_bounds, "share_obs": moment.sizes.share_obs_bounds}
    spaces = {"obs": "observation_space", "share_obs": "share_observation_space"}
    for name, limits in stated.items():
        value = moment.parts[name]
        if limits is None or limits[0].shape != value.shape[1:]:
            continue
        low, high = limits
        too_low = value < low - BOUND_TOLERANCE * (1 + abs(low))
        too_high = value > high + BOUND_TOLERANCE * (1 + abs(high))
        outside = np.argwhere(too_low | too_high)
        if len(outside):
            env, agent, entry = outside[0]
            raise moment.error(
                f"{name} leaves its {spaces[name]}",
                moment.at(env, agent, entry),
                got=f"{value[env, agent, entry]:g}",
                expected=f"within [{low[agent, entry]:g}, {high[agent, entry]:g}]",
            )


@contract("actions-untouched", every_step=True)
def actions_untouched_step(moment: Moment) -> None:
    """`step` does not write into the actions that it is given."""
    actions, before = moment.parts["actions"], moment.parts["actions_before"]
    if same_bytes(actions, before) or np.array_equal(actions, before):
        return
    env, agent, entry = np.argwhere(actions != before)[0]
    raise moment.error(
        "step writes into the actions it is given",
        moment.at(env, agent, entry),
        got=f"{actions[env, agent, entry]:g}",
        expected=f"{before[env, agent, entry]:g}, as handed over",
        cause="an operation in place, such as np.clip(out=), *= or a torch view; HARL stores the altered actions "
        "with the log-probabilities of the original ones",
        fix="work on a copy: actions = actions.copy()",
    )
