"""The contract of starts: they differ between seeds, envs and episodes if they are random at all.

Starts are collected from several calls of `reset`, from the resets within the steps of the long run, and from
environments with other seeds. If none of them differ, the environment has a fixed start, which is legal. If some do,
starts are drawn, and every way in which they should vary is looked at. A start may be one of a few places, so two envs
that start alike are reported only if they do so after every reset, while each of them starts in several places.

Env i of a seed may start as a different env of the next seed does, if its generator is seeded with seed + i. Then runs
with neighbouring seeds share most of their episodes. So all envs of a seed are compared with those of the next ones,
one or more places further, after several calls of `reset`. If a level that depends on the seed makes these starts
different, the states of the generators that can be reached show the same.
"""

from __future__ import annotations

import itertools
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.reseeding import states_of
from harness.contracts.timeline import resets
from harness.findings import ContractError, NotJudgedError
from harness.interface.far_env import of_env
from harness.interface.player import Seen, stack

NUM_RESETS = 8
NUM_SEEDS = 2  # in addition to the seed of the check
CALLS_OF_RESET = 4  # with each seed, in a row
MAX_COMPARED_STARTS = 3  # of each env, within the long run
MIN_SHARED = 3  # different generators that two seeds have in common, in a shifted order
ROUNDING = 1e-6  # of numbers that were drawn once for all envs, relative and absolute
MIN_DRAWS = 6  # different values of a number after calls of reset
MIN_PLACES = 4  # in which an env must have started, for two envs that always start alike to be no accident
SEED_IS_LOST = "the seed is not passed on, or it is overwritten"
BY_DESIGN = "draw each start from a generator that goes on; if it is by design, pass Task(fixed_starts=True)"


class Starts(NamedTuple):
    """Starts of one environment.

    Attributes:
      called: what calls of `reset` return, (R, N, A, D).
      later: for each env what it shows at the start of its later episodes, (A, D) each.
    """

    called: np.ndarray
    later: List[List[np.ndarray]]

    @property
    def envs_are_equal(self) -> bool:
        """Whether all envs start alike after every call of `reset`."""
        return bool((self.called == self.called[:, :1]).all())

    @property
    def calls_are_equal(self) -> bool:
        """Whether every call of `reset` gives the same starts."""
        return bool((self.called == self.called[:1]).all())

    @property
    def later_are_equal(self) -> bool:
        """Whether all later episodes of all envs start alike, or none was seen."""
        starts: List[np.ndarray] = []
        for of_one in self.later:
            starts += of_one
        return all_equal(starts)

    @property
    def later_repeat(self) -> bool:
        """Whether the first of several later episodes of every env start alike."""
        return all(len(of_env) > 1 and all_equal(of_env[:MAX_COMPARED_STARTS]) for of_env in self.later)


@contract("other-seed")
def other_seed(subject: EnvUnderTest) -> None:
    """A different seed gives different starts, and so do the envs and the episodes of one environment."""
    history = subject.long_run().seen
    if getattr(subject.task, "fixed_starts", False):
        raise NotJudgedError("the task states that all episodes start alike, by design")
    starts = Starts(stack(resets(subject, NUM_RESETS), "obs"), later_starts(history))
    by_seed = _starts_by_seed(subject)
    seeds_differ = any(not np.array_equal(called[0], history[0].obs) for called in by_seed.values())
    varies = not (starts.envs_are_equal and starts.calls_are_equal and starts.later_are_equal)
    if not varies and not seeds_differ:
        raise NotJudgedError("the starts are not random")
    if "seed" in subject.varied and not seeds_differ:
        raise ContractError(
            "the seed changes nothing",
            got=f"the same starts with seeds {subject.seed} to {subject.seed + NUM_SEEDS}",
            cause=SEED_IS_LOST,
        )
    require_different_seeds(by_seed)
    _require_separate_seeds(subject, by_seed)
    require_different_envs(starts)
    require_own_numbers_at_starts(starts)
    note = require_different_episodes(starts, seeds_differ)
    if note is not None:
        subject.notes.append(note)


def _starts_by_seed(subject: EnvUnderTest) -> Dict[int, np.ndarray]:
    """Return for each seed what calls of `reset` in a row return, (R, N, A, D); nothing if no seed is taken."""
    by_seed: Dict[int, np.ndarray] = {}
    if "seed" not in subject.varied:
        return by_seed
    for seed in range(subject.seed, subject.seed + NUM_SEEDS + 1):
        player = subject.player(seed)
        for _ in range(CALLS_OF_RESET - 1):
            player.reset()
        close_quietly(player.env)
        by_seed[seed] = stack(player.seen, "obs")
    return by_seed


def require_different_seeds(by_seed: Dict[int, np.ndarray]) -> None:
    """Raise if two seeds give the same starts in all envs.

    Args:
      by_seed: what calls of `reset` return, (R, N, A, D), by seed; not all of them are equal.
    """
    for seed, later in itertools.combinations(by_seed, 2):
        if np.array_equal(by_seed[seed], by_seed[later]):
            raise ContractError(
                f"seeds {seed} and {later} give the same starts",
                got=f"the same observations in all envs after {CALLS_OF_RESET} calls of reset",
                expected="different ones, as with other seeds",
                cause="a seed counts as none, as 0 does in `seed or default`, or several are made one",
                fix="compare with None: seed if seed is not None else default",
            )


class Overlap(NamedTuple):
    """Two seeds of which one gives the starts of the other, in different envs.

    Attributes:
      seed: the lower one.
      later: the other one.
      places: env i of the lower seed starts as env i + places of the other one does.
    """

    seed: int
    later: int
    places: int


def overlap_of(by_seed: Dict[int, np.ndarray]) -> Optional[Overlap]:
    """Return two seeds of which all envs but those at the edge start alike in a shifted order, or None.

    Args:
      by_seed: what calls of `reset` return, (R, N, A, D), by seed.
    """
    for seed, one in by_seed.items():
        for later, other in by_seed.items():
            if later <= seed:
                continue
            num_envs = one.shape[1]
            for places in range(1 - num_envs, num_envs):
                first, last = max(0, -places), min(num_envs, num_envs - places)
                shared = one[:, first:last]
                num_starts = len(np.unique(shared.reshape(shared.shape[0] * shared.shape[1], -1), axis=0))
                is_equal = np.array_equal(shared, other[:, first + places : last + places])
                if places and is_equal and num_starts >= MIN_PLACES:
                    return Overlap(seed, later, places)
    return None


def _states_by_seed(subject: EnvUnderTest) -> Dict[int, List[str]]:
    """Return the states of the generators of a new environment, by seed."""
    by_seed: Dict[int, List[str]] = {}
    for seed in (subject.seed, subject.seed + 1):
        env = subject.build(seed)
        by_seed[seed] = of_env(env, states_of)
        close_quietly(env)
    return by_seed


def overlap_of_states(by_seed: Dict[int, List[str]]) -> Optional[Overlap]:
    """Return two seeds of which the generators are the same in a shifted order, or None.

    Args:
      by_seed: states of the generators of the envs, by seed.
    """
    (seed, one), (later, other) = by_seed.items()
    for places in (-1, 1):
        shared = []
        for number, state in enumerate(one):
            if 0 <= number + places < len(other) and other[number + places] == state:
                shared.append(state)
        if len(set(shared)) >= MIN_SHARED:
            return Overlap(seed, later, places)
    return None


def _require_separate_seeds(subject: EnvUnderTest, by_seed: Dict[int, np.ndarray]) -> None:
    """Raise if neighbouring seeds share starts; where the interface seeds its envs so, say so in a note."""
    overlap = overlap_of(by_seed)
    manner, verb = "starts as", "does"
    if overlap is None and by_seed:
        overlap = overlap_of_states(_states_by_seed(subject))
        manner, verb = "has the generator that", "has"
    if overlap is None:
        return
    seed, later, places = overlap
    env = max(0, -places)
    got = f"env {env} of seed {seed} {manner} env {env + places} of seed {later} {verb}, and so on"
    if subject.api.startswith("gymnasium"):
        subject.notes.append(f"neighbouring seeds share episodes: {got}; gymnasium gives env i the seed seed + i")
        return
    raise ContractError(
        "neighbouring seeds share their episodes",
        got=got,
        expected="different starts: runs with other seeds, such as an evaluation, should be independent",
        cause="the generator of env i is seeded with seed + i",
        fix="np.random.default_rng([seed, i]), or seed * num_envs + i",
    )


def require_different_envs(starts: Starts) -> None:
    """Raise if all envs, or two of them, start alike though starts are drawn."""
    if starts.envs_are_equal:
        raise ContractError(
            "all envs start alike",
            got=f"the same observation in all {starts.called.shape[1]} envs after reset, though starts are random",
            cause="the envs draw from generators of one seed, or one draw is broadcast",
            fix=BY_DESIGN,
        )
    pair = _equal_pair(starts)
    if pair is not None:
        raise ContractError(
            f"envs {pair[0]} and {pair[1]} always start alike",
            got=f"the same observations after each of {len(starts.called)} resets, which differ from each other",
            cause="generators of the same seed, or a draw for a part of the batch that is repeated",
        )


def require_own_numbers_at_starts(starts: Starts) -> None:
    """Raise if a number is the same in all envs after every reset, though it is drawn anew each time."""
    called = starts.called
    same = np.isclose(called, called[:, :1], rtol=ROUNDING, atol=ROUNDING).all(axis=1)  # (R, A, D)
    if same.all():
        return
    for agent, entry in np.argwhere(same.all(axis=0)).tolist():
        values = called[:, 0, agent, entry]
        changes = np.diff(values)
        is_monotone = (changes >= 0).all() or (changes <= 0).all()
        if len(np.unique(values)) >= MIN_DRAWS and not is_monotone and (values != np.round(values)).any():
            raise ContractError(
                f"all envs start with the same number in obs entry {entry}",
                where=f"agent {agent}, entry {entry}",
                got=f"{values[0]:g} in all {called.shape[1]} envs after one reset, {values[1]:g} after the next",
                expected="a draw for each env",
                cause="one draw is broadcast over the batch",
                fix=BY_DESIGN,
            )


def _equal_pair(starts: Starts) -> Optional[Tuple[int, int]]:
    """Return two envs that start alike after every reset, in enough places; None if there are none."""
    called = starts.called
    for env in range(called.shape[1]):
        if len(np.unique(called[:, env].reshape(len(called), -1), axis=0)) < MIN_PLACES:
            continue
        for other in range(env):
            if np.array_equal(called[:, env], called[:, other]):
                return other, env
    return None


def require_different_episodes(starts: Starts, seeds_differ: bool) -> Optional[str]:
    """Raise if an env starts alike in every episode though starts are drawn; return a note if calls of reset repeat."""
    num_later = min(map(len, starts.later))
    if starts.later_repeat:
        raise ContractError(
            "every episode of an env starts alike",
            got=f"the same first observation in the first {min(num_later, MAX_COMPARED_STARTS)} episodes",
            cause="the generator is seeded again at every reset",
            fix=BY_DESIGN,
        )
    if not starts.calls_are_equal:
        return None
    if starts.later_are_equal and seeds_differ:
        raise ContractError(
            "every episode of an env starts alike",
            got=f"the same starts after each of {len(starts.called)} calls of reset; with another seed they differ",
            cause="the starts are drawn once, or the generator is seeded again at every reset",
            fix=BY_DESIGN,
        )
    return "every call of reset gives the same starts: so do all evaluations of one environment"


def later_starts(history: List[Seen]) -> List[List[np.ndarray]]:
    """Return for each env what it shows at the start of its later episodes, (A, D) each."""
    starts: List[List[np.ndarray]] = [[] for _ in history[0].obs]
    for span in episodes(history):
        starts[span.env].append(history[span.end].obs[span.env])
    return starts


def all_equal(starts: List[np.ndarray]) -> bool:
    """Return whether all starts are equal; so they are if there is none."""
    return all(np.array_equal(start, starts[0]) for start in starts)
