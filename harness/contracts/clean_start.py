"""The contract that nothing of the old episode shows in the start of the next one.

Three environments of one seed are driven by different actions; the third one rests, so that nothing happens there of
what most episodes see. Before every step, and before every call of `reset`, all random generators that can be reached
are seeded with one seed. So every episode of an env draws the same start, however the one before it went, and the k-th
start of an env must be the same in all runs. What differs was remembered.

A start may be drawn by a generator that cannot be reached, or by one that all envs share. It shows: nearly all of the
numbers that starts usually differ in must be equal in both runs, in nearly all pairs of starts; otherwise nothing can
be said. A level or a side that changes with the number of the episode is the same in both runs, so it is no finding.

Starts that are unlike all others of their env, as after a rare outcome, are looked for as well, see `odd_starts`.
"""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.odd_starts import require_no_odd_starts
from harness.contracts.registry import contract
from harness.contracts.reseeding import Reseeder
from harness.contracts.starts_of_runs import BY_RESET, Place, Start
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import KINDS, ActionDriver, drive
from harness.interface.moment import place_in_words
from harness.interface.player import Seen

MOST_STEPS = 400  # of each run
SHARE = 0.1  # of the budget
NUM_RESETS = 6  # at the end of each run
STEPS_BETWEEN_RESETS = 12
MIN_PAIRS = 6  # of starts that are compared
MIN_ALIKE = 0.7  # of what starts usually differ in, for two starts that were drawn alike
USUALLY_ALIKE = 0.8  # fraction of the pairs of starts that must be drawn alike
MIN_REMEMBERING = 2  # pairs that differ in a number, for a finding
OTHER_SEED = 5077
FIELDS = ("obs", "share_obs", "available")


@contract("clean-start")
def clean_start(subject: EnvUnderTest) -> None:
    """Nothing of the old episode shows in the start of the next one, nor in what a later `reset` returns."""
    subject.require_same_again()
    history = subject.long_run().seen
    usual = [starts for starts in _starts_by_env(starts_in(history)) if len(starts) > 1]
    if not usual:
        raise subject.too_few("episodes that ended in one env", len(episodes(history)), 2)
    variability = np.mean([_variability(starts) for starts in usual], axis=0)
    if not variability.any():
        raise NotJudgedError("all episodes start alike")
    steps = subject.steps(min(MOST_STEPS, len(history) - 1), runs=3, share=SHARE)
    runs = []
    for number, kinds in enumerate((list(KINDS), list(KINDS)[::-1], ["rest"])):
        runs.append(_play(subject, steps, ActionDriver(subject.sizes, subject.seed + 41 + number, kinds)))
    pairs = pairs_of(runs[0], runs[1]) + pairs_of(runs[0], runs[2])
    if len(pairs) < MIN_PAIRS:
        raise subject.too_few("starts of episodes in each of two runs", len(pairs), MIN_PAIRS)
    places = places_of(history[0])
    try:
        require_nothing_remembered(pairs, variability, places)
    except NotJudgedError:  # odd starts may show all the same
        require_no_odd_starts(runs[:2], variability, places)
        raise
    require_no_odd_starts(runs[:2], variability, places)


def places_of(seen: Seen) -> List[Place]:
    """Return field, agent and entry of each of the numbers that are seen of an env."""
    places: List[Place] = []
    for field in FIELDS:
        values = getattr(seen, field)
        if values is not None:
            places += [(field, agent, entry) for agent, entry in np.ndindex(*values.shape[1:])]
    return places


def values_of(seen: Seen, env: int) -> np.ndarray:
    """Return what is seen of an env, one number after the other as in `places_of`, (V,) float64."""
    parts = [getattr(seen, field)[env].ravel() for field in FIELDS if getattr(seen, field) is not None]
    return np.concatenate(parts).astype(np.float64)


def starts_in(history: Sequence[Seen]) -> List[Start]:
    """Return the starts after resets within the steps of a run."""
    counts: Dict[int, int] = {}
    found = []
    for seen in history[1:]:
        if seen.is_reset:
            continue
        together = tuple(map(int, np.flatnonzero(seen.ended)))
        for env in together:
            number = counts.get(env, 0)
            counts[env] = number + 1
            found.append(Start(env, number, together, values_of(seen, env)))
    return found


def _starts_by_env(starts: List[Start]) -> List[np.ndarray]:
    by_env: Dict[int, List[np.ndarray]] = {}
    for start in starts:
        by_env.setdefault(start.env, []).append(start.values)
    return [np.stack(values) for values in by_env.values()]


def _variability(starts: np.ndarray) -> np.ndarray:
    """Return for each number how often it differs from one start (K, V) to the next."""
    return np.asarray((starts[1:] != starts[:-1]).mean(axis=0))


def _play(subject: EnvUnderTest, steps: int, driver: ActionDriver) -> List[Start]:
    """Drive an environment whose generators are seeded before each step, then reset it several times."""
    player = subject.player(watch=False)
    reseeder = Reseeder(player.env, OTHER_SEED)
    try:
        for _ in range(steps):
            reseeder.seed_again()
            player.step(driver(player.seen[-1]))
        starts = starts_in(player.seen)
        for number in range(NUM_RESETS):
            drive(player, driver, STEPS_BETWEEN_RESETS)
            reseeder.seed_again()
            seen = player.reset()
            for env in range(subject.sizes.num_envs):
                starts.append(Start(env, BY_RESET + number, (), values_of(seen, env)))
        return starts
    finally:
        close_quietly(player.env)


def pairs_of(one: List[Start], other: List[Start]) -> List[Tuple[Start, Start]]:
    """Return the starts of two runs that have the same number, of the same env, and began with the same other envs."""
    known = {(start.env, start.number): start for start in other}
    pairs = []
    for start in one:
        partner = known.get((start.env, start.number))
        if partner is not None and partner.together == start.together:
            pairs.append((start, partner))
    return pairs


def require_nothing_remembered(
    pairs: List[Tuple[Start, Start]], variability: np.ndarray, places: Sequence[Place]
) -> None:
    """Raise if starts that were drawn alike differ in a number.

    Args:
      pairs: starts of two runs with different actions and equal generators.
      variability: how often each number differs from start to start if generators are left alone.
      places: where each number is seen.

    Raises:
      NotJudgedError: the starts were not drawn alike.
    """
    differs = np.stack([one.values != other.values for one, other in pairs])  # (P, V)
    is_alike = (~differs @ variability) >= MIN_ALIKE * variability.sum()
    if is_alike.mean() < USUALLY_ALIKE:
        raise NotJudgedError("no generator was found that draws the starts, or it is not the only one")
    remembered = (differs & is_alike[:, None]).sum(axis=0)
    if remembered.max() < MIN_REMEMBERING:
        return
    index = int(np.argmax(remembered))
    number = int(np.flatnonzero(differs[:, index] & is_alike)[0])
    one, other = pairs[number]
    field, agent, entry = places[index]
    begin = "a reset within a step"
    if one.number >= BY_RESET:
        begin = "a call of reset"
    raise ContractError(
        f"the start of an episode depends on the one before: {field} entry {entry}",
        where=f"{place_in_words((one.env, agent, entry))}, after {begin}",
        got=f"{one.values[index]:g} and {other.values[index]:g} after different actions, though the same start was "
        f"drawn; so it is in {remembered[index]} of {len(pairs)} pairs of starts",
        expected="the same start: all generators had the same state",
        cause="a flag, a memory or a part of the state survives the reset",
        fix="set it in the function that starts an episode, for both kinds of reset",
    )
