"""Bugs at the edges of episodes and ranges: in first and last steps, in starts, and in parts of an action's range."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

import numpy as np

from harness.faults.new_episodes import in_new_episodes, replaced_in_push
from harness.faults.plant import Result, Returned, changes_actions, changes_result, in_env_classes, planted, replaced

# -- the first step of an episode --------------------------------------------------------------------------------------


def _remember_ends(moment: Returned, result: Result) -> Result:
    """Keep which envs begin an episode with the next step."""
    moment.memory["begins"] = result.dones.all(axis=1)
    return result


def _begins(moment: Returned, num_envs: int) -> np.ndarray:
    """Return which envs (N,) begin an episode with this step; none if that is not known."""
    return np.asarray(moment.memory.get("begins", np.zeros(num_envs, bool)))


@changes_actions("first steps", "first-action", "gymnasium's next-step mode, hidden", after=_remember_ends)
def first_action_ignored(moment: Returned, actions: np.ndarray) -> np.ndarray:
    """The actions of the first step after a reset within a step are ignored."""
    acted = actions.copy()
    acted[_begins(moment, len(actions))] = 0.0
    return acted


@changes_actions("first steps", "first-action", after=_remember_ends)
def first_action_of_one_agent_ignored(moment: Returned, actions: np.ndarray) -> np.ndarray:
    """The last agent rests in the first step after a reset within a step."""
    acted = actions.copy()
    acted[_begins(moment, len(actions)), -1] = 0.0
    return acted


@changes_result("first steps", "no-lost-reward")
def first_reward_lost(moment: Returned, result: Result) -> Result:
    """The first step after a reset within a step has no reward: there is no distance to compare with."""
    begins = _begins(moment, len(result.dones))
    _remember_ends(moment, result)
    rewards = np.where(begins[:, None, None], 0.0, result.rewards)
    return result._replace(rewards=rewards.astype(result.rewards.dtype))


@changes_result("first steps", "no-lost-reward", "MAPush computes rewards from the state after the reset")
def reward_lost_at_time_limits(_: Returned, result: Result) -> Result:
    """The step that a time limit ends has no reward."""
    rewards = result.rewards.copy()
    for env_id, infos in enumerate(result.infos):
        if infos[0].get("bad_transition"):
            rewards[env_id] = 0.0
    return result._replace(rewards=rewards)


@changes_result("first steps", "no-foresight", "MAPush computes rewards from the state after the reset")
def reward_of_the_next_episode(_: Returned, result: Result) -> Result:
    """The reward of the step that ends an episode is computed from the first state of the next one."""
    at_end = -0.1 * abs(result.share_obs[..., :2]).sum(axis=2, keepdims=True)
    rewards = np.where(result.dones[..., None], at_end, result.rewards)
    return result._replace(rewards=rewards.astype(result.rewards.dtype))


@changes_result("first steps", "no-foresight", "a blind hold-out")
def outcome_of_the_next_episode(_: Returned, result: Result) -> Result:
    """What infos say of an episode that ended is read after the next one began."""
    for env_id in np.flatnonzero(result.dones.all(axis=1)):
        for agent in range(result.dones.shape[1]):
            result.infos[env_id][agent]["outcome"]["last"] = float(result.share_obs[env_id, agent, 0])
    return result


@planted("first steps", "alive-at-start", "public reports: episodes of one step")
def some_episodes_are_born_done(start: int = 1) -> Iterator[None]:
    """Every third new episode begins with its clock at the time limit."""
    count = [0]

    def is_born_done() -> bool:
        count[0] += 1
        return count[0] % 3 == 0

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        original(env, env_id)
        if is_born_done():
            env._age[env_id] = env.horizon - 1

    def in_push(original: Any, env: Any, where: Any) -> Any:
        observation = original(env, where)
        if is_born_done():
            env._length = env._length.masked_fill(where, env.max_episode_length)
        return observation

    with in_new_episodes(start, in_toy, in_push):
        yield


@planted("first steps", "alive-at-start", of_making=True)
def done_survives_reset(start: int = 1) -> Iterator[None]:
    """After a reset in mid-episode, the first step reports the end of every episode."""
    ran: Dict[int, List[int]] = {}  # by env: steps that were taken, and steps until the end is reported

    def reset(original: Any, env: Any) -> Any:
        counts = ran.setdefault(id(env), [0, 0])
        counts[1] = int(counts[0] > 0)
        return original(env)

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        obs, share_obs, rewards, dones, infos, available_actions = original(env, actions)
        counts = ran.setdefault(id(env), [0, 0])
        counts[0] += 1
        if counts[1]:
            counts[1] = 0
            dones = np.ones_like(dones)
        return obs, share_obs, rewards, dones, infos, available_actions

    with in_env_classes("reset", reset), in_env_classes("step", step):
        yield


# -- time limits -------------------------------------------------------------------------------------------------------


@planted("time limits", ("horizon", "bad-transition"))
def later_episodes_one_step_longer(start: int = 1) -> Iterator[None]:
    """The clock starts at -1 after a reset within a step."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        original(env, env_id)
        env._age[env_id] = -1

    def in_push(original: Any, env: Any, where: Any) -> Any:
        observation = original(env, where)
        env._length = env._length.masked_fill(where, -1)
        return observation

    with in_new_episodes(start, in_toy, in_push):
        yield


@planted("resets", "fresh-reset", "a blind hold-out", of_making=True)
def reset_seeds_again(start: int = 1) -> Iterator[None]:
    """Every call of reset seeds the generator as it was at first."""
    from harness.toys import PointMass

    def in_toy(original: Any, env: Any) -> Any:
        env._generators = [np.random.default_rng([3, env_id]) for env_id in range(env.num_envs)]
        return original(env)

    def in_push(original: Any, env: Any) -> Any:
        env._generator.manual_seed(3)
        return original(env)

    with replaced(PointMass, "reset", in_toy), replaced_in_push("reset", in_push):
        yield


@planted("time limits", "horizon", of_making=True)
def first_episode_one_step_shorter(start: int = 1) -> Iterator[None]:
    """The clock starts at 1 after a call of reset, and at 0 after a reset within a step."""
    from harness.toys import PointMass

    def in_toy(original: Any, env: Any) -> Any:
        returned = original(env)
        env._age += 1
        return returned

    def in_push(original: Any, env: Any) -> Any:
        observation = original(env)
        env._length = env._length + 1
        return observation

    with replaced(PointMass, "reset", in_toy), replaced_in_push("reset", in_push):
        yield


@planted("resets", "fresh-reset", "a blind hold-out", of_making=True)
def reset_leaves_running_episodes(start: int = 1) -> Iterator[None]:
    """A call of reset starts new episodes only in envs that have not moved yet."""
    from harness.toys import PointMass

    def in_toy(original: Any, env: Any) -> Any:
        if not env._age.any():
            return original(env)
        return (*env._observe(), env._available_actions())

    def in_push(original: Any, env: Any) -> Any:
        if env._state is None or not bool(env._length.any()):
            return original(env)
        from mapush.sim.geometry import yaw_of

        return env._observe(env._state, yaw_of(env._state.robot_quat_w))

    with replaced(PointMass, "reset", in_toy), replaced_in_push("reset", in_push):
        yield


@planted("time limits", "horizon", "a blind hold-out", of_making=True)
def reset_keeps_the_clock(start: int = 1) -> Iterator[None]:
    """A call of reset starts new episodes, but their time limit counts from the old ones."""
    from harness.toys import PointMass

    def in_toy(original: Any, env: Any) -> Any:
        age = env._age.copy()
        returned = original(env)
        env._age[:] = age
        return returned

    def in_push(original: Any, env: Any) -> Any:
        length = env._length.clone()
        observation = original(env)
        env._length = length
        return observation

    with replaced(PointMass, "reset", in_toy), replaced_in_push("reset", in_push):
        yield


# -- starts ------------------------------------------------------------------------------------------------------------


def _same_generator_again(number_of: Any) -> Any:
    """Return a context in which the envs of the toy start with new generators, and how they are seeded."""
    from harness.toys import PointMass

    seeds: Dict[int, int] = {}

    def init(original: Any, env: Any, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        original(env, num_envs, num_agents, seed, horizon)
        seeds[id(env)] = seed

    def begin(original: Any, env: Any, env_id: int) -> None:
        env._generators[env_id] = np.random.default_rng([seeds[id(env)], number_of(env_id)])
        original(env, env_id)

    return replaced(PointMass, "__init__", init), replaced(PointMass, "_start", begin)


def _respawn_with_the_first_state(original: Any, env: Any, where: Any) -> Any:
    """Start episodes of the pushing task with the generator as it was at first."""
    state = env.__dict__.setdefault("_first_generator_state", env._generator.get_state())
    env._generator.set_state(state)
    return original(env, where)


@planted("randomness", "other-seed", of_making=True)
def every_episode_starts_alike(start: int = 1) -> Iterator[None]:
    """The generator of an env is seeded again at the start of each episode."""
    init, begin = _same_generator_again(lambda env_id: env_id)
    with init, begin, replaced_in_push("_respawn", _respawn_with_the_first_state):
        yield


@planted("randomness", "other-seed", of_making=True)
def only_the_seed_changes_the_start(start: int = 1) -> Iterator[None]:
    """All envs and all episodes start in the one place that the seed determines."""
    init, begin = _same_generator_again(lambda env_id: 0)
    with init, begin, replaced_in_push("_respawn", _respawn_with_the_first_state):
        yield


@planted("randomness", "other-seed", of_making=True)
def all_envs_start_alike(start: int = 1) -> Iterator[None]:
    """The generators of all envs have the same seed."""
    with _generators_of(lambda env_id: 0):
        yield


@planted("randomness", "other-seed", "public reports: seed + rank", of_making=True)
def neighbouring_seeds_overlap(start: int = 1) -> Iterator[None]:
    """The generator of env i is seeded with seed + i."""
    from harness.toys import PointMass

    def init(original: Any, env: Any, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        original(env, num_envs, num_agents, seed, horizon)
        env._generators = [np.random.default_rng(seed + env_id) for env_id in range(num_envs)]

    with replaced(PointMass, "__init__", init):
        yield


@planted("randomness", "other-seed", of_making=True)
def two_envs_start_alike(start: int = 1) -> Iterator[None]:
    """The last env has the generator of the first one."""
    with _generators_of(lambda env_id: env_id * (env_id < 2)):
        yield


def _generators_of(number_of: Any) -> Any:
    """Return a context in which env i of the toy draws from the generator of env `number_of(i)`."""
    from harness.toys import PointMass

    def init(original: Any, env: Any, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        original(env, num_envs, num_agents, seed, horizon)
        generators = []
        for env_id in range(num_envs):
            generators.append(np.random.default_rng([seed, number_of(env_id)]))
        env._generators = generators

    return replaced(PointMass, "__init__", init)


# -- parts of an action's range ----------------------------------------------------------------------------------------


@changes_actions("actions", "action-levels")
def negative_actions_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """Actions are clipped to [0, 1] instead of [-1, 1]."""
    return np.maximum(actions, 0.0)


@changes_actions("actions", "action-levels")
def negative_actions_of_one_agent_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """The last agent does not turn to the right."""
    acted = actions.copy()
    acted[:, -1, 2] = np.maximum(acted[:, -1, 2], 0.0)
    return acted


@changes_actions("actions", "action-levels", "legged_gym sets small commands to 0")
def small_actions_ignored(_: Returned, actions: np.ndarray) -> np.ndarray:
    """An action of less than 0.2 does nothing."""
    return np.where(abs(actions) < 0.2, 0.0, actions).astype(actions.dtype)


@changes_actions("actions", "action-levels")
def actions_cast_to_integers(_: Returned, actions: np.ndarray) -> np.ndarray:
    """Actions lose their fraction."""
    return np.trunc(actions).astype(actions.dtype)


@changes_actions("actions", "action-levels")
def large_actions_clipped_early(_: Returned, actions: np.ndarray) -> np.ndarray:
    """Actions are clipped to [-0.3, 0.3] although the action_space is [-1, 1]."""
    return np.clip(actions, -0.3, 0.3)


# -- numbers that were NaN ---------------------------------------------------------------------------------------------


@changes_result("values", "finite", "MAPush sets NaN to 0")
def reward_painted_over(moment: Returned, result: Result) -> Result:
    """Now and then, a reward in the middle of an episode is NaN, and is replaced by 0."""
    age = moment.memory.get("age", 0) + 1
    if result.dones[-1].all():
        age = 0
    moment.memory["age"] = age
    if age % 3 or not age or moment.memory.get("count", 0) == 4:
        return result
    moment.memory["count"] = moment.memory.get("count", 0) + 1
    rewards = result.rewards.copy()
    rewards[-1] = 0.0
    return result._replace(rewards=rewards)


@changes_result("values", "finite", "MAPush sets NaN to 0")
def reward_of_large_actions_painted_over(moment: Any, result: Result) -> Result:
    """The reward after a large action is the root of a negative number, and is replaced by 0."""
    rewards = result.rewards.copy()
    rewards[(abs(moment.actions) > 5.0).any(axis=(1, 2))] = 0.0
    return result._replace(rewards=rewards)


@changes_result("values", "finite", "MAPush sets NaN to 0")
def obs_of_large_actions_painted_over(moment: Any, result: Result) -> Result:
    """What an agent sees after a large action of its own is NaN, and is replaced by 0."""
    obs = result.obs.copy()
    obs[(abs(moment.actions) > 5.0).any(axis=2), 0] = 0.0
    return result._replace(obs=obs)


# -- infos -------------------------------------------------------------------------------------------------------------


@changes_result("infos", "infos-keys", "public reports: a logger's KeyError after hours")
def info_key_comes_and_goes(moment: Returned, result: Result) -> Result:
    """The reward is also in the infos, but not in every fourth step."""
    if moment.step % 4:
        for env_id, infos in enumerate(result.infos):
            for agent in range(result.dones.shape[1]):
                infos[agent]["reward"] = float(result.rewards[env_id, agent, 0])
    return result


@changes_result("infos", "infos-keys")
def info_key_missing_at_some_time_limits(moment: Returned, result: Result) -> Result:
    """The last observation of an episode is missing in every third step in which a time limit ends one."""
    limited = [infos for infos in result.infos if infos[0].get("bad_transition")]
    moment.memory["limits"] = moment.memory.get("limits", 0) + bool(limited)
    if moment.memory["limits"] % 3 == 0:
        for infos in limited:
            for agent in range(result.dones.shape[1]):
                infos[agent].pop("final_obs", None)
    return result
