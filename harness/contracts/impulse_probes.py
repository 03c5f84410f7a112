"""Impulses: what a single action changes, measured by playing the same run with and without it.

Method: the long run is replayed up to a start. Then all agents take the neutral action for `WINDOW_STEPS` steps. A
second environment is replayed to the same start, and one agent of one env takes an extreme action on one axis instead.
The environment is deterministic, which `require_same_again` has established, so every bit that differs is an effect of
that action. If there is too little time for one impulse in each run, all envs but one get an impulse in the same run;
the env without one shows whether impulses reach other envs.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from harness.contracts.comparison import Bystanders, Difference, first_difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.findings import ContractError
from harness.interface.drivers import at_rest, finite_range, neutral
from harness.interface.player import COMPARED_FIELDS, Player, Seen

WINDOW_STEPS = 4  # that an impulse lasts
OBSERVED_FIELDS = ("obs", "share_obs")
MIN_IMPULSES = 4  # on an axis, to speak of its usual effect
SINGLE_SHARE = 0.05  # of the budget that may be spent on runs with one impulse each
TOGETHER_SHARE = 0.1  # of the budget that may be spent on runs with several impulses


class Probe(NamedTuple):
    """An action to try.

    Attributes:
      env: the env in which it is taken.
      agent: the agent that takes it.
      axis: the entry of the action; for Discrete, the index that is chosen.
      sign: 1 or -1.
    """

    env: int
    agent: int
    axis: int
    sign: int


@dataclasses.dataclass(frozen=True)
class Impulse:
    """What one action changes.

    Attributes:
      env: the env in which it was taken.
      agent: the agent that took it.
      axis: the entry of the action; for Discrete, the index that was chosen.
      sign: 1 or -1.
      change: change of what each agent of the env observes at the end of the window, (A, D); None if an episode ended
        in the window.
      first_step: the first step of the window, from 1, in which any bit of the env changed; 0 if none did.
      first_by_field: the same for each of `OBSERVED_FIELDS`.
      onset: `change` after the first step in which any agent observes a change; None if no agent does, or if an episode
        ended.
    """

    env: int
    agent: int
    axis: int
    sign: int
    change: Optional[np.ndarray]
    first_step: int
    first_by_field: Dict[str, int]
    onset: Optional[np.ndarray] = None


def axes(subject: EnvUnderTest) -> Sequence[int]:
    """Return which entries of an action are tried; for Discrete, which indices."""
    sizes = subject.sizes
    if sizes.maskable:
        return range(1, sizes.num_choices)
    return range(sizes.action_dim)


def states_effects(subject: EnvUnderTest) -> bool:
    """Return whether the task states the effect of any axis."""
    if subject.task is None or subject.sizes.discrete:
        return False
    pairs = itertools.product(range(subject.sizes.num_agents), range(subject.sizes.action_dim))
    return any(subject.task.effect(agent, axis) is not None for agent, axis in pairs)


def choose_batches(subject: EnvUnderTest, start: int) -> List[List[Probe]]:
    """Return the probes of each run: one in each run if there is time, else one in every env but one; or none."""
    for batches, share in ((_single(subject), SINGLE_SHARE), (_together(subject), TOGETHER_SHARE)):
        if (len(batches) + 1) * run_s(subject, start) < subject.time_for(share):
            return batches
    return []


def run_s(subject: EnvUnderTest, start: int) -> float:
    """Return how long it takes to build an environment and play a start and a window [s]."""
    return subject.build_s + (start + WINDOW_STEPS) * subject.step_s


def _single(subject: EnvUnderTest) -> List[List[Probe]]:
    """Return every probe in a run of its own."""
    batches = []
    for env in range(subject.sizes.num_envs):
        for agent, axis in _agents_and_axes(subject):
            batches.append([Probe(env, agent, axis, _alternating(env))])
    return batches


def _together(subject: EnvUnderTest) -> List[List[Probe]]:
    """Return runs with a probe in every env but one, in turn, until each agent and axis was tried often enough."""
    num_envs = subject.sizes.num_envs
    agents_and_axes = _agents_and_axes(subject)
    wanted = len(agents_and_axes)
    if states_effects(subject):
        wanted *= 2 * MIN_IMPULSES
    batches: List[List[Probe]] = []
    for first in range(0, wanted, num_envs - 1):
        batch = []
        for place in range(num_envs - 1):
            agent, axis = agents_and_axes[(first + place) % len(agents_and_axes)]
            env = (place + len(batches)) % num_envs
            batch.append(Probe(env, agent, axis, _alternating(place)))
        batches.append(batch)
    return batches


def _agents_and_axes(subject: EnvUnderTest) -> List[Tuple[int, int]]:
    """Return each agent with each axis, all agents of an axis in a row."""
    pairs = []
    for axis in axes(subject):
        for agent in range(subject.sizes.num_agents):
            pairs.append((agent, axis))
    return pairs


def _alternating(number: int) -> int:
    """Return 1 for even numbers and -1 for odd ones."""
    return 1 - 2 * (number % 2)


def try_batches(subject: EnvUnderTest, start: int, batches: List[List[Probe]]) -> List[Impulse]:
    """Play each batch after the same start, and compare it with the same steps at rest.

    Raises:
      ContractError: an action changed something in an env without a probe.
    """
    if not batches:
        return []
    impulses = []
    resting = _play(subject, start, [])
    for batch in batches:
        acting = _play(subject, start, batch)
        _require_no_other_env(start, batch, resting, acting)
        for probe in batch:
            was_available = acting[0].actions[probe.env, probe.agent, 0] == probe.axis
            if was_available or not subject.sizes.maskable:
                impulses.append(_measure(probe, resting, acting))
    return impulses


def _play(subject: EnvUnderTest, start: int, batch: List[Probe]) -> List[Seen]:
    """Return the steps of the window. An action that is not available is not taken."""
    player = subject.player(watch=False)
    try:
        player.replay(subject.long_run().seen[1 : start + 1])
        for _ in range(WINDOW_STEPS):
            player.step(_actions(subject, player, batch))
        return player.seen[-WINDOW_STEPS:]
    finally:
        close_quietly(player.env)


def _actions(subject: EnvUnderTest, player: Player, batch: List[Probe]) -> np.ndarray:
    """Return the actions (N, A, K) of a step of the window."""
    sizes = subject.sizes
    actions = at_rest(sizes)
    available = player.seen[-1].available
    for env, agent, axis, sign in batch:
        if available is not None and not available[env, agent, axis]:
            continue
        if sizes.maskable:
            actions[env, agent, 0] = axis
        else:
            actions[env, agent, axis] = level(subject, axis, sign)
    return actions


def level(subject: EnvUnderTest, axis: int, sign: int) -> float:
    """Return the bound in the direction of `sign`, or the upper bound if that one is neutral."""
    low, high = finite_range(subject.sizes)
    bound = high[axis]
    if sign < 0 and low[axis] != neutral(subject.sizes)[axis]:
        bound = low[axis]
    return float(bound)


def _measure(probe: Probe, resting: List[Seen], acting: List[Seen]) -> Impulse:
    """Return what a probe changed in its own env."""
    env = probe.env
    changes = [(b.obs[env] - a.obs[env]).astype(float) for a, b in zip(resting, acting)]
    own = np.arange(len(acting[0].obs)) == env
    first_by_field = {name: first_moved(resting, acting, own, (name,)) for name in OBSERVED_FIELDS}
    change, onset = None, None
    if not any(seen.ended[env] for seen in resting + acting):
        change = changes[-1]
        if first_by_field["obs"]:
            onset = changes[first_by_field["obs"] - 1]
    return Impulse(
        *probe,
        change=change,
        first_step=first_moved(resting, acting, own),
        first_by_field=first_by_field,
        onset=onset,
    )


def first_moved(
    resting: List[Seen], acting: List[Seen], envs: np.ndarray, fields: Sequence[str] = COMPARED_FIELDS
) -> int:
    """Return the first step, from 1, in which a field differs in these envs (N,); 0 if none does."""
    for step, (a, b) in enumerate(zip(resting, acting), start=1):
        if first_difference(a, b, envs, fields) is not None:
            return step
    return 0


def _require_no_other_env(start: int, batch: List[Probe], resting: List[Seen], acting: List[Seen]) -> None:
    """Raise if anything differs in an env without a probe."""
    envs = np.arange(len(acting[0].obs))
    bystanders = Bystanders(~np.isin(envs, [probe.env for probe in batch]))
    for a, b in zip(resting, acting):
        found = bystanders.difference(a, b)
        if bystanders.diverged:  # what an end does to others is for `partial-reset` to say
            return
        if found is not None:
            own_moved = first_moved(resting, acting, envs == batch[0].env) > 0
            raise wrong_env(start, batch[0], found, own_moved)


def wrong_env(start: int, probe: Probe, found: Difference, own_moved: bool) -> ContractError:
    """Return the error for an action that changes a different env.

    Args:
      start: steps before the action.
      probe: the action.
      found: what changed.
      own_moved: whether anything changed in the env of the action.
    """
    what = f"actions of env {probe.env} go to env {found.env}"
    if own_moved:
        what = f"actions of env {probe.env} also move env {found.env}"
        if found.field not in OBSERVED_FIELDS:
            what = f"the {found.field} of env {found.env} follow the actions of env {probe.env}"
    return ContractError(
        what,
        step=start + 1,
        where=f"after {start} steps: action on env {probe.env}, agent {probe.agent}, axis {probe.axis}; "
        f"{found.field} of env {found.env} changed",
        expected=f"a change only in env {probe.env}",
        cause="actions are transposed, reshaped or indexed with envs and agents confused: they are "
        "[num_envs, num_agents, action_dim], and not contiguous",
        fix="index actions[env, agent]; do not reshape without np.ascontiguousarray, do not swap the first two axes",
    )
