"""The contract that masks fit what actions do: what a mask forbids at times does something wherever it is allowed.

The long run is played again up to a step. Then all agents rest in one run, while in other runs one agent of each env
takes an action that its mask allows. The same bits in both runs mean that the action did nothing. Tries in which it did
nothing are repeated after the random generators were seeded anew, so that what fails by chance does not count.

An action that is never forbidden is the task's own choice: many tasks let agents run into walls. Only actions that the
mask forbids at times are looked at, for the mask then claims to know where they do something. States in which an agent
has no choice at all do not count for that, because masks of dead agents say nothing of single actions.
"""

from __future__ import annotations

import collections
from typing import Dict, List, NamedTuple, Optional, Set

import numpy as np

from harness.contracts.comparison import first_difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.contracts.reseeding import Reseeder
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen, stack

WITHIN_STEPS = 200  # at the beginning of the long run, after which actions are tried
MOST_TRIES = 600
MANY = 1_000_000  # tries, which no action has
WINDOW_STEPS = 3  # in which an action must show
SHARE = 0.12  # of the budget
MIN_CHOICES = 3  # available in a state whose mask says something of single actions
MIN_FORBIDDEN = 10  # states of an agent in which an action is forbidden, for the mask to claim something of it
MIN_FORBIDDEN_SHARE = 0.02  # of the states of an agent
MIN_TRIES = 20  # for a statement about masks
MIN_IDLE = 3  # tries in which an allowed action did nothing
MIN_IDLE_SHARE = 0.1  # of the tries of an agent or an action
OTHER_SEEDS = range(611, 617)  # of the generators in repeated tries
MOST_REPEATED = 8  # tries
ALWAYS_IDLE = 0.8  # fraction of the repeated tries that do nothing with any seed


class Try(NamedTuple):
    """An action that is taken instead of rest.

    Attributes:
      start: the step of the long run after which it is taken.
      env: the env.
      agent: the agent.
      choice: the action.
    """

    start: int
    env: int
    agent: int
    choice: int


@contract("mask-effects")
def mask_effects(subject: EnvUnderTest) -> None:
    """An action that the mask forbids at times does something wherever the mask allows it."""
    if not subject.sizes.maskable:
        raise NotJudgedError("actions are continuous, so there are no masks")
    if getattr(subject.task, "loose_masks", False):
        raise NotJudgedError("the task states that masks may allow what does nothing, by design")
    subject.require_same_again()
    history = subject.long_run().seen
    if any(seen.available is None for seen in history):
        raise NotJudgedError("there are no masks of the right shape")
    claims = claims_of(stack(history, "available") > 0)
    if not claims.any():
        raise NotJudgedError("no mask forbids an action where an agent has a choice")
    budget = Budget(subject.time_for(SHARE) / 2.0, subject.build_s, subject.step_s)  # half of it for repeated tries
    tries = tries_of(history, claims, budget, subject.seed)
    if len(tries) < MIN_TRIES:
        raise NotJudgedError(f"there was no time to try actions {MIN_TRIES} times")
    found = too_idle(tries, _idle(subject, tries, None))
    if found and _is_always_idle(subject, found):
        raise _broken(found, tries, history)


def claims_of(available: np.ndarray) -> np.ndarray:
    """Return of which actions the masks of each agent claim to know where they do something, (A, n) bool.

    Args:
      available: masks (T, N, A, n) bool.
    """
    has_choice = available.sum(axis=-1) >= MIN_CHOICES  # (T, N, A)
    forbidden = (~available & has_choice[..., None]).sum(axis=(0, 1))
    num_states = has_choice.sum(axis=(0, 1))[:, None]
    return np.asarray((forbidden >= MIN_FORBIDDEN) & (forbidden >= MIN_FORBIDDEN_SHARE * num_states))


def tries_of(history: List[Seen], claims: np.ndarray, budget: Budget, seed: int) -> List[Try]:
    """Return tries of all actions of all agents about equally often, as many as there is time for.

    Each round adds a run: the one in which the actions that were tried least often cost the least time.

    Args:
      history: the long run.
      claims: of which actions masks claim something, (A, n) bool.
      budget: how much time there is.
      seed: decides between runs that are equally good.
    """
    draw = np.random.default_rng([seed, 83])
    allowed: Dict[int, np.ndarray] = {}
    for start in range(min(WITHIN_STEPS, len(history) - WINDOW_STEPS)):
        allowed[start] = _allowed_tries(history[start], claims)
    counts = np.zeros(claims.shape)
    found: List[Try] = []
    opened: Set[int] = set()
    left_s = budget.total_s
    while allowed:
        gains = {}
        for start, mask in allowed.items():
            run_s = budget.run_s(start)
            if start not in opened:
                run_s *= 2.0  # one more, in which all agents rest
            least = np.where(mask, counts, MANY).reshape(len(mask), -1).min(axis=1)
            gains[start] = (1.0 / (1.0 + least[least < MANY]) ** 2).sum() / run_s * draw.uniform(0.8, 1.0)
        start = max(gains, key=lambda start: gains[start])
        left_s -= budget.run_s(start) * (2 - (start in opened))
        if left_s < 0.0 or gains[start] == 0.0 or len(found) > MOST_TRIES:
            break
        opened.add(start)
        for env in range(len(allowed[start])):
            where = np.where(allowed[start][env], counts, MANY)
            agent, index = np.unravel_index(int(where.argmin()), where.shape)
            if where[agent, index] == MANY:
                continue
            found.append(Try(start, env, int(agent), int(index)))
            counts[agent, index] += 1
            allowed[start][env, agent, index] = False
    return found


class Budget(NamedTuple):
    """How much time there is for tries.

    Attributes:
      total_s: in all [s].
      build_s: how long it takes to build an environment [s].
      step_s: how long a step takes [s].
    """

    total_s: float
    build_s: float
    step_s: float

    def run_s(self, start: int) -> float:
        """Return how long a run takes that tries actions after `start` steps [s]."""
        return self.build_s + (start + WINDOW_STEPS) * max(self.step_s, 1e-5)


def _allowed_tries(seen: Seen, claims: np.ndarray) -> np.ndarray:
    """Return what may be tried after a step, (N, A, n) bool: actions with a claim that are available and not rest."""
    assert seen.available is not None
    allowed = (seen.available > 0) & claims
    np.put_along_axis(allowed, rest_of(seen).astype(int), False, axis=-1)
    return allowed


def rest_of(seen: Seen) -> np.ndarray:
    """Return the first available action of each agent, (N, A, 1)."""
    assert seen.available is not None
    return np.asarray(seen.available.argmax(axis=-1)[..., None].astype(float))


def _idle(subject: EnvUnderTest, tries: List[Try], seed: Optional[int]) -> List[Try]:
    """Return the tries in which the action did nothing.

    Args:
      subject: the environment.
      tries: at most one of each env is made in one run.
      seed: of all generators just before the action; None to leave them alone.
    """
    found = []
    for start in sorted({one.start for one in tries}):
        resting = _play(subject, start, [], seed)
        pending = [one for one in tries if one.start == start]
        while pending:
            batch = list({one.env: one for one in reversed(pending)}.values())
            pending = [one for one in pending if one not in batch]
            acting = _play(subject, start, batch, seed)
            for one in batch:
                if not _ends(resting, one.env) and not _shows(resting, acting, one.env):
                    found.append(one)
    return found


def _is_always_idle(subject: EnvUnderTest, idle: List[Try]) -> bool:
    """Return whether some of the idle tries do nothing with other seeds of the generators, either."""
    repeated = sorted(idle)[:MOST_REPEATED]
    left = repeated
    for seed in OTHER_SEEDS:
        left = _idle(subject, left, seed)
        if len(left) < ALWAYS_IDLE * len(repeated):
            return False
    return True


def _ends(resting: List[Seen], env: int) -> bool:
    """Return whether an episode of an env ends, so that a new start may hide what an action did."""
    return any(bool(seen.ended[env]) for seen in resting)


def _shows(resting: List[Seen], acting: List[Seen], env: int) -> bool:
    """Return whether a bit of an env differs in two runs."""
    only = np.arange(len(resting[0].obs)) == env
    return any(first_difference(one, other, only) is not None for one, other in zip(resting, acting))


def _play(subject: EnvUnderTest, start: int, batch: List[Try], seed: Optional[int]) -> List[Seen]:
    """Return the steps after a start, in which all agents rest but for the actions of a batch."""
    player = subject.player(watch=False)
    try:
        player.replay(subject.long_run().seen[1 : start + 1])
        if seed is not None:
            Reseeder(player.env, seed).seed_again()
        actions = rest_of(player.seen[-1])
        for one in batch:
            actions[one.env, one.agent, 0] = one.choice
        player.step(actions)
        for _ in range(WINDOW_STEPS - 1):
            player.step(rest_of(player.seen[-1]))
        return player.seen[-WINDOW_STEPS:]
    finally:
        close_quietly(player.env)


def too_idle(tries: List[Try], idle: List[Try]) -> List[Try]:
    """Return the idle tries of an agent, or of an action, that did nothing too often; none if there is none."""
    for part in ("agent", "choice"):
        total = collections.Counter(getattr(one, part) for one in tries)
        for member, count in sorted(total.items()):
            found = [one for one in idle if getattr(one, part) == member]
            if len(found) >= MIN_IDLE and len(found) >= MIN_IDLE_SHARE * count:
                return found
    return []


def _broken(found: List[Try], tries: List[Try], history: List[Seen]) -> ContractError:
    first = found[0]
    mask = history[first.start].available
    assert mask is not None
    agents, indices = sorted({one.agent for one in found}), sorted({one.choice for one in found})
    same = [one for one in tries if one.agent in agents and one.choice in indices]
    return ContractError(
        "available_actions allows actions that do nothing",
        step=first.start + 1,
        where=f"env {first.env}, agent {first.agent}, action {first.choice}, after {first.start} steps",
        got=f"the same as at rest, for {WINDOW_STEPS} steps, in {len(found)} of {len(same)} tries of actions {indices} "
        f"of agents {agents}; the mask is {mask[first.env, first.agent].astype(int).tolist()}",
        expected="an effect: the mask forbids these actions elsewhere, so it should know where they work",
        cause=_cause(found, history),
        fix="compute the mask from the same state and indices as the step; if masks are loose by design, pass "
        "Task(loose_masks=True)",
    )


def _cause(found: List[Try], history: List[Seen]) -> str:
    """Return whose mask forbids what did nothing, if there is one that does so nearly always."""
    forbids: collections.Counter = collections.Counter()
    for start, env, agent, index in found:
        masks = history[start].available
        assert masks is not None
        num_envs, num_agents, _ = masks.shape
        for other in range(num_agents):
            shift = (other - agent) % num_agents
            forbids[f"the mask of the agent {shift} places further"] += int(shift and not masks[env, other, index])
        for shift in range(1, num_envs):
            is_forbidden = not masks[(env + shift) % num_envs, agent, index]
            forbids[f"the mask of the env {shift} places further"] += int(is_forbidden)
        before = history[max(start - 1, 0)].available
        assert before is not None
        forbids["the mask of the step before"] += int(not before[env, agent, index])
    name, count = forbids.most_common(1)[0]
    if count == len(found):
        return f"{name} forbids them: indices or moments are mixed up"
    return "the mask belongs to a different agent, env, moment or axis, or it is the same for all"
