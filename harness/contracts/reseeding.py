"""Seeding the random generators of an environment while it runs, so that what it draws next is known to be the same."""

from __future__ import annotations

import hashlib
import random
import sys
from typing import Any, List

import numpy as np

from harness.contracts.factory_call import seed_global_generators
from harness.interface.far_env import FarEnv, of_env
from harness.object_graph import generators, seed_generator

STEPS_BETWEEN_SEARCHES = 25  # for generators, as an environment may make new ones


def seed_anew(env: Any, seed: int) -> None:
    """Seed every random generator that an environment may draw from."""
    _seed_all(generators(env), seed)


def seed_alike(env: Any, seed: int) -> None:
    """Put every random generator that an environment may draw from into the same state."""
    seed_global_generators(seed)
    for generator in generators(env):
        seed_generator(generator, seed)


def states_of(env: Any) -> List[str]:
    """Return the state of each random generator that can be reached from an environment, as a short text."""
    return [_short_text(_state_of(generator)) for generator in generators(env)]


def all_states_of(env: Any) -> List[str]:
    """Return the states of these generators, and of those of the process."""
    states = [*states_of(env), _short_text(random.getstate()), _short_text(_plain(np.random.get_state(legacy=False)))]
    if "torch" in sys.modules:
        states.append(_short_text(sys.modules["torch"].get_rng_state().tolist()))
    return states


def _short_text(state: Any) -> str:
    return hashlib.sha256(repr(state).encode()).hexdigest()


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return {name: _plain(value) for name, value in generator.bit_generator.state.items()}
    if isinstance(generator, np.random.RandomState):
        return [_plain(value) for value in generator.get_state()]
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.get_state().tolist()


def _plain(value: Any) -> Any:
    """Return a value whose text is complete: numpy leaves out the middle of long arrays."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def _seed_all(found: List[Any], seed: int) -> None:
    seed_global_generators(seed)
    for number, generator in enumerate(found):
        seed_generator(generator, seed + number)


class Reseeder:
    """Seeds the generators of one environment with the same seed, many times.

    Args:
      env: the environment; it may be in a process of its own.
      seed: the seed.
    """

    def __init__(self, env: Any, seed: int) -> None:
        self._env = env
        self._seed = seed
        self._found: List[Any] = []
        self._count = 0

    def seed_again(self) -> None:
        """Put all generators into the same state as the last time."""
        if isinstance(self._env, FarEnv):
            of_env(self._env, seed_anew, self._seed)
            return
        if self._count % STEPS_BETWEEN_SEARCHES == 0:
            self._found = generators(self._env)
        self._count += 1
        _seed_all(self._found, self._seed)
