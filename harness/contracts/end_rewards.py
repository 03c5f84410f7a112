"""The contract that rewards and infos of the step that ends an episode do not belong to the next one.

The long run is played again, but just before an episode ends, every random generator that can be
reached is seeded anew, so that the next episode starts elsewhere. The step that ends the episode must give the same
rewards all the same. The generators are also seeded one step earlier: if the rewards of episodes that go on change,
they are random, and nothing can be said.

What infos say of an episode that ended is compared as well: numbers that only ends have, and that are the same when the
run is repeated. If observations change when the generators are seeded one step earlier, the step itself is random, and
the numbers are judged in a different way, see `end_infos`.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, List, NamedTuple, Set

import numpy as np

from harness.contracts.end_infos import is_equal, numbers_by_env, numbers_of_ends, require_own_infos
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.reseeding import seed_anew
from harness.findings import ContractError, NotJudgedError
from harness.interface.far_env import of_env
from harness.interface.player import Seen

MIN_COMPARED = 3  # ends after which the next episode started elsewhere
MAX_ROUNDS = 3  # the first end of each env, then the second, then the third
SHARE = 0.1  # of the budget
OTHER_SEED = 4241
MIN_OTHER_INFOS = 2  # ends at which a number in the infos depends on the next episode


class _OtherInfo(NamedTuple):
    """A number in the infos of an end, which is different if the next episode starts elsewhere."""

    span: EpisodeSpan
    got: float
    expected: float


@dataclasses.dataclass
class _Ends:
    """Ends after which the next episode started elsewhere than in the long run.

    Attributes:
      compared: these ends.
      different: those of them that gave other rewards.
      got: the rewards of the first of these.
      numbers: paths of the numbers in infos that are compared.
      other_infos: those of them that were different, by path.
      noisy: envs whose observations depend on the generators within an episode.
    """

    compared: List[EpisodeSpan] = dataclasses.field(default_factory=list)
    different: List[EpisodeSpan] = dataclasses.field(default_factory=list)
    got: List[np.ndarray] = dataclasses.field(default_factory=list)
    numbers: Set[str] = dataclasses.field(default_factory=set)
    other_infos: Dict[str, List[_OtherInfo]] = dataclasses.field(default_factory=dict)
    noisy: Set[int] = dataclasses.field(default_factory=set)


@contract("no-foresight")
def no_foresight(subject: EnvUnderTest) -> None:
    """Rewards and infos of the step that ends an episode do not depend on where the next episode starts."""
    subject.require_same_again()
    history = subject.long_run().seen
    numbers: Set[str] = set()
    if subject.errors.of("infos-fresh") is None:  # else the infos of different envs mix
        numbers = numbers_of_ends(history, subject.replayed)
    ends = _Ends(numbers=numbers)
    _compare_early_ends(subject, history, ends)
    _require_own_rewards(history, ends)
    _require_own_infos(ends)
    if len(ends.compared) < MIN_COMPARED:
        num_ends = len(episodes(history))
        if num_ends < MIN_COMPARED:
            raise subject.too_few("ends of episodes", num_ends, MIN_COMPARED)
        if not _ends_of_round(subject, 0):
            raise NotJudgedError("there was no time to play as far as the ends of episodes")
        raise NotJudgedError("no generator was found that draws the starts")
    if ends.noisy and numbers:
        require_own_infos(subject, numbers)
    pending = _latest_ends(subject)
    if pending:
        ends = _Ends(numbers=numbers)
        _compare(subject, history, pending, ends)
        _require_own_rewards(history, ends)
        _require_own_infos(ends)


def _compare_early_ends(subject: EnvUnderTest, history: List[Seen], ends: _Ends) -> None:
    """Compare the first ends of each env, until there are enough.

    Raises:
      ContractError: the rewards of all steps are random, and infos are computed from the next episode.
      NotJudgedError: the rewards of all steps are random.
    """
    try:
        for number in range(MAX_ROUNDS):
            pending = _ends_of_round(subject, number)
            if pending and len(ends.compared) < MIN_COMPARED:
                _compare(subject, history, pending, ends)
    except NotJudgedError:  # infos may be judged all the same
        if ends.numbers:
            require_own_infos(subject, ends.numbers)
        raise


def _require_own_rewards(history: List[Seen], ends: _Ends) -> None:
    """Raise if the rewards of most of these ends depend on the next episode."""
    if len(ends.compared) < MIN_COMPARED or 2 * len(ends.different) <= len(ends.compared):
        return
    span = ends.different[0]
    raise ContractError(
        "the reward of the step that ends an episode is computed from the next episode",
        step=span.end,
        where=f"env {span.env}, step {span.end}",
        got=f"{ends.got[0].tolist()} if the next episode starts elsewhere; so it is at {len(ends.different)} "
        f"of {len(ends.compared)} ends",
        expected=f"{history[span.end].rewards[span.env].tolist()}, whatever comes next",
        cause="the reward is computed after the reset, from the state of the new episode",
        fix="compute rewards before the envs that are done are reset",
    )


def _require_own_infos(ends: _Ends) -> None:
    """Raise if a number in the infos of several ends depends on the next episode."""
    for path, others in ends.other_infos.items():
        if len(ends.compared) < MIN_COMPARED or len(others) < MIN_OTHER_INFOS:
            continue
        span = others[0].span
        raise ContractError(
            "infos of the step that ends an episode are computed from the next episode",
            step=span.end,
            where=f"infos[{span.env}][0][{path!r}], step {span.end}",
            got=f"{others[0].got:g} if the next episode starts elsewhere; so it is at {len(others)} of "
            f"{len(ends.compared)} ends",
            expected=f"{others[0].expected:g}, whatever comes next",
            cause="it is read after the reset, from the state of the new episode",
            fix="read it before the envs that are done are reset",
        )


def _ends_of_round(subject: EnvUnderTest, number: int) -> Dict[int, EpisodeSpan]:
    """Return the episode of each env that ends as the `number`-th, from 0, if there is time to play as far."""
    history = subject.long_run().seen
    affordable = subject.steps(len(history) - 1, runs=MAX_ROUNDS, share=SHARE)
    by_env: Dict[int, List[EpisodeSpan]] = {}
    for span in episodes(history):
        by_env.setdefault(span.env, []).append(span)
    found: Dict[int, EpisodeSpan] = {}
    for env, spans in by_env.items():
        if len(spans) > number and spans[number].end <= affordable:
            found[env] = spans[number]
    return found


def _latest_ends(subject: EnvUnderTest) -> Dict[int, EpisodeSpan]:
    """Return the latest episode of each env, as a defect may start late; none if there is no time to play as far."""
    history = subject.long_run().seen
    num_steps = len(history) - 1
    if subject.steps(num_steps, runs=1, share=SHARE) < num_steps:
        return {}
    return {span.env: span for span in episodes(history)}


def _compare(subject: EnvUnderTest, history: List[Seen], pending: Dict[int, EpisodeSpan], ends: _Ends) -> None:
    """Play the long run again, let the next episodes start elsewhere, and compare the steps that end the old ones."""
    player = subject.player(watch=False)
    is_seeded = False
    stops: Set[int] = set()
    for span in pending.values():
        stops.update((span.end - 1, span.end))
    try:
        for step in range(1, max(stops) + 1):
            if step in stops:
                of_env(player.env, seed_anew, OTHER_SEED + step)
                is_seeded = True
            seen = player.step(history[step].actions)
            if is_seeded:
                _forget_diverged(step, history[step], pending)
            if step in stops:
                _take_ends(step, history[step], seen, pending, ends)
    finally:
        close_quietly(player.env)


def _forget_diverged(step: int, original: Seen, pending: Dict[int, EpisodeSpan]) -> None:
    """Forget the envs that start an earlier episode than the compared one elsewhere, as generators were seeded."""
    for env, span in list(pending.items()):
        if original.ended[env] and span.end != step:
            del pending[env]


def _take_ends(step: int, original: Seen, seen: Seen, pending: Dict[int, EpisodeSpan], ends: _Ends) -> None:
    """Compare the envs whose episode ends in a step, and forget them.

    Raises:
      NotJudgedError: an env whose episode goes on has different rewards, too.
    """
    for env, span in list(pending.items()):
        same_obs = np.array_equal(original.obs[env], seen.obs[env])
        if span.end != step:
            if not same_obs or not np.array_equal(original.share_obs[env], seen.share_obs[env]):
                ends.noisy.add(env)
            if not np.array_equal(original.rewards[env], seen.rewards[env]):
                raise NotJudgedError("the rewards of all steps are random")
            continue
        del pending[env]
        if not same_obs:
            _take_end(span, original, seen, ends)


def _take_end(span: EpisodeSpan, original: Seen, seen: Seen, ends: _Ends) -> None:
    """Keep an end after which the next episode starts elsewhere, and what differs in its step."""
    ends.compared.append(span)
    if span.env not in ends.noisy:
        _compare_infos(span, original, seen, ends)
    if not np.array_equal(original.rewards[span.env], seen.rewards[span.env]):
        ends.different.append(span)
        ends.got.append(seen.rewards[span.env])


def _compare_infos(span: EpisodeSpan, original: Seen, seen: Seen, ends: _Ends) -> None:
    """Keep the numbers in the infos of an end that are different in the two runs."""
    got, expected = numbers_by_env(seen).get(span.env, {}), numbers_by_env(original).get(span.env, {})
    for path in sorted(ends.numbers & set(expected)):
        if path in got and not is_equal(got[path], expected[path]):
            ends.other_infos.setdefault(path, []).append(_OtherInfo(span, got[path], expected[path]))
