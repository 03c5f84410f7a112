"""Environments with a different interface than HARL's: how to recognise each, and how to wrap it."""

from __future__ import annotations

import inspect
from typing import Any, Callable, List, Optional, Tuple

from harness.findings import ContractError
from harness.interface.spaces import SPACES

HOW_TO_WRAP = (
    "write a class with reset() -> (obs, share_obs, available_actions) and step(actions) -> (obs, share_obs, "
    "rewards, dones, infos, available_actions), all numpy arrays [num_envs, num_agents, ...]; "
)
Interface = Tuple[str, str]  # what an object is, and how to wrap it


def refuse(env: Any) -> None:
    """Raise if an environment has a different interface than HARL's.

    Raises:
      ContractError: it has one; the error names it and says how to wrap it (contract "factory").
    """
    found = identify(env)
    if found is None:
        return
    kind, how = found
    raise ContractError(
        f"the factory returns {kind}, not HARL's interface",
        contract="factory",
        got=f"{type(env).__module__}.{type(env).__qualname__}",
        expected="reset, step, close and the three lists of spaces, one for each agent",
        fix=how,
    )


def identify(env: Any) -> Optional[Interface]:
    """Return what an object is and how to wrap it, or None if it may have HARL's interface."""
    if _is_plain(env):
        return _plain(env)
    if inspect.isclass(env) or inspect.isfunction(env) or inspect.isgenerator(env):
        return _factory(env)
    if _is_mapush(env):
        return MAPUSH
    if _may_be_harls(env):
        return None
    for interface, looks_like in INTERFACES:
        if looks_like(env):
            return interface
    return None


def is_harls_or_no_env(env: Any) -> bool:
    """Return whether an object may have HARL's interface, is one of mapush, or is no environment at all."""
    if _is_plain(env) or _is_mapush(env) or _may_be_harls(env):
        return True
    return inspect.isclass(env) or inspect.isfunction(env) or inspect.isgenerator(env)


def _is_plain(env: Any) -> bool:
    return env is None or isinstance(env, (int, float, str, dict, list, tuple))


def _is_mapush(env: Any) -> bool:
    return any(base.__module__ == "mapush.env.vec_env" and base.__name__ == "VecEnv" for base in type(env).__mro__)


def _may_be_harls(env: Any) -> bool:
    """Return whether the spaces are lists, or there is one that only HARL asks for."""
    if hasattr(env, "share_observation_space") and not _has_dicts(env):
        return True
    return isinstance(getattr(env, "observation_space", None), (list, tuple))


def _has_dicts(env: Any) -> bool:
    return any(isinstance(getattr(env, name, None), dict) for name in SPACES)


def _has(*names: str) -> Callable[[Any], bool]:
    """Return a function that recognises objects with all of these attributes."""
    return lambda env: all(hasattr(env, name) for name in names)


def _is_torch(env: Any) -> bool:
    modules = {type(value).__module__.split(".")[0] for value in getattr(env, "__dict__", {}).values()}
    return "torch" in modules


def _plain(env: Any) -> Interface:
    return f"a {type(env).__name__}", "return the environment itself"


def _factory(env: Any) -> Interface:
    return f"a {type(env).__name__}", "return an environment instead of a factory: add ()"


MAPUSH: Interface = ("a mapush VecEnv", "from mapush.env.harl_view import HarlView; return HarlView(env)")

STACK_AGENTS = (
    "stack the dicts over agents, np.stack([obs[a] for a in env.possible_agents]), and stack the envs over axis 0"
)

INTERFACES: List[Tuple[Interface, Callable[[Any], bool]]] = [
    (
        (
            "a PettingZoo AEC environment",
            f"env = pettingzoo.utils.aec_to_parallel(env), then: {HOW_TO_WRAP}{STACK_AGENTS}",
        ),
        _has("agent_iter"),
    ),
    (("a PettingZoo parallel environment", HOW_TO_WRAP + STACK_AGENTS), _has("possible_agents")),
    (
        (
            "an environment with dicts of spaces",
            f"{HOW_TO_WRAP}stack the dicts over agents and the envs over axis 0; turn the dicts of spaces into lists",
        ),
        _has_dicts,
    ),
    (
        (
            "a gymnasium vector environment",
            f"{HOW_TO_WRAP}add an axis for the agent, obs[:, None]; dones = terminated | truncated; "
            "infos[env][0]['bad_transition'] = True where truncated; use AutoresetMode.SAME_STEP",
        ),
        _has("single_observation_space"),
    ),
    (
        ("a stable-baselines3 VecEnv", f"{HOW_TO_WRAP}add an axis for the agent, obs[:, None]"),
        _has("step_async", "step_wait"),
    ),
    (
        ("a torchrl environment", f"{HOW_TO_WRAP}read the tensordict's entries with .detach().cpu().numpy().copy()"),
        _has("observation_spec", "rand_step"),
    ),
    (
        (
            "a dm_env environment",
            f"{HOW_TO_WRAP}read the TimeStep's observation and reward; reset after timestep.last()",
        ),
        _has("observation_spec", "action_spec"),
    ),
    (
        ("an environment on torch tensors", f"{HOW_TO_WRAP}copy with tensor.detach().cpu().numpy().copy()"),
        _is_torch,
    ),
    (
        (
            "a gymnasium environment with one agent",
            f"{HOW_TO_WRAP}run num_envs of them in parallel, np.stack their observations to [num_envs, 1, obs_dim], "
            "and reset an env in the step in which its episode ended",
        ),
        _has("observation_space", "step"),
    ),
]
"""The interfaces, each with the function that recognises it; the first that applies is taken."""
