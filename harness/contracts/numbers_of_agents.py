"""Numbers in infos that all agents report, and that are those of one agent only; a part of `episode-infos`.

Where a loop writes the infos of all agents into one dict, every agent reports what belongs to the last one. Where an
index is forgotten, every agent reports what belongs to the first. Such a number is the same for all agents at every
end, and only the actions of one agent change it. This is found out by playing the first episodes again, while one agent
of each env acts differently in the last steps.

A number of the team that one agent determines by design, as the distance of a convoy, cannot be told from that. So only
dicts that agents share are judged by all their numbers; otherwise a number must have the name of what an agent has.
"""

from __future__ import annotations

import collections
import re
from typing import Counter, Dict, List, NamedTuple, Sequence, Set

import numpy as np

from harness.contracts.comparison import first_divergence
from harness.contracts.end_infos import is_equal, numbers_by_env
from harness.contracts.ended_episodes import speaks_of_one_episode
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.info_dicts import SHARED_BY_AGENTS
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

OF_AN_AGENT = re.compile(
    r"(^|[_/])(moves?|moved|actions?|energy|fuel|battery|charge|effort|load|used|picks?|picked|shots?|hits?|waits?|"
    r"waited|idle|health|hp|ammo|stamina|fatigue)([_/]|$)",
    re.IGNORECASE,
)
OF_A_LEADER = re.compile(r"lead|first|last|front|head|ego|master|team|all|total|sum|mean|step|time", re.IGNORECASE)
MIN_VALUES = 3  # that a number has in a run
MIN_JUDGED = 3  # envs in which one agent acted differently, for each agent
MAX_AGENTS = 4  # that act differently, the last one among them
MIN_CHANGED = 2  # envs in which the owner of a number changed it
MAX_CHANCE = 1e-3  # that a number which no other agent changed belongs to them just as well
MOST_STEPS = 200
LAST_STEPS = 12  # of an episode, in which an agent acts differently; after more, others could often not act as before
SHARE = 0.06  # of the budget


class Effect(NamedTuple):
    """What other actions of an agent did to a number at the first end of an env.

    Attributes:
      path: of the number.
      agent: the agent.
      changed: whether the number was different.
    """

    path: str
    agent: int
    changed: bool


def require_numbers_of_each_agent(subject: EnvUnderTest) -> None:
    """Raise if all agents report a number that only the actions of one of them change."""
    history = subject.long_run().seen
    are_shared = SHARED_BY_AGENTS in subject.notes
    paths = _alike(history)
    if not are_shared:
        paths = set(filter(OF_AN_AGENT.search, paths))
    if not paths or first_divergence(history, subject.replayed) is not None:
        return
    num_agents = subject.sizes.num_agents
    if num_agents < 2:
        return
    last_end = int(_first_ends(history).max())
    agents = sorted({*range(min(num_agents, MAX_AGENTS - 1)), num_agents - 1})
    steps = min(last_end, subject.steps(MOST_STEPS, runs=len(agents), share=SHARE))
    effects: List[Effect] = []
    for turn in range(len(agents)):
        of_envs = np.take(agents, np.arange(subject.sizes.num_envs) + turn, mode="wrap").tolist()
        effects += _effects(subject, of_envs, paths, steps)
    by_path: Dict[str, List[Effect]] = collections.defaultdict(list)
    for effect in effects:
        by_path[effect.path].append(effect)
    for path in sorted(by_path):
        owner = only_agent(by_path[path], agents)
        if owner == num_agents - 1 or (owner == 0 and not are_shared):
            raise _of_one_agent(path, owner, are_shared)


def _alike(history: List[Seen]) -> Set[str]:
    """Return the paths of numbers that all agents of an env report alike at each end, and that vary."""
    values: Dict[str, Set[float]] = collections.defaultdict(set)
    unlike: Set[str] = set()
    for seen in history[1:]:
        by_env: Dict[int, List[Dict[str, float]]] = collections.defaultdict(list)
        for env, _, info in leaves(seen.infos):
            if seen.ended[env]:
                by_env[env].append(dict(numbers_in(info)))
        for of_agents in by_env.values():
            for path, value in of_agents[0].items():
                values[path].add(value)
                for numbers in of_agents:
                    if not is_equal(value, numbers.get(path)):
                        unlike.add(path)
    alike: Set[str] = set()
    for path, found in values.items():
        is_of_team = speaks_of_one_episode(path) or OF_A_LEADER.search(path)
        if len(found) >= MIN_VALUES and path not in unlike and not is_of_team:
            alike.add(path)
    return alike


def _first_ends(history: List[Seen]) -> np.ndarray:
    """Return the step at which the first episode of each env ended, (N,); 0 where none did."""
    ends = np.zeros(len(history[1].ended), int)
    for step, seen in enumerate(history[1:], start=1):
        ends[seen.ended & (ends == 0)] = step
    return ends


def _effects(subject: EnvUnderTest, of_envs: List[int], paths: Set[str], steps: int) -> List[Effect]:
    """Play the first episodes again while one agent of each env acts differently, and return what that changed.

    Args:
      subject: the environment.
      of_envs: the agent that acts differently, for each env.
      paths: of the numbers.
      steps: to play.
    """
    history = subject.long_run().seen
    ends = _first_ends(history)
    running = ends > 0
    driver = ActionDriver(subject.sizes, subject.seed + 97, ["uniform"])
    player = subject.player(watch=False)
    found: List[Effect] = []
    try:
        for step in range(1, steps + 1):
            late = np.flatnonzero(step > ends - LAST_STEPS)
            actions = _actions(driver, history[step], player.seen[-1], of_envs, late)
            running &= ~_forced(actions, history[step], of_envs)
            seen = player.step(actions)
            numbers = numbers_by_env(seen)
            just_ended = running & seen.ended
            running &= ~seen.ended
            for env in map(int, np.flatnonzero(just_ended)):
                expected = numbers_by_env(history[ends[env]])[env]
                for path in paths & set(expected) & set(numbers.get(env, {})):
                    changed = not is_equal(numbers[env][path], expected[path])
                    if not changed or step == ends[env]:  # a longer episode changes many numbers
                        found.append(Effect(path, of_envs[env], changed))
    finally:
        close_quietly(player.env)
    return found


def _actions(driver: ActionDriver, recorded: Seen, before: Seen, of_envs: List[int], late: np.ndarray) -> np.ndarray:
    """Return the recorded actions (N, A, K), with drawn ones for one agent of each of the envs `late`."""
    drawn = driver(before)
    actions = recorded.actions.copy()
    for env in map(int, late):
        actions[env, of_envs[env]] = drawn[env, of_envs[env]]
    return driver.legal(actions, before)


def _forced(actions: np.ndarray, recorded: Seen, of_envs: List[int]) -> np.ndarray:
    """Return in which envs other agents had to act differently, too, as their action was not available, (N,) bool."""
    differs = (actions != recorded.actions).any(axis=2)
    differs[np.arange(len(of_envs)), of_envs] = False
    return np.asarray(differs.any(axis=1))


def only_agent(effects: Sequence[Effect], agents: Sequence[int]) -> int:
    """Return the agent whose actions alone change a number, or -1.

    Args:
      effects: on this number.
      agents: that acted differently in some envs.
    """
    num_judged: Counter[int] = collections.Counter()
    num_changed: Counter[int] = collections.Counter()
    for effect in effects:
        num_judged[effect.agent] += 1
        num_changed[effect.agent] += effect.changed
    owner, changed = max(num_changed.items(), key=lambda item: item[1], default=(-1, 0))
    if changed < MIN_CHANGED or sum(num_changed.values()) > changed:
        return -1
    for agent in agents:
        if num_judged[agent] < MIN_JUDGED:
            return -1
    num_others = len(effects) - num_judged[owner]
    chance = (1.0 - changed / num_judged[owner]) ** num_others
    if chance > MAX_CHANCE:
        return -1
    return owner


def _of_one_agent(path: str, owner: int, are_shared: bool) -> ContractError:
    cause, fix = "an index is forgotten: the first agent's number is written for all", "index it with the agent"
    if are_shared:
        cause = "the agents of an env share one dict, and the last one to be written stays"
        fix = "make a dict for each agent: [{} for _ in range(n_agents)]"
    return ContractError(
        f"all agents report {path} of agent {owner} in infos",
        where=f"infos[*][*][{path!r}]",
        got=f"the same for all agents at every end, and only other actions of agent {owner} change it",
        expected="each agent's own number, or one of the team under a name that says so",
        cause=cause,
        fix=fix,
    )
