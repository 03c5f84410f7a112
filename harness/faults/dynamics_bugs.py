"""Bugs that show only over time or between envs: in episodes, rewards, randomness, independence and memory."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Callable, Dict, Iterator, List, MutableMapping, MutableSet, Tuple

import numpy as np

from harness.faults.plant import (
    Result,
    Returned,
    changes_actions,
    changes_result,
    in_env_classes,
    listed,
    planted,
    replaced,
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

    with _in_new_episodes(start, lambda *_: None, in_push):
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

    with _in_new_episodes(start, in_toy, in_push):
        yield


# -- independence ------------------------------------------------------------------------------------------------------


@planted("independence", ("partial-reset", "independence"), "public reports: a partial reset touches other envs")
def reset_touches_neighbour(start: int = 1) -> Iterator[None]:
    """When an env is reset, so is the env after it, without being reported."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        original(env, env_id)
        original(env, (env_id + 1) % env.num_envs)

    def in_push(original: Any, env: Any, where: Any) -> Any:
        return original(env, where | where.roll(1))

    with _in_new_episodes(start, in_toy, in_push):
        yield


@planted("independence", ("partial-reset", "independence"), "HARL contract S15")
def one_end_resets_all(start: int = 1) -> Iterator[None]:
    """When one episode ends, all envs are reset."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        for other in range(env.num_envs):
            original(env, other)

    def in_push(original: Any, env: Any, where: Any) -> Any:
        return original(env, where | True)

    with _in_new_episodes(start, in_toy, in_push):
        yield


@changes_result("independence", "independence", resets=True)
def obs_normalised_over_envs(_: Returned, result: Result) -> Result:
    """The observations of an env depend on the mean over all envs."""
    return result._replace(obs=result.obs - 0.1 * result.obs.mean(axis=0, keepdims=True))


@changes_result("independence", ("independence", "partial-reset"))
def one_end_takes_all_rewards(_: Returned, result: Result) -> Result:
    """When one episode ends, no env gets a reward."""
    if result.dones.any():
        return result._replace(rewards=np.zeros_like(result.rewards))
    return result


@changes_actions("independence", ("impulse", "independence"))
def actions_leak_to_next_env(_: Returned, actions: np.ndarray) -> np.ndarray:
    """Each env also executes part of the actions of its neighbour."""
    return (actions + 0.1 * np.roll(actions, 1, axis=0)).astype(actions.dtype)


@changes_result("aliasing", "aliasing", "public reports: in-place edit of shared state")
def obs_is_internal_state(moment: Returned, result: Result) -> Result:
    """The array of observations is the env's own state: writing into it changes later observations."""
    obs = result.obs
    if "obs" in moment.memory:
        written = moment.memory["obs"] - moment.memory["before"]  # by whoever holds the array
        obs = obs + written
    moment.env._last_obs = obs
    moment.memory["obs"] = obs
    moment.memory["before"] = obs.copy()
    return result._replace(obs=obs)


# -- two environments --------------------------------------------------------------------------------------------------


@planted(
    "two environments",
    ("two-environments", "same-seed"),
    "mission bug 1: a config object is multiplied in place",
    of_making=True,
)
def config_multiplied_in_place(start: int = 1) -> Iterator[None]:
    """Every new env multiplies a shared factor, so the second env has the square of the first one's."""
    shared = {"factor": 1.0}

    def init(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        shared["factor"] *= 0.8
        env._factor = shared["factor"]

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        return original(env, (actions * env._factor).astype(actions.dtype))

    with in_env_classes("__init__", init), in_env_classes("step", step):
        yield


@planted(
    "two environments",
    "two-environments",
    "mission bug 1: max_gpu_contact_pairs is multiplied by 5 in the config that all share",
    of_making=True,
)
def contact_pairs_of_a_shared_config(start: int = 1) -> Iterator[None]:
    """Every new env asks for five times the contact pairs of the last one; nothing else shows it."""
    config = {"physx": {"max_gpu_contact_pairs": 2.0**20}}

    def init(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        config["physx"]["max_gpu_contact_pairs"] *= 5
        env._sim_config = config

    with in_env_classes("__init__", init):
        yield


@planted("batch size", "batch-size", of_making=True)
def slower_in_odd_batches(start: int = 1) -> Iterator[None]:
    """The envs of an odd batch have half the time step, so what a robot does depends on the number of envs."""

    def init(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        env._factor = 1.0
        if env.num_envs % 2:
            env._factor = 0.5

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        return original(env, (np.clip(actions, -1.0, 1.0) * env._factor).astype(actions.dtype))

    with in_env_classes("__init__", init), in_env_classes("step", step):
        yield


_BUFFERS: Dict[Tuple[int, ...], np.ndarray] = {}


@changes_result("two environments", ("two-environments", "aliasing"))
def buffer_of_the_class(_: Returned, result: Result) -> Result:
    """All environments of a process write their observations into one array."""
    buffer = _BUFFERS.setdefault(result.obs.shape, np.empty_like(result.obs))
    buffer[...] = result.obs
    return result._replace(obs=buffer)


@planted("two environments", ("two-environments", "close"), "Isaac Gym: one simulation per process", of_making=True)
def close_closes_all(start: int = 1) -> Iterator[None]:
    """Closing one environment ends the simulation of all that were made before."""
    made: MutableSet[Any] = weakref.WeakSet()
    closed: MutableSet[Any] = weakref.WeakSet()

    def init(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        made.add(env)

    def close(original: Any, env: Any) -> None:
        original(env)
        for other in made:
            closed.add(other)

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        if env in closed:
            raise RuntimeError("simulation is gone")
        return original(env, actions)

    with in_env_classes("__init__", init), in_env_classes("close", close), in_env_classes("step", step):
        yield


# -- randomness --------------------------------------------------------------------------------------------------------


@changes_result("randomness", "same-seed")
def noise_without_seed(moment: Returned, result: Result) -> Result:
    """Sensor noise comes from a generator that is not seeded."""
    generator = moment.memory.setdefault("generator", np.random.default_rng())
    return result._replace(obs=_noisy(result.obs, generator.standard_normal(result.obs.shape)))


@changes_result("randomness", "same-seed", "HARL contract S27")
def noise_from_global_generator(_: Returned, result: Result) -> Result:
    """Sensor noise comes from numpy's global generator."""
    return result._replace(obs=_noisy(result.obs, np.random.standard_normal(result.obs.shape)))


@planted("randomness", "other-seed", of_making=True)
def seed_ignored(start: int = 1) -> Iterator[None]:
    """Every seed gives the same episodes."""
    from harness.toys import PointMass

    def toy(original: Any, env: Any, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        original(env, num_envs, num_agents, 0, horizon)

    def push(original: Any, env: Any, sim: Any, task: Any, seed: int) -> None:
        original(env, sim, task, 0)

    with replaced(PointMass, "__init__", toy), _in_push("__init__", push):
        yield


def _noisy(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return (values + 1e-3 * noise).astype(values.dtype)


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


# -- what only a different machine, or a meter, can show ---------------------------------------------------------------

listed(
    "contact-pairs-x5",
    "two environments",
    "mission bug 1",
    needs="isaacgym",
    about="max_gpu_contact_pairs of a shared config is multiplied by 5 in place: by 25 in the second environment.",
    contracts="two-environments",
)
listed(
    "driver-level-leak",
    "memory",
    "public reports",
    needs="memory",
    about="Every reset keeps memory of the driver.",
    contracts="memory",
)
listed(
    "host-memory-leak",
    "memory",
    "mission bug 2",
    needs="memory",
    about="Every step keeps memory outside Python.",
    contracts="memory",
)
listed(
    "open-file-leak",
    "memory",
    "ours",
    needs="memory",
    about="Every environment that is made leaves a file open.",
    contracts="memory",
)
listed(
    "thread-leak",
    "memory",
    "ours",
    needs="memory",
    about="Closing an environment leaves its threads.",
    contracts="memory",
)
listed(
    "dropped-contacts",
    "gpu",
    "public reports",
    needs="gpu",
    about="A full contact buffer drops contacts in silence.",
    contracts="gpu",
)
listed(
    "stale-host-copy",
    "gpu",
    "HARL contract S30",
    needs="gpu",
    about="An asynchronous copy is read too early.",
    contracts="gpu",
)
listed(
    "captured-pointer",
    "gpu",
    "ours",
    needs="gpu",
    about="A CUDA graph replays on memory that was released.",
    contracts="gpu",
)


@contextlib.contextmanager
def _in_push(name: str, broken: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of our pushing task, if torch is installed."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ModuleNotFoundError):
            from mapush.env.push import PushEnv

            stack.enter_context(replaced(PushEnv, name, broken))
        yield


@contextlib.contextmanager
def _in_new_episodes(start: int, in_toy: Callable[..., Any], in_push: Callable[..., Any]) -> Iterator[None]:
    """Replace what starts an episode in the toy and in the pushing task, within steps from the `start`-th on.

    The first episode, which `reset` starts, stays as it is: only what starts while an env is in a step is replaced.
    """
    from harness.toys import PointMass

    steps: MutableMapping[Any, int] = weakref.WeakKeyDictionary()
    stepping: List[bool] = []

    def step(original: Any, env: Any, actions: Any) -> Any:
        steps[env] = steps.get(env, 0) + 1
        stepping.append(steps[env] >= start)
        try:
            return original(env, actions)
        finally:
            stepping.pop()

    def switched(broken: Callable[..., Any]) -> Callable[..., Any]:
        def call(original: Any, *args: Any) -> Any:
            if stepping and stepping[-1]:
                return broken(original, *args)
            return original(*args)

        return call

    with replaced(PointMass, "step", step), replaced(PointMass, "_start", switched(in_toy)):
        with _in_push("step", step), _in_push("_respawn", switched(in_push)):
            yield
