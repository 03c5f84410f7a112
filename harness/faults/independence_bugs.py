"""Bugs that show between envs, between environments, and between runs: in independence and randomness."""

from __future__ import annotations

import weakref
from typing import Any, Callable, ContextManager, Dict, Iterator, MutableMapping, MutableSet, Tuple

import numpy as np

from harness.faults.new_episodes import in_new_episodes, replaced_in_push
from harness.faults.plant import (
    Result,
    Returned,
    changes_actions,
    changes_result,
    in_env_classes,
    planted,
    replaced,
    replaces,
)

# -- independence ------------------------------------------------------------------------------------------------------


@planted("independence", ("partial-reset", "independence"), "public reports: a partial reset touches other envs")
def reset_touches_neighbour(start: int = 1) -> Iterator[None]:
    """When an env is reset, so is the env after it, without being reported."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        original(env, env_id)
        original(env, (env_id + 1) % env.num_envs)

    def in_push(original: Any, env: Any, where: Any) -> Any:
        return original(env, where | where.roll(1))

    with in_new_episodes(start, in_toy, in_push):
        yield


@planted("independence", ("partial-reset", "independence"), "HARL contract S15")
def one_end_resets_all(start: int = 1) -> Iterator[None]:
    """When one episode ends, all envs are reset."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        for other in range(env.num_envs):
            original(env, other)

    def in_push(original: Any, env: Any, where: Any) -> Any:
        return original(env, where | True)

    with in_new_episodes(start, in_toy, in_push):
        yield


@planted("independence", "partial-reset", "a blind hold-out", says="starts of an env depend on when others end")
def one_generator_for_all_resets(start: int = 1) -> Iterator[None]:
    """Each env has a generator, but resets within a step draw from that of env 0."""

    def number_of(env: Any, env_id: int) -> int:
        return 0

    with _starts_drawn_from(start, number_of):
        yield


@planted("independence", "partial-reset", says="starts of an env depend on when others end")
def generators_in_turn(start: int = 1) -> Iterator[None]:
    """Each reset within a step draws from the next generator, whichever env it is of."""
    counts: MutableMapping[Any, int] = weakref.WeakKeyDictionary()

    def number_of(env: Any, env_id: int) -> int:
        counts[env] = counts.get(env, 0) + 1
        return counts[env] % env.num_envs

    with _starts_drawn_from(start, number_of):
        yield


def _starts_drawn_from(start: int, number_of: Callable[[Any, int], int]) -> ContextManager[None]:
    """Return a context in which resets within steps of the toy draw from generator `number_of(env, env_id)`."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        own, number = env._generators[env_id], number_of(env, env_id)
        env._generators[env_id] = env._generators[number]
        original(env, env_id)
        env._generators[env_id] = own

    return in_new_episodes(start, in_toy, lambda original, env, where: original(env, where))


@replaces("harness.grid_toy:GridTeam._start", "independence", "partial-reset", "a blind hold-out", world="grid")
def one_end_shifts_all_boxes(original: Any, env: Any, env_id: int) -> None:
    """When one episode ends, the boxes of all other envs move by one column."""
    original(env, env_id)
    others = np.arange(env.num_envs) != env_id
    env._boxes[others] = np.roll(env._boxes[others], 1, axis=2)


@replaces("harness.grid_toy:GridTeam._start", "independence", "partial-reset", "a blind hold-out", world="grid")
def one_end_moves_all_robots(original: Any, env: Any, env_id: int) -> None:
    """When one episode ends, the robots of all other envs move up by one row."""
    original(env, env_id)
    others = np.arange(env.num_envs) != env_id
    env._robots[others, :, 0] = np.maximum(env._robots[others, :, 0] - 1, 0)


@planted("independence", ("independence", "partial-reset"), "a blind hold-out")
def start_reads_the_first_row(start: int = 1) -> Iterator[None]:
    """The first robot of an env that is reset starts where that of the first env is; only the toy has it."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        original(env, env_id)
        env._robots[env_id, 0] = env._robots[0, 0]

    with in_new_episodes(start, in_toy, lambda original, env, where: original(env, where)):
        yield


@planted("independence", "partial-reset")
def one_end_turns_all_robots(start: int = 1) -> Iterator[None]:
    """When one episode ends, the robots of all envs face the same way; only the toy has it."""

    def in_toy(original: Any, env: Any, env_id: int) -> None:
        own = env._yaw.copy()
        original(env, env_id)
        own[env_id] = env._yaw[env_id]
        env._yaw = np.where(np.arange(env.num_envs)[:, None] == env_id, own, 0.0)

    with in_new_episodes(start, in_toy, lambda original, env, where: original(env, where)):
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
    "ours: a config object is multiplied in place",
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
    "ours: a number is multiplied in the config that all share",
    of_making=True,
)
def setting_grows_with_every_env(start: int = 1) -> Iterator[None]:
    """Every new env asks for five times the room of the last one; nothing else shows it."""
    config = {"buffers": {"room": 2.0**20}}

    def init(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        config["buffers"]["room"] *= 5
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

    with replaced(PointMass, "__init__", toy), replaced_in_push("__init__", push):
        yield


def _noisy(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return (values + 1e-3 * noise).astype(values.dtype)
