"""The contract that every part of an action's range does something: both signs, small values and large ones.

Each env takes, for a few steps, a level of one axis of one agent, while everything else rests; every env has a
different level, so few runs try them all. A level that changes no bit of its env, and two levels that change the same
bits, are tried again in every env and after more steps. Only what is so every time counts:

- one sign changes nothing, the other does;
- a small level changes nothing, a large one of the same sign does;
- half of the bound and the bound change the same bits, for so long that a limited acceleration shows.

An axis of which only the sign counts is a switch, which is a note.
"""

from __future__ import annotations

import collections
import itertools
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import at_rest, finite_range, neutral
from harness.interface.player import Seen

BOUND, HALF, SMALL = 1.0, 0.5, 0.05  # levels, as fractions of the way from rest to a bound
LEVELS = (SMALL, HALF, BOUND, -SMALL, -HALF, -BOUND)
WINDOW_STEPS = 12  # for which a level is held
STARTS = (1, 4, 33, 58)  # numbers of steps before it
MIN_TRIES = 4  # in which a level must show the same
SHARE = 0.1  # of the budget


class Level(NamedTuple):
    """A level of one axis of an agent's action: a fraction of the way from rest to the bound, negative downwards."""

    agent: int
    axis: int
    fraction: float


class _Shown(NamedTuple):
    """What a level did in one env after one start.

    Attributes:
      moved: whether a bit of the env differs from the run at rest.
      bits: everything that was seen of the env in the window.
    """

    moved: bool
    bits: bytes


Place = Tuple[int, int]  # start, env
Tries = Dict[Level, Dict[Place, _Shown]]


@contract("action-levels")
def action_levels(subject: EnvUnderTest) -> None:
    """Every part of an action's range does something: both signs, small values, and values near the bounds."""
    subject.require_same_again()
    if subject.sizes.discrete:
        raise NotJudgedError("indices have no levels")
    if getattr(subject.task, "uneven_actions", False):
        raise NotJudgedError("the task states that a part of the range does nothing, by design")
    trial = _Trial(subject)
    trial.look_at(STARTS[0], _spread(trial.levels, subject.sizes.num_envs))
    for start in STARTS[1:]:
        suspects = trial.suspects()
        if suspects:
            trial.look_at(start, _in_every_env(suspects, subject.sizes.num_envs))
    trial.judge()


def _spread(levels: List[Level], num_envs: int) -> List[List[Optional[Level]]]:
    """Return runs in which every env has a different level."""
    runs: List[List[Optional[Level]]] = []
    for first in range(0, len(levels), num_envs):
        run: List[Optional[Level]] = list(levels[first : first + num_envs])
        runs.append(run + [None] * (num_envs - len(run)))
    return runs


def _in_every_env(levels: List[Level], num_envs: int) -> List[List[Optional[Level]]]:
    """Return runs in which all envs have the same level."""
    return [[level] * num_envs for level in levels]


class _Trial:
    """Levels that were tried, and what they did.

    Args:
      subject: the environment.

    Attributes:
      levels: all levels, in the order in which they are tried.
    """

    def __init__(self, subject: EnvUnderTest) -> None:
        self._subject = subject
        sizes = subject.sizes
        self._tries: Tries = collections.defaultdict(dict)
        self._rest, (self._low, self._high) = neutral(sizes), finite_range(sizes)
        self.levels: List[Level] = []
        for agent, axis in itertools.product(range(sizes.num_agents), range(sizes.action_dim)):
            for fraction in LEVELS:
                if self._bound(axis, fraction) != self._rest[axis]:
                    self.levels.append(Level(agent, axis, fraction))
        self._out_of_time = False

    def _bound(self, axis: int, fraction: float) -> float:
        bound = self._high[axis]
        if fraction < 0:
            bound = self._low[axis]
        return float(bound)

    def look_at(self, start: int, runs: List[List[Optional[Level]]]) -> None:
        """Try levels after a start, as many as there is time for.

        Args:
          start: number of steps of the long run that are taken before.
          runs: for each run the level of each env.
        """
        subject = self._subject
        if len(subject.long_run().seen) <= start:
            return
        each_s = subject.build_s + (start + WINDOW_STEPS) * subject.step_s
        if (len(runs) + 1) * each_s > subject.time_for(SHARE):
            self._out_of_time = True
            return
        resting = self._play(start, [None] * subject.sizes.num_envs)
        for run in runs:
            seen = self._play(start, run)
            for env, level in enumerate(run):
                if level is not None and not _ends(resting + seen, env):
                    bits = _bits(seen, env)
                    self._tries[level][start, env] = _Shown(bits != _bits(resting, env), bits)

    def _play(self, start: int, run: List[Optional[Level]]) -> List[Seen]:
        """Return the steps of a window in which each env holds its level."""
        subject = self._subject
        actions = at_rest(subject.sizes)
        for env, level in enumerate(run):
            if level is not None:
                way = self._bound(level.axis, level.fraction) - self._rest[level.axis]
                actions[env, level.agent, level.axis] += abs(level.fraction) * way
        player = subject.player(watch=False)
        try:
            player.replay(subject.long_run().seen[1 : start + 1])
            for _ in range(WINDOW_STEPS):
                player.step(actions)
            return player.seen[-WINDOW_STEPS:]
        finally:
            close_quietly(player.env)

    # -- what the tries show -----------------------------------------------------------------------------------------

    def suspects(self) -> List[Level]:
        """Return the levels that are to be tried again, with those that they are compared with."""
        found: Set[Level] = set()
        for level in self.levels:
            whole, half = level._replace(fraction=np.sign(level.fraction)), self._half(level)
            if not self._moved(level) or (abs(level.fraction) == BOUND and self._may_be_equal(half, level)):
                found.update((level, whole, half, self._small(level)))
        return [level for level in self.levels if level in found]

    def _half(self, level: Level) -> Level:
        return level._replace(fraction=HALF * np.sign(level.fraction))

    def _small(self, level: Level) -> Level:
        return level._replace(fraction=SMALL * np.sign(level.fraction))

    def _moved(self, level: Level) -> bool:
        """Return whether a level changed a bit in any try."""
        return any(shown.moved for shown in self._tries[level].values())

    def _is_dead(self, level: Level) -> bool:
        """Return whether a level was tried often enough and never changed a bit."""
        return len(self._tries[level]) >= MIN_TRIES and not self._moved(level)

    def _may_be_equal(self, one: Level, other: Level) -> bool:
        """Return whether no try shows that two levels do different things."""
        places = self._tries[one].keys() & self._tries[other].keys()
        return all(self._tries[one][place].bits == self._tries[other][place].bits for place in places)

    def _are_equal(self, one: Level, other: Level) -> bool:
        """Return whether two levels did the same in enough tries in which they did anything."""
        moved = 0
        for place in self._tries[one].keys() & self._tries[other].keys():
            moved += self._tries[one][place].moved
        return moved >= MIN_TRIES and self._may_be_equal(one, other)

    def judge(self) -> None:
        """Raise if a part of the range of an axis does nothing.

        Raises:
          NotJudgedError: there was no time to try a level, or nothing moves at all.
        """
        moving = [level for level in self.levels if self._moved(level)]
        if not moving:
            reason = "no level of any axis changes anything"
            if self._out_of_time:
                reason = "there was no time to try the levels"
            raise NotJudgedError(reason)
        axes = sorted({(level.axis, level.agent) for level in moving})
        for axis, agent in axes:
            up, down = Level(agent, axis, BOUND), Level(agent, axis, -BOUND)
            self._require_both_signs(up, down)
            for whole in (up, down):
                self._require_small_values(whole)
                self._require_large_values(whole)
        if self._out_of_time and self.suspects():
            raise NotJudgedError("there was no time to try the levels in every env")

    def _require_both_signs(self, up: Level, down: Level) -> None:
        for moving, ignored, sign in ((up, down, "negative"), (down, up, "positive")):
            if self._moved(moving) and self._is_dead(ignored) and self._is_dead(self._half(ignored)):
                raise self._error(
                    f"{sign} actions on axis {ignored.axis} are ignored",
                    ignored,
                    "not a bit changes; with the other sign it does",
                    "the action is clipped at 0, or its sign is lost",
                )

    def _require_small_values(self, whole: Level) -> None:
        small = self._small(whole)
        if self._moved(whole) and self._is_dead(small):
            raise self._error(
                f"small actions on axis {whole.axis} are ignored",
                small,
                "not a bit changes; a larger action of this sign changes something",
                "a dead band, or the action is rounded or cast to an integer",
            )

    def _require_large_values(self, whole: Level) -> None:
        half, small = self._half(whole), self._small(whole)
        if not np.isfinite((self._subject.sizes.low, self._subject.sizes.high)).all():
            return
        if not self._are_equal(half, whole):
            return
        if self._are_equal(small, whole):
            note = f"action-levels: axis {whole.axis} of agent {whole.agent} is a switch, only its sign counts"
            self._subject.notes.append(note)
            return
        raise self._error(
            f"large actions on axis {whole.axis} change nothing more",
            half,
            "the same bits as at the bound, for as long as it was held",
            "the action is clipped far inside of the action_space",
        )

    def _error(self, what: str, level: Level, got: str, cause: str) -> ContractError:
        value = self._rest[level.axis] + abs(level.fraction) * (
            self._bound(level.axis, level.fraction) - self._rest[level.axis]
        )
        tries = self._tries[level]
        return ContractError(
            what,
            where=f"agent {level.agent}, axis {level.axis}, {value:g}, held for {WINDOW_STEPS} steps; "
            f"in {len({env for _, env in tries})} envs, after {len({start for start, _ in tries})} starts",
            got=got,
            expected="every part of the range of an action does something",
            cause=cause,
            fix="scale actions to the action_space; if it is by design, pass Task(uneven_actions=True)",
        )


def _ends(steps: List[Seen], env: int) -> bool:
    """Return whether an episode of an env ends in these steps."""
    return any(seen.ended[env] for seen in steps)


def _bits(steps: List[Seen], env: int) -> bytes:
    """Return everything that is seen of an env in these steps."""
    parts = []
    for seen in steps:
        parts += [seen.obs[env].tobytes(), seen.share_obs[env].tobytes(), seen.rewards[env].tobytes()]
    return b"".join(parts)
