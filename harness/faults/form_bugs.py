"""Bugs of form: of arrays, values, buffers, and of how an environment is made and closed."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, Iterator

import numpy as np

from harness.faults.plant import (
    Result,
    Returned,
    changes_result,
    in_env_classes,
    planted,
)

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
def missing_argument(start: int = 1) -> Iterator[None]:
    """The env reads an attribute that its arguments lack: MQE reads them wherever it needs them."""

    def broken(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        SimpleNamespace(num_envs=5, headless=True).physics_engine  # noqa: B018

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
