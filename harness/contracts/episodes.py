"""Contracts of how episodes end and begin, read off the long run."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from harness.contracts.registry import contract
from harness.contracts.subject import Subject, close_quietly, drive
from harness.drivers import Driver
from harness.findings import ContractError, NotJudgedError
from harness.interface import Seen

HORIZON_NAMES = (
    "horizon",
    "max_episode_length",
    "max_episode_steps",
    "_max_episode_steps",
    "episode_length",
    "time_limit",
)
FINAL_NAMES = ("final_obs", "final_observation", "terminal_observation", "terminal_obs")
ENDLESS = 3000  # steps after which an episode that has not ended is taken never to end


@dataclasses.dataclass(frozen=True)
class Episode:
    """One that ended.

    Attributes:
      env: of which env.
      end: index of the step that ended it, in the run.
      length: [steps].
      truncated: whether `bad_transition` was set.
      first: whether it is the first one of its env, which may have been started in the middle.
    """

    env: int
    end: int
    length: int
    truncated: bool
    first: bool


def episodes(history: List[Seen]) -> List[Episode]:
    """Return the episodes that ended in a run, in order."""
    started: Dict[int, int] = {}
    found = []
    for step, seen in enumerate(history[1:], start=1):
        for env in map(int, np.flatnonzero(seen.ended)):
            length = step - started.get(env, 0)
            found.append(Episode(env, step, length, bool(seen.truncated[env].all()), env not in started))
            started[env] = step
    return found


def time_limit(ended: List[Episode]) -> Optional[int]:
    """Return the length at which episodes pile up because a time limit ends them, or None."""
    flagged = [one.length for one in ended if one.truncated and not one.first]
    if flagged:
        return collections.Counter(flagged).most_common(1)[0][0]
    longest = max((one.length for one in ended), default=0)
    at_longest = {one.env for one in ended if one.length == longest}
    count = sum(one.length == longest for one in ended)
    piled_up = count >= 4 and len(at_longest) >= 2 and longest >= 3
    return longest if piled_up and count > 3 * sum(one.length == longest - 1 for one in ended) else None


@contract("bad-transition")
def bad_transition(subject: Subject) -> None:
    """`bad_transition` is True where a time limit ended the episode, and nowhere else."""
    history = subject.long_run().seen
    if "bad-transition" in subject.violations:
        raise subject.violations["bad-transition"]
    if "infos-fresh" in subject.violations:
        raise NotJudgedError("infos are shared or reused, so the flags of different steps mix")
    ended = episodes(history)
    limit = time_limit(ended)
    if limit is None:
        raise NotJudgedError("no time limit was reached in {} steps".format(len(history) - 1))
    at_limit = [one for one in ended if one.length == limit and not one.first]
    missed = [one for one in at_limit if not one.truncated]
    early = [one for one in ended if one.truncated and not one.first and one.length != limit]
    if len(missed) == len(at_limit) and missed:
        other = _other_flag(history[missed[0].end], missed[0].env)
        raise ContractError(
            "time limits count as failures: bad_transition is not set",
            where="env {}, step {}, after {} steps".format(missed[0].env, missed[0].end, limit),
            got="{} episodes end after {} steps, at most; none has bad_transition".format(len(missed), limit),
            expected="infos[env][agent]['bad_transition'] = True",
            cause=other and "the flag has another name: {!r}".format(other),
        )
    by_chance = max(sum(one.length == limit - before for one in ended) for before in (1, 2))
    if len(missed) > 3 * by_chance + 2:
        envs = sorted({one.env for one in missed})
        raise ContractError(
            "bad_transition is missing at some time limits",
            where="envs {}, first at step {}".format(envs, missed[0].end),
            got="{} of {} episodes of {} steps are not flagged".format(len(missed), len(at_limit), limit),
        )
    if early:
        raise ContractError(
            "bad_transition is set although no time limit was reached",
            where="env {}, step {}".format(early[0].env, early[0].end),
            got="flagged after {} steps; the time limit is {}".format(sorted({one.length for one in early})[:5], limit),
            cause="a success or a failure is flagged as a time limit",
        )


def _other_flag(seen: Seen, env: int) -> Optional[str]:
    try:
        keys = [str(key) for key in seen.infos[env][0].keys()]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return next(
        (key for key in keys if "trunc" in key.lower() or "timeout" in key.lower() or "time" in key.lower()), None
    )


@contract("horizon")
def horizon(subject: Subject) -> None:
    """Every episode ends, at a time limit that is the same for all and counts from the last reset."""
    player = subject.long_run()
    ended = episodes(player.seen)
    limit = time_limit(ended)
    if limit is None and not ended:
        _require_an_end(subject)
    if limit is None:
        return
    steps = len(player.seen) - 1
    last = collections.Counter({env: 0 for env in range(subject.sizes.num_envs)})
    for one in ended:
        last[one.env] = one.end
    overdue = [env for env, end in last.items() if steps - end > 2 * limit + 2]
    if overdue:
        raise ContractError(
            "the episode of env {} never ends".format(overdue[0]),
            where="envs {}".format(overdue),
            got="no end for {} steps; others end after {}".format(steps - last[overdue[0]], limit),
        )
    stated = _stated_horizon(player.env)
    if stated is not None and abs(stated[1] - limit) == 1:
        raise ContractError(
            "the time limit is off by one",
            got="episodes end after {} steps".format(limit),
            expected="{}, as env.{} says".format(stated[1], stated[0]),
        )
    _require_reset_of_the_clock(subject, limit)


def _require_an_end(subject: Subject) -> None:
    player = subject.player()
    try:
        driver = Driver(subject.sizes, subject.seed + 1)
        steps = subject.steps(ENDLESS, 1, 0.3)
        stated = _stated_horizon(player.env)
        while player.step_count < steps:
            if player.step(driver(player.seen[-1])).dones.any():
                return
        if steps < (stated[1] + 2 if stated else ENDLESS):
            raise NotJudgedError("no episode ended in {} steps; there was no time for more".format(steps))
    finally:
        close_quietly(player.env)
    raise ContractError(
        "no episode ever ends",
        step=steps,
        got="no done in {} steps of every kind of actions".format(steps),
        expected="an end after {} steps, as env.{} says".format(*stated[::-1]) if stated else "a time limit",
        cause="dones are never set; an evaluation would run for ever",
    )


def _stated_horizon(env: Any) -> Optional[Tuple[str, int]]:
    for name in HORIZON_NAMES:
        value = getattr(env, name, None)
        if isinstance(value, (int, float, np.integer)) and not isinstance(value, bool) and value > 1:
            return name, int(value)
    return None


def _require_reset_of_the_clock(subject: Subject, limit: int) -> None:
    """Reset in mid-episode; the next one must not be shorter for it."""
    part = max(1, limit // 3)
    if subject.steps(limit + part, 1) < limit + part:
        return
    player = subject.player()
    driver = Driver(subject.sizes, subject.seed, ("rest",))
    drive(player, driver, part)
    player.reset()
    lengths = np.full(subject.sizes.num_envs, 0)
    for step in range(1, limit + 1):
        ended = player.step(driver(player.seen[-1])).ended
        lengths[(lengths == 0) & ended] = step
    close_quietly(player.env)
    if (lengths == limit - part).all():
        raise ContractError(
            "reset does not restart the clock of the time limit",
            got="after a reset at step {}, episodes end after {} steps".format(part, limit - part),
            expected="{} steps".format(limit),
        )


@contract("auto-reset")
def auto_reset(subject: Subject) -> None:
    """An env whose episode ended starts the next one by itself, like any other."""
    history = subject.long_run().seen
    ended = episodes(history)
    if not ended:
        raise NotJudgedError("no episode ended")
    dones = np.stack([seen.ended for seen in history[1:]])
    for env in range(dones.shape[1]):
        ends = np.flatnonzero(dones[:, env])
        if len(ends) and dones[ends[0] :, env].all() and len(dones) - ends[0] >= 4:
            raise ContractError(
                "env {} stays done: it is not reset".format(env),
                step=int(ends[0]) + 2,
                where="steps {} to {}".format(ends[0] + 1, len(dones)),
                expected="a new episode within the step that ended the old one",
                cause="no auto-reset: HARL calls reset once and never again",
            )
    _require_whole_reset(subject, history, ended)


def _require_whole_reset(subject: Subject, history: List[Seen], ended: List[Episode]) -> None:
    """What is the same at every `reset` must be so after a reset within a step, too."""
    starts = _resets(subject, 6)
    for name in ("obs", "share_obs"):
        first = np.concatenate([getattr(seen, name) for seen in starts])
        later = np.stack([getattr(history[one.end], name)[one.env] for one in ended])
        spread = first.max(axis=0) - first.min(axis=0)
        scale = np.maximum(abs(np.stack([getattr(seen, name) for seen in history])).max(axis=(0, 1)), 1e-3)
        off = (spread == 0.0) & (abs(later - first[0]) > 1e-3 * scale)
        if len(first) < 20 or not off.any():
            continue
        one, agent, entry = np.argwhere(off)[0]
        raise ContractError(
            "a reset within a step leaves {} entry {} as it was".format(name, entry),
            where="env {}, agent {}, step {}".format(ended[one].env, agent, ended[one].end),
            got="{:g}".format(later[one, agent, entry]),
            expected="{:g}, as after every call of reset".format(first[0, agent, entry]),
            cause="part of the state, a clock or a memory of the last action is not reset",
        )


def _resets(subject: Subject, count: int) -> List[Seen]:
    """Return what resets in mid-episode give."""
    player = subject.player()
    driver = Driver(subject.sizes, subject.seed)
    found = [player.seen[0]]
    for _ in range(count - 1):
        drive(player, driver, 3)
        found.append(player.reset())
    close_quietly(player.env)
    return found


@contract("terminal-observation")
def terminal_observation(subject: Subject) -> None:
    """The observation that comes with a done is the first of the next episode; infos may hold the old one's last."""
    history = subject.long_run().seen
    ended = [one for one in episodes(history) if 2 <= one.end < len(history) - 1]
    if len(ended) < 3:
        raise NotJudgedError("fewer than 3 episodes ended")
    _require_first_observation(subject, history, ended)
    _require_kept_end(history, ended)


def _require_first_observation(subject: Subject, history: List[Seen], ended: List[Episode]) -> None:
    """Raise if what comes with a done follows smoothly from the step before, though starts are elsewhere."""
    usual = _usual_change(history)
    starts = np.stack([seen.obs for seen in _resets(subject, 4)])
    at_done = _jumps(history, ended, 0, usual)
    after = _jumps(history, ended, 1, usual)
    last = np.stack([history[one.end - 1].obs[one.env] for one in ended])
    to_start = np.median(
        [(abs(start - end) / usual).max() for start in starts.reshape((-1,) + starts.shape[2:]) for end in last[:20]]
    )
    if to_start > 3.0 and np.median(at_done) < 1.5 < 0.5 * to_start and np.quantile(at_done, 0.9) < 0.5 * to_start:
        next_step = np.median(after) > 0.5 * to_start
        raise ContractError(
            "the observation that comes with a done is the last of the old episode",
            where="env {}, step {}".format(ended[0].env, ended[0].end),
            got="a change {:.1f} times a usual large one at the done, {:.1f} times one step later".format(
                float(np.median(at_done)), float(np.median(after))
            ),
            expected="the first observation of the next episode, about {:.1f} times away".format(to_start),
            cause="the env resets in the next step (gymnasium's default), whose action is ignored and yet trained on"
            if next_step
            else "the env is not reset",
            fix="reset within the step that ends the episode",
        )


def _require_kept_end(history: List[Seen], ended: List[Episode]) -> None:
    for one in ended:
        seen = history[one.end]
        for agent in range(seen.obs.shape[1]):
            kept = _final_obs(seen, one.env, agent)
            if kept is not None and kept.shape == seen.obs.shape[2:] and np.array_equal(kept, seen.obs[one.env, agent]):
                name = next(name for name in FINAL_NAMES if name in seen.infos[one.env][agent])
                raise ContractError(
                    "the terminal observation is lost: {} is the first of the next episode".format(name),
                    where="env {}, agent {}, step {}".format(one.env, agent, one.end),
                    cause="it is read after the reset, or it is a view of what the reset overwrites",
                )


def _final_obs(seen: Seen, env: int, agent: int) -> Optional[np.ndarray]:
    try:
        info = seen.infos[env][agent]
        name = next((name for name in FINAL_NAMES if name in info), None)
        return None if name is None else np.asarray(info[name])
    except (KeyError, IndexError, TypeError):
        return None


def _usual_change(history: List[Seen]) -> np.ndarray:
    """Return how much each entry changes in a step within an episode, at the 99th percentile, (A, D)."""
    obs = np.stack([seen.obs for seen in history])
    calm = ~np.stack([seen.ended for seen in history[1:]])
    calm[1:] &= calm[:-1]
    change = abs(np.diff(obs, axis=0))[calm]
    return np.maximum(np.quantile(change, 0.99, axis=0), 1e-6) if len(change) else np.full(obs.shape[2:], np.inf)


def _jumps(history: List[Seen], ended: List[Episode], offset: int, usual: np.ndarray) -> np.ndarray:
    """Return the largest change of an entry against the usual one, `offset` steps after each end."""
    steps = [(one.end + offset, one.env) for one in ended]
    changes = [abs(history[step].obs[env] - history[step - 1].obs[env]) for step, env in steps]
    return np.array([(change / usual).max() for change in changes])
