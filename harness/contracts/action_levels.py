"""The contract that every part of an action's range does something: both signs, small values and large ones.

Each env takes, for a few steps, a level of one axis of one agent, while everything else rests; every env has a
different level, so few runs try them all. A level that changes no bit of its env, and two levels that change the same
bits, are tried again in every env and after more steps. Only what is so every time counts:

- one sign changes nothing, the other does;
- a small level changes nothing, a large one of the same sign does;
- half of the bound and the bound change the same bits, for so long that a limited acceleration shows.

Only the beginning of the long run is played, so a part of a range that is ignored later is not seen.

An axis of which only the sign counts is a switch, which is a note. So is an axis of which all agents ignore one sign,
if they have other axes with both: an engine that cannot run backwards looks the same.
"""

from __future__ import annotations

import collections
import itertools
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import at_rest, finite_range, neutral
from harness.interface.player import Seen

BOUND, HALF, SMALL = 1.0, 0.5, 0.05  # levels, as fractions of the way from rest to a bound
LEVELS = (SMALL, HALF, BOUND, -SMALL, -HALF, -BOUND)
MOST_WINDOW_STEPS = 12  # for which a level is held; less if episodes are shorter
FEWEST_WINDOW_STEPS = 2
MIN_HELD_STEPS = 8  # for two levels to be equal: a limited acceleration shows
NUM_STARTS = 4  # after which a level is tried
STARTS_WITHIN = 60  # steps at the beginning of the long run, from which starts are chosen
MIN_TRIES = 4  # in which a level must show the same
SHARE = 0.15  # of the budget
ALL_AGENTS = -1


class Level(NamedTuple):
    """A level of one axis of an agent's action: a fraction of the way from rest to the bound, negative downwards.

    Attributes:
      agent: number of the agent, or `ALL_AGENTS` if there is no time for each by itself.
      axis: entry of the action.
      fraction: -1 for the lower bound, 1 for the upper one.
    """

    agent: int
    axis: int
    fraction: float


class _Shown(NamedTuple):
    """What a level did in one env after one start.

    Attributes:
      moved: whether a bit of the env differs from the run at rest.
      bits: everything that was seen of the env in the window.
      complete: whether no episode of the env ended in the window.
    """

    moved: bool
    bits: bytes
    complete: bool


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
    history = subject.long_run().seen
    window = _window_steps(history)
    starts = _starts(history, window)
    if not starts:
        raise subject.too_few("steps", len(history) - 1, MOST_WINDOW_STEPS + 1)
    trial = _Trial(subject, window, starts[0])
    trial.run(starts)
    trial.judge()


def _window_steps(history: List[Seen]) -> int:
    """Return for how many steps a level is held, so that most episodes do not end meanwhile."""
    lengths = [span.length for span in episodes(history)]
    usual = np.median(lengths or [len(history)])
    return int(np.clip(usual - 2, FEWEST_WINDOW_STEPS, MOST_WINDOW_STEPS))


def _starts(history: List[Seen], window: int) -> List[int]:
    """Return early numbers of steps after which the fewest episodes end in a window, the earliest first."""
    ends = {}
    for start in range(1, min(STARTS_WITHIN, len(history) - 1 - window) + 1):
        ends[start] = sum(int(seen.ended.sum()) for seen in history[start + 1 : start + window + 1])
    return sorted(sorted(ends, key=lambda start: ends[start])[:NUM_STARTS])


def _spread(levels: List[Level], num_envs: int) -> List[List[Optional[Level]]]:
    """Return runs in which every env has a different level; levels that are compared have the same env."""
    ways: List[Level] = []  # from rest to a bound
    for level in levels:
        if abs(level.fraction) == BOUND:
            ways.append(level)
    runs: List[List[Optional[Level]]] = []
    for first in range(0, len(ways), num_envs):
        of_envs = ways[first : first + num_envs]
        for size in (SMALL, HALF, BOUND):
            run: List[Optional[Level]] = [None] * num_envs
            for env, way in enumerate(of_envs):
                run[env] = way._replace(fraction=size * way.fraction)
            runs.append(run)
    return runs


def _in_every_env(levels: List[Level], num_envs: int) -> List[List[Optional[Level]]]:
    """Return runs in which all envs have the same level."""
    return [[level] * num_envs for level in levels]


class _Trial:
    """Levels that were tried, and what they did.

    Args:
      subject: the environment.
      window: for how many steps a level is held.
      start: number of steps before the first tries.

    Attributes:
      levels: all levels, in the order in which they are tried.
    """

    def __init__(self, subject: EnvUnderTest, window: int, start: int) -> None:
        self._subject = subject
        self._window = window
        sizes = subject.sizes
        self._tries: Tries = collections.defaultdict(dict)
        self._rest, (self._low, self._high) = neutral(sizes), finite_range(sizes)
        self.levels = self._levels_of(list(range(sizes.num_agents)))
        if self._seconds(self.levels, start) > subject.time_for(SHARE):
            self.levels = self._levels_of([ALL_AGENTS])
            subject.require_time_for(self._seconds(self.levels, start), SHARE)
        self._out_of_time = False

    def _levels_of(self, agents: List[int]) -> List[Level]:
        """Return all levels of these agents that differ from rest."""
        levels = []
        for agent, axis in itertools.product(agents, range(self._subject.sizes.action_dim)):
            for fraction in LEVELS:
                if self._bound(axis, fraction) != self._rest[axis]:
                    levels.append(Level(agent, axis, fraction))
        return levels

    def _seconds(self, levels: List[Level], start: int) -> float:
        """Return how long it takes to try each level in one env [s]."""
        num_runs = 1 + len(_spread(levels, self._subject.sizes.num_envs))
        return num_runs * (self._subject.build_s + (start + self._window) * self._subject.step_s)

    def run(self, starts: Sequence[int]) -> None:
        """Try each level in one env after the first start, and suspects in every env after the others."""
        num_envs = self._subject.sizes.num_envs
        self.look_at(starts[0], _spread(self.levels, num_envs))
        for start in starts[1:]:
            suspects = self.suspects()
            if suspects:
                self.look_at(start, _in_every_env(suspects, num_envs))

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
        each_s = subject.build_s + (start + self._window) * subject.step_s
        if (len(runs) + 1) * each_s > subject.time_for(SHARE):
            self._out_of_time = True
            return
        resting = self._play(start, [None] * subject.sizes.num_envs)
        for run in runs:
            seen = self._play(start, run)
            for env, level in enumerate(run):
                if level is None:
                    continue
                bits, still = _bits(seen, env), _bits(resting, env)
                complete = not _ends(resting + seen, env)
                if complete or bits != still:
                    self._tries[level][start, env] = _Shown(bits != still, bits, complete)

    def _play(self, start: int, run: List[Optional[Level]]) -> List[Seen]:
        """Return the steps of a window in which each env holds its level."""
        subject = self._subject
        actions = at_rest(subject.sizes)
        for env, level in enumerate(run):
            if level is not None:
                way = self._bound(level.axis, level.fraction) - self._rest[level.axis]
                agents = slice(level.agent, level.agent + 1)
                if level.agent == ALL_AGENTS:
                    agents = slice(None)
                actions[env, agents, level.axis] += abs(level.fraction) * way
        player = subject.player(watch=False)
        try:
            player.replay(subject.long_run().seen[1 : start + 1])
            for _ in range(self._window):
                player.step(actions)
            return player.seen[-self._window :]
        finally:
            close_quietly(player.env)

    # -- what the tries show -----------------------------------------------------------------------------------------

    def suspects(self) -> List[Level]:
        """Return the levels that are to be tried again: those that may do nothing, or nothing more than half of it."""
        found: Set[Level] = set()
        for level in self.levels:
            tries = self._tries[level]
            if not self._moved(level) and len(tries) < MIN_TRIES:
                found.add(level)
            half, small = self._half(level), self._small(level)
            is_bound = abs(level.fraction) == BOUND and self._window >= MIN_HELD_STEPS
            if is_bound and self._may_be_equal(half, level) and not self._are_equal(half, level):
                found.update((level, half, small))
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
        """Return whether two levels did the same in enough tries in which they did anything and were held long."""
        if self._window < MIN_HELD_STEPS:
            return False
        moved = 0
        for place in self._tries[one].keys() & self._tries[other].keys():
            moved += self._tries[one][place].moved and self._tries[one][place].complete
        return moved >= MIN_TRIES and self._may_be_equal(one, other)

    def judge(self) -> None:
        """Raise if a part of the range of an axis does nothing.

        Raises:
          NotJudgedError: there was no time to try a level, or nothing moves at all.
        """
        moving = [level for level in self.levels if self._moved(level)]
        if not moving:
            raise NotJudgedError("no level of any axis was seen to change anything before an episode ended")
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
                if self._is_one_sided(ignored):
                    self._note(
                        f"{sign} actions on axis {ignored.axis} are ignored, for all agents; other axes have both signs"
                    )
                    continue
                raise self._error(
                    f"{sign} actions on axis {ignored.axis} are ignored",
                    ignored,
                    "not a bit changes; with the other sign it does",
                    "the action is clipped at 0, or its sign is lost",
                )

    def _is_one_sided(self, ignored: Level) -> bool:
        """Return whether an axis looks as if it had one sign by design, as that of an engine.

        All agents ignore this sign on it, and each of them has a different axis of which no sign is ignored. A clip at
        0 in the wrong place would take the sign from all axes.
        """
        agents, axes = set(), set()
        for level in self.levels:
            agents.add(level.agent)
            axes.add(level.axis)
        for agent in agents:
            has_other_axis = any(self._has_both_signs(agent, axis) for axis in axes)
            if not has_other_axis or not self._is_dead(ignored._replace(agent=agent)):
                return False
        return True

    def _has_both_signs(self, agent: int, axis: int) -> bool:
        return self._moved(Level(agent, axis, BOUND)) and self._moved(Level(agent, axis, -BOUND))

    def _note(self, what: str) -> None:
        note = f"action-levels: {what}"
        if note not in self._subject.notes:
            self._subject.notes.append(note)

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
            self._note(f"axis {whole.axis} is a switch, only its sign counts")
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
        who = f"agent {level.agent}"
        if level.agent == ALL_AGENTS:
            who = "all agents"
        return ContractError(
            what,
            where=f"{who}, axis {level.axis}, {value:g}, held for {self._window} steps; "
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
    """Return everything that is seen of an env in these steps, up to the end of its episode."""
    parts = []
    for seen in steps:
        if seen.ended[env]:
            break
        parts += [seen.obs[env].tobytes(), seen.share_obs[env].tobytes(), seen.rewards[env].tobytes()]
    return b"".join(parts)
