"""Turns what the user's factory makes into a subject of a soak: a subject, a runner, an environment, or a loop."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Optional

import numpy as np

from harness.interface.drivers import finite_range
from harness.interface.other_interfaces import identify
from harness.interface.player import as_harl_does
from harness.interface.spaces import Sizes, read_sizes
from harness.memory.soak import Subject
from harness.soaking.runner_loop import is_runner, runner_subject
from mapush.errors import ConfigError

SEED = 11
KINDS = "a harness.Subject, a HARL runner, an environment, a generator, or a function that runs one cycle"


class EpisodeCounter:
    """Counts the episodes that end in an environment.

    Attributes:
      ended: how many have ended.
      steps: how many steps were taken, each of all envs.
      watched: whether there is an environment to count in.
    """

    def __init__(self) -> None:
        self.ended = 0
        self.steps = 0
        self.watched = False

    def watch(self, env: Any) -> None:
        """Count in the `step` of an environment with HARL's interface."""
        original = env.step

        def step(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            self.count(result[3])
            return result

        try:
            env.step = step
        except AttributeError:  # slots
            return
        self.watched = True

    def count(self, dones: Any) -> None:
        """Count the envs whose episode has ended; `dones` is one number for each env, or one for each agent."""
        self.steps += 1
        ended: np.ndarray = np.asarray(dones, bool)
        if ended.ndim > 1:
            ended = np.asarray(ended.reshape(len(ended), -1).all(axis=1))
        self.ended += int(ended.sum())


def subject_of(thing: Any, episodes: EpisodeCounter) -> Subject:
    """Return what a factory made as a subject.

    Args:
      thing: what it made; see `KINDS`.
      episodes: counts the episodes of an environment, or of the environment of a runner.

    Raises:
      ConfigError: it is none of them.
    """
    if isinstance(thing, Subject):
        return thing
    if is_runner(thing):
        episodes.watch(thing.envs)
        return runner_subject(thing)
    if inspect.isgenerator(thing):
        return Subject(lambda: next(thing), close=thing.close, owners={"loop": thing})
    if callable(getattr(thing, "step", None)):
        return _environment(thing, episodes)
    if callable(getattr(thing, "advance", None)):
        return Subject(thing.advance, close=getattr(thing, "close", _nothing), owners={"loop": thing})
    if callable(thing) and not inspect.isclass(thing):
        return Subject(thing, owners={"loop": thing})
    raise ConfigError("the factory makes nothing that can be soaked", got=type(thing).__name__, expected=KINDS)


def _nothing() -> None:
    pass


def _environment(env: Any, episodes: EpisodeCounter) -> Subject:
    """Return an environment as a subject: random actions, one step a cycle."""
    if identify(env) is None:
        return _harl_environment(env, episodes)
    if hasattr(getattr(env, "action_space", None), "sample") and not hasattr(env, "possible_agents"):
        return _gym_environment(env, episodes)
    kind, how = identify(env) or ("", "")
    raise ConfigError(
        f"the factory makes {kind}, which the harness cannot drive",
        expected=KINDS,
        fix=f"return a function that takes one step, with its actions; or {how}",
    )


def _harl_environment(env: Any, episodes: EpisodeCounter) -> Subject:
    observation = env.reset()
    sizes = read_sizes(env, _num_envs(observation))
    rng = np.random.default_rng(SEED)
    low, high = finite_range(sizes)
    available = [observation[2] if isinstance(observation, tuple) and len(observation) > 2 else None]

    def advance() -> None:
        result = env.step(as_harl_does(_actions(rng, sizes, low, high, available[0]), sizes.discrete))
        available[0] = result[5]
        episodes.count(result[3])

    episodes.watched = True
    return Subject(advance, steps=sizes.num_envs, close=getattr(env, "close", _nothing), owners={"env": env})


def _num_envs(observation: Any) -> Optional[int]:
    if isinstance(observation, tuple):
        return len(observation[0])
    return None


def _actions(
    rng: np.random.Generator, sizes: Sizes, low: np.ndarray, high: np.ndarray, available: Optional[Any]
) -> np.ndarray:
    """Return random actions (N, A, K); of a Discrete space only those that are available."""
    if not sizes.discrete:
        return rng.uniform(low, high, sizes.action_shape)
    if sizes.maskable and isinstance(available, np.ndarray) and available.dtype != object:
        chances = rng.random(available.shape) * (available > 0)
        return chances.argmax(axis=-1)[..., None]
    return rng.integers(low.astype(int), high.astype(int) + 1, sizes.action_shape)


def _gym_environment(env: Any, episodes: EpisodeCounter) -> Subject:
    """Return an environment of gymnasium, single or vectorised, whose actions are its own samples."""
    _seed(env.action_space)
    env.reset()
    is_single = not hasattr(env, "single_action_space")

    def advance() -> None:
        result = env.step(env.action_space.sample())
        ended = np.asarray(result[2], bool)
        if len(result) > 4:
            ended = ended | np.asarray(result[3], bool)
        episodes.count(ended.reshape(-1))
        if is_single and ended.any():
            env.reset()

    episodes.watched = True
    steps = int(getattr(env, "num_envs", 1))
    return Subject(advance, steps=steps, close=getattr(env, "close", _nothing), owners={"env": env})


def _seed(space: Any) -> None:
    seed: Optional[Callable[[int], Any]] = getattr(space, "seed", None)
    if callable(seed):
        seed(SEED)
