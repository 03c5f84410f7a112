"""Bugs that show over the steps of an episode, and at its end: in resets, rewards and statistics."""

from __future__ import annotations

from typing import Any, Iterator, List

import numpy as np

from harness.faults.new_episodes import in_new_episodes
from harness.faults.plant import (
    Result,
    Returned,
    changes_result,
    planted,
)

# -- episodes ----------------------------------------------------------------------------------------------------------


@changes_result("episodes", "horizon", "HARL contract S20")
def episodes_never_end(_: Returned, result: Result) -> Result:
    """No step ever reports the end of an episode."""
    infos: List[Any] = []
    for info in result.infos:
        infos.append([{} for _ in info])
    return result._replace(dones=np.zeros_like(result.dones), infos=infos)


@changes_result("episodes", "dones", "HARL contract S15")
def one_agent_done_alone(_: Returned, result: Result) -> Result:
    """The end of an episode is reported to the first agent only, although the episode ends for all."""
    dones = result.dones.copy()
    dones[:, 1:] = False
    return result._replace(dones=dones)


@changes_result("episodes", ("auto-reset", "dones", "bad-transition", "terminal-observation"))
def dones_one_step_late(moment: Returned, result: Result) -> Result:
    """The end of an episode is reported with the first step of the next."""
    late = moment.memory.get("dones", np.zeros_like(result.dones))
    moment.memory["dones"] = result.dones.copy()
    return result._replace(dones=late)


@changes_result("episodes", ("auto-reset", "terminal-observation"), "gymnasium's next-step mode, HARL contract S16")
def next_step_auto_reset(_: Returned, result: Result) -> Result:
    """The step that ends an episode returns its last observation, not the first of the next."""
    obs = result.obs.copy()
    for env_id, agent in np.argwhere(result.dones):
        obs[env_id, agent] = result.infos[env_id][agent].get("final_obs", obs[env_id, agent])
    return result._replace(obs=obs)


@changes_result("episodes", "terminal-observation", "public reports: the terminal observation is lost")
def terminal_observation_lost(_: Returned, result: Result) -> Result:
    """What is called the last observation of an episode is the first of the next."""
    for env_id, agent in np.argwhere(result.dones):
        result.infos[env_id][agent]["final_obs"] = result.obs[env_id, agent].copy()
    return result


@changes_result("episodes", "terminal-observation", "a blind hold-out")
def terminal_observation_of_the_first_env(_: Returned, result: Result) -> Result:
    """If several envs end in one step, all have the last observation of the first of them."""
    ended = np.flatnonzero(result.dones.all(axis=1))
    for env_id in ended:
        for info, of_first in zip(result.infos[env_id], result.infos[ended[0]]):
            info["final_obs"] = of_first["final_obs"].copy()
    return result


@changes_result("episodes", "terminal-observation", "a blind hold-out")
def terminal_state_of_the_next_episode(_: Returned, result: Result) -> Result:
    """The state that infos keep for HARL is the first one of the next episode."""
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        result.infos[env_id][0]["original_state"] = result.share_obs[env_id].copy()
    return result


@changes_result("episodes", "terminal-observation", "a blind hold-out")
def terminal_observations_in_one_row(_: Returned, result: Result) -> Result:
    """The observations that infos keep for HARL are one long vector."""
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        last = [info["final_obs"] for info in result.infos[env_id]]
        result.infos[env_id][0]["original_obs"] = np.concatenate(last)
    return result


@changes_result("episodes", "terminal-observation", "a blind hold-out")
def terminal_observation_missing_at_limits(_: Returned, result: Result) -> Result:
    """Infos keep the last observation only where no time limit ended the episode."""
    for infos in result.infos:
        for info in infos:
            if info.get("bad_transition"):
                info.pop("final_obs", None)
    return result


@changes_result("episodes", "no-memory")
def reward_goes_on_from_the_old_episode(moment: Returned, result: Result) -> Result:
    """Part of the last reward is added to each reward, across the end of an episode, too."""
    last = moment.memory.get("rewards", np.zeros_like(result.rewards))
    moment.memory["rewards"] = result.rewards.copy()
    return result._replace(rewards=result.rewards + 0.5 * last)


@changes_result("episodes", ("one-moment", "auto-reset"))
def share_obs_of_the_old_episode(_: Returned, result: Result) -> Result:
    """With the first observation of an episode comes the last state of the old one."""
    share_obs = result.share_obs.copy()
    for env_id, agent in np.argwhere(result.dones):
        share_obs[env_id, agent] = result.infos[env_id][agent]["final_share_obs"]
    return result._replace(share_obs=share_obs)


@planted("episodes", ("auto-reset", "horizon", "dones"), "HARL contract S16")
def no_auto_reset(start: int = 1) -> Iterator[None]:
    """An env whose episode ended is not reset, and reports the end in every step."""

    def in_push(original: Any, env: Any, where: Any) -> Any:
        from mapush.sim.geometry import yaw_of

        return env._observe(env._state, yaw_of(env._state.robot_quat_w))

    with in_new_episodes(start, lambda *_: None, in_push):
        yield


@planted("episodes", ("horizon", "auto-reset", "dones"))
def clock_not_reset(start: int = 1) -> Iterator[None]:
    """The next episode inherits the clock of the last one, so after one time limit every step is an end."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        age = env._age[env_id]
        original(env, env_id)
        env._age[env_id] = age

    def in_push(original: Any, env: Any, where: Any) -> Any:
        length = env._length
        observation = original(env, where)
        env._length = length
        return observation

    with in_new_episodes(start, in_toy, in_push):
        yield


# -- rewards -----------------------------------------------------------------------------------------------------------


@changes_result("rewards", "reward-task")
def reward_of_wrong_sign(_: Returned, result: Result) -> Result:
    """The reward is a cost."""
    return result._replace(rewards=-result.rewards)


@changes_result("rewards", "reward-task")
def reward_one_step_late(moment: Returned, result: Result) -> Result:
    """Each step returns the reward of the step before."""
    late = moment.memory.get("rewards", np.zeros_like(result.rewards))
    moment.memory["rewards"] = result.rewards.copy()
    return result._replace(rewards=late)


@changes_result("rewards", "reward-task", "MAPush computes rewards from the state after the reset")
def reward_lost_at_the_end(_: Returned, result: Result) -> Result:
    """The step that ends an episode has no reward."""
    rewards = np.where(result.dones[..., None], 0.0, result.rewards)
    return result._replace(rewards=rewards.astype(result.rewards.dtype))


# -- statistics --------------------------------------------------------------------------------------------------------


@changes_result("statistics", "bounded-statistics", "mission bug 2")
def statistics_of_every_episode(moment: Returned, result: Result) -> Result:
    """A list keeps the results of every episode."""
    kept = vars(moment.env).setdefault("_episode_returns", [])
    kept += result.rewards[result.dones.all(axis=1), 0, 0].tolist()
    return result


@changes_result("statistics", "bounded-statistics", "mission bug 2")
def statistics_of_every_step(moment: Returned, result: Result) -> Result:
    """A dict of lists keeps the rewards of every step."""
    vars(moment.env).setdefault("_extras", {}).setdefault("rewards", []).append(result.rewards.copy())
    return result
