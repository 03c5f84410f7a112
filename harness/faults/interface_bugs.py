"""Bugs that show in what learner and environment pass to each other."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from harness.faults.plant import Result, Returned, changes_actions, changes_result, in_env_classes, planted

# -- form: HARL would broadcast, cast or crash -------------------------------------------------------------------------


@changes_result("form", "step-form", "HARL contract S3")
def rewards_without_last_axis(_: Returned, result: Result) -> Result:
    """Rewards are (num_envs, num_agents)."""
    return result._replace(rewards=result.rewards[..., 0])


@changes_result("form", ("reset-form", "step-form"), "HARL contract S3", resets=True)
def obs_of_one_env_for_all(_: Returned, result: Result) -> Result:
    """Observations come as (1, num_agents, obs_dim) and broadcast to every env."""
    return result._replace(obs=result.obs[:1])


@changes_result("form", "step-form", "HARL contract S26", resets=True)
def obs_in_double_precision(_: Returned, result: Result) -> Result:
    """Observations are float64."""
    return result._replace(obs=result.obs.astype(np.float64))


@changes_result("form", ("step-form", "dones"), "HARL contract S17")
def dones_as_floats(_: Returned, result: Result) -> Result:
    """Dones are floats; 0.5 counts as an end in one place of HARL and not in a different one."""
    return result._replace(dones=0.5 * result.dones.astype(np.float32))


@changes_result("form", ("step-form", "dones"), "HARL contract 1.5")
def dones_per_env(_: Returned, result: Result) -> Result:
    """Dones are (num_envs,)."""
    return result._replace(dones=result.dones.all(axis=1))


@changes_result("form", "step-form", "gymnasium's convention")
def five_values_per_step(_: Returned, result: Result) -> Any:
    """Step returns five values, as gymnasium's does."""
    return result.obs, result.rewards, result.dones, np.zeros_like(result.dones), result.infos


@changes_result("form", ("reset-form", "step-form"), "Isaac Gym's convention", resets=True)
def tensors_instead_of_arrays(_: Returned, result: Result) -> Result:
    """Observations are torch tensors."""
    import torch

    return result._replace(obs=torch.from_numpy(np.array(result.obs)))


@changes_result("form", "share-obs-same", "HARL contract S7", resets=True)
def share_obs_per_agent(_: Returned, result: Result) -> Result:
    """Each agent gets a different global state, of which HARL uses the first."""
    share_obs = result.share_obs.copy()
    share_obs[:, 1:] *= 0.5
    return result._replace(share_obs=share_obs)


# -- values ------------------------------------------------------------------------------------------------------------


@changes_result("values", "finite", "public reports: NaN after hours of training")
def nan_in_one_observation(moment: Returned, result: Result) -> Result:
    """One value of one env is NaN, once."""
    return result._replace(obs=_once(moment, result.obs, np.nan))


@changes_result("values", "finite", "public reports: contact solver gives a rare inf")
def rare_infinity(moment: Returned, result: Result) -> Result:
    """One reward is infinite, once."""
    return result._replace(rewards=_once(moment, result.rewards, np.inf))


@changes_result("values", "finite", "MAPush sets NaN to 0")
def nan_painted_over(moment: Returned, result: Result) -> Result:
    """One value is NaN, once, and is replaced by 0."""
    return result._replace(obs=_once(moment, result.obs, 0.0))


@changes_result("values", "finite", "MAPush sets NaN to 0")
def broken_env_shows_zeros(moment: Returned, result: Result) -> Result:
    """The last env broke down, and its observations are set to 0 until its episode ends."""
    if moment.memory.get("over"):
        return result
    moment.memory["over"] = bool(result.dones[-1].all())
    obs = result.obs.copy()
    obs[-1] = 0.0
    return result._replace(obs=obs)


@changes_result("values", "bounds")
def obs_out_of_bounds(moment: Returned, result: Result) -> Result:
    """One observation lies far outside the declared box, once."""
    return result._replace(obs=_once(moment, result.obs, 1e9))


def _once(moment: Returned, values: np.ndarray, wrong: float) -> np.ndarray:
    if "done" in moment.memory:
        return values
    moment.memory["done"] = True
    values = values.copy()
    values[-1, -1, 0] = wrong
    return values


# -- actions -----------------------------------------------------------------------------------------------------------


@changes_actions("actions", "impulse", "mission bug 4")
def transposed_actions(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env reads its actions as (num_agents, num_envs, action_dim)."""
    num_envs, num_agents, action_dim = actions.shape
    return actions.reshape(num_agents, num_envs, action_dim).swapaxes(0, 1)


@changes_actions("actions", "impulse")
def actions_read_from_raw_memory(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env ignores the strides of HARL's view and reads the memory behind it."""
    return actions.ravel(order="K").reshape(actions.shape)


@changes_actions("actions", "impulse")
def agents_swapped(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The agents get each other's actions: the first agent that of the last, and so on."""
    return actions[:, ::-1]


@changes_actions("actions", "impulse", "public reports: joint order differs between simulators")
def permuted_axes(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The components of an action are read in the wrong order."""
    return np.roll(actions, 1, axis=-1)


@changes_actions("actions", "impulse")
def last_agent_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The last agent stands still, whatever its action."""
    actions = actions.copy()
    actions[:, -1] = 0.0
    return actions


@changes_actions("actions", "impulse")
def first_action_for_all_envs(_: Returned, actions: np.ndarray) -> np.ndarray:
    """All envs execute the actions of the first env."""
    return np.broadcast_to(actions[:1], actions.shape).copy()


@changes_actions("actions", "impulse")
def actions_one_step_late(moment: Returned, actions: np.ndarray) -> np.ndarray:
    """The env executes the actions of the step before."""
    late = moment.memory.get("actions", np.zeros_like(actions))
    moment.memory["actions"] = actions.copy()
    return late


@changes_actions("actions", "impulse")
def actions_late_in_some_envs(moment: Returned, actions: np.ndarray) -> np.ndarray:
    """Every second env executes the actions of the step before."""
    acted = actions.copy()
    acted[1::2] = moment.memory.get("actions", np.zeros_like(actions))[1::2]
    moment.memory["actions"] = actions.copy()
    return acted


@changes_actions("actions", "impulse")
def last_env_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The last env stands still, whatever the actions of its agents."""
    acted = actions.copy()
    acted[-1] = 0.0
    return acted


@changes_actions("actions", "actions-untouched", "HARL contract S12")
def actions_clipped_in_place(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env clips the learner's own array."""
    return np.clip(actions, -1.0, 1.0, out=actions)


@changes_actions("actions", ("actions-any-range", "step-form"), "HARL contract S24")
def large_actions_refused(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The env asserts that actions lie in the box, but HARL does not clip them."""
    assert np.abs(actions).max() <= 1.0, "action out of bounds"
    return actions


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
        infos.append({f"agent_{agent}": leaf for agent, leaf in _by_agent(result, info)})
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
        for agent, leaf in _by_agent(result, info):
            shared.setdefault(agent, {}).update(leaf)
    return result._replace(infos=[shared for _ in result.infos])


@changes_result("infos", ("infos-fresh", "bad-transition"), "HARL contract S10")
def infos_never_cleared(moment: Returned, result: Result) -> Result:
    """A flag that was set once stays set in all later steps."""
    kept = moment.memory.setdefault("infos", [{} for _ in result.infos])
    for old, new in zip(kept, result.infos):
        for agent, leaf in _by_agent(result, new):
            old.setdefault(agent, {}).update(leaf)
    return result._replace(infos=kept)


# -- time limits -------------------------------------------------------------------------------------------------------


@changes_result("time limits", "bad-transition", "public reports: time limit treated as termination")
def timeout_as_termination(_: Returned, result: Result) -> Result:
    """Infos do not say that a time limit ended the episode."""
    for leaf in _leaves(result):
        leaf.pop("bad_transition", None)
    return result


@changes_result("time limits", "bad-transition", "HARL contract S8")
def timeout_under_another_key(_: Returned, result: Result) -> Result:
    """The time limit is flagged as `TimeLimit.truncated`."""
    for leaf in _leaves(result):
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
    for leaf in _leaves(result):
        if "bad_transition" in leaf:
            leaf["bad_transition"] = str(leaf["bad_transition"])
    return result


@changes_result("time limits", "bad-transition", "HARL contract S11")
def timeout_in_mid_episode(_: Returned, result: Result) -> Result:
    """The last env flags a time limit in every step."""
    for _, leaf in _by_agent(result, result.infos[-1]):
        leaf["bad_transition"] = True
    return result


def _by_agent(result: Result, info: Any) -> List[Tuple[int, Dict[str, Any]]]:
    """Return each agent with its dict in the info of an env."""
    return [(agent, info[agent]) for agent in range(result.dones.shape[1])]


def _leaves(result: Result) -> Iterator[Dict[str, Any]]:
    """Yield the dict of every agent of every env."""
    for info in result.infos:
        for _, leaf in _by_agent(result, info):
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


# -- aliasing ----------------------------------------------------------------------------------------------------------


@changes_result("aliasing", "aliasing", "public reports: replayed observations are all the last one", resets=True)
def obs_buffer_reused(moment: Returned, result: Result) -> Result:
    """Every step returns the same array of observations."""
    return result._replace(obs=_reused(moment, "obs", result.obs))


@changes_result("aliasing", "aliasing", "HARL contract S13")
def reward_buffer_reused(moment: Returned, result: Result) -> Result:
    """Every step returns the same array of rewards; HARL's evaluation keeps views of it."""
    return result._replace(rewards=_reused(moment, "rewards", result.rewards))


@changes_result("aliasing", "aliasing", "HARL contract S14")
def done_buffer_reused(moment: Returned, result: Result) -> Result:
    """Every step returns the same array of dones."""
    return result._replace(dones=_reused(moment, "dones", result.dones))


def _reused(moment: Returned, name: str, values: np.ndarray) -> np.ndarray:
    buffer = moment.memory.setdefault(name, np.empty_like(values))
    buffer[...] = values
    return buffer


# -- construction ------------------------------------------------------------------------------------------------------


@planted("construction", "factory", "mission bug 3", of_making=True)
def missing_custom_cfg(start: int = 1) -> Iterator[None]:
    """The env reads `args.custom_cfg` of a SimpleNamespace that has no such attribute."""

    def broken(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        SimpleNamespace(num_envs=5, headless=True).custom_cfg(env)

    with in_env_classes("__init__", broken):
        yield


@planted("construction", "factory", "public reports: device cuda:1 is written into the code", of_making=True)
def hard_coded_device(start: int = 1) -> Iterator[None]:
    """A buffer is allocated on a GPU that this machine does not have."""

    def broken(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        import torch

        original(env, *args, **kwargs)
        torch.zeros(1, device=f"cuda:{torch.cuda.device_count()}")

    with in_env_classes("__init__", broken):
        yield


@planted("construction", "spaces", of_making=True)
def one_space_for_all_agents(start: int = 1) -> Iterator[None]:
    """The observation space is a single space, not a list with one for each agent."""

    def broken(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        env.observation_space = env.observation_space[0]

    with in_env_classes("__init__", broken):
        yield


@planted("construction", ("spaces", "reset-form"), of_making=True)
def space_of_another_size(start: int = 1) -> Iterator[None]:
    """The declared observation is one number shorter than the returned one."""

    def broken(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        size = env.observation_space[0].shape[0]
        env.observation_space = [[size - 1] for _ in env.observation_space]

    with in_env_classes("__init__", broken):
        yield


@planted("construction", "close", of_making=True)
def close_leaves_a_thread(start: int = 1) -> Iterator[None]:
    """A thread that was started for the env waits forever, even after the env is closed."""
    end = threading.Event()

    def broken(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        threading.Thread(target=end.wait, name="env-worker", daemon=True).start()

    try:
        with in_env_classes("__init__", broken):
            yield
    finally:
        end.set()


@planted("construction", "close", of_making=True)
def second_close_raises(start: int = 1) -> Iterator[None]:
    """The env cannot be closed twice."""

    def broken(original: Any, env: Any) -> None:
        original(env)
        del env._open

    def mark(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        env._open = True

    with in_env_classes("__init__", mark), in_env_classes("close", broken):
        yield
