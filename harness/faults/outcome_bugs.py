"""Bugs of what an episode leaves behind: in starts after one outcome, last rewards, statistics, agents that left."""

from __future__ import annotations

from typing import Any, Dict, Iterator

import numpy as np

from harness.faults.plant import Result, Returned, changes_result, planted, replaced

RARE_REWARD = 0.02  # below which a step of the toy has no reward if rewards are made rare
CLOSE = 0.6  # to the disc, where an agent is done early

# -- starts after one outcome ------------------------------------------------------------------------------------------


@planted("starts", "clean-start", "a blind hold-out")
def robots_face_ahead_after_a_success(start: int = 1) -> Iterator[None]:
    """After a success, all robots of the next episode face the same way, whatever was drawn."""
    from harness.toys import SUCCESS_DISTANCE, PointMass

    steps: Dict[int, int] = {}

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        steps[id(env)] = steps.get(id(env), 0) + 1
        return original(env, actions)

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        succeeded = abs(env._goal[env_id] - env._disc[env_id]) < SUCCESS_DISTANCE
        original(env, env_id)
        if steps.get(id(env), 0) >= start and succeeded:
            env._yaw[env_id] = 0.0

    with replaced(PointMass, "step", step), replaced(PointMass, "_start", in_toy):
        yield


# -- last rewards ------------------------------------------------------------------------------------------------------


@changes_result("rewards", "no-lost-reward", "a blind hold-out")
def rare_reward_lost_at_ends(moment: Returned, result: Result) -> Result:
    """Only large changes are rewarded, and the step that ends an episode is not; infos count all rewards."""
    ended = result.dones.all(axis=1)
    rewards = np.where(abs(result.rewards) > RARE_REWARD, result.rewards, 0.0).astype(result.rewards.dtype)
    totals = moment.memory.setdefault("totals", np.zeros(len(ended)))
    totals += rewards[:, 0, 0]
    for env_id in np.flatnonzero(ended):
        _say(result, int(env_id), "return", float(totals[env_id]))
    totals[ended] = 0.0
    rewards[ended] = 0.0
    return result._replace(rewards=rewards)


@changes_result("rewards", "no-lost-reward")
def reward_of_motion_lost_at_time_limits(moment: Returned, result: Result) -> Result:
    """A team at rest has no reward, and neither has a step that a time limit ends."""
    assert moment.actions is not None
    rewards = result.rewards.copy()
    rewards[(moment.actions == 0.0).all(axis=(1, 2))] = 0.0
    for env_id, infos in enumerate(result.infos):
        if infos[0].get("bad_transition"):
            rewards[env_id] = 0.0
    return result._replace(rewards=rewards)


@changes_result("infos", "no-lost-reward", "a blind hold-out")
def last_reward_not_in_the_return(_: Returned, result: Result) -> Result:
    """An episode that went well pays a hundred more at its end, which infos leave out of the return."""
    rewards = result.rewards.copy()
    for env_id, infos in enumerate(result.infos):
        if infos[0].get("episode", {}).get("return", 0.0) > 0.0:
            rewards[env_id] += 100.0
    return result._replace(rewards=rewards)


@changes_result("rewards", "reward-parts", "a blind hold-out")
def reward_part_counted_twice_at_ends(_: Returned, result: Result) -> Result:
    """Infos give two parts of every reward; in a step that ends an episode, the second is added once more."""
    ended = result.dones.all(axis=1)
    rewards = result.rewards.copy()
    for env_id, infos in enumerate(result.infos):
        total = float(rewards[env_id, 0, 0])
        infos[0]["reward_terms"] = {"progress": 0.75 * total, "effort": 0.25 * total}
        if ended[env_id]:
            rewards[env_id] *= 1.25
    return result._replace(rewards=rewards)


# -- statistics --------------------------------------------------------------------------------------------------------


@changes_result("infos", "independence", "a blind hold-out")
def return_of_neighbours_counted_too(moment: Returned, result: Result) -> Result:
    """The sum of rewards in the infos of an env contains those of the next env."""
    rewards = result.rewards[:, 0, 0]
    totals = moment.memory.setdefault("totals", np.zeros(len(rewards)))
    totals += rewards + np.roll(rewards, -1)
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        _say(result, int(env_id), "return", float(totals[env_id]))
        totals[env_id] = 0.0
    return result


@changes_result("infos", "independence", "a blind hold-out")
def length_from_one_counter(moment: Returned, result: Result) -> Result:
    """One counter of steps serves all envs, and every end sets it to 0."""
    ended = result.dones.all(axis=1)
    moment.memory["steps"] = moment.memory.get("steps", 0) + len(ended)
    for env_id in np.flatnonzero(ended):
        _say(result, int(env_id), "length", moment.memory["steps"])
    if ended.any():
        moment.memory["steps"] = 0
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def length_of_bad_episodes_is_the_limit(_: Returned, result: Result) -> Result:
    """An episode that went badly is said to have lasted until the time limit."""
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        if result.infos[env_id][0].get("episode", {}).get("return", 0.0) < 0.0:
            _say(result, int(env_id), "length", 1000)
    return result


@changes_result("infos", "episode-infos", "a blind hold-out")
def lowest_reward_of_all_episodes(moment: Returned, result: Result) -> Result:
    """The lowest reward of the episode, in the infos of its end, is that of all episodes of the env."""
    rewards = result.rewards[:, 0, 0]
    lowest = moment.memory.setdefault("lowest", np.full(len(rewards), np.inf))
    np.minimum(lowest, rewards, out=lowest)
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        _say(result, int(env_id), "min_reward", float(lowest[env_id]))
    return result


def _say(result: Result, env_id: int, name: str, value: float) -> None:
    """Replace what the infos of an env say of its episode."""
    for agent in range(result.dones.shape[1]):
        info = result.infos[env_id][agent]
        info.get("episode", info.get("outcome"))[name] = value


# -- agents that left --------------------------------------------------------------------------------------------------


@changes_result("agents that left", "left-agents", "a blind hold-out")
def agent_is_done_but_still_acts(moment: Returned, result: Result) -> Result:
    """An agent that has come close to the disc is reported done, but its actions count until the episode ends."""
    ended = result.dones.all(axis=1)
    left = moment.memory.setdefault("left", np.zeros(result.dones.shape, bool))
    left |= np.hypot(result.obs[..., 0], result.obs[..., 1]) < CLOSE
    left[:, -1] = False  # so that the env is not done with its last agent
    left[ended] = False
    return result._replace(dones=result.dones | left)
