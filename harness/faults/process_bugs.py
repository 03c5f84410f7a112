"""Bugs that show between processes, or in what a process keeps: in seeds, registries and caches."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import zlib
from typing import Any, Callable, Dict, Iterator, List

import numpy as np

from harness.faults.new_episodes import replaced_in_push
from harness.faults.plant import in_env_classes, planted, replaced

LOADED_NS = time.time_ns()

# -- seeds that hold within a process only -----------------------------------------------------------------------------


@contextlib.contextmanager
def _seeded(change: Callable[[int], int]) -> Iterator[None]:
    """Plant that an env with a seed draws as one with a different seed."""
    from harness.toys import PointMass

    def toy(original: Any, env: Any, num_envs: int, num_agents: int, seed: int, horizon: int) -> None:
        original(env, num_envs, num_agents, change(seed), horizon)

    def push(original: Any, env: Any, sim: Any, task: Any, seed: int) -> None:
        original(env, sim, task, change(seed))

    with replaced(PointMass, "__init__", toy), replaced_in_push("__init__", push):
        yield


@planted("processes", "other-process", "public reports: runs differ with PYTHONHASHSEED", of_making=True)
def seed_from_a_hash(start: int = 1) -> Iterator[None]:
    """The seed of the starts is the hash of a text, which is different in every process."""
    with _seeded(lambda seed: hash(f"starts {seed}") % 2**31):
        yield


@planted("processes", "other-process", "public reports: runs differ with PYTHONHASHSEED", of_making=True)
def order_of_a_set(start: int = 1) -> Iterator[None]:
    """The envs draw in the order of a set of texts."""
    from harness.toys import PointMass

    def toy(original: Any, env: Any, *args: Any) -> None:
        original(env, *args)
        numbers = [int(name[4:]) for name in {f"env {env_id}" for env_id in range(env.num_envs)}]
        env._generators = [env._generators[number] for number in numbers]

    def push(original: Any, env: Any, sim: Any, task: Any, seed: int) -> None:
        first = next(iter({f"env {env_id}" for env_id in range(97)}))
        original(env, sim, task, seed + int(first[4:]))

    with replaced(PointMass, "__init__", toy), replaced_in_push("__init__", push):
        yield


@planted("processes", "other-process", of_making=True)
def seed_with_the_process_id(start: int = 1) -> Iterator[None]:
    """The process id is added to the seed."""
    with _seeded(lambda seed: seed + os.getpid()):
        yield


@planted("processes", "other-process", of_making=True)
def seed_from_the_clock(start: int = 1) -> Iterator[None]:
    """The time at which the module was loaded is added to the seed."""
    with _seeded(lambda seed: seed + LOADED_NS % 2**31):
        yield


@planted("processes", "other-process", of_making=True)
def seed_with_the_folder(start: int = 1) -> Iterator[None]:
    """The name of the current folder is added to the seed."""
    with _seeded(lambda seed: seed + zlib.crc32(os.getcwd().encode())):
        yield


@planted("processes", "other-process", of_making=True)
def seed_with_the_number_of_threads(start: int = 1) -> Iterator[None]:
    """The number of threads is added to the seed."""
    with _seeded(lambda seed: seed + int(os.environ.get("OMP_NUM_THREADS", 0))):
        yield


# -- what a process keeps ----------------------------------------------------------------------------------------------


@planted("memory", "made-and-closed", of_making=True)
def registry_keeps_envs(start: int = 1) -> Iterator[None]:
    """Every env that is made is entered in a list, and close does not remove it."""
    registry: List[Any] = []

    def init(original: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        original(env, *args, **kwargs)
        registry.append(env)
        env._is_registered = True

    with in_env_classes("__init__", init):
        yield


@planted("memory", "made-and-closed", "public reports: functools.lru_cache on a method", of_making=True)
def cache_of_a_method_keeps_envs(start: int = 1) -> Iterator[None]:
    """A method is cached, so the cache keeps every env on which it was called."""

    @functools.lru_cache(maxsize=None)
    def name_of(env: Any) -> str:
        return type(env).__name__

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        env._name = name_of(env)
        return original(env, actions)

    with in_env_classes("step", step):
        yield


@planted("memory", "made-and-closed", of_making=True)
def class_keeps_the_last_states(start: int = 1) -> Iterator[None]:
    """Close appends the last observations to a list of the class."""
    last: Dict[str, Any] = {}
    kept: List[np.ndarray] = []

    def step(original: Any, env: Any, actions: np.ndarray) -> Any:
        returned = original(env, actions)
        last["obs"] = returned[0].copy()
        env._last_states = kept
        return returned

    def close(original: Any, env: Any) -> None:
        original(env)
        kept.append(last.get("obs", np.zeros(3)))

    with in_env_classes("step", step), in_env_classes("close", close):
        yield
