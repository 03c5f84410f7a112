"""Contracts of the first step of an episode: its action counts, and the episode survives it.

`first-action`: the long run is played again until episodes end; from there on, the envs rest. In a second run, one
agent takes an extreme action in the first step of each new episode instead, and in a third run in the second step.
Every bit that differs from the run at rest is an effect. An action in the second step that has an effect shows that the
agent can act; if its action in the first step has none in any of these episodes, it was ignored.

`alive-at-start`: some episodes may end early by accident. They end in their first step about as often as in their
second or third; many more ends in the first step mean that these episodes were over when they began. An agent that is
done in the first step of most later episodes, and of no first one, has not come back.
"""

from __future__ import annotations

import collections
from typing import Counter, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from harness.contracts.comparison import first_difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, at_rest, finite_range, neutral
from harness.interface.player import Seen

WINDOW_STEPS = 4  # in which an action must show
MIN_EPISODES = 3  # in which an action is tried
ENOUGH_EPISODES = 5
MAX_ROUNDS = 3  # the first new episode of each env, then the second, then the third
SHARE = 0.15  # of the budget
FIRST_STEP, SECOND_STEP = 0, 1
MIN_STARTS = 20  # for a statement about episodes that end at once
MIN_BORN_DONE = 4
BORN_DONE_RATIO = 4  # by which ends in the first step must exceed those in the second or third
MAX_CHANCE = 0.01  # that agents are done at the start of no first episode although they are of so many later ones
LOOK_STEPS = 3  # after each call of reset
MAX_RESETS = 12


class _Effects(NamedTuple):
    """In how many new episodes an action of an agent was tried, and in how many of them it changed a bit."""

    tried: int
    moved: int


class _Round(NamedTuple):
    """New episodes of different envs.

    Attributes:
      begins: for each env the step that ended the episode before.
      resting: the run in which the envs rest in their new episodes.
    """

    begins: Dict[int, int]
    resting: List[Seen]


@contract("first-action")
def first_action(subject: EnvUnderTest) -> None:
    """The first action of a new episode counts, for every agent, as its second one does."""
    subject.require_same_again()
    settling = getattr(subject.task, "settling", 0)
    if settling:
        raise NotJudgedError(f"the task states that actions are ignored in the first {settling} steps, by design")
    rounds = []
    for begins in _new_episodes(subject):
        rounds.append(_Round(begins, _play(subject, begins, None, FIRST_STEP)))
    if not _require_first_actions(subject, rounds):
        raise NotJudgedError(f"no agent could act in the second step of {MIN_EPISODES} new episodes")
    latest = _latest_episodes(subject)
    if latest:
        _require_first_actions(subject, [_Round(latest, _play(subject, latest, None, FIRST_STEP))])


def _require_first_actions(subject: EnvUnderTest, rounds: List[_Round]) -> bool:
    """Raise if an agent's first action is ignored in all these episodes; return whether any agent can be judged."""
    ignored, num_judged = [], 0
    for agent in range(subject.sizes.num_agents):
        second = _effects(subject, rounds, agent, SECOND_STEP)
        first = _effects(subject, rounds, agent, FIRST_STEP)
        if first.tried < MIN_EPISODES or second.moved < MIN_EPISODES:
            continue
        num_judged += 1
        if first.moved == 0:
            ignored.append(agent)
    if ignored:
        raise _ignored(ignored, subject.sizes.num_agents, rounds[0].begins)
    return num_judged > 0


def _latest_episodes(subject: EnvUnderTest) -> Dict[int, int]:
    """Return the latest new episode of each env, as a defect may start late; none if there is no time for them."""
    history = subject.long_run().seen
    latest: Dict[int, int] = {}
    for span in episodes(history):
        if span.end < len(history) - WINDOW_STEPS - 2:
            latest[span.env] = span.end
    num_runs = 1 + 2 * subject.sizes.num_agents
    if num_runs * (subject.build_s + len(history) * subject.step_s) > subject.time_for(SHARE):
        return {}
    return latest


def _ignored(agents: List[int], num_agents: int, begins: Dict[int, int]) -> ContractError:
    whose = f"of agent {agents[0]} "
    if len(agents) == num_agents:
        whose = ""
    env, begun = next(iter(begins.items()))
    return ContractError(
        f"the first action {whose}in a new episode is ignored",
        step=begun + 1,
        where=f"agents {agents}, first in env {env} at step {begun + 1}; in every new episode that was tried",
        got="not a bit changes; the same action changes something in the step after it",
        expected="the action of every step is executed",
        cause="the step after an end only resets (gymnasium's default), or the action is cleared with the old episode",
        fix="reset within the step that ends the episode; if it is by design, pass Task(settling=1)",
    )


def _new_episodes(subject: EnvUnderTest) -> List[Dict[int, int]]:
    """Return for each round the step that ended the episode before, by env.

    Raises:
      NotJudgedError: too few episodes ended early enough.
    """
    history = subject.long_run().seen
    rounds: List[Dict[int, int]] = [{} for _ in range(MAX_ROUNDS)]
    counts: Counter[int] = collections.Counter()
    for span in episodes(history):
        number = counts[span.env]
        counts[span.env] += 1
        if number < MAX_ROUNDS and span.end < len(history) - WINDOW_STEPS - 2:
            rounds[number][span.env] = span.end
    chosen: List[Dict[int, int]] = []
    for begins in rounds:
        if begins and sum(map(len, chosen)) < ENOUGH_EPISODES:
            chosen.append(begins)
    if sum(map(len, chosen)) < MIN_EPISODES:
        raise subject.too_few("ends of episodes", sum(counts.values()), ENOUGH_EPISODES)
    return _affordable(subject, chosen)


def _affordable(subject: EnvUnderTest, rounds: List[Dict[int, int]]) -> List[Dict[int, int]]:
    """Return the rounds, without late episodes that there is no time for and that are not needed.

    Raises:
      NotJudgedError: there is no time for the episodes that are needed.
    """
    ends = sorted(end for begins in rounds for end in begins.values())
    num_runs = len(rounds) * (1 + 2 * subject.sizes.num_agents)
    latest = int((subject.time_for(SHARE) / num_runs - subject.build_s) / max(subject.step_s, 1e-6)) - WINDOW_STEPS
    needed = ends[MIN_EPISODES - 1]
    if needed > latest:
        subject.require_time_for(num_runs * (subject.build_s + (needed + 2 * WINDOW_STEPS) * subject.step_s), SHARE)
    chosen = []
    for begins in rounds:
        early = {env: end for env, end in begins.items() if end <= max(needed, latest)}
        if early:
            chosen.append(early)
    return chosen


def _effects(subject: EnvUnderTest, rounds: List[_Round], agent: int, delay: int) -> _Effects:
    """Return what an agent's action does `delay` steps after the first one of new episodes."""
    tried, moved = 0, 0
    for begins, resting in rounds:
        acting = _play(subject, begins, agent, delay)
        for env, begun in begins.items():
            acted = begun + 1 + delay
            if not _same_before(resting, acting, env, acted):
                continue
            tried += 1
            window = slice(acted, acted + WINDOW_STEPS + getattr(subject.task, "delay", 0))
            moved += _differs(resting[window], acting[window], env)
    return _Effects(tried, moved)


def _same_before(resting: List[Seen], acting: List[Seen], env: int, acted: int) -> bool:
    """Return whether an env was in the same episode and place before it acted, and took a different action then."""
    if not np.array_equal(resting[acted - 1].obs[env], acting[acted - 1].obs[env]):
        return False
    return not np.array_equal(resting[acted].actions[env], acting[acted].actions[env])


def _differs(resting: List[Seen], acting: List[Seen], env: int) -> bool:
    """Return whether a bit of an env differs in a window of two runs."""
    for one, other in zip(resting, acting):
        if first_difference(one, other, np.arange(len(one.obs)) == env) is not None:
            return True
    return False


def _play(subject: EnvUnderTest, begins: Dict[int, int], agent: Optional[int], delay: int) -> List[Seen]:
    """Play the long run, in which envs rest in their new episodes but for one action of an agent, if one is given."""
    history = subject.long_run().seen
    steps = max(begins.values()) + 1 + SECOND_STEP + WINDOW_STEPS + getattr(subject.task, "delay", 0)
    rest = at_rest(subject.sizes)
    driver = ActionDriver(subject.sizes, subject.seed)
    player = subject.player(watch=False)
    try:
        for step in range(1, min(steps, len(history) - 1) + 1):
            before = player.seen[-1]
            actions = history[step].actions.astype(float)
            for env, begun in begins.items():
                if step <= begun:
                    continue
                actions[env] = rest[env]
                if agent is not None and step == begun + 1 + delay:
                    actions[env, agent] = _push(subject, before, env, agent)
            player.step(driver.legal(actions, before))
        return player.seen
    finally:
        close_quietly(player.env)


def _push(subject: EnvUnderTest, before: Seen, env: int, agent: int) -> np.ndarray:
    """Return an action (K,) that should move an agent: a corner of its range, or an index that is available."""
    sizes = subject.sizes
    low, high = finite_range(sizes)
    draw = np.random.default_rng([subject.seed, env, agent])
    corner = np.where((draw.random(sizes.action_dim) < 0.5) & (low != neutral(sizes)), low, high)
    if before.available is not None:
        available = np.flatnonzero(before.available[env, agent])
        corner[0] = available[-1]
    return corner


@contract("alive-at-start")
def alive_at_start(subject: EnvUnderTest) -> None:
    """An episode outlives its first step: no env is done as soon as it was reset, whatever is done."""
    history = subject.long_run().seen
    within = collections.Counter(span.length for span in episodes(history) if not span.first)
    after_reset = _ends_after_reset(subject)
    if max(sum(within.values()), after_reset.total) < MIN_STARTS:
        raise subject.too_few("starts", after_reset.total, MIN_STARTS)
    if set(within) == {1}:
        raise NotJudgedError("every episode has one step")
    _require_alive("a reset within a step", within, sum(within.values()))
    _require_alive("a call of reset", after_reset.lengths, after_reset.total)
    require_agents_back(history)


def require_agents_back(history: List[Seen]) -> None:
    """Raise if agents are done in the first step of most later episodes, while none was in a first episode."""
    num_envs = len(history[1].ended)
    begins = np.ones(num_envs, bool)  # the envs that take the first step of an episode
    born_done: List[Tuple[int, int]] = []  # step and env
    total = 0
    for step, seen in enumerate(history[1:], start=1):
        some_done = seen.dones.astype(bool).any(axis=1) & ~seen.ended & begins
        if step == 1 and some_done.any():
            return  # as where teams have different sizes
        if step > 1:
            total += int((begins & ~seen.ended).sum())
            born_done += [(step, env) for env in map(int, np.flatnonzero(some_done))]
        begins = seen.ended
    chance = (1.0 - len(born_done) / max(total, 1)) ** num_envs  # that it happens in no first episode, by design
    if len(born_done) < MIN_BORN_DONE or chance > MAX_CHANCE:
        return
    step, env = born_done[0]
    agents = np.flatnonzero(history[step].dones[env]).tolist()
    raise ContractError(
        "agents that left an episode are gone in the next one, too",
        step=step,
        where=f"env {env}, agents {agents}, done in the first step of an episode",
        got=f"agents done in the first step of {len(born_done)} of {total} later episodes, and of no first one",
        expected="all agents back when an episode starts",
        cause="what says that an agent has left is not set back where an episode ends within a step",
        fix="set it back in the function that starts an episode",
    )


class _Starts(NamedTuple):
    """What follows calls of `reset`.

    Attributes:
      lengths: how many episodes ended after one, two or three steps, by that number.
      total: how many were begun.
    """

    lengths: Counter[int]
    total: int


def _ends_after_reset(subject: EnvUnderTest) -> _Starts:
    """Reset often, look at a few steps after each reset, at rest and in motion in turn, and count the ends."""
    player = subject.player()
    resting = ActionDriver(subject.sizes, subject.seed, ("rest",))
    moving = ActionDriver(subject.sizes, subject.seed, ("uniform",))
    lengths: Counter[int] = collections.Counter()
    rounds = subject.steps(MAX_RESETS * LOOK_STEPS, runs=1) // LOOK_STEPS
    for number in range(rounds):
        driver = (resting, moving)[number % 2]
        alive = np.ones(subject.sizes.num_envs, bool)
        for length in range(1, LOOK_STEPS + 1):
            ended = player.step(driver(player.seen[-1])).ended
            lengths[length] += int((alive & ended).sum())
            alive &= ~ended
        player.reset()
    close_quietly(player.env)
    return _Starts(lengths, rounds * subject.sizes.num_envs)


def _require_alive(after: str, lengths: Counter[int], total: int) -> None:
    """Raise if far more episodes end in their first step than in their second or third."""
    born_done, later = lengths[1], max(lengths[2], lengths[3])
    if total < MIN_STARTS or born_done < MIN_BORN_DONE or born_done <= BORN_DONE_RATIO * (later + 1):
        return
    raise ContractError(
        "episodes are over when they begin",
        where=f"the first step after {after}",
        got=f"{born_done} of {total} episodes end in their first step, {later} in a later one of the first three",
        expected="an end only where something happened in the step",
        cause="the start is inside of what ends an episode, or a flag or a clock of the old episode is not cleared",
    )
