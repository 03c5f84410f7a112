"""The contract of what an action does: it moves its own env and its own agent, and nothing else.

`impulse_probes` measures what single actions change, after several starts in the long run. From that follows which
actions are ignored (`ignored_actions`), which come late (`late_actions`) and which reach somebody else
(`swapped_actions`). If an env or an agent stays behind after the latest start, which may be a coincidence, all actions
of each agent are tried together after more starts.
"""

from __future__ import annotations

from typing import Dict, List

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.ignored_actions import require_effect, require_effect_in_every_env
from harness.contracts.impulse_probes import Impulse, Probe, axes, choose_batches, run_s, try_batches
from harness.contracts.late_actions import require_no_delay, require_none_later, stays_behind
from harness.contracts.registry import contract
from harness.contracts.swapped_actions import require_own_agent, require_stated_effect

MORE_STARTS = 5  # after which an env or an agent that stays behind is tried again
MORE_SHARE = 0.1  # of the budget, for these


@contract("impulse")
def impulse(subject: EnvUnderTest) -> None:
    """An action of one agent, on one axis, in one env moves this agent in this env, and no other env."""
    subject.require_same_again()
    tried: Dict[int, List[Impulse]] = {}
    earlier: List[Impulse] = []
    for start in subject.effort.impulse_starts:
        impulses = _try_start(subject, start)
        if not impulses:
            subject.notes.append(f"impulse: not tried after {start} steps, there was no time")
            continue
        require_effect(subject, start, impulses, earlier=earlier)
        require_no_delay(subject, start, impulses)
        require_own_agent(subject, start, impulses)
        require_stated_effect(subject, start, impulses)
        tried[start] = impulses
        earlier += impulses
    for found in (tried, _try_again(subject, tried)):
        require_effect_in_every_env(subject, found)
        require_none_later(subject, found, "env")
        require_none_later(subject, found, "agent")


def _try_start(subject: EnvUnderTest, start: int) -> List[Impulse]:
    """Return the impulses after a start; none if the long run is too short, or time is."""
    if start > _run_length(subject):
        return []
    return try_batches(subject, start, choose_batches(subject, start))


def _run_length(subject: EnvUnderTest) -> int:
    return len(subject.long_run().seen) - 1


def _try_again(subject: EnvUnderTest, tried: Dict[int, List[Impulse]]) -> Dict[int, List[Impulse]]:
    """Return what all actions of each agent do together after more starts, if something stayed behind lately."""
    earliest = None  # of the last starts, all of which left something behind
    for start in sorted(tried, reverse=True):
        if not stays_behind(tried[start]):
            break
        earliest = start
    if earliest is None:
        return {}
    num_agents, latest = subject.sizes.num_agents, _run_length(subject)
    if MORE_STARTS * (num_agents + 1) * run_s(subject, latest) > subject.time_for(MORE_SHARE):
        return {}
    batches = [_everything(subject, agent) for agent in range(num_agents)]
    starts = np.linspace(earliest, latest, MORE_STARTS).astype(int).tolist()
    found: Dict[int, List[Impulse]] = {}
    for start in starts:
        found[start] = try_batches(subject, start, batches)
    return found


def _everything(subject: EnvUnderTest, agent: int) -> List[Probe]:
    """Return a probe of an agent on every axis in every env."""
    probes = []
    for env in range(subject.sizes.num_envs):
        for axis in axes(subject):
            probes.append(Probe(env, agent, axis, 1))
    return probes
