"""Bugs in what infos tell of an episode that ended."""

from __future__ import annotations

from typing import List

import numpy as np

from harness.faults.info_bugs import by_agent, leaves_of
from harness.faults.plant import Result, Returned, changes_result


@changes_result("infos", "episode-infos", "a blind hold-out")
def return_cut_by_the_time_limit(_: Returned, result: Result) -> Result:
    """The return lacks the last reward where a time limit ended the episode."""
    for env, info in enumerate(result.infos):
        for _agent, leaf in by_agent(result, info):
            if "episode" in leaf and leaf.get("bad_transition", False):
                leaf["episode"]["return"] -= float(result.rewards[env, 0, 0])
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def effort_runs_on(moment: Returned, result: Result) -> Result:
    """The effort in the infos is never set to 0."""
    efforts = _add_effort(moment, result)
    for env, info in enumerate(result.infos):
        for agent, leaf in by_agent(result, info):
            if "episode" in leaf:
                leaf["effort"] = float(efforts[env, agent])
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def distance_from_an_alias(_: Returned, result: Result) -> Result:
    """The distance is that between the new position and the new position."""
    for leaf in leaves_of(result):
        leaf["distance_driven"] = 0.0
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def outcome_of_a_time_limit(_: Returned, result: Result) -> Result:
    """Infos call an episode running that a time limit ended."""
    for leaf in leaves_of(result):
        if "episode" in leaf:
            leaf["outcome"] = "running" if leaf.get("bad_transition", False) else "over"
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def effort_of_the_first_agent(moment: Returned, result: Result) -> Result:
    """All agents report the effort of the first one."""
    efforts = _add_effort(moment, result)
    for env, info in enumerate(result.infos):
        for _, leaf in by_agent(result, info):
            if "episode" in leaf:
                leaf["effort"] = float(efforts[env, 0])
    efforts[result.dones.all(axis=1)] = 0.0
    return result


@changes_result("infos", "episode-infos", "three blind hold-outs")
def one_dict_for_all_agents(moment: Returned, result: Result) -> Result:
    """The agents of an env share one dict, so all report the effort of the last one."""
    efforts = _add_effort(moment, result)
    infos: List[List[dict]] = []
    for env, info in enumerate(result.infos):
        shared: dict = {}
        for agent, leaf in by_agent(result, info):
            shared.update(leaf)
            if "episode" in leaf:
                shared["effort"] = float(efforts[env, agent])
        infos.append([shared for _ in by_agent(result, info)])
    efforts[result.dones.all(axis=1)] = 0.0
    return result._replace(infos=infos)


def _add_effort(moment: Returned, result: Result) -> np.ndarray:
    """Return the effort of each agent so far, (N, A), which the bug may set to 0."""
    efforts = moment.memory.setdefault("efforts", np.zeros(result.dones.shape))
    assert moment.actions is not None, "steps have actions"
    efforts += abs(np.asarray(moment.actions, np.float64)).sum(axis=2)
    return efforts
