"""Contracts of how episodes end and begin, read off the long run."""

from __future__ import annotations

import collections
from typing import Any, List, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest, close_quietly, drive
from harness.contracts.registry import contract
from harness.contracts.timeline import (
    FAR,
    LATEST,
    EpisodeSpan,
    Jumps,
    at_end,
    episodes,
    flagged_lengths,
    reached_horizon,
    resets,
    time_limit,
    usual_change,
)
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.player import Seen

HORIZON_NAMES = (
    "horizon",
    "max_episode_length",
    "max_episode_steps",
    "_max_episode_steps",
    "episode_length",
    "time_limit",
)
FINAL_NAMES = ("final_obs", "final_observation", "terminal_observation", "terminal_obs")
FINAL_NAME_OF_ALL = "original_obs"  # HARL's wrappers keep those of all agents, (A, D), in the info of agent 0
ENDLESS = 3000  # steps after which an episode that has not ended is taken never to end
SCATTERED = 2  # lengths of flagged episodes that no time limit explains
STAYS_DONE = 4  # steps in a row, beyond any that were seen before
ELSEWHERE = 0.3  # of the way to a new start, by which an observation does not follow from the one before
BY_CHANCE = 1e-6  # how likely what is seen must be for it to count as an accident


@contract("auto-reset")
def auto_reset(subject: EnvUnderTest) -> None:
    """An env whose episode ended starts the next one within that step, by itself and as a whole."""
    history = subject.long_run().seen
    ended = episodes(history)
    if not ended:
        raise NotJudgedError("no episode ended")
    _require_running(history)
    jumps = _jumps(subject)
    if jumps is not None:
        _require_timely_ends(jumps, ended)
    _require_whole_reset(subject, history, ended)


def _require_running(history: List[Seen]) -> None:
    """Raise if an env reports an end in every step from one on."""
    dones = np.stack([seen.ended for seen in history[1:]])
    for env in range(dones.shape[1]):
        runs = np.diff(np.flatnonzero(np.concatenate(([True], ~dones[:, env], [True])))) - 1
        if runs[-1] < STAYS_DONE + 3 * runs[:-1].max(initial=0):
            continue
        first = len(dones) - int(runs[-1]) + 1
        anew = _starts_anew(np.stack([seen.obs[env] for seen in history[first:]]))
        raise ContractError(
            f"every step ends an episode of env {env}" if anew else f"env {env} stays done: it is not reset",
            step=first + 1,
            where=f"steps {first} to {len(dones)}",
            expected="a new episode within the step that ended the old one, of more than one step",
            cause="the clock of the time limit is not reset with the episode"
            if anew
            else "no auto-reset: HARL calls reset once and never again",
        )


def _starts_anew(obs: np.ndarray) -> bool:
    """Return whether what one env showed (T, A, D) was drawn anew at each step, and did not follow from the last."""
    spread = obs.std(axis=0)
    step = np.median(abs(np.diff(obs, axis=0)), axis=0)
    return bool((spread > 0).any() and np.median((step / np.maximum(spread, 1e-12))[spread > 0]) > 0.7)


def _jumps(subject: EnvUnderTest) -> Optional[Jumps]:
    """Return how far what is seen jumps where episodes end; None if too few have ended."""
    if "jumps" not in subject.kept:
        history = subject.long_run().seen
        ended = _inner(history)
        subject.kept["jumps"] = Jumps.of(subject, history, ended) if len(ended) >= 3 else None
    return subject.kept["jumps"]


def _inner(history: List[Seen]) -> List[EpisodeSpan]:
    """Return the latest episodes that ended with steps before and behind."""
    return [one for one in episodes(history) if 2 <= one.end < len(history) - 1][-LATEST:]


def _require_timely_ends(jumps: Jumps, ended: List[EpisodeSpan]) -> None:
    """Raise if what comes with a done follows from the step before, though starts are elsewhere."""
    if not jumps.is_near(jumps.at):
        return
    where = f"env {ended[0].env}, step {ended[0].end}"
    got = (
        "a change of {:.1f} times a usual large one at the done, {:.1f} one step earlier, {:.1f} one step later".format(
            *(float(np.median(each)) for each in (jumps.at, jumps.before, jumps.after))
        )
    )
    expected = f"the first observation of the next episode, about {jumps.to_start:.1f} times away"
    if jumps.is_far(jumps.before):
        raise ContractError(
            "dones come one step late",
            contract="dones",
            where=where,
            got=got,
            expected=expected,
            cause="they are those of the step before: the last reward and the start are taken for one episode",
        )
    raise ContractError(
        "the observation that comes with a done is the last of the old episode",
        contract="terminal-observation",
        where=where,
        got=got,
        expected=expected,
        cause="the env resets in the next step (gymnasium's default), whose action is ignored and yet trained on"
        if jumps.is_far(jumps.after)
        else "the env is not reset",
        fix="reset within the step that ends the episode",
    )


def _require_whole_reset(subject: EnvUnderTest, history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Raise if part of what is seen goes on from one episode to the next, though `reset` starts it anew."""
    starts = resets(subject, 6)
    for name in ("obs", "share_obs"):
        _require_constants(name, starts, history, ended)
        _require_fresh_draws(name, starts, history, ended[-LATEST:])


def _require_constants(name: str, starts: List[Seen], history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """What is the same at every `reset` must be so after a reset within a step, too."""
    first = np.concatenate([getattr(seen, name) for seen in starts])
    later, _ = at_end(history, name, ended)
    spread = first.max(axis=0) - first.min(axis=0)
    scale = np.maximum(abs(np.stack([getattr(seen, name) for seen in history])).max(axis=(0, 1)), 1e-3)
    off = (spread == 0.0) & (abs(later - first[0]) > 1e-3 * scale)
    if len(first) < 20 or not off.any():
        return
    one, agent, entry = np.argwhere(off)[0]
    raise ContractError(
        f"a reset within a step leaves {name} entry {entry} as it was",
        where=f"env {ended[one].env}, agent {agent}, step {ended[one].end}",
        got=f"{later[one, agent, entry]:g}",
        expected=f"{first[0, agent, entry]:g}, as after every call of reset",
        cause="part of the state, a clock or a memory of the last action is not reset",
    )


def _require_fresh_draws(name: str, starts: List[Seen], history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """What `reset` draws anew must not follow from the old episode after a reset within a step.

    `chance` is how often a start is by accident as near to an old end of its env as one step's change; that all ends
    of the run were so is unlikely, unless nothing was drawn.
    """
    usual = usual_change(history, name)
    new, old = at_end(history, name, ended)
    anew = np.stack([getattr(seen, name) for seen in starts])
    near = abs(anew[:, [one.env for one in ended]] - old) <= usual
    chance = (near.sum(axis=(0, 1)) + 1.0) / (near.shape[0] * near.shape[1] + 2.0)
    goes_on = (abs(new - old) <= usual).all(axis=0)
    moments = len({one.end for one in ended})
    found = np.argwhere(goes_on & np.isfinite(usual) & (chance**moments < BY_CHANCE))
    if len(found):
        agent, entry = found[0]
        raise ContractError(
            f"a reset within a step does not reset {name} entry {entry}",
            where=f"agent {agent}, first in env {ended[0].env} at step {ended[0].end}",
            got=f"it goes on from the old episode at all {len(ended)} ends",
            expected="a new value, as after a call of reset",
            cause="the reset within a step does less than reset",
        )


@contract("bad-transition")
def bad_transition(subject: EnvUnderTest) -> None:
    """`bad_transition` is True where a time limit ended the episode, and nowhere else."""
    history = subject.long_run().seen
    if "infos-fresh" in subject.violations:
        subject.violations.pop("bad-transition", None)
        raise NotJudgedError("infos are shared or reused, so the flags of different steps mix")
    ended = episodes(history)
    jumps = _jumps(subject)
    if jumps is not None and jumps.is_near(jumps.at) and jumps.is_far(jumps.before):
        subject.violations.pop("bad-transition", None)
        raise NotJudgedError("dones come at another step than the ends of episodes")
    if "bad-transition" in subject.violations:
        raise subject.violations["bad-transition"]
    stated = _stated_horizon(subject.long_run().env)
    limit = time_limit(ended) or reached_horizon(ended, stated and stated[1])
    if limit is None and len(set(flagged_lengths(ended))) >= SCATTERED:
        raise _early(next(one for one in ended if one.truncated), flagged_lengths(ended), "no length that they share")
    if limit is None:
        raise NotJudgedError(f"no time limit was reached in {len(history) - 1} steps")
    at_limit = [one for one in ended if one.length == limit and not one.first]
    missed = [one for one in at_limit if not one.truncated]
    early = [one for one in ended if one.truncated and not one.first and one.length != limit]
    if len(missed) == len(at_limit) and missed:
        other = _other_flag(history[missed[0].end], missed[0].env)
        raise ContractError(
            "time limits count as failures: bad_transition is not set",
            where=f"env {missed[0].env}, step {missed[0].end}, after {limit} steps",
            got=f"{len(missed)} episodes end after {limit} steps, at most; none has bad_transition",
            expected="infos[env][agent]['bad_transition'] = True",
            cause=other and f"the flag has another name: {other!r}",
        )
    if len(missed) > _by_chance(ended, limit):
        envs = sorted({one.env for one in missed})
        raise ContractError(
            "bad_transition is missing at some time limits",
            where=f"envs {envs}, first at step {missed[0].end}",
            got=f"{len(missed)} of {len(at_limit)} episodes of {limit} steps are not flagged",
        )
    if early:
        raise _early(early[0], [one.length for one in early], f"{limit} steps, the time limit")


def _by_chance(ended: List[EpisodeSpan], limit: int) -> float:
    """Return how many episodes may well end in another way just when the time is up.

    As many as end after one of the steps before, three times that, and some more: ends of different envs are not
    independent, and few of them vary much.
    """
    failed = [one.length for one in ended if not one.truncated and one.length < limit]
    usual = max(failed.count(limit - 1), failed.count(limit - 2), len(failed) / limit)
    return 3.0 * usual + (5 if failed else 2)


def _early(first: EpisodeSpan, lengths: List[int], limit: str) -> ContractError:
    return ContractError(
        "bad_transition is set although no time limit was reached",
        where=f"env {first.env}, step {first.end}",
        got="flagged after {} steps".format(", ".join(map(str, sorted(set(lengths))[:5]))),
        expected=f"flagged after {limit}",
        cause="a success or a failure is flagged as a time limit",
    )


def _other_flag(seen: Seen, env: int) -> Optional[str]:
    try:
        keys = [str(key) for key in seen.infos[env][0].keys()]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return next((key for key in keys if "trunc" in key.lower() or "time" in key.lower()), None)


@contract("horizon")
def horizon(subject: EnvUnderTest) -> None:
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
            f"the episode of env {overdue[0]} never ends",
            where=f"envs {overdue}",
            got=f"no end for {steps - last[overdue[0]]} steps; others end after {limit}",
        )
    stated = _stated_horizon(player.env)
    if stated is not None and abs(stated[1] - limit) == 1:
        raise ContractError(
            "the time limit is off by one",
            got=f"episodes end after {limit} steps",
            expected=f"{stated[1]}, as env.{stated[0]} says",
        )
    _require_reset_of_the_clock(subject, limit)


def _require_an_end(subject: EnvUnderTest) -> None:
    player = subject.player()
    try:
        driver = ActionDriver(subject.sizes, subject.seed + 1)
        steps = subject.steps(ENDLESS, 1, 0.4)
        stated = _stated_horizon(player.env)
        while player.step_count < steps:
            if player.step(driver(player.seen[-1])).dones.any():
                return
        if steps < (stated[1] + 2 if stated else ENDLESS):
            raise NotJudgedError(f"no episode ended in {steps} steps; there was no time for more")
    finally:
        close_quietly(player.env)
    raise ContractError(
        "no episode ever ends",
        step=steps,
        got=f"no done in {steps} steps of every kind of actions",
        expected="an end after {} steps, as env.{} says".format(*stated[::-1]) if stated else "a time limit",
        cause="dones are never set; an evaluation would run for ever",
    )


def _stated_horizon(env: Any) -> Optional[Tuple[str, int]]:
    for name in HORIZON_NAMES:
        value = getattr(env, name, None)
        if isinstance(value, (int, float, np.integer)) and not isinstance(value, bool) and value > 1:
            return name, int(value)
    return None


def _require_reset_of_the_clock(subject: EnvUnderTest, limit: int) -> None:
    """Reset in mid-episode; the next one must not be shorter for it."""
    part = max(1, limit // 3)
    if subject.steps(limit + part, 1) < limit + part:
        return
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed, ("rest",))
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
            got=f"after a reset at step {part}, episodes end after {limit - part} steps",
            expected=f"{limit} steps",
        )


@contract("terminal-observation")
def terminal_observation(subject: EnvUnderTest) -> None:
    """The observation that comes with a done is the first of the next episode; infos may hold the old one's last."""
    history = subject.long_run().seen
    jumps, ended = _jumps(subject), _inner(history)
    if jumps is None:
        raise NotJudgedError("fewer than 3 episodes ended")
    _require_timely_ends(jumps, ended)
    _require_kept_end(history, ended, jumps)


def _require_kept_end(history: List[Seen], ended: List[EpisodeSpan], jumps: Jumps) -> None:
    usual, changes = usual_change(history, "obs"), []
    for one in ended:
        seen, before = history[one.end], history[one.end - 1].obs[one.env]
        for agent in range(seen.obs.shape[1]):
            name, kept = _final_obs(seen, one.env, agent)
            if kept is None or kept.shape != seen.obs.shape[2:]:
                continue
            if np.array_equal(kept, seen.obs[one.env, agent]):
                raise ContractError(
                    f"the terminal observation is lost: {name} is the first of the next episode",
                    where=f"env {one.env}, agent {agent}, step {one.end}",
                    cause="it is read after the reset, or it is a view of what the reset overwrites",
                )
            changes.append((abs(kept - before[agent]) / usual[agent]).max())
            where = f"{name}, in env {one.env} at step {one.end}"
    if changes and np.median(changes) > max(FAR, ELSEWHERE * jumps.to_start):
        raise ContractError(
            "the terminal observation is not the last of the old episode",
            where=where,
            got=f"{float(np.median(changes)):.1f} times a usual large change from the step before",
            expected="what would have been seen, had the env not been reset",
            cause="it is another env's or another agent's, or of another moment",
        )


def _final_obs(seen: Seen, env: int, agent: int) -> Tuple[Optional[str], Optional[np.ndarray]]:
    try:
        info, infos = seen.infos[env][agent], seen.infos[env]
        name = next((name for name in FINAL_NAMES if name in info), None)
        if name is None and FINAL_NAME_OF_ALL in infos[0]:
            return FINAL_NAME_OF_ALL, np.asarray(infos[0][FINAL_NAME_OF_ALL], np.float64)[agent]
        return name, None if name is None else np.asarray(info[name], np.float64)
    except (KeyError, IndexError, TypeError, ValueError):
        return None, None
