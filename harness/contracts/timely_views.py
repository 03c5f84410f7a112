"""The contract that agents see each other as they are in this step, and not as they were in the step before.

Two methods find a view that comes late in a part of the observations, while the rest of them is in time:

- Sums. Many entries of an observation are sums of entries of the shared state. If such a sum is exact only with entries
  of the state of the step before, and nothing else in the observation shows these entries as they are now, it is late.
  A difference of two steps, such as a velocity, and a history that also has the present are no finding.
- Stillness. All agents rest; in a second run one of them acts for one step and rests again. If what this changes in
  the shared state is there at once and stays the same in the next step, the others have nothing new to see in that next
  step. If an entry of what they see changes for the first time then, in every try, it is late. A shared state that is
  made of the observations is late as they are; what the agent itself sees then takes its place. It needs agents that
  stand still when they rest; with momentum, the state goes on and nothing follows.
"""

from __future__ import annotations

import collections
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.contracts.new_episode import MIN_BROKEN_DISTANCE, SAMPLES_PER_WEIGHT, ExactSums
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, at_rest
from harness.interface.player import Player, Seen, stack

SHARE = 0.06  # of the budget, for tries at rest
STARTS = (3, 7, 12, 18, 25, 33, 42, 52)  # steps of the long run, after which all agents rest
REST_STEPS = 2  # before an agent acts
WINDOW_STEPS = 3  # the step of the action, and those after it
STILL_STEPS = 2  # of them, in which the world must be the same
RUNS_PER_START = 3
MIN_SHOWN = 4  # tries in which an agent sees another one's action
MIN_LATE = 0.3  # fraction of the steps in which the present state does not explain an entry
MIN_WEIGHT = 0.05  # of an entry's standard deviation, for a term of a sum that matters
MAX_WEIGHT = 0.01  # of the same, for a term that does not


@contract("timely-views")
def timely_views(subject: EnvUnderTest) -> None:
    """What an agent sees of the others is of this step, as share_obs is, and not of the step before."""
    delay = getattr(subject.task, "delay", 0)
    if delay:
        raise NotJudgedError(f"the task states a delay of {delay} steps, by design")
    history = subject.long_run().seen
    num_known = 0
    for agent in range(subject.sizes.num_agents):
        num_known += require_no_late_sums(history, agent)
    subject.require_same_again()
    shown = _shown_at_rest(subject)
    require_no_late_entry(shown)
    if not num_known and not any(len(steps) >= MIN_SHOWN for steps in shown.values()):
        raise NotJudgedError("no entry of obs is a sum of entries of share_obs, and agents do not stand still at rest")


# -- sums --------------------------------------------------------------------------------------------------------------


def require_no_late_sums(history: List[Seen], agent: int) -> int:
    """Raise if an entry of an agent's observation is a sum of entries of the state of the step before.

    Returns:
      The number of entries of the observation that are exact sums.
    """
    goes_on = ~stack(history[1:], "ended")
    obs = stack(history, "obs")[1:, :, agent][goes_on].astype(np.float64)
    states = stack(history, "share_obs")[:, :, agent].astype(np.float64)
    now, before = states[1:][goes_on], states[:-1][goes_on]
    num_entries = now.shape[1]
    if len(obs) < SAMPLES_PER_WEIGHT * (2 * num_entries + 1):
        return 0
    present = ExactSums.fit(now, obs)
    both = ExactSums.fit(np.concatenate([now, before], axis=1), obs)
    is_unexplained = (present.distance(now, obs) > MIN_BROKEN_DISTANCE).mean(axis=0) > MIN_LATE
    for entry in np.flatnonzero(both.entries & ~present.entries & is_unexplained):
        late = _late_terms(both, present, int(entry), num_entries)
        if late is not None:
            raise ContractError(
                "a part of obs is one step late",
                where=f"agent {agent}, entry {entry} of obs",
                got=f"it follows from entry {late} of share_obs of the step before, in all {len(obs)} steps",
                expected="the state of this step, as in the rest of obs and in share_obs",
                cause="a copy that is made before the step, or a buffer of the others' places that is filled too early",
                fix="build all of obs from the state after the step; if the delay is intended, pass Task(delay=1)",
            )
    return int(both.entries.sum())


def _late_terms(both: ExactSums, present: ExactSums, entry: int, num_entries: int) -> Optional[int]:
    """Return the entry of the state that an entry of obs shows late; None if it may be meant.

    Args:
      both: sums of the state and of the state before.
      present: sums of the state only, which tell what the agent sees as it is now.
      entry: of the observation.
      num_entries: of the state.
    """
    weights = abs(both.weights[:-1, entry]) / both.spread[entry]
    now, before = weights[:num_entries], weights[num_entries:]
    late = np.flatnonzero(before > MIN_WEIGHT)
    if len(late) == 0 or (now[late] > MAX_WEIGHT).any():  # a difference of two steps
        return None
    for other in np.flatnonzero(present.entries):
        if (abs(present.weights[late, other]) > MIN_WEIGHT * present.spread[other]).any():  # a history of it
            return None
    return int(late[0])


# -- stillness ---------------------------------------------------------------------------------------------------------


class Acting(NamedTuple):
    """An agent of an env that acts in one step."""

    env: int
    agent: int


View = Tuple[int, int, int]  # the agent that sees, the one that acts, and the entry of obs
Shown = Dict[View, List[int]]  # the step, from 1, in which the entry first shows the action, in each try


def _shown_at_rest(subject: EnvUnderTest) -> Shown:
    """Return after how many steps agents see what another one did, in tries after which the world stood still."""
    history = subject.long_run().seen
    shown: Shown = collections.defaultdict(list)
    seconds = subject.time_for(SHARE)
    num_agents, num_tries = subject.sizes.num_agents, 0
    if num_agents < 2:
        return shown
    for start in STARTS:
        run_s = subject.build_s + (start + REST_STEPS + WINDOW_STEPS) * subject.step_s
        seconds -= (1 + RUNS_PER_START) * run_s
        if start >= len(history) or seconds < 0.0:
            break
        resting = _play(subject, start, [], num_tries)
        for _ in range(RUNS_PER_START):
            batch = []
            for env in range(subject.sizes.num_envs):
                batch.append(Acting(env, num_tries % num_agents))
                num_tries += 1
            acting = _play(subject, start, batch, num_tries)
            for one in batch:
                add_shown(shown, one, resting, acting)
    return shown


def _play(subject: EnvUnderTest, start: int, batch: List[Acting], number: int) -> List[Seen]:
    """Return the steps from the one in which some agents act, all others resting."""
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed, ("rest",))
    try:
        player.replay(subject.long_run().seen[1 : start + 1])
        drive_at_rest(player, driver, REST_STEPS)
        player.step(_actions(subject, player, batch, number))
        drive_at_rest(player, driver, WINDOW_STEPS - 1)
        return player.seen[-WINDOW_STEPS:]
    finally:
        close_quietly(player.env)


def drive_at_rest(player: Player, driver: ActionDriver, steps: int) -> None:
    """Let all agents rest; where an agent cannot, it takes its first available action."""
    for _ in range(steps):
        player.step(_resting(player.seen[-1], driver))


def _resting(seen: Seen, driver: ActionDriver) -> np.ndarray:
    actions = at_rest(driver.sizes)
    if seen.available is not None:
        actions[..., 0] = seen.available.argmax(axis=-1)
    return actions


def _actions(subject: EnvUnderTest, player: Player, batch: List[Acting], number: int) -> np.ndarray:
    """Return actions with drawn ones of the agents that act."""
    driver = ActionDriver(subject.sizes, subject.seed + 53 + number, ("uniform",))
    drawn = driver(player.seen[-1])
    actions = _resting(player.seen[-1], driver)
    for env, agent in batch:
        actions[env, agent] = drawn[env, agent]
    return actions


def add_shown(shown: Shown, one: Acting, resting: List[Seen], acting: List[Seen]) -> None:
    """Add when the other agents of an env first see an action, if what it changed stood still afterwards.

    Args:
      shown: where it is added.
      one: who acted.
      resting: the steps of the run at rest.
      acting: the steps of the run with the action.
    """
    env, agent = one
    if any(bool(seen.ended[env]) for seen in [*resting, *acting]):
        return
    in_state = [_change(a.share_obs[env], b.share_obs[env]) for a, b in zip(resting, acting)]
    in_own = [_change(a.obs[env, agent], b.obs[env, agent]) for a, b in zip(resting, acting)]
    is_made_of_obs = all(_is_made_of_obs(seen, env) for seen in [*resting, *acting])
    if not _stands_still(in_state) and not (is_made_of_obs and _stands_still(in_own)):
        return
    for observer in range(resting[0].obs.shape[1]):
        if observer == agent:
            continue
        differs = np.stack([a.obs[env, observer] != b.obs[env, observer] for a, b in zip(resting, acting)])
        for entry in np.flatnonzero(differs[:STILL_STEPS].any(axis=0)):
            shown.setdefault((observer, agent, int(entry)), []).append(int(differs[:, entry].argmax()) + 1)


def _is_made_of_obs(seen: Seen, env: int) -> bool:
    """Return whether the shared state of an env is made of its observations, and so late where they are."""
    return np.array_equal(seen.share_obs[env, 0], seen.obs[env].ravel())


def _change(resting: np.ndarray, acting: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return which numbers differ, and their values in the run with the action."""
    differs = resting != acting
    return differs, np.where(differs, acting, 0.0)


def _stands_still(changes: List[Tuple[np.ndarray, np.ndarray]]) -> bool:
    """Return whether something changes at once, and exactly that in the next step as well."""
    (first, first_values), (second, second_values) = changes[:STILL_STEPS]
    return bool(first.any() and np.array_equal(first, second) and np.array_equal(first_values, second_values))


def require_no_late_entry(shown: Shown) -> None:
    """Raise if an agent sees what another one did only in the step after it, in all tries."""
    late = []
    for view, steps in sorted(shown.items()):
        if len(steps) >= MIN_SHOWN and min(steps) > 1:
            late.append(view)
    if not late:
        return
    observer, agent, entry = late[0]
    pairs = sorted({(one, other) for one, other, _ in late})
    raise ContractError(
        "an agent sees another one a step late",
        where=f"agent {observer} sees agent {agent} in entry {entry} of obs; pairs (who sees, whom) {pairs[:6]}",
        got=f"it does not change in the step of the action, in {len(shown[late[0]])} tries; the next step changes it, "
        "though nothing else changes any more",
        expected="what is seen after the step, as in share_obs and in the obs of the agent that acts",
        cause="the places of the others are copied before the step, or come from a buffer that is filled too early",
        fix="build all of obs from the state after the step; if the delay is intended, pass Task(delay=1)",
    )
