"""A player that uses an environment exactly as HARL's runner does, and records what it sees.

Source: HARL@d539bad, `on_policy_base_runner.py`. N envs, A agents, D numbers in an observation, S in the shared
observation, K in an action.
"""

from __future__ import annotations

import collections
import dataclasses
import dis
import importlib
from types import TracebackType
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.interface.infos import copy_of_infos, truncation_flags
from harness.interface.moment import SHAPES, KeptStep, Moment, StepCheck, StepErrors, place_of
from harness.interface.spaces import Sizes
from harness.interface.step_checks import check_dtype, check_shape, check_tuple
from harness.process import pulse
from mapush.errors import unknown

RESET_PARTS = ("obs", "share_obs", "available_actions")
STEP_PARTS = ("obs", "share_obs", "rewards", "dones", "infos", "available_actions")
COMPARED_FIELDS = ("obs", "share_obs", "rewards", "dones", "truncated", "available")
CALLS = {"reset": pulse.RESET, "step": pulse.STEP}
MAX_KEPT_STEPS = 4  # whose arrays are watched for later changes
MAX_KEPT_ACTIONS = 1200  # since the reset; a defect that shows later is reported, but not shortened
SCRIBBLED_VALUE = -7.7e7  # what returned arrays are overwritten with


def _go_on() -> None:
    pass


def _nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclasses.dataclass
class Seen:
    """Copies of what one `reset` or `step` returned.

    Attributes:
      obs: observations, (N, A, D).
      share_obs: shared observations, (N, A, S).
      available: which actions are legal, (N, A, n) if they are Discrete, else None.
      actions: the actions that were taken, (N, A, K); empty at a reset, as are the following arrays.
      rewards: rewards, (N, A).
      dones: whether the episode ended, (N, A) bool.
      truncated: the flag `bad_transition`, (N, A) bool.
      infos: the infos of each env, by agent; whatever was returned instead if that is not HARL's form.
    """

    obs: np.ndarray
    share_obs: np.ndarray
    available: Optional[np.ndarray] = None
    actions: np.ndarray = dataclasses.field(default_factory=_nothing)
    rewards: np.ndarray = dataclasses.field(default_factory=_nothing)
    dones: np.ndarray = dataclasses.field(default_factory=_nothing)
    truncated: np.ndarray = dataclasses.field(default_factory=_nothing)
    infos: Any = None

    @property
    def is_reset(self) -> bool:
        """Whether `reset` returned this, so that there are no actions, rewards and dones."""
        return self.rewards.size == 0

    @property
    def ended(self) -> np.ndarray:
        """(N,) bool: the env's episode ended, which for HARL means that all of its agents are done."""
        return np.asarray(self.dones.all(axis=1))


def stack(history: Sequence[Seen], name: str) -> np.ndarray:
    """Return a field of `Seen`, or `ended`, for all steps of a run, (T, N, ...)."""
    return np.stack([getattr(seen, name) for seen in history])


class Player:
    """Resets and steps an environment as HARL does, and checks the form of everything that it returns.

    An error that leaves the rest readable is recorded in `errors`. An error that makes the rest meaningless is raised.

    Args:
      env: the environment.
      sizes: sizes that its spaces state.
      errors: where errors are recorded; several players may share it.
      checks: the checks to make at every step, besides shapes and types. Leave them out to replay a checked run.
      scribble: whether to overwrite everything that the environment returned, once it is copied.

    Attributes:
      step_count: number of steps since the reset.
      seen: what `reset` and the steps returned.
      before_step: called before each step; raises `NotJudgedError` if no further step may be taken.
    """

    def __init__(
        self,
        env: Any,
        sizes: Sizes,
        errors: StepErrors,
        checks: Sequence[StepCheck] = (),
        scribble: bool = False,
    ) -> None:
        self.env = env
        self.sizes = sizes
        self.errors = errors
        self.step_count = 0
        self.seen: List[Seen] = []
        self.before_step: Callable[[], None] = _go_on
        self._checks = list(checks)
        self._scribble = scribble
        self._kept: Deque[KeptStep] = collections.deque(maxlen=MAX_KEPT_STEPS)
        self._taken: Deque[np.ndarray] = collections.deque(maxlen=MAX_KEPT_ACTIONS)

    def reset(self) -> Seen:
        """Start a new episode in every env.

        Raises:
          ContractError: `reset` raised, or what it returned cannot be used.
        """
        self.step_count = 0
        self._taken.clear()
        parts = self._call("reset-form", "reset", RESET_PARTS)
        self._check_arrays("reset-form", parts)
        self._check_step(parts)
        seen = Seen(parts["obs"].copy(), parts["share_obs"].copy(), self._available(parts))
        return self._keep(parts, seen)

    def step(self, actions: np.ndarray) -> Seen:
        """Take one step.

        Args:
          actions: (N, A, K); the environment gets a copy in HARL's memory layout.

        Raises:
          ContractError: `step` raised, or what it returned cannot be used.
        """
        self.before_step()
        try:
            return self._step(actions)
        except ContractError as error:
            self._attach_actions(error)
            raise

    def _step(self, actions: np.ndarray) -> Seen:
        self.step_count += 1
        handed_over = as_harl_does(actions, self.sizes.discrete)
        before = handed_over.copy()
        self._taken.append(before)
        parts = self._call("step-form", "step", STEP_PARTS, handed_over)
        self._check_arrays("step-form", parts)
        parts["actions"], parts["actions_before"] = handed_over, before
        self._check_step(parts)
        seen = Seen(
            obs=parts["obs"].copy(),
            share_obs=parts["share_obs"].copy(),
            available=self._available(parts),
            actions=before,
            rewards=np.array(parts["rewards"][..., 0], np.float64),
            dones=np.array(parts["dones"], bool),
            truncated=truncation_flags(parts["infos"], self.sizes, self.errors.judged_for.per_agent),
            infos=copy_of_infos(parts["infos"]),
        )
        return self._keep(parts, seen)

    def replay(self, recorded: Sequence[Seen]) -> None:
        """Take the actions of recorded steps again."""
        for seen in recorded:
            self.step(seen.actions)

    def _call(self, contract: str, method: str, names: Tuple[str, ...], *arguments: np.ndarray) -> Dict[str, Any]:
        """Return the parts that a method returned, by name."""
        place = place_of(self.step_count)
        if not callable(getattr(self.env, method, None)):
            raise ContractError(f"the environment has no method {method}", contract=contract)
        try:
            with pulse.during(CALLS[method]):
                returned = getattr(self.env, method)(*arguments)
        except BaseException as error:
            if is_ctrl_c(error) or isinstance(error, NotJudgedError):
                raise
            if isinstance(error, ContractError) and error.contract:  # a view says what is wrong
                error.step, error.where = self.step_count, error.where or place
                error.sizes = self.sizes
                raise
            expected, got = "a reset at any time", None
            for actions in arguments:
                expected = "any action is accepted"
                got = f"actions {actions.shape} in [{actions.min():g}, {actions.max():g}]"
            raised = ContractError(
                f"{method} raised {type(error).__name__}: {first_line(error)}",
                contract=contract,
                step=self.step_count,
                where=f"{place}, {innermost_line(error)}",
                expected=expected,
                got=got,
            )
            raised.sizes = self.sizes
            raise raised from error
        self._record_breaches()
        check_tuple(returned, names, contract, place, self.step_count)
        return dict(zip(names, returned))

    def _record_breaches(self) -> None:
        """Record what a view of the environment found in this call."""
        take_breaches = getattr(self.env, "take_breaches", None)
        if take_breaches is None:
            return
        for error in take_breaches():
            error.step, error.where = self.step_count, error.where or place_of(self.step_count)
            self._attach_actions(error)
            self.errors.record(error.contract, error)

    def _check_arrays(self, contract: str, parts: Dict[str, Any]) -> None:
        """Raise if an array has a wrong shape; record a wrong type of number."""
        for name in SHAPES:
            if name in parts:
                check_shape(name, parts[name], self.sizes, contract, self.step_count)
                self._record(contract, check_dtype, name, parts[name], self.step_count)

    def _check_step(self, parts: Dict[str, Any]) -> None:
        """Make the step checks of all contracts that are not broken yet."""
        moment = Moment(parts, self.sizes, self.step_count, self._kept, self.errors.judged_for)
        for contract, check, at_reset in self._checks:
            applies = at_reset or self.step_count > 0
            if applies and self.errors.of(contract) is None:
                self._record(contract, check, moment)

    def _record(self, contract: str, check: Callable[..., None], *arguments: Any) -> None:
        """Make a check, and record the error that it raises."""
        try:
            check(*arguments)
        except ContractError as error:
            self._attach_actions(error)
            self.errors.record(error.contract or contract, error)

    def _attach_actions(self, error: ContractError) -> None:
        """Give an error the actions since the reset, unless there were too many to keep."""
        error.actions = None
        if len(self._taken) == self.step_count:
            error.actions = list(self._taken)

    def _available(self, parts: Dict[str, Any]) -> Optional[np.ndarray]:
        """Return the mask of available actions, if there is one of the correct shape."""
        if not self.sizes.maskable:
            return None
        mask = parts["available_actions"]
        if np.shape(mask) != (self.sizes.num_envs, self.sizes.num_agents, self.sizes.num_choices):
            return None
        return np.array(mask, np.float32)

    def _keep(self, parts: Dict[str, Any], seen: Seen) -> Seen:
        self.seen.append(seen)
        if self._scribble:
            scribble(parts)
        elif self._checks:
            self._kept.append(KeptStep.of(parts, self.step_count))
        return seen


def as_harl_does(actions: np.ndarray, discrete: bool = False) -> np.ndarray:
    """Return the actions as HARL hands them over: a writeable, transposed view of an agent-major array.

    Args:
      actions: (N, A, K).
      discrete: whether they are indices; then int64, else float32.
    """
    dtype: Any = np.float32
    if discrete:
        dtype = np.int64
    agent_major = np.array(actions.transpose(1, 0, 2), dtype, order="C")
    return agent_major.transpose(1, 0, 2)


def scribble(parts: Dict[str, Any]) -> None:
    """Overwrite every writeable array of numbers that an environment returned."""
    for value in parts.values():
        if not isinstance(value, np.ndarray) or not value.flags.writeable:
            continue
        if value.dtype.kind == "b":
            value[...] = True
        elif value.dtype.kind == "f":
            value[...] = SCRIBBLED_VALUE


def load_factory(name: str, kind: str = "factory") -> Callable[..., Any]:
    """Import the callable that "package.module:name" names.

    Args:
      name: the name.
      kind: what the callable makes, for messages: "factory" or "task".

    Raises:
      ContractError: there is no such callable (contract "factory").
    """
    module_name, _, path = name.partition(":")
    if not path:
        raise ContractError(f"{name!r} is not the name of a {kind}", contract="factory", expected="package.module:name")
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        raise ContractError(
            f"importing {module_name} raises {type(error).__name__}: {first_line(error)}",
            contract="factory",
            where=innermost_line(error),
            fix="run from the folder of the package, or add that folder to PYTHONPATH",
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            hint = unknown(kind, part, _public_callables(found))
            raise ContractError(hint.what, contract="factory", where=f"module {module_name}", expected=hint.expected)
        found = getattr(found, part)
    if not callable(found):
        raise ContractError(f"{name} is not callable", contract="factory", got=type(found).__name__)
    return found


def _public_callables(owner: Any) -> List[str]:
    """Return the names of the functions and classes that a module or class defines itself."""
    home = getattr(owner, "__module__", owner.__name__)
    names = []
    for name, value in vars(owner).items():
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == home:
            names.append(name)
    return names


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or why it has none."""
    try:
        text = str(error)
    except Exception as failure:
        return f"(no text: its __str__ raises {type(failure).__name__})"
    lines = text.strip().splitlines()
    if not lines:
        return ""
    return lines[0]


def innermost_line(error: BaseException) -> str:
    """Return file and line where an error was raised."""
    frame = _innermost(error)
    if frame is None:
        return "unknown line"
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether an error is a KeyboardInterrupt from outside, that is, no `raise` statement raised it."""
    frame = _innermost(error)
    if frame is None or not isinstance(error, KeyboardInterrupt):
        return False
    instruction = frame.tb_frame.f_code.co_code[frame.tb_lasti : frame.tb_lasti + 1]
    return instruction != bytes([dis.opmap["RAISE_VARARGS"]])


def _innermost(error: BaseException) -> Optional[TracebackType]:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame
