"""Starts of episodes that depend on what other envs do, a part of `independence`.

Two environments play the long run up to a few steps before an episode ends. In these last steps all generators are
seeded alike before each step, and the env that will end takes the same actions in both; the others take different ones.
If the same episodes end in both runs, the new episode must start alike, for nothing but the others has changed.

One generator for all envs could draw differently because others act differently. So a start must show that it was drawn
alike: a part of its numbers is equal bit for bit, though they differ from start to start, or each env is promised a
generator of its own.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

import numpy as np

from harness.contracts.clean_start import places_of, starts_in, values_of
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.own_generators import promised_generators
from harness.contracts.reseeding import seed_alike
from harness.contracts.starts_of_runs import Start
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver
from harness.interface.far_env import of_env
from harness.interface.moment import place_in_words
from harness.interface.player import Player, Seen, stack

LAST_STEPS = (24, 4)  # before an end, in which the others take different actions; fewer if others then end differently
MAX_ENDS = 6  # that are played
SHARE = 0.03  # of the budget
MIN_LEAKS = 2  # starts that depend on the others, for a finding
MIN_EQUAL = 0.25  # fraction of the numbers that always differ, for a start that was drawn alike
MIN_EQUAL_VALUES = 3  # different ones among them, that are no whole numbers
OTHER_SEED = 7331


class Leak(NamedTuple):
    """A start that differs though its env did the same and its generators had the same states.

    Attributes:
      step: the step that ended the old episode.
      env: its env.
      one: what the start shows if the others do as in the long run, (V,).
      other: what it shows if they act differently, (V,).
    """

    step: int
    env: int
    one: np.ndarray
    other: np.ndarray


def require_no_leaked_starts(subject: EnvUnderTest) -> None:
    """Raise if the start of an episode depends on what other envs do while the one before it ends."""
    leaks = subject.once(leaked_starts)
    if len(leaks) >= MIN_LEAKS:
        raise _leaked(leaks[0], subject.long_run().seen[0])


def leaked_starts(subject: EnvUnderTest) -> List[Leak]:
    """Return the starts that depend on what other envs do; more than `MIN_LEAKS` are not looked for."""
    history = subject.long_run().seen
    always = _always_different(starts_in(history))
    leaks: List[Leak] = []
    for span in _ends_to_try(subject, history):
        if len(leaks) == MIN_LEAKS:
            break
        leak = _played_end(subject, history, span)
        if leak is None:
            continue
        if _is_drawn_alike(leak, always) or subject.once(promised_generators) is not None:
            leaks.append(leak)
    return leaks


def _always_different(starts: List[Start]) -> np.ndarray:
    """Return which numbers (V,) never are the same in two starts of an env in a row."""
    latest: Dict[int, np.ndarray] = {}
    always = np.zeros(0, bool)
    for start in starts:
        if start.env in latest:
            differs = start.values != latest[start.env]
            if len(always):
                differs &= always
            always = differs
        latest[start.env] = start.values
    return always


def _ends_to_try(subject: EnvUnderTest, history: List[Seen]) -> List[EpisodeSpan]:
    """Return ends at which other envs go on, of every env and as early as possible, for which there is time."""
    of_env_so_far = [0] * subject.sizes.num_envs
    tried: List[EpisodeSpan] = []
    left_s = subject.time_for(SHARE)
    for span in episodes(history):
        others_go_on = not history[span.end].ended.all()
        if (
            not others_go_on
            or span.length <= LAST_STEPS[-1]
            or of_env_so_far[span.env] > MAX_ENDS // subject.sizes.num_envs
        ):
            continue
        left_s -= 2 * len(LAST_STEPS) * (subject.build_s + span.end * subject.step_s)
        if left_s < 0 or len(tried) == MAX_ENDS:
            break
        of_env_so_far[span.env] += 1
        tried.append(span)
    return tried


def _played_end(subject: EnvUnderTest, history: List[Seen], span: EpisodeSpan) -> Optional[Leak]:
    """Play the steps before an end twice; return what differs at the start after it, None if nothing does."""
    for last in LAST_STEPS:
        first = span.end - min(last, span.length - 1)
        one = _play(subject, history[: first + 1], history[first + 1 : span.end + 1], None)
        other = _play(subject, history[: first + 1], history[first + 1 : span.end + 1], span.env)
        if not one[-1].ended[span.env] or not np.array_equal(stack(one, "ended"), stack(other, "ended")):
            continue
        shown = values_of(one[-1], span.env), values_of(other[-1], span.env)
        if np.array_equal(*shown):
            return None
        return Leak(span.end, span.env, *shown)
    return None


def _play(subject: EnvUnderTest, before: List[Seen], last: List[Seen], spared: Optional[int]) -> List[Seen]:
    """Play the beginning of a run, and return what its last steps then show.

    Args:
      subject: the environment.
      before: the steps up to there, with the first reset.
      last: the last steps; all generators are seeded before each of them.
      spared: the one env that takes its actions in them, while all others take different ones; None if all do.
    """
    player: Player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 71, ("uniform", "hold"))
    try:
        player.replay(before[1:])
        for recorded in last:
            actions = recorded.actions
            if spared is not None:
                others = driver(player.seen[-1])
                others[spared] = actions[spared]
                actions = others
            of_env(player.env, seed_alike, OTHER_SEED)
            player.step(actions)
        return player.seen[-len(last) :]
    finally:
        close_quietly(player.env)


def _is_drawn_alike(leak: Leak, always: np.ndarray) -> bool:
    """Return whether enough of the numbers (V,) that always differ are equal."""
    if not always.any():
        return False
    equal = (leak.one == leak.other) & always
    values = np.unique(leak.one[equal])
    num_drawn = int((values != np.round(values)).sum())
    return equal.sum() >= MIN_EQUAL * always.sum() and num_drawn >= MIN_EQUAL_VALUES


def _leaked(leak: Leak, seen: Seen) -> ContractError:
    """Return the error for a start that depends on other envs."""
    index = int(np.flatnonzero(leak.one != leak.other)[0])
    field, agent, entry = places_of(seen)[index]
    return ContractError(
        f"the start of an episode depends on what other envs do: {field} entry {entry}",
        step=leak.step,
        where=f"{place_in_words((leak.env, agent, entry))}, at the start after step {leak.step}",
        got=f"{leak.other[index]:g}, after other actions of the other envs in the last steps before",
        expected=f"{leak.one[index]:g}: the env did the same, and all generators had the same state",
        cause="a reset reads rows of the batch that belong to other envs, such as x[: len(ids)] instead of x[ids]",
        fix="index every array of the batch with the numbers of the envs that are reset",
    )
