"""What the contracts of an environment work on: a factory, its sizes, and the runs they share."""

from __future__ import annotations

import inspect
import random
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import NO_TIME, ContractError, NotJudgedError
from harness.interface import other_interfaces
from harness.interface.drivers import ActionDriver
from harness.interface.player import COMPARED, Player, Seen, first_line, innermost_line, is_ctrl_c
from harness.interface.spaces import Sizes, read_sizes

LONG_RUN = 1100  # steps: a fault that starts at step 1,000 shows
LONG_RUN_SHARE = 0.2  # of the budget
OVERDRAFT = 0.25  # of the budget, by which the last contracts to be judged may go beyond it
NUM_ENVS = (5, 7, 11, 13, 17)  # the first that equals no other size is used
VARIED = {  # what is varied, and under which names factories take it
    "num_envs": ("num_envs", "n_envs", "n_rollout_threads", "n_threads"),
    "num_agents": ("num_agents", "n_agents"),
    "seed": ("seed",),
}


class EnvUnderTest:
    """A factory of environments under test.

    Args:
      make_env: the factory.
      kwargs: its arguments that stay as they are.
      task: what the user says about the task, or None.
      seed: of environments and actions.
      budget_s: how long the contracts may take together [s].
      shares: factor of what each may take of it, more than 1 where few of them run.

    Attributes:
      violations: the first broken form of each contract, from whatever run it showed in.
      notes: what the reader of the report should know.
      kept: what one contract has found out and others ask for, by name.
      varied: of `VARIED`, those that the factory takes, and their names there.
      sizes: of the environments that `play` drives.
    """

    def __init__(
        self,
        make_env: Callable[..., Any],
        kwargs: Dict[str, Any],
        task: Optional[Any],
        seed: int,
        budget_s: float,
        shares: float = 1.0,
    ) -> None:
        self.task, self.seed, self.budget_s = task, seed, budget_s
        self._shares = shares
        self._started = time.perf_counter()
        self.violations: Dict[str, ContractError] = {}
        self.notes: List[str] = []
        self.kept: Dict[str, Any] = {}
        self._make_env, self._kwargs = make_env, kwargs
        self.varied = _accepted(make_env, kwargs)
        self._num_envs: Optional[int] = None
        self._sizes: Optional[Sizes] = None
        self._long_run: Optional[Player] = None
        self._replayed: Optional[List[Seen]] = None
        self._failure: Optional[Exception] = None
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

    def build(self, seed: Optional[int] = None, **sizes: int) -> Any:
        """Call the factory.

        Args:
          seed: of the environment, by default the subject's; a factory without one finds the global generators seeded.
          sizes: `num_envs` and `num_agents`, if others than usual are wanted and the factory takes them.
        Raises:
          ContractError: of the contract "factory": it raised, or returned something else.
        """
        seed = self.seed if seed is None else seed
        wanted = dict({"num_envs": self._num_envs, "seed": seed}, **sizes)
        varied = {name: value for name, value in wanted.items() if name in self.varied and value is not None}
        if "seed" not in varied:
            seed_global_generators(seed)
        return self._call_factory(varied)

    def _call_factory(self, varied: Dict[str, Any]) -> Any:
        """Call the factory with these arguments, by their names in `VARIED`, beside the fixed ones."""
        arguments = dict(self._kwargs, **{self.varied[name]: value for name, value in varied.items()})
        _require_arguments(self._make_env, arguments)
        started = time.perf_counter()
        try:
            env = self._make_env(**arguments)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            raise ContractError(
                f"the factory raises {type(error).__name__}: {first_line(error)}",
                contract="factory",
                where=innermost_line(error) if error.__traceback__.tb_next else None,
                got="called with {}".format(arguments or "no arguments"),
                expected="an environment, as often as it is asked for",
                cause="it can be built once only: one was built before in this process" if self.build_s else None,
                fix="run it by hand; arguments that must stay as they are go to --kwargs" if arguments else None,
            ) from error
        self.build_s = time.perf_counter() - started
        other_interfaces.refuse(env)
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
                player = self.player()
                driver = ActionDriver(self.sizes, self.seed)
                self.step_s = drive(player, driver, LONG_RUN, self.time_for(LONG_RUN_SHARE))
            except Exception as error:
                self._failure = error
                raise
            self._long_run = player
            steps = len(player.seen) - 1
            ends = int(sum(seen.ended.sum() for seen in player.seen[1:]))
            self.notes.append(f"long run: {steps} steps of {self.sizes.num_envs} envs, {ends} episodes")
        return self._long_run

    def replay(self, steps: int, scribble: bool = False) -> List[Seen]:
        """Play the first steps of the long run again, in a new environment."""
        player = self.player(scribble=scribble, watch=False)
        started = time.perf_counter()
        player.replay(self.long_run().seen[1 : steps + 1])
        if steps:  # those of the long run were watched, and so took longer
            self.step_s = (time.perf_counter() - started) / steps
        close_quietly(player.env)
        return player.seen

    @property
    def replayed(self) -> List[Seen]:
        """The first steps of the long run played again, as many as time allows."""
        if self._replayed is None:
            self._replayed = self.replay(self.steps(len(self.long_run().seen) - 1, 1))
        return self._replayed

    def require_same_again(self) -> None:
        """Give up the contract that runs if runs cannot be compared.

        Raises:
          NotJudgedError: the same seed and the same actions give another run.
        """
        if where_they_part(self.long_run().seen, self.replayed) is not None:
            raise NotJudgedError("the same seed gives another run, so runs cannot be compared")

    def steps(self, wanted: int, runs: int, share: float = 0.1) -> int:
        """Return how many steps `runs` runs may take within a share of the budget, at most `wanted`, at least 8."""
        self.long_run()
        left = self.time_for(share) - runs * self.build_s
        return int(max(min(wanted, left / (runs * max(self.step_s, 1e-6))), 8))

    def time_for(self, share: float) -> float:
        """Return a share of the budget [s], but no more than half of what is left of it."""
        return min(share * self._shares * self.budget_s, 0.5 * self.time_left)

    @property
    def time_left(self) -> float:
        """What is left of the budget [s]; negative if it is overdrawn."""
        return self.budget_s - (time.perf_counter() - self._started)

    def require_time(self) -> None:
        """Give up the contract that runs if the budget is overdrawn.

        Raises:
          NotJudgedError: it is, by more than `OVERDRAFT`.
        """
        if self.time_left < -OVERDRAFT * self.budget_s:
            raise NotJudgedError(NO_TIME)

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


def first_difference(
    one: Seen, other: Seen, envs: np.ndarray, fields: Sequence[str] = COMPARED
) -> Optional[Tuple[str, Tuple[int, ...]]]:
    """Return the field and the place at which two steps differ by as little as a bit, or None.

    Args:
      one: a step.
      other: the same step of another run.
      envs: which envs to compare, (N,) bool.
      fields: of `Seen`, which to compare.
    """
    for name in fields:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None:
            continue
        differs = (a != b) & ~((a != a) & (b != b))
        differs[~envs] = False
        if differs.any():
            return name, tuple(int(index) for index in np.argwhere(differs)[0])
    return None


class Bystanders:
    """The envs of a run that are left alone, while other actions than in another run are taken in the rest.

    Starts may be drawn from a generator that all envs share. So once one of the rest has ended at another time, an env
    that starts anew elsewhere than in the other run is no longer compared.

    Args:
      alone: which envs are left alone, (N,) bool.

    Attributes:
      compared: those that still are, (N,) bool.
      diverged: whether one of the rest has ended at another time than in the other run.
    """

    def __init__(self, alone: np.ndarray) -> None:
        self._rest = ~alone
        self.compared = alone.copy()
        self.diverged = False

    def difference(self, one: Seen, other: Seen) -> Optional[Tuple[str, Tuple[int, ...]]]:
        """Return field and place at which the next step of both runs differs in an env left alone, or None."""
        self.diverged |= bool((one.ended != other.ended)[self._rest].any())
        if self.diverged:
            self.compared &= ~(one.ended & other.ended & (one.obs != other.obs).any(axis=(1, 2)))
        return first_difference(one, other, self.compared)


def where_they_part(one: List[Seen], other: List[Seen]) -> Optional[Tuple[int, str, Tuple[int, ...]]]:
    """Return step, field and place at which two runs differ first, or None."""
    for step, (a, b) in enumerate(zip(one, other)):
        found = first_difference(a, b, np.ones(len(a.obs), bool))
        if found is not None:
            return (step,) + found
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
    except BaseException as error:  # noqa: BLE001
        if is_ctrl_c(error):
            raise


def _accepted(make_env: Callable[..., Any], kwargs: Dict[str, Any]) -> Dict[str, str]:
    """Return which of `VARIED` a factory takes beside its fixed arguments, and under which name."""
    free = [name for name in _parameters(make_env) if name not in kwargs]
    found = {what: [name for name in names if name in free] for what, names in VARIED.items()}
    fixed = [what for what, names in VARIED.items() if any(name in kwargs for name in names)]
    return {what: names[0] for what, names in found.items() if names and what not in fixed}


def _require_arguments(make_env: Callable[..., Any], arguments: Dict[str, Any]) -> None:
    """Raise if a factory is not given all that it needs.

    Raises:
      ContractError: of the contract "factory", with the names of what is missing.
    """
    needed = [name for name, one in _parameters(make_env).items() if one.default is one.empty]
    missing = [name for name in needed if name not in arguments]
    if missing:
        raise ContractError(
            "the factory needs arguments that it is not given: {}".format(", ".join(missing)),
            contract="factory",
            got="called with {}".format(arguments or "no arguments"),
            fix="--kwargs '{{{}}}', or give them defaults".format(", ".join(f'"{one}": ...' for one in missing)),
        )


def _parameters(make_env: Callable[..., Any]) -> Dict[str, inspect.Parameter]:
    """Return the parameters of a factory that can be given by name; none where Python does not know them."""
    try:
        parameters = inspect.signature(make_env).parameters
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: one for name, one in parameters.items() if one.kind in kinds}
