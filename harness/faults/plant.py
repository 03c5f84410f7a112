"""How a bug is planted: functions of the real code are replaced while a context is open."""

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
    MutableMapping,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)
from unittest import mock

import numpy as np

from mapush.errors import ConfigError, unknown

ENV_CLASSES = ("harness.toys:PointMass", "mapush.env.harl_view:HarlView")
"""The classes into which bugs of an environment are planted: all in this repository that have HARL's interface."""

RANKS = "ranks"
"""Class of the bugs that only several processes can have."""
STACK_KINDS = ("learner", "logger", "configuration", "checkpoint", RANKS)
"""Classes of bugs that are not in an environment."""

Texts = Union[str, Tuple[str, ...]]
Broken = Callable[..., Any]  # takes the original function and what that is called with


@dataclasses.dataclass(frozen=True)
class Fault:
    """One bug that the contracts must find.

    Attributes:
      name: as on the command line.
      origin: who had it: a bug of the mission, a public report, or "ours".
      kind: its class.
      contracts: each of these justifies the bug's place here; at least one must catch it.
      inject: `inject(start)` is a context in which the bug is in the code. A bug that shows in steps begins at the
        `start`-th step of each env, counted from 1; all others begin at once.
      about: what the broken code does, in one sentence.
      says: for each of `contracts`, words that the first line of its finding must contain; () if any will do.
      needs: "cpu", or what it takes to see the bug: "memory" (the meters), "gpu", "isaacgym".
      of_making: whether it is in how an env is made or closed; it then has no first step, and `start` no meaning.
      world: of `fault_matrix.WORLDS`, the only one that can show it; "" if any can.
    """

    name: str
    origin: str
    kind: str
    contracts: Tuple[str, ...]
    inject: Callable[..., ContextManager[None]]
    about: str
    says: Tuple[str, ...] = ()
    needs: str = "cpu"
    of_making: bool = False
    world: str = ""

    @property
    def of_stack(self) -> bool:
        """Whether the bug is in learner, logger, configuration, checkpoint or ranks, and not in an environment."""
        return self.kind in STACK_KINDS

    @property
    def group(self) -> str:
        """The group of contracts that can find it: env, stack or ranks."""
        if self.kind == RANKS:
            return "ranks"
        if self.of_stack:
            return "stack"
        return "env"


FAULTS: Dict[str, Fault] = {}


def find(name: str) -> Fault:
    """Return the bug called `name`.

    Raises:
      ConfigError: no bug has this name.
    """
    if name in FAULTS:
        return FAULTS[name]
    error = unknown("bug", name, FAULTS)
    error.expected = None  # more than a hundred names
    error.fix = "python -m harness faults --list"
    raise error


# -- registering bugs: the function's name is the bug's, its docstring says what is broken ----------------------------


def planted(kind: str, contracts: Texts, origin: str = "ours", *, says: Texts = (), of_making: bool = False) -> Any:
    """Register `function(start)`, a generator that plants the bug, yields, and takes it out again."""

    def register(function: Callable[[int], Iterator[None]]) -> Callable[[int], Iterator[None]]:
        inject = contextlib.contextmanager(function)
        _register(function, inject, kind, contracts, origin, says=says, of_making=of_making)
        return function

    return register


def replaces(
    place: str, kind: str, contracts: Texts, origin: str = "ours", *, says: Texts = (), world: str = ""
) -> Any:
    """Register `function(original, *arguments)`, which is called in place of a function or method.

    Args:
      place: "package.module:function" or "package.module:Class.method".
      kind: class of the bug.
      contracts: those that must catch it.
      origin: who had it.
      says: words of their findings.
      world: the only one that can show it.
    """

    def register(function: Broken) -> Broken:
        def inject(start: int = 1) -> ContextManager[None]:
            owner, name = _owner(place)
            return replaced(owner, name, function)

        _register(function, inject, kind, contracts, origin, says=says, world=world)
        return function

    return register


def changes_result(kind: str, contracts: Texts, origin: str = "ours", *, resets: bool = False) -> Any:
    """Register `function(moment, result)`, which breaks what `step` (and `reset`, if `resets`) returns."""

    def register(function: Callable[[Returned, Result], Any]) -> Callable[[Returned, Result], Any]:
        inject = functools.partial(_in_interface, after=function, resets=resets)
        _register(function, inject, kind, contracts, origin)
        return function

    return register


def changes_actions(
    kind: str, contracts: Texts, origin: str = "ours", *, after: Optional[Callable[[Returned, Result], Any]] = None
) -> Any:
    """Register `function(moment, actions)`, which returns the actions that the env then acts on.

    Args:
      kind: class of the bug.
      contracts: those that must catch it.
      origin: who had it.
      after: `after(moment, result)`, if the bug also needs what the step returned.
    """

    def register(function: Callable[[Returned, np.ndarray], Any]) -> Callable[[Returned, np.ndarray], Any]:
        inject = functools.partial(_in_interface, before=function, after=after)
        _register(function, inject, kind, contracts, origin)
        return function

    return register


def listed(name: str, kind: str, origin: str, *, needs: str, about: str, contracts: Texts) -> None:
    """Register a bug that only a GPU, a meter or a different simulator can show; the tests that have one plant it."""
    FAULTS[name] = Fault(name, origin, kind, _tuple(contracts), _refuse, about, needs=needs)


def _register(
    function: Callable[..., Any],
    inject: Callable[..., ContextManager[None]],
    kind: str,
    contracts: Texts,
    origin: str,
    *,
    says: Texts = (),
    of_making: bool = False,
    world: str = "",
) -> None:
    name = function.__name__.strip("_").replace("_", "-")
    about, _, _ = (inspect.getdoc(function) or "").partition("\n")
    if not about:
        raise ConfigError("a planted bug needs a docstring that says what it breaks", where=function.__qualname__)
    if name in FAULTS:
        raise ConfigError(f"two planted bugs are called {name!r}", where=function.__qualname__)
    FAULTS[name] = Fault(
        name, origin, kind, _tuple(contracts), inject, about, says=_tuple(says), of_making=of_making, world=world
    )


def _tuple(texts: Texts) -> Tuple[str, ...]:
    if isinstance(texts, str):
        return (texts,)
    return texts


def _refuse(start: int = 1) -> ContextManager[None]:
    raise ConfigError("this bug is planted by the tests that can see it", fix="see its `needs`: --list")


# -- replacing code --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replaced(owner: Any, name: str, broken: Broken) -> Iterator[None]:
    """Replace a function or method by `broken(original, *its_arguments)`.

    Args:
      owner: the module or class.
      name: of the function; a static method stays static.
      broken: is called in its place.
    """
    found = inspect.getattr_static(owner, name)
    original = found
    if isinstance(found, (classmethod, staticmethod)):
        original = found.__func__

    @functools.wraps(original)
    def switch(*args: Any, **kwargs: Any) -> Any:
        return broken(original, *args, **kwargs)

    replacement: Any = switch
    if original is not found:
        replacement = type(found)(switch)
    with changed(owner, name, replacement):
        yield


def changed(owner: Any, name: str, value: Any) -> ContextManager[Any]:
    """Return a context in which an attribute has a different value."""
    return mock.patch.object(owner, name, value)


def _owner(place: str) -> Tuple[Any, str]:
    """Return the module or class of "package.module:function" or "package.module:Class.method", and the last name."""
    module, path = place.split(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    return owner, name


def env_classes() -> List[type]:
    """Return the classes of `ENV_CLASSES` whose packages are installed."""
    classes = []
    for place in ENV_CLASSES:
        with contextlib.suppress(ModuleNotFoundError):
            owner, name = _owner(place)
            classes.append(getattr(owner, name))
    return classes


@contextlib.contextmanager
def in_env_classes(name: str, broken: Broken) -> Iterator[None]:
    """Replace the method `name` of every class in `env_classes` by `broken(original, self, *its_arguments)`."""
    with contextlib.ExitStack() as stack:
        for owner in env_classes():
            stack.enter_context(replaced(owner, name, broken))
        yield


# -- bugs in HARL's interface ----------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What `step` of HARL's interface returns, or `reset`: then rewards, dones and infos are None."""

    obs: Any
    share_obs: Any
    rewards: Any
    dones: Any
    infos: Any
    available_actions: Any


@dataclasses.dataclass
class Returned:
    """The env and the step in which a planted bug acts.

    Attributes:
      env: the env.
      step: steps that this env has begun, 0 before the first.
      actions: as the caller gave them; None in `reset`.
      memory: the bug's own, kept as long as the env.
    """

    env: Any
    step: int = 0
    actions: Optional[np.ndarray] = None
    memory: Dict[str, Any] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def _in_interface(
    start: int = 1,
    before: Optional[Callable[[Returned, np.ndarray], Any]] = None,
    after: Optional[Callable[[Returned, Result], Any]] = None,
    resets: bool = False,
) -> Iterator[None]:
    """Change what goes into `step` by `before`, and what it (and `reset`, if `resets`) returns by `after`."""
    moments: MutableMapping[Any, Returned] = weakref.WeakKeyDictionary()

    def step(original: Callable[..., Any], env: Any, actions: np.ndarray) -> Any:
        moment = moments.setdefault(env, Returned(env))
        moment.step += 1
        moment.actions = actions
        acts = moment.step >= start
        if acts and before is not None:
            actions = before(moment, actions)
        returned = original(env, actions)
        if acts and after is not None:
            returned = after(moment, Result(*returned))
        if isinstance(returned, Result):
            return tuple(returned)
        return returned

    def reset(original: Callable[..., Any], env: Any) -> Any:
        moment = moments.setdefault(env, Returned(env))
        obs, share_obs, available_actions = original(env)
        if after is None or not resets or moment.step + 1 < start:
            return obs, share_obs, available_actions
        moment.actions = None
        result = after(moment, Result(obs, share_obs, None, None, None, available_actions))
        return result.obs, result.share_obs, result.available_actions

    with in_env_classes("step", step), in_env_classes("reset", reset):
        yield
