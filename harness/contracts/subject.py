"""What the contracts of an environment work on: a factory, its sizes, and the runs they share."""

from __future__ import annotations

import inspect
import random
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from harness import foreign
from harness.drivers import Driver
from harness.findings import ContractError
from harness.interface import COMPARED, Player, Seen, Sizes, first_line, innermost_line, read_sizes

LONG_RUN = 1100  # steps: a fault that starts at step 1,000 shows
LONG_RUN_SHARE = 0.2  # of the budget
NUM_ENVS = (5, 7, 11, 13, 17)  # the first that equals no other size is used
VARIED = ("num_envs", "num_agents", "seed")


class Subject:
    """A factory of environments under test.

    Args:
      make_env: the factory.
      kwargs: its arguments that stay as they are.
      task: what the user says about the task, or None.
      seed: of environments and actions.
      budget_s: how long the contracts may take together [s].

    Attributes:
      violations: the first broken form of each contract, from whatever run it showed in.
      notes: what the reader of the report should know.
      sizes: of the environments that `play` drives.
    """

    def __init__(
        self, make_env: Callable[..., Any], kwargs: Dict[str, Any], task: Optional[Any], seed: int, budget_s: float
    ) -> None:
        self.task, self.seed, self.budget_s = task, seed, budget_s
        self.violations: Dict[str, ContractError] = {}
        self.notes: List[str] = []
        self._make_env, self._kwargs = make_env, kwargs
        self.varied = _accepted(make_env, kwargs)
        self._num_envs: Optional[int] = None
        self._sizes: Optional[Sizes] = None
        self._long_run: Optional[Player] = None
        self._failure: Optional[ContractError] = None
        self.build_s = self.step_s = 0.0

    @property
    def sizes(self) -> Sizes:
        """The sizes of the environments.

        Raises:
          ContractError: the factory, or the spaces, are broken.
        """
        if self._sizes is None:
            self._sizes = self._choose_sizes()
        return self._sizes

    def build(self, seed: Optional[int] = None) -> Any:
        """Call the factory.

        Args:
          seed: of the environment, by default the subject's; a factory without one finds the global generators seeded.
        Raises:
          ContractError: of the contract "factory": it raised, or returned something else.
        """
        seed = self.seed if seed is None else seed
        wanted = {"num_envs": self._num_envs, "seed": seed}
        varied = {name: value for name, value in wanted.items() if name in self.varied and value is not None}
        if "seed" not in varied:
            seed_global_generators(seed)
        return self.call_factory(varied)

    def call_factory(self, varied: Dict[str, Any]) -> Any:
        """Call the factory with these arguments beside the fixed ones."""
        arguments = dict(self._kwargs, **varied)
        started = time.perf_counter()
        try:
            env = self._make_env(**arguments)
        except Exception as error:
            raise ContractError(
                "the factory raises {}: {}".format(type(error).__name__, first_line(error)),
                contract="factory",
                where=innermost_line(error),
                got="called with {}".format(arguments or "no arguments"),
                expected="an environment, as often as it is asked for",
                fix="run it by hand; arguments that must stay as they are go to --kwargs" if arguments else None,
            ) from error
        self.build_s = time.perf_counter() - started
        foreign.refuse(env)
        return env

    def player(self, seed: Optional[int] = None, scribble: bool = False, watch: bool = True) -> Player:
        """Build an environment and reset it, ready to be driven."""
        sizes = self.sizes
        player = Player(self.build(seed), sizes, self.violations, scribble, watch)
        player.reset()
        return player

    def long_run(self) -> Player:
        """Return the run that most contracts look at: `LONG_RUN` steps of every kind of actions, or what time allows.

        Raises:
          ContractError: it could not go on; the same for everyone who asks.
        """
        if self._failure is not None:
            raise self._failure
        if self._long_run is None:
            try:
                self._long_run = self.player()
                driver = Driver(self.sizes, self.seed)
                self.step_s = drive(self._long_run, driver, LONG_RUN, LONG_RUN_SHARE * self.budget_s)
            except ContractError as error:
                self._failure = error
                raise
            steps = len(self._long_run.seen) - 1
            ends = int(sum(seen.ended.sum() for seen in self._long_run.seen[1:]))
            self.notes.append("long run: {} steps of {} envs, {} episodes".format(steps, self.sizes.num_envs, ends))
        return self._long_run

    def steps(self, wanted: int, runs: int, share: float = 0.1) -> int:
        """Return how many steps `runs` runs may take within a share of the budget, at most `wanted`, at least 8."""
        self.long_run()
        left = share * self.budget_s - runs * self.build_s
        return int(max(min(wanted, left / (runs * max(self.step_s, 1e-6))), 8))

    def _choose_sizes(self) -> Sizes:
        sizes = self._read()
        if "num_envs" in self.varied:
            others = (sizes.num_agents, sizes.obs_dim, sizes.share_obs_dim, sizes.action_dim)
            self._num_envs = next(count for count in NUM_ENVS if count not in others)
            sizes = self._read()
        if sizes.num_envs == 1:
            raise ContractError(
                "the environment has one env only",
                contract="factory",
                got=str(sizes),
                expected="at least two: with one, HARL broadcasts wrong shapes without a word",
                fix="let the factory take num_envs, or build a larger batch",
            )
        if sizes.alike():
            self.notes.append("equal sizes ({}): a swap of these axes may hide".format(", ".join(sizes.alike())))
        return sizes

    def _read(self) -> Sizes:
        env = self.build()
        try:
            return read_sizes(env, self._num_envs)
        finally:
            close_quietly(env)


def drive(player: Player, driver: Callable[[Seen], np.ndarray], steps: int, limit_s: float = np.inf) -> float:
    """Drive a player for a number of steps, or until the time is up.

    Returns:
      How long a step took [s].
    """
    started = time.perf_counter()
    taken = 0
    while taken < steps and time.perf_counter() - started < limit_s:
        player.step(driver(player.seen[-1]))
        taken += 1
    return (time.perf_counter() - started) / max(taken, 1)


def first_difference(one: Seen, other: Seen, envs: np.ndarray) -> Optional[Tuple[str, Tuple[int, ...]]]:
    """Return the field and the place at which two steps differ by as little as a bit, or None.

    Args:
      one: a step.
      other: the same step of another run.
      envs: which envs to compare, (N,) bool.
    """
    for name in COMPARED:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None:
            continue
        differs = (a != b) & ~((a != a) & (b != b))
        differs[~envs] = False
        if differs.any():
            return name, tuple(int(index) for index in np.argwhere(differs)[0])
    return None


def seed_global_generators(seed: int) -> None:
    """Seed the generators of the process, as HARL does before it makes an environment."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def close_quietly(env: Any) -> None:
    """Close an environment whose `close` is not what is looked at."""
    try:
        env.close()
    except Exception:  # noqa: BLE001
        pass


def _accepted(make_env: Callable[..., Any], kwargs: Dict[str, Any]) -> Tuple[str, ...]:
    try:
        parameters = inspect.signature(make_env).parameters
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(
        name for name in VARIED if name in parameters and parameters[name].kind in kinds and name not in kwargs
    )
