"""What infos say of an episode that ended: it must not depend on the episode that begins in the same step.

In an environment whose steps are random, seeding the generators before the last step of an episode changes that step as
well. There, all generators are seeded before each step of a run, with one of a few seeds that are drawn. An env then
starts its episodes in one of a few places, which the seed of that step determines. A number in the infos of ends that
only depends on this seed, although the old episodes began with other seeds, is one of the new episode.
"""

from __future__ import annotations

import collections
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.reseeding import Reseeder
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

SPEAKS_OF_WHAT_COMES = re.compile(r"next|new|reset|start|init|seed|time", re.IGNORECASE)
SEEDS = (7001, 7101, 7201, 7301, 7401)  # apart, as each generator of an environment gets the next number
MOST_STEPS = 400
SHARE = 0.05  # of the budget
MIN_ENDS = 8  # of an env
MIN_ENVS = 2  # in which a number depends on the next episode
SAME_STARTS = 0.9  # fraction of the ends after which the seed determines the start


def numbers_of_ends(history: List[Seen], replayed: List[Seen]) -> Set[str]:
    """Return the paths of numbers in agent 0's infos that only ends have, and that are the same in a replay.

    Args:
      history: the run.
      replayed: the same run played again, or its beginning.
    """
    within: Set[str] = set()
    at_ends: Set[str] = set()
    for seen, again in zip(history[1:], replayed[1:]):
        infos_again = numbers_by_env(again)
        for env, numbers in numbers_by_env(seen).items():
            if env >= len(seen.ended) or not seen.ended[env]:
                within.update(numbers)
                continue
            at_ends.update(numbers)
            for path, value in numbers.items():
                if not is_equal(value, infos_again.get(env, {}).get(path)):
                    within.add(path)
    of_ends = at_ends - within
    return {path for path in of_ends if not SPEAKS_OF_WHAT_COMES.search(path)}


def numbers_by_env(seen: Seen) -> Dict[int, Dict[str, float]]:
    """Return the numbers in agent 0's info by path, for each env."""
    return {env: dict(numbers_in(info, booleans=True)) for env, agent, info in leaves(seen.infos) if agent == 0}


def is_equal(one: float, other: Optional[float]) -> bool:
    """Return whether two numbers are equal; two NaN are, and None is equal to none."""
    return other is not None and (one == other or (one != one and other != other))


class SeededEnd(NamedTuple):
    """An end of an episode.

    Attributes:
      env: the env.
      seed: with which the generators were seeded before this step; it determines where the next episode starts.
      start: what is seen of the next episode at first.
      numbers: numbers in the infos, by path.
    """

    env: int
    seed: int
    start: bytes
    numbers: Dict[str, float]


def require_own_infos(subject: EnvUnderTest, paths: Set[str]) -> None:
    """Raise if a number in the infos of ends is determined by what the next episode draws.

    Args:
      subject: the environment.
      paths: of the numbers.
    """
    history = subject.long_run().seen
    steps = subject.steps(min(MOST_STEPS, len(history) - 1), runs=1, share=SHARE)
    draw = np.random.default_rng(subject.seed)
    driver = ActionDriver(subject.sizes, subject.seed + 61)
    player = subject.player(watch=False)
    reseeders = [Reseeder(player.env, seed) for seed in SEEDS]
    ends: List[SeededEnd] = []
    try:
        for _ in range(steps):
            number = int(draw.integers(len(SEEDS)))
            reseeders[number].seed_again()
            seen = player.step(driver(player.seen[-1]))
            numbers = numbers_by_env(seen)
            for env in map(int, np.flatnonzero(seen.ended)):
                ends.append(SeededEnd(env, number, seen.share_obs[env].tobytes(), numbers.get(env, {})))
    finally:
        close_quietly(player.env)
    for path in sorted(paths):
        found = env_with_number_of_next_episode(ends, path)
        if found is not None:
            raise ContractError(
                "infos of the step that ends an episode are computed from the next episode",
                where=f"infos[{found}][0][{path!r}]",
                got=f"the same number whenever the same start is drawn, in {len(ends)} ends, whatever came before",
                expected="a number of the episode that ended",
                cause="it is read after the reset, from the state of the new episode",
                fix="read it before the envs that are done are reset",
            )


def env_with_number_of_next_episode(ends: Sequence[SeededEnd], path: str) -> Optional[int]:
    """Return an env in which a number is determined by the next episode and not by the one before, or None."""
    by_env: Dict[int, List[SeededEnd]] = collections.defaultdict(list)
    for end in ends:
        by_env[end.env].append(end)
    if not _seed_determines_start(by_env):
        return None
    found = []
    for env, of_env in by_env.items():
        after: Dict[int, Set[float]] = collections.defaultdict(set)  # by the seed of the next episode
        before: Dict[int, Set[float]] = collections.defaultdict(set)  # by that of the episode that ended
        for earlier, end in zip(of_env, of_env[1:]):
            if path in end.numbers:
                after[end.seed].add(end.numbers[path])
                before[earlier.seed].add(end.numbers[path])
        if any(len(values) > 1 for values in after.values()):
            return None
        differs = len(set().union(*after.values())) > 1
        if len(of_env) >= MIN_ENDS and differs and any(len(values) > 1 for values in before.values()):
            found.append(env)
    if len(found) < MIN_ENVS:
        return None
    return found[0]


def _seed_determines_start(by_env: Dict[int, List[SeededEnd]]) -> bool:
    """Return whether an env starts in the same place nearly always when the same seed was set before."""
    same = total = 0
    for of_env in by_env.values():
        starts: Dict[int, List[bytes]] = collections.defaultdict(list)
        for end in of_env:
            starts[end.seed].append(end.start)
        for of_seed in starts.values():
            same += max(collections.Counter(of_seed).values())
            total += len(of_seed)
    return same >= SAME_STARTS * total
