"""Contracts of time limits: they are marked by `bad_transition`, equal for all episodes, and count from the last reset.

The limit is inferred from the lengths of the episodes in the long run (`episode_spans.time_limit`), or it is the limit
that the environment states if episodes reached it. The first episode of each env is left out, because environments may
start it in the middle to spread the ends over time.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes, flagged_lengths, reached_horizon, time_limit
from harness.contracts.factory_call import close_quietly
from harness.contracts.marked_outcomes import require_no_late_outcome, require_no_marked_outcome
from harness.contracts.registry import contract
from harness.contracts.shown_age import require_shown_age
from harness.contracts.timeline import jumps_at_ends
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.infos import TRUNCATION, agents_of, entries
from harness.interface.moment import Moment
from harness.interface.player import Seen

HORIZON_NAMES = (
    "horizon",
    "max_episode_length",
    "max_episode_steps",
    "_max_episode_steps",
    "episode_length",
    "time_limit",
)
MIN_SCATTERED = 2  # lengths of marked episodes that no time limit explains
DRAWN_LIMITS_RATIO = 2.0  # of the longest to the shortest marked episode, up to which limits may be drawn for each
FAILURE_RATIO = 3.0  # times the usual number of failures in a step, which a step may have by accident
MIN_FAILURES = 5  # that a step may have by accident if episodes fail at all
MIN_FAILURES_WITHOUT = 2  # the same if no episode failed before its limit
MIN_AT_LIMIT = 2  # episodes that reached a time limit
ONE_LIMIT = "build the environment with one limit for the check (--kwargs)"
ENDLESS_SHARE = 0.4  # of the budget, for the search for an end


@contract("bad-transition")
def bad_transition(subject: EnvUnderTest) -> None:
    """`bad_transition` is True where a time limit ended the episode, and nowhere else."""
    history = subject.long_run().seen
    _require_readable_marks(subject)
    broken = subject.errors.of("bad-transition")
    if broken is not None:
        raise broken
    require_no_marked_outcome(history)
    ended = episodes(history)
    stated = subject.once(horizon_of)
    limit = time_limit(ended)
    if limit is None and stated is not None:
        limit = reached_horizon(ended, stated.steps)
    if limit is not None:
        _require_marks(history, ended, limit)
        require_no_late_outcome(subject, limit)
        return
    lengths = sorted(set(flagged_lengths(ended)))
    if len(lengths) < MIN_SCATTERED:
        raise NotJudgedError(f"no time limit was reached in {len(history) - 1} steps")
    if stated is None and lengths[-1] <= DRAWN_LIMITS_RATIO * lengths[0]:
        shown = ", ".join(map(str, lengths[:5]))
        raise NotJudgedError(f"the time limit seems to differ from episode to episode: {shown} steps; {ONE_LIMIT}")
    first = next(span for span in ended if span.truncated)
    raise _marked_early(first, lengths, "no length that they share")


def _require_readable_marks(subject: EnvUnderTest) -> None:
    """Raise `NotJudgedError` if marks cannot be assigned to ends; the error of a single step is withdrawn then."""
    reason = None
    if subject.errors.of("infos-fresh") is not None:
        reason = "infos are shared, so the flags of different envs mix"
    else:
        jumps = subject.once(jumps_at_ends)
        if jumps is not None and jumps.is_near(jumps.at) and jumps.is_far(jumps.before):
            reason = "dones come at a different step than the ends of episodes"
    if reason is not None:
        subject.errors.withdraw("bad-transition")
        raise NotJudgedError(reason)


def _require_marks(history: List[Seen], ended: List[EpisodeSpan], limit: int) -> None:
    """Raise if episodes that reached the limit are not marked, or others are."""
    num_at_limit = 0
    missed, early = [], []
    for span in ended:
        if span.first:
            continue
        if span.length == limit:
            num_at_limit += 1
            if not span.truncated:
                missed.append(span)
        elif span.truncated:
            early.append(span)
    if missed and len(missed) == num_at_limit:
        raise ContractError(
            "time limits count as failures: bad_transition is not set",
            where=f"env {missed[0].env}, step {missed[0].end}, after {limit} steps",
            got=f"{len(missed)} episodes end after {limit} steps, at most; none has bad_transition",
            expected="infos[env][agent]['bad_transition'] = True",
            cause=_other_name(history[missed[0].end], missed[0].env),
        )
    if len(missed) > accidental_failures(ended, limit):
        envs = sorted({span.env for span in missed})
        raise ContractError(
            "bad_transition is missing at some time limits",
            where=f"envs {envs}, first at step {missed[0].end}",
            got=f"{len(missed)} of {num_at_limit} episodes of {limit} steps are not flagged",
        )
    if early:
        lengths = [span.length for span in early]
        raise _marked_early(early[0], lengths, f"{limit} steps, the time limit")


def accidental_failures(ended: List[EpisodeSpan], limit: int) -> float:
    """Return how many episodes may fail by accident in the very step in which the time is up.

    It is three times the number of episodes that fail one of the steps before, plus a few: ends of different envs are
    not independent, and few episodes vary a lot.
    """
    failed = [span.length for span in ended if not span.truncated and span.length < limit]
    usual = max(failed.count(limit - 1), failed.count(limit - 2), len(failed) / limit)
    allowance = MIN_FAILURES_WITHOUT
    if failed:
        allowance = MIN_FAILURES
    return FAILURE_RATIO * usual + allowance


def _marked_early(first: EpisodeSpan, lengths: List[int], limit: str) -> ContractError:
    shortest = ", ".join(map(str, sorted(set(lengths))[:5]))
    return ContractError(
        "bad_transition is set although no time limit was reached",
        where=f"env {first.env}, step {first.end}",
        got=f"flagged after {shortest} steps",
        expected=f"flagged after {limit}",
        cause="a success or a failure is flagged as a time limit",
    )


def _other_name(seen: Seen, env: int) -> Optional[str]:
    """Return in words under which other name the flag seems to be set."""
    try:
        keys = list(map(str, seen.infos[env][0].keys()))
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    for key in keys:
        if "trunc" in key.lower() or "time" in key.lower():
            return f"the flag has a different name: {key!r}"
    return None


@contract("bad-transition", every_step=True)
def bad_transition_step(moment: Moment) -> None:
    """`bad_transition` is readable, equal for all agents, and set only where an episode ended."""
    dones = moment.parts["dones"].astype(bool).all(axis=1)
    for env, env_infos in entries(moment.parts["infos"]):
        flags = [_flag_of(info) for _, info in agents_of(env_infos)]
        if not moment.judged_for.per_agent and flags and flags[0]:
            flags = flags[:1]  # the only one that HARL reads
        for agent, flag in enumerate(flags):
            _require_flag(moment, env, agent, flag, bool(dones[env]))
        if len(set(map(bool, flags))) > 1:
            raise moment.error(
                "bad_transition is set for some agents of an env",
                moment.at(env),
                got=f"{flags}",
                cause="in EP mode HARL reads only agent 0's",
            )


def _flag_of(info: Any) -> Any:
    if not hasattr(info, "get"):
        return None
    return info.get(TRUNCATION)


def _require_flag(moment: Moment, env: int, agent: int, flag: Any, ended: bool) -> None:
    if flag is None:
        return
    if not isinstance(flag, (bool, np.bool_)):
        raise moment.error(
            f"bad_transition is {flag!r}, not True or False",
            moment.at(env, agent),
            cause="HARL compares it with True: anything else is a true termination",
        )
    if flag and not ended:
        raise moment.error(
            "bad_transition is set where no episode ended",
            moment.at(env, agent),
            got=f"dones {moment.parts['dones'][env].tolist()}",
            cause="a stale or shared dict, or a flag of the next step: HARL sets the advantage to 0 there",
        )


@contract("horizon")
def horizon(subject: EnvUnderTest) -> None:
    """Every episode ends, at a time limit that is the same for all and counts from the last reset."""
    player = subject.long_run()
    ended = episodes(player.seen)
    limit = time_limit(ended)
    if limit is None:
        if not ended:
            _require_an_end(subject)
        _give_up_drawn_limits(player.seen, ended)
        raise subject.too_few("episodes that reached a time limit", 0, MIN_AT_LIMIT)
    _require_no_overdue_env(ended, limit, len(player.seen) - 1, subject.sizes.num_envs)
    stated = subject.once(horizon_of)
    if stated is not None and abs(stated.steps - limit) == 1:
        raise ContractError(
            "the time limit is off by one",
            got=f"episodes end after {limit} steps",
            expected=f"{stated.steps}, as env.{stated.name} says",
        )
    require_first_episodes_as_later(ended, limit)
    if getattr(subject.task, "time_left", False):
        require_shown_age(player.seen)
    _require_reset_of_the_clock(subject, limit)


def _give_up_drawn_limits(history: List[Seen], ended: List[EpisodeSpan]) -> None:
    """Give up where each episode has a time limit of its own.

    Raises:
      ContractError: an env has not ended an episode for more than two of the longest limits.
      NotJudgedError: marked episodes have different lengths.
    """
    lengths = flagged_lengths(ended)
    if len(set(lengths)) < MIN_SCATTERED:
        return
    _require_no_overdue_env(ended, max(lengths), len(history) - 1, len(history[0].obs))
    raise NotJudgedError(
        f"the time limit differs from episode to episode, {min(lengths)} to {max(lengths)} steps, so no number tells "
        f"whether it is right; {ONE_LIMIT}"
    )


def require_first_episodes_as_later(ended: List[EpisodeSpan], limit: int) -> None:
    """Raise if the time limit of the first episode of every env is one step off that of later ones."""
    lengths = [span.length for span in ended if span.first and span.truncated]
    if len(lengths) < MIN_AT_LIMIT or len(set(lengths)) > 1 or abs(lengths[0] - limit) != 1:
        return
    raise ContractError(
        "the time limit of later episodes is off by one",
        got=f"{limit} steps, but {lengths[0]} in the first episode of {len(lengths)} envs",
        expected="the same for all episodes",
        cause="the clock starts at a different number after a reset within a step, or it is read before it is raised",
    )


def _require_no_overdue_env(ended: List[EpisodeSpan], limit: int, steps: int, num_envs: int) -> None:
    """Raise if an env has not ended an episode for more than two time limits."""
    last_end = dict.fromkeys(range(num_envs), 0)
    for span in ended:
        last_end[span.env] = span.end
    overdue = [env for env, end in last_end.items() if steps - end > 2 * limit + 2]
    if overdue:
        raise ContractError(
            f"the episode of env {overdue[0]} never ends",
            where=f"envs {overdue}",
            got=f"no end for {steps - last_end[overdue[0]]} steps; others end after {limit}",
        )


def _require_an_end(subject: EnvUnderTest) -> None:
    """Raise if no episode ends in a run that is longer than the long run."""
    endless = subject.effort.endless_steps
    player = subject.player()
    try:
        driver = ActionDriver(subject.sizes, subject.seed + 1)
        steps = subject.steps(endless, runs=1, share=ENDLESS_SHARE)
        stated = stated_horizon(player.env)
        while player.step_count < steps:
            if player.step(driver(player.seen[-1])).dones.any():
                return
    finally:
        close_quietly(player.env)
    needed, expected = endless, "a time limit"
    if stated is not None:
        needed = stated.steps + 2
        expected = f"an end after {stated.steps} steps, as env.{stated.name} says"
    if steps < needed:
        raise NotJudgedError(f"no episode ended in {steps} steps; there was no time for more")
    raise ContractError(
        "no episode ever ends",
        step=steps,
        got=f"no done in {steps} steps of every kind of actions",
        expected=expected,
        cause="dones are never set; an evaluation would run for ever",
    )


class StatedHorizon(NamedTuple):
    """A time limit that an environment states.

    Attributes:
      name: the attribute.
      steps: its value.
    """

    name: str
    steps: int


def horizon_of(subject: EnvUnderTest) -> Optional[StatedHorizon]:
    """Return the time limit that the environments of a subject state, if they do."""
    env = subject.long_run().env
    if subject.one_per_process:
        env = subject.build()
    return stated_horizon(env)


def stated_horizon(env: Any) -> Optional[StatedHorizon]:
    """Return the time limit that an environment states, if it does."""
    for name in HORIZON_NAMES:
        value: Any = getattr(env, name, None)
        is_number = isinstance(value, (int, float, np.integer)) and not isinstance(value, bool)
        if is_number and value > 1:
            return StatedHorizon(name, int(value))
    return None


def _require_reset_of_the_clock(subject: EnvUnderTest, limit: int) -> None:
    """Raise if an episode that follows a reset in mid-episode is shorter by the steps before that reset."""
    part = max(1, limit // 3)
    if subject.steps(limit + part + 1, runs=1) < limit + part + 1:
        return
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed, ("rest",))
    drive(player, driver, part)
    player.reset()
    lengths = np.zeros(subject.sizes.num_envs, int)
    truncated = np.zeros(subject.sizes.num_envs, bool)
    for step in range(1, limit + 2):
        seen = player.step(driver(player.seen[-1]))
        first_end = (lengths == 0) & seen.ended
        lengths[first_end] = step
        truncated[first_end] = seen.truncated[first_end].all(axis=1)
    close_quietly(player.env)
    reached = lengths[truncated]  # envs that ended early for another reason say nothing of the clock
    if len(reached) < MIN_AT_LIMIT or np.ptp(reached) > 0:
        return
    if abs(reached[0] - limit) == 1:
        raise ContractError(
            "the time limit is off by one after reset",
            got=f"after a reset at step {part}, episodes end after {reached[0]} steps",
            expected=f"{limit} steps, as after a reset within a step",
            cause="the clock starts at different numbers in the two resets",
        )
    if reached[0] == limit - part:
        raise ContractError(
            "reset does not restart the clock of the time limit",
            got=f"after a reset at step {part}, episodes end after {limit - part} steps",
            expected=f"{limit} steps",
        )
