"""HARL's vectorised interface as data, and a player that uses an environment exactly as HARL's runner does.

Source: HARL@d539bad, `on_policy_base_runner.py`. N envs, A agents, D numbers in an observation, S in the shared one, K
in an action.
"""

from __future__ import annotations

import collections
import dataclasses
import dis
import importlib
from types import TracebackType
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface import step_checks
from harness.interface.infos import truncation_flags
from harness.interface.spaces import Sizes
from mapush.errors import nearest

RESET_PARTS = ("obs", "share_obs", "available_actions")
STEP_PARTS = ("obs", "share_obs", "rewards", "dones", "infos", "available_actions")
COMPARED = ("obs", "share_obs", "rewards", "dones", "truncated", "available")
KEPT_STEPS = 4  # whose arrays are watched for later changes
KEPT_ACTIONS = 1200  # since the reset; what shows later is found, but not shortened


@dataclasses.dataclass
class Seen:
    """Copies of what one `reset` or `step` returned.

    Attributes:
      obs: (N, A, D).
      share_obs: (N, A, S).
      available: (N, A, n) where the actions are Discrete, else None.
      actions: what was handed over, (N, A, K); None at a reset, as are the rest.
      rewards: (N, A).
      dones: (N, A) bool.
      truncated: (N, A) bool, the flag `bad_transition`.
      infos: as they came, not copied.
    """

    obs: np.ndarray
    share_obs: np.ndarray
    available: Optional[np.ndarray] = None
    actions: Optional[np.ndarray] = None
    rewards: Optional[np.ndarray] = None
    dones: Optional[np.ndarray] = None
    truncated: Optional[np.ndarray] = None
    infos: Any = None

    @property
    def ended(self) -> np.ndarray:
        """(N,) bool: the env's episode ended, which for HARL is when all of its agents are done."""
        return np.asarray(self.dones.all(axis=1))


class Player:
    """Resets and steps an environment as HARL does, and checks the form of everything that it returns.

    A broken form that can be lived with is kept under its contract's name in `violations`, the first of each; one that
    makes the rest meaningless is raised.

    Args:
      env: the environment.
      sizes: what its spaces say.
      violations: where broken contracts are collected; it may be shared by several players.
      scribble: overwrite everything that the environment returned, once it is copied.
      watch: check more than the shapes; not needed where a watched run is played again.
    """

    def __init__(
        self,
        env: Any,
        sizes: Sizes,
        violations: Dict[str, ContractError],
        scribble: bool = False,
        watch: bool = True,
    ) -> None:
        self.env, self.sizes, self.violations, self._scribble, self._watch = env, sizes, violations, scribble, watch
        self.step_count = 0
        self.seen: List[Seen] = []
        self._kept: Deque[step_checks.Kept] = collections.deque(maxlen=KEPT_STEPS)
        self._taken: Deque[np.ndarray] = collections.deque(maxlen=KEPT_ACTIONS)

    def reset(self) -> Seen:
        """Start anew.

        Raises:
          ContractError: `reset` raised, or what it returned cannot be used.
        """
        self.step_count = 0
        self._taken.clear()
        parts = self._call("reset-form", "reset", RESET_PARTS)
        self._check_arrays("reset-form", parts)
        self._check(parts, ("finite", "bounds", "share-obs-same", "available-actions"))
        return self._keep(parts, Seen(parts["obs"].copy(), parts["share_obs"].copy(), self._available(parts)))

    def step(self, actions: np.ndarray) -> Seen:
        """Act.

        Args:
          actions: (N, A, K); the environment gets a copy in HARL's memory layout.
        Raises:
          ContractError: `step` raised, or what it returned cannot be used.
        """
        try:
            return self._step(actions)
        except ContractError as error:
            self._with_actions(error)
            raise

    def _step(self, actions: np.ndarray) -> Seen:
        self.step_count += 1
        handed_over = as_harl_does(actions, self.sizes.discrete)
        before = handed_over.copy()
        self._taken.append(before)
        parts = self._call("step-form", "step", STEP_PARTS, handed_over)
        self._check_arrays("step-form", parts)
        parts["actions"], parts["actions_before"] = handed_over, before
        self._check(parts, tuple(step_checks.CHECKS))
        truncated = truncation_flags(parts["infos"], self.sizes)
        rewards = np.array(parts["rewards"][..., 0], np.float64)
        dones = np.array(parts["dones"], bool)
        obs, share_obs = parts["obs"].copy(), parts["share_obs"].copy()
        seen = Seen(obs, share_obs, self._available(parts), before, rewards, dones, truncated, parts["infos"])
        return self._keep(parts, seen)

    def replay(self, recorded: Sequence[Seen]) -> None:
        """Take the actions of recorded steps again."""
        for seen in recorded:
            self.step(seen.actions)

    def _call(self, contract: str, method: str, names: Tuple[str, ...], *arguments: Any) -> Dict[str, Any]:
        """Return what a method gave, part by part."""
        place = f"step {self.step_count}" if arguments else "reset"
        if not callable(getattr(self.env, method, None)):
            raise ContractError(f"the environment has no method {method}", contract=contract)
        try:
            returned = getattr(self.env, method)(*arguments)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            raise ContractError(
                f"{method} raised {type(error).__name__}: {first_line(error)}",
                contract=contract,
                step=self.step_count,
                where=f"{place}, {innermost_line(error)}",
                expected="any action is accepted" if arguments else "a reset at any time",
                got=f"actions {arguments[0].shape} in [{arguments[0].min():g}, {arguments[0].max():g}]"
                if arguments
                else None,
            ) from error
        step_checks.check_tuple(returned, names, contract, place, self.step_count)
        return dict(zip(names, returned))

    def _check_arrays(self, contract: str, parts: Dict[str, Any]) -> None:
        """Raise what makes the arrays meaningless; keep what can be lived with, such as another type of number."""
        for name in [name for name in step_checks.SHAPES if name in parts]:
            step_checks.check_shape(name, parts[name], self.sizes, contract, self.step_count)
            self._collect(step_checks.check_dtype, contract, name, parts[name], self.step_count)

    def _check(self, parts: Dict[str, Any], names: Tuple[str, ...]) -> None:
        if not self._watch:
            return
        moment = step_checks.Moment(parts, self.sizes, self.step_count, self._kept)
        for name in names:
            if name not in self.violations:
                self._collect(step_checks.CHECKS[name], name, moment)

    def _collect(self, check: Any, contract: str, *arguments: Any) -> None:
        try:
            check(*arguments)
        except ContractError as error:
            self.violations.setdefault(error.contract or contract, self._with_actions(error))

    def _with_actions(self, error: ContractError) -> ContractError:
        error.actions = list(self._taken) if len(self._taken) == self.step_count else None
        return error

    def _available(self, parts: Dict[str, Any]) -> Optional[np.ndarray]:
        legal = parts["available_actions"]
        shape = (self.sizes.num_envs, self.sizes.num_agents, self.sizes.num_choices) if self.sizes.maskable else None
        return np.array(legal, np.float32) if shape and np.shape(legal) == shape else None

    def _keep(self, parts: Dict[str, Any], seen: Seen) -> Seen:
        self.seen.append(seen)
        if self._scribble:
            scribble(parts)
        elif self._watch:
            self._kept.append(step_checks.Kept.of(parts, self.step_count))
        return seen


def as_harl_does(actions: np.ndarray, discrete: bool = False) -> np.ndarray:
    """Return the actions as HARL hands them over: writeable, a transposed view of an agent-major array.

    Args:
      actions: (N, A, K).
      discrete: whether they are indices; then int64, else float32.
    """
    agent_major = np.array(actions.transpose(1, 0, 2), np.int64 if discrete else np.float32, order="C")
    return agent_major.transpose(1, 0, 2)


def scribble(parts: Dict[str, Any]) -> None:
    """Overwrite every array of numbers that an environment returned, as far as it can be written to."""
    for value in parts.values():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fb" and value.flags.writeable:
            value[...] = 1 if value.dtype.kind == "b" else -7.7e7


def load_factory(name: str, kind: str = "factory") -> Callable[..., Any]:
    """Return what `package.module:factory` names; `kind` says what it makes.

    Raises:
      ContractError: of the contract "factory": there is none of that name.
    """
    module_name, _, path = name.partition(":")
    if not path:
        raise ContractError(f"{name!r} names no {kind}", contract="factory", expected="package.module:" + kind)
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        raise ContractError(
            f"importing {module_name} raises {type(error).__name__}: {first_line(error)}",
            contract="factory",
            where=innermost_line(error),
            fix="run from the folder of the package, or put it on PYTHONPATH",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            here = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise ContractError(f"{module_name} has no {path}", contract="factory", fix=nearest(part, here))
        found = getattr(found, part)
    if not callable(found):
        raise ContractError(f"{name} is not callable", contract="factory", got=type(found).__name__)
    return found


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or why it has none."""
    try:
        text = str(error)
    except Exception as failure:
        return f"(no text: its __str__ raises {type(failure).__name__})"
    return (text.strip().splitlines() or [""])[0]


def innermost_line(error: BaseException) -> str:
    """Return file and line where an error was raised."""
    frame = _innermost(error)
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown line"


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether an error is a KeyboardInterrupt that came from outside: no `raise` statement made it."""
    frame = _innermost(error)
    if frame is None or not isinstance(error, KeyboardInterrupt):
        return False
    return frame.tb_frame.f_code.co_code[frame.tb_lasti : frame.tb_lasti + 1] != bytes([dis.opmap["RAISE_VARARGS"]])


def _innermost(error: BaseException) -> Optional[TracebackType]:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame
