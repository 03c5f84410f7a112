"""How a factory is called: which of its arguments are varied, and what goes wrong."""

from __future__ import annotations

import inspect
import random
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from harness.apis.env_view import EnvView
from harness.apis.recognition import present
from harness.findings import ContractError
from harness.interface.player import first_line, innermost_line, is_ctrl_c
from harness.process import pulse

BUILT_ONCE = "it can be built only once: this process has built one before"
VARIED = {  # what is varied, and the names under which factories take it
    "num_envs": ("num_envs", "n_envs", "n_rollout_threads", "n_threads"),
    "num_agents": ("num_agents", "n_agents"),
    "seed": ("seed",),
}


class EnvFactory:
    """Calls the factory of a user.

    Args:
      make_env: the factory.
      kwargs: its fixed arguments.
      api: name of the interface of its environments; "" to recognise it.

    Attributes:
      varied: for each key of `VARIED` that the factory takes, its name there; what a view varies by itself is added
        when the first environment has been built.
      view: the view of the environment that was built last; None if it has HARL's interface.
    """

    def __init__(self, make_env: Callable[..., Any], kwargs: Dict[str, Any], api: str = "") -> None:
        self._make_env = make_env
        self._kwargs = kwargs
        self._api = api
        self._taken = _accepted(make_env, kwargs)
        self.varied = dict(self._taken)
        self.view: Optional[EnvView] = None
        self._has_built = False

    def build(self, seed: int, **sizes: int) -> Any:
        """Return a new environment.

        Args:
          seed: seed of the environment. A factory that takes none finds the global generators seeded.
          sizes: `num_envs` and `num_agents`; those that the factory does not take are ignored.

        Raises:
          ContractError: the factory raised or returned something else (contract "factory").
        """
        if "seed" not in self._taken:
            seed_global_generators(seed)
        arguments = dict(self._kwargs)
        for name, value in dict(sizes, seed=seed).items():
            if name in self._taken:
                arguments[self._taken[name]] = value
        _require_arguments(self._make_env, arguments)
        first = self._call(arguments)
        self._has_built = True

        def make_one(number: int) -> Any:
            further = dict(arguments)
            if "seed" in self._taken:
                further[self._taken["seed"]] = seed + number
            return self._call(further)

        env = present(first, make_one, self._api, seed, sizes.get("num_envs"))
        self._note_view(env)
        return env

    def _note_view(self, env: Any) -> None:
        """Keep the view of an environment, and what it varies in addition to the factory."""
        self.view = None
        if not isinstance(env, EnvView):
            return
        self.view = env
        if env.takes_seed:
            self.varied.setdefault("seed", "seed of reset")
        if env.makes_copies:
            self.varied.setdefault("num_envs", "number of copies")

    def _call(self, arguments: Dict[str, Any]) -> Any:
        """Return what the factory returns.

        Raises:
          ContractError: it raised (contract "factory").
        """
        try:
            with pulse.during(pulse.BUILD):
                return self._make_env(**arguments)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            raise self._failure(error, arguments) from error

    def _failure(self, error: BaseException, arguments: Dict[str, Any]) -> ContractError:
        """Return what the factory raised as a broken contract."""
        where, cause, fix = None, None, None
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            where = innermost_line(error)
        if arguments:
            fix = "call it by hand; pass arguments that must not vary as --kwargs"
        if self._has_built:
            cause = BUILT_ONCE
        return ContractError(
            f"the factory raises {type(error).__name__}: {first_line(error)}",
            contract="factory",
            where=where,
            got=f"called with {arguments or 'no arguments'}",
            expected="a new environment on every call",
            cause=cause,
            fix=fix,
        )


class Recipe(NamedTuple):
    """How to build the environment under test in a different process.

    Attributes:
      make_env: the factory.
      kwargs: its fixed arguments.
      seed: the seed of the environment.
      num_envs: number of envs if the factory takes it, else None.
      api: name of the interface of its environments; "" to recognise it.
    """

    make_env: Callable[..., Any]
    kwargs: Dict[str, Any]
    seed: int
    num_envs: Optional[int]
    api: str = ""

    def build(self) -> Any:
        """Return a new environment."""
        sizes: Dict[str, int] = {}
        if self.num_envs is not None:
            sizes["num_envs"] = self.num_envs
        return EnvFactory(self.make_env, self.kwargs, self.api).build(self.seed, **sizes)


def seed_global_generators(seed: int) -> None:
    """Seed the generators of the process, as HARL does before it makes an environment."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def close_quietly(env: Any) -> None:
    """Close an environment and ignore what its `close` raises."""
    try:
        env.close()
    except BaseException as error:
        if is_ctrl_c(error):
            raise


def _accepted(make_env: Callable[..., Any], kwargs: Dict[str, Any]) -> Dict[str, str]:
    """Return which keys of `VARIED` a factory takes in addition to its fixed arguments, and under which name."""
    parameters = _parameters(make_env)
    accepted: Dict[str, str] = {}
    for what, names in VARIED.items():
        if set(names) & set(kwargs):
            continue
        for name in names:
            if name in parameters:
                accepted[what] = name
                break
    return accepted


def _require_arguments(make_env: Callable[..., Any], arguments: Dict[str, Any]) -> None:
    """Raise if a required argument of a factory is missing.

    Raises:
      ContractError: with the names of the missing arguments (contract "factory").
    """
    missing: List[str] = []
    for name, parameter in _parameters(make_env).items():
        if parameter.default is parameter.empty and name not in arguments:
            missing.append(name)
    if not missing:
        return
    example = ", ".join(f'"{name}": ...' for name in missing)
    raise ContractError(
        f"the factory needs arguments that it is not given: {', '.join(missing)}",
        contract="factory",
        got=f"called with {arguments or 'no arguments'}",
        fix=f"--kwargs '{{{example}}}', or give them defaults",
    )


def _parameters(make_env: Callable[..., Any]) -> Dict[str, inspect.Parameter]:
    """Return the parameters of a factory that can be given by name; none if Python does not know them."""
    try:
        parameters = inspect.signature(make_env).parameters
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in kinds}
