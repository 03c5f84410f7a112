"""Bugs in infos, in the report of time limits, and in available actions."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from harness.faults.plant import (
    Result,
    Returned,
    changes_result,
)

# -- infos -------------------------------------------------------------------------------------------------------------


@changes_result("infos", "infos", "mission bug 5")
def infos_without_key_0(_: Returned, result: Result) -> Result:
    """Infos are one flat dict per env."""
    return result._replace(infos=[{"success": False} for _ in result.infos])


@changes_result("infos", "infos", "PettingZoo's convention")
def infos_by_name(_: Returned, result: Result) -> Result:
    """Infos have the names of the agents as keys."""
    infos = []
    for info in result.infos:
        infos.append({f"agent_{agent}": leaf for agent, leaf in by_agent(result, info)})
    return result._replace(infos=infos)


@changes_result("infos", "infos", "gymnasium's vector convention")
def infos_as_dict_of_arrays(_: Returned, result: Result) -> Result:
    """Infos are one dict of arrays."""
    return result._replace(infos={"bad_transition": np.zeros(len(result.infos), bool)})


@changes_result("infos", ("infos-fresh", "bad-transition"), "HARL dexhands adapter shares info dicts")
def infos_shared(_: Returned, result: Result) -> Result:
    """All envs hold the same dict, so one time limit flags them all."""
    shared: Dict[int, Any] = {}
    for info in result.infos:
        for agent, leaf in by_agent(result, info):
            shared.setdefault(agent, {}).update(leaf)
    return result._replace(infos=[shared for _ in result.infos])


@changes_result("infos", "bad-transition", "HARL contract S10")
def infos_never_cleared(moment: Returned, result: Result) -> Result:
    """A flag that was set once stays set in all later steps."""
    kept = moment.memory.setdefault("infos", [{} for _ in result.infos])
    for old, new in zip(kept, result.infos):
        for agent, leaf in by_agent(result, new):
            old.setdefault(agent, {}).update(leaf)
    return result._replace(infos=kept)


@changes_result("infos", "episode-infos", "a blind hold-out")
def return_of_all_episodes(moment: Returned, result: Result) -> Result:
    """The return in the infos is never set to 0, so it is that of all episodes of the env."""
    return _summed_over_episodes(moment, result, "return")


@changes_result("infos", "episode-infos", "a blind hold-out")
def length_of_all_episodes(moment: Returned, result: Result) -> Result:
    """The length in the infos counts on from one episode to the next."""
    return _summed_over_episodes(moment, result, "length")


def _summed_over_episodes(moment: Returned, result: Result, name: str) -> Result:
    """Add to a number of an ended episode those of the env's episodes before."""
    totals = moment.memory.setdefault("totals", [0.0] * len(result.infos))
    for env, info in enumerate(result.infos):
        episodes = [leaf["episode"] for _, leaf in by_agent(result, info) if "episode" in leaf]
        if episodes:
            totals[env] += episodes[0][name]
        for episode in episodes:
            episode[name] = totals[env]
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def return_read_after_the_reset(_: Returned, result: Result) -> Result:
    """The return and the length of an ended episode are read when both are 0 again."""
    for leaf in leaves_of(result):
        if "episode" in leaf:
            leaf["episode"].update({"return": 0.0, "length": 0})
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def return_in_half_precision(moment: Returned, result: Result) -> Result:
    """The return is added up in numbers of 16 bits."""
    totals = moment.memory.setdefault("totals", np.zeros(len(result.infos), np.float16))
    totals += result.rewards[:, 0, 0].astype(np.float16)
    for env, info in enumerate(result.infos):
        if not result.dones[env].all():
            continue
        for _, leaf in by_agent(result, info):
            if "episode" in leaf:
                leaf["episode"]["return"] = float(totals[env])
        totals[env] = 0.0
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def return_before_the_last_reward(_: Returned, result: Result) -> Result:
    """The return in the infos is read before the last reward is added."""
    for env, info in enumerate(result.infos):
        for _agent, leaf in by_agent(result, info):
            if "episode" in leaf:
                leaf["episode"]["return"] -= float(result.rewards[env, 0, 0])
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def length_counts_from_one(_: Returned, result: Result) -> Result:
    """The length in the infos is one more than the number of steps."""
    for leaf in leaves_of(result):
        if "episode" in leaf:
            leaf["episode"]["length"] += 1
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def failure_stays_set(moment: Returned, result: Result) -> Result:
    """An env that had a failure once reports one in all of its later episodes."""
    stuck = moment.memory.setdefault("stuck", [False] * len(result.infos))
    for env, info in enumerate(result.infos):
        for _, leaf in by_agent(result, info):
            if "episode" in leaf:
                stuck[env] = stuck[env] or not leaf.get("bad_transition", False)
                leaf["failed"] = stuck[env]
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def mean_return_for_the_return(moment: Returned, result: Result) -> Result:
    """The return in the infos is the mean over the latest episodes of all envs."""
    returns = moment.memory.setdefault("returns", [])
    for info in result.infos:
        episodes = [leaf["episode"] for _, leaf in by_agent(result, info) if "episode" in leaf]
        if episodes:
            returns.append(episodes[0]["return"])
        for episode in episodes:
            episode["return"] = sum(returns) / len(returns)
    return result


@changes_result("infos", "aliasing", "a blind hold-out")
def view_of_a_counter_in_infos(moment: Returned, result: Result) -> Result:
    """The infos of an end hold a view of a counter, which counts on in the next episode."""
    counts = moment.memory.setdefault("counts", np.zeros(len(result.infos)))
    counts += 1
    for env, info in enumerate(result.infos):
        for _, leaf in by_agent(result, info):
            if "episode" in leaf:
                leaf["moves"] = counts[env : env + 1]
    counts[result.dones.all(axis=1)] = 0
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def mean_by_the_time_limit(moment: Returned, result: Result) -> Result:
    """The mean reward of an episode is its return divided by the time limit, however long it was."""
    limit = getattr(moment.env, "horizon", getattr(moment.env, "max_episode_steps", 0))
    for leaf in leaves_of(result):
        if "episode" in leaf:
            leaf["mean_reward"] = leaf["episode"]["return"] / max(limit, 1)
    return result


# -- time limits -------------------------------------------------------------------------------------------------------


@changes_result("time limits", "bad-transition", "public reports: time limit treated as termination")
def timeout_as_termination(_: Returned, result: Result) -> Result:
    """Infos do not say that a time limit ended the episode."""
    for leaf in leaves_of(result):
        leaf.pop("bad_transition", None)
    return result


@changes_result("time limits", "bad-transition", "HARL contract S8")
def timeout_under_another_key(_: Returned, result: Result) -> Result:
    """The time limit is flagged as `TimeLimit.truncated`."""
    for leaf in leaves_of(result):
        leaf["TimeLimit.truncated"] = leaf.pop("bad_transition", False)
    return result


@changes_result("time limits", ("bad-transition", "infos"), "HARL contract S8")
def timeout_of_last_agent_only(_: Returned, result: Result) -> Result:
    """Only the last agent's info flags the time limit, and HARL reads the first one's."""
    for info in result.infos:
        info[0].pop("bad_transition", None)
    return result


@changes_result("time limits", ("bad-transition", "infos"), "HARL contract S8")
def timeout_as_text(_: Returned, result: Result) -> Result:
    """The flag is the string "True"."""
    for leaf in leaves_of(result):
        if "bad_transition" in leaf:
            leaf["bad_transition"] = str(leaf["bad_transition"])
    return result


@changes_result("time limits", "bad-transition", "HARL contract S11")
def timeout_in_mid_episode(_: Returned, result: Result) -> Result:
    """The last env flags a time limit in every step."""
    for _agent, leaf in by_agent(result, result.infos[-1]):
        leaf["bad_transition"] = True
    return result


@changes_result("time limits", "bad-transition", "a blind hold-out")
def time_limit_beats_the_outcome(moment: Returned, result: Result) -> Result:
    """A success or a failure in the last possible step is flagged as a time limit."""
    for leaf in leaves_of(result):
        if leaf.get("episode", {}).get("length") == getattr(moment.env, "horizon", 0):
            leaf["bad_transition"] = True
    return result


def by_agent(result: Result, info: Any) -> List[Tuple[int, Dict[str, Any]]]:
    """Return each agent with its dict in the info of an env."""
    return [(agent, info[agent]) for agent in range(result.dones.shape[1])]


def leaves_of(result: Result) -> Iterator[Dict[str, Any]]:
    """Yield the dict of every agent of every env."""
    for info in result.infos:
        for _, leaf in by_agent(result, info):
            yield leaf


# -- available actions -------------------------------------------------------------------------------------------------


@changes_result("available actions", "available-actions", "mission bug 6", resets=True)
def available_actions_none(_: Returned, result: Result) -> Result:
    """Available actions are a plain None, which HARL indexes."""
    return result._replace(available_actions=None)


@changes_result("available actions", "available-actions", "HARL contract 1.4", resets=True)
def available_actions_of_ones(_: Returned, result: Result) -> Result:
    """Available actions are an array although actions are continuous."""
    return result._replace(available_actions=np.ones(result.obs.shape[:2] + (3,), np.float32))


@changes_result("available actions", "available-actions", "HARL contract 1.4")
def available_actions_nested(_: Returned, result: Result) -> Result:
    """Available actions are fine at reset and one list per agent in a step."""
    return result._replace(available_actions=[[None] * result.dones.shape[1] for _ in result.infos])
