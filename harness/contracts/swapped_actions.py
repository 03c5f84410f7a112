"""What follows from the place where impulses show: swapped agents, swapped axes, wrong signs.

Agents: an agent that moves sees everything else move relative to itself, while the others see one thing move. So the
agent most of whose observation changes is the agent that moved. Entries count as changed if they change by more than a
small fraction of the largest change, because a physics solver couples bodies weakly. If contact couples the agents, the
end of the window says nothing, and the first step that shows anything is used instead, with a stricter threshold.

Axes: which axis does what cannot be known in general, so it is judged only if the task states it (`Task.effect`).
"""

from __future__ import annotations

from typing import Dict, List, Optional

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.impulse_probes import MIN_IMPULSES, Impulse, states_effects
from harness.findings import ContractError

MIN_PERCEPTIBLE = 1e-3  # fraction of the largest change; smaller changes are solver cross-talk
MIN_RATIO = 1.25  # by which one agent's changed entries must exceed the next agent's, after the window
MIN_ONSET_RATIO = 2.0  # the same after the first step that shows anything
MIN_AGREEMENT = 0.5  # of the signs of an effect, to call it right or wrong


def require_own_agent(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if an agent's actions change more of what a different agent observes than of its own observation.

    `Task(agents_by_effect=False)` switches this off, for observations in which the method fails.
    """
    agents = subject.sizes.num_agents
    if agents == 1 or not getattr(subject.task, "agents_by_effect", True):
        return
    entries = _distinct_entries(agents, impulses)
    if entries is None:
        if start == subject.effort.impulse_starts[0]:
            subject.notes.append("impulse: agents cannot be distinguished by what they see; state Task.effect")
        return
    movers = entries.argmax(axis=1).tolist()
    if movers == list(range(agents)):
        return
    first = next(agent for agent in range(agents) if movers[agent] != agent)
    other = movers[first]
    what = f"actions of agent {first} go to agent {other}"
    if movers[other] == first:
        what = f"actions of agents {first} and {other} are swapped"
    raise ContractError(
        what,
        step=start + 1,
        where=f"after {start} steps",
        got=f"actions of agent {first} change {entries[first, other]:.0f} entries of what agent {other} sees, "
        f"{entries[first, first]:.0f} of its own",
        expected=f"most change in what agent {first} sees itself",
        cause="agents are permuted between actions and observations",
        fix="if agents see less of themselves than of each other, pass Task(agents_by_effect=False)",
    )


def _distinct_entries(agents: int, impulses: List[Impulse]) -> Optional[np.ndarray]:
    """Return how many entries each agent's actions change of what each agent observes, (A, A).

    Returns:
      None if these numbers do not identify the agent that moved.
    """
    entries = np.zeros((agents, agents))
    onset_entries = np.zeros((agents, agents))
    num_onsets = np.zeros(agents, int)
    for impulse in impulses:
        if impulse.change is not None:
            entries[impulse.agent] += _changed_entries(impulse.change)
        if impulse.onset is not None:
            onset_entries[impulse.agent] += _changed_entries(impulse.onset)
            num_onsets[impulse.agent] += 1
    if _is_clear(entries, MIN_RATIO):
        return entries
    if _is_clear(onset_entries, MIN_ONSET_RATIO) and num_onsets.min() >= MIN_IMPULSES:
        return onset_entries
    return None


def _changed_entries(change: np.ndarray) -> np.ndarray:
    """Return how many entries of each agent's observation change perceptibly, (A,), given the changes (A, D)."""
    return (abs(change) > MIN_PERCEPTIBLE * abs(change).max()).sum(axis=1)


def _is_clear(entries: np.ndarray, ratio: float) -> bool:
    """Return whether each agent's actions change one observation that many times more than any other."""
    ranked = np.sort(entries, axis=1)
    return bool((ranked[:, -1] > ratio * ranked[:, -2]).all())


def require_stated_effect(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if an axis does not do what the task states."""
    if subject.task is None or not states_effects(subject):
        return
    for agent in range(subject.sizes.num_agents):
        own = [impulse for impulse in impulses if impulse.agent == agent and impulse.change is not None]
        for axis in range(subject.sizes.action_dim):
            stated = subject.task.effect(agent, axis)
            if stated is not None:
                entry, sign = stated
                require_axis(start, own, axis, entry=entry, sign=sign)


def require_axis(start: int, impulses: List[Impulse], axis: int, *, entry: int, sign: float) -> None:
    """Raise if an axis moves an entry the wrong way, or if a different axis moves it more, and consistently.

    Args:
      start: steps before the impulses.
      impulses: impulses of one agent that no end of an episode disturbed.
      axis: the axis of the action.
      entry: the entry of the agent's own observation that the axis is said to change the most.
      sign: the stated sign of that change; 0 if it depends.
    """
    effects = _effects_on(impulses, entry, sign)
    if axis not in effects or min(map(len, effects.values())) < MIN_IMPULSES:
        return
    if sign and agreement(effects[axis]) >= MIN_AGREEMENT:
        return
    strength = {other: abs(effect.mean() * agreement(effect)) for other, effect in effects.items()}
    strongest = max(strength, key=lambda other: strength[other])
    where = f"after {start} steps, agent {impulses[0].agent}, entry {entry} of its observation"
    if strength[strongest] > MIN_RATIO * strength[axis]:
        low, high = sorted((axis, strongest))
        raise ContractError(
            f"axes {low} and {high} of the actions are swapped",
            step=start + 1,
            where=where,
            got=f"axis {strongest} moves it by {effects[strongest].mean():.3g}, "
            f"axis {axis} by {effects[axis].mean():.3g}",
        )
    if agreement(effects[axis]) <= -MIN_AGREEMENT:
        raise ContractError(f"axis {axis} of the actions has the wrong sign", step=start + 1, where=where)


def _effects_on(impulses: List[Impulse], entry: int, sign: float) -> Dict[int, np.ndarray]:
    """Return by how much the impulses on each axis move an entry, positive if in the stated direction."""
    by_axis: Dict[int, List[float]] = {}
    for impulse in impulses:
        if impulse.change is None:
            continue
        change = impulse.change[impulse.agent, entry]
        if sign:
            change *= impulse.sign * sign
        else:
            change = abs(change)
        by_axis.setdefault(impulse.axis, []).append(change)
    return {axis: np.array(changes) for axis, changes in sorted(by_axis.items())}


def agreement(changes: np.ndarray) -> float:
    """Return 1 if all changes are positive, -1 if all are negative, 0 if both are equally frequent."""
    return float(np.sign(changes).sum() / max(np.count_nonzero(changes), 1))
