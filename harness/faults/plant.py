"""How a bug is planted: methods of the real classes are replaced for the time of a context."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import weakref
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)
from unittest import mock

import numpy as np

from mapush.errors import ConfigError, nearest

ENV_CLASSES = ("harness.toys:PointMass", "mapush.env.harl_view:HarlView")
"""What bugs of an environment are planted into: everything here that has HARL's interface."""

STACK_KINDS = ("learner", "logger", "configuration", "checkpoint")
"""Classes of bugs that are not in an environment."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One bug that the contracts must find.

    Attributes:
      name: as on the command line.
      origin: who had it: a bug of the mission, a public report, or "ours".
      kind: its class.
      contracts: each of these alone would justify the bug's place here; at least one must catch it.
      inject: `inject(start)` is a context in which the bug is in the code; one that shows in steps begins at the
        `start`-th step of each env, counted from 1, all others at once.
      about: what the broken code does, in one sentence.
      needs: "cpu", or what it takes to see the bug: "memory" (the meters), "gpu", "isaacgym".
      of_making: whether it is in how an env is made or closed, so that it has no first step and `start` no meaning.
    """

    name: str
    origin: str
    kind: str
    contracts: Tuple[str, ...]
    inject: Callable[..., ContextManager[None]]
    about: str
    needs: str = "cpu"
    of_making: bool = False

    @property
    def of_stack(self) -> bool:
        """Whether the bug is in what is around the environment."""
        return self.kind in STACK_KINDS


class Result(NamedTuple):
    """What `reset` (rewards, dones and infos are None) or `step` of HARL's interface returns."""

    obs: Any
    share_obs: Any
    rewards: Any
    dones: Any
    infos: Any
    available_actions: Any


@dataclasses.dataclass
class Returned:
    """When a planted bug acts.

    Attributes:
      env: what it acts on.
      step: steps that this env has begun, 0 before the first.
      actions: as the caller gave them; None in `reset`.
      memory: the bug's own, kept as long as the env.
    """

    env: Any
    step: int = 0
    actions: Optional[np.ndarray] = None
    memory: Dict[str, Any] = dataclasses.field(default_factory=dict)


FAULTS: Dict[str, Fault] = {}
Contracts = Union[str, Tuple[str, ...]]


def find(name: str) -> Fault:
    """Return the bug called `name`.

    Raises:
      ConfigError: there is none.
    """
    if name not in FAULTS:
        raise ConfigError("there is no such bug", got=repr(name), fix=nearest(name, FAULTS))
    return FAULTS[name]


def planted(kind: str, contracts: Contracts, origin: str = "ours", of_making: bool = False) -> Callable[[Any], Any]:
    """Register `function(start)`, a generator that plants the bug, yields, and takes it out again.

    The function's name is the bug's, its docstring says what is broken.
    """

    def register(function: Callable[[int], Iterator[None]]) -> Callable[[int], Iterator[None]]:
        _register(function, contextlib.contextmanager(function), kind, contracts, origin, of_making)
        return function

    return register


def changes_result(kind: str, contracts: Contracts, origin: str = "ours", resets: bool = False) -> Callable[[Any], Any]:
    """Register `function(moment, result)`, which breaks what `step` (and `reset`, if `resets`) returns."""

    def register(function: Callable[[Returned, Result], Any]) -> Callable[[Returned, Result], Any]:
        inject = functools.partial(_in_interface, after=function, resets=resets)
        _register(function, inject, kind, contracts, origin)
        return function

    return register


def changes_actions(kind: str, contracts: Contracts, origin: str = "ours") -> Callable[[Any], Any]:
    """Register `function(moment, actions)`, which returns the actions that the env then acts on."""

    def register(function: Callable[[Returned, np.ndarray], Any]) -> Callable[[Returned, np.ndarray], Any]:
        _register(function, functools.partial(_in_interface, before=function), kind, contracts, origin)
        return function

    return register


def listed(name: str, kind: str, origin: str, needs: str, about: str, contracts: Contracts) -> None:
    """Register a bug that only a GPU, a meter or another simulator can see; tests that have one plant it."""
    FAULTS[name] = Fault(name, origin, kind, _names(contracts), _not_here, about, needs)


@contextlib.contextmanager
def replaced(owner: Any, name: str, broken: Callable[..., Any]) -> Iterator[None]:
    """Replace a function or method by `broken(original, *its_arguments)`."""
    original = inspect.getattr_static(owner, name)
    plain = original.__func__ if isinstance(original, (classmethod, staticmethod)) else original

    @functools.wraps(plain)
    def switch(*args: Any, **kwargs: Any) -> Any:
        return broken(plain, *args, **kwargs)

    with mock.patch.object(owner, name, type(original)(switch) if plain is not original else switch):
        yield


def env_classes() -> List[type]:
    """Return the classes of `ENV_CLASSES` whose packages are installed."""
    classes = []
    for place in ENV_CLASSES:
        module, name = place.split(":")
        with contextlib.suppress(ModuleNotFoundError):
            classes.append(getattr(importlib.import_module(module), name))
    return classes


@contextlib.contextmanager
def in_env_classes(name: str, broken: Callable[..., Any]) -> Iterator[None]:
    """Replace the method `name` of every class in `env_classes` by `broken(original, self, *its_arguments)`."""
    with contextlib.ExitStack() as stack:
        for owner in env_classes():
            stack.enter_context(replaced(owner, name, broken))
        yield


@contextlib.contextmanager
def _in_interface(
    start: int = 1,
    before: Optional[Callable[[Returned, np.ndarray], Any]] = None,
    after: Optional[Callable[[Returned, Result], Any]] = None,
    resets: bool = False,
) -> Iterator[None]:
    moments: Dict[Any, Returned] = weakref.WeakKeyDictionary()  # type: ignore[assignment]

    def step(original: Callable[..., Any], env: Any, actions: np.ndarray) -> Any:
        moment = moments.setdefault(env, Returned(env))
        moment.step, moment.actions = moment.step + 1, actions
        acts = moment.step >= start
        returned = original(env, before(moment, actions) if before and acts else actions)
        return _changed(after(moment, Result(*returned))) if after and acts else returned

    def reset(original: Callable[..., Any], env: Any) -> Any:
        moment = moments.setdefault(env, Returned(env))
        obs, share_obs, available_actions = original(env)
        if after and resets and moment.step + 1 >= start:
            moment.actions = None
            result = after(moment, Result(obs, share_obs, None, None, None, available_actions))
            obs, share_obs, available_actions = result.obs, result.share_obs, result.available_actions
        return obs, share_obs, available_actions

    with in_env_classes("step", step), in_env_classes("reset", reset):
        yield


def _changed(result: Any) -> Any:
    return tuple(result) if isinstance(result, Result) else result


def _register(
    function: Callable[..., Any],
    inject: Callable[..., Any],
    kind: str,
    contracts: Contracts,
    origin: str,
    of_making: bool = False,
) -> None:
    name = function.__name__.strip("_").replace("_", "-")
    about = inspect.getdoc(function).splitlines()[0]
    FAULTS[name] = Fault(name, origin, kind, _names(contracts), inject, about, of_making=of_making)


def _names(contracts: Contracts) -> Tuple[str, ...]:
    return (contracts,) if isinstance(contracts, str) else contracts


def _not_here(start: int = 1) -> ContextManager[None]:
    raise ConfigError("this bug is planted by the tests that can see it", fix="see its `needs`: --list")
