"""Which interface an environment has, and its view.

An environment is recognised by what it has, in this order: HARL's interface, Isaac Lab's DirectMARLEnv, PettingZoo's
parallel interface, rsl_rl's VecEnv, gymnasium's vector environments, gymnasium's environments of one agent. What is
recognised as none of these is refused with advice, as before.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, Optional

from harness.apis import gymnasium_vector, isaaclab_marl, pettingzoo_parallel, rsl_rl_view
from harness.apis.env_copies import EnvCopies, OneAgent
from harness.apis.env_view import EnvView
from harness.findings import ContractError
from harness.interface import other_interfaces
from mapush.errors import unknown

HARL = "harl"
SINGLE = "gymnasium with one env"
APIS = (HARL, gymnasium_vector.NAME, pettingzoo_parallel.NAME, rsl_rl_view.NAME, isaaclab_marl.NAME)
DEFAULT_COPIES = 3  # until the check has chosen the number of envs

NEEDED = {  # attributes by which an interface is recognised, in this order
    isaaclab_marl.NAME: ("possible_agents", "num_envs", "reset", "step"),
    pettingzoo_parallel.NAME: ("possible_agents", "reset", "step"),
    rsl_rl_view.NAME: ("get_observations", "num_envs", "num_actions", "step"),
    gymnasium_vector.NAME: ("single_observation_space", "single_action_space", "num_envs", "reset", "step"),
    SINGLE: ("observation_space", "action_space", "reset", "step"),
}
BY_AGENT = (isaaclab_marl.NAME, pettingzoo_parallel.NAME)
ABSENT = {  # attributes that other interfaces have
    pettingzoo_parallel.NAME: ("agent_iter", "share_observation_space"),
    isaaclab_marl.NAME: ("agent_iter", "share_observation_space"),
    SINGLE: ("step_async", "observation_spec", "share_observation_space"),
}
OLD_GYM = (
    "reset takes no seed, as in gym before 0.26: port it to gymnasium 1.x, reset(seed, options) -> (obs, info) and "
    "step -> (obs, reward, terminated, truncated, info), or wrap it: shimmy.GymV21CompatibilityV0(env=env)"
)


def require_known(api: str) -> None:
    """Raise unless this is the name of an interface, or "" for the one that is recognised.

    Raises:
      ConfigError: it is not.
    """
    if api and api not in APIS:
        raise unknown("api", api, list(APIS))


def present(env: Any, make_one: Callable[[int], Any], api: str, seed: int, num_envs: Optional[int]) -> Any:
    """Return an environment in HARL's form: itself, or a view of it.

    Args:
      env: what the factory returned.
      make_one: makes a further one, given its number; for interfaces with one env.
      api: name of the interface; "" to recognise it.
      seed: for views that pass it to `reset`.
      num_envs: how many copies of an interface with one env are made; None for the usual number.

    Raises:
      ContractError: it has a different interface (contract "factory").
    """
    found = recognise(env)
    if api and api != HARL:
        found = _required(env, api, found)
    if api == HARL or found is None:
        other_interfaces.refuse(env)
        return env
    if found in (SINGLE, pettingzoo_parallel.NAME):
        envs = [env]
        for number in range(1, num_envs or DEFAULT_COPIES):
            envs.append(make_one(number))
        if found == SINGLE:
            envs = [OneAgent(one) for one in envs]
        return EnvCopies(found, envs, seed)
    return VIEWS[found](env, seed)


VIEWS: Dict[str, Callable[[Any, int], EnvView]] = {
    gymnasium_vector.NAME: gymnasium_vector.GymnasiumVector,
    isaaclab_marl.NAME: isaaclab_marl.IsaacLabMarl,
    rsl_rl_view.NAME: lambda env, seed: rsl_rl_view.RslRlView(env),
}


def recognise(env: Any) -> Optional[str]:
    """Return the interface for which there is a view; None for HARL's own and for those without a view."""
    if other_interfaces.is_harls_or_no_env(env):
        return None
    for name in NEEDED:
        if not _missing(env, name):
            return name
    return None


def _missing(env: Any, name: str) -> List[str]:
    """Return what speaks against an interface, in words."""
    missing: List[str] = []
    for attribute in NEEDED[name]:
        if not _has(env, attribute):
            missing.append(attribute)
    present_anyway: List[str] = []
    for attribute in ABSENT.get(name, ()):
        if _has(env, attribute):
            present_anyway.append(f"no {attribute}")
    if name in BY_AGENT and not _has_spaces_by_agent(env):
        missing.append("observation_space(agent)")
    if name == SINGLE and not missing and not _takes_seed(env.reset):
        missing.append(OLD_GYM)
    return missing + present_anyway


def _has(env: Any, name: str) -> bool:
    return getattr(env, name, None) is not None


def _has_spaces_by_agent(env: Any) -> bool:
    return callable(getattr(env, "observation_space", None)) or _has(env, "observation_spaces")


def _takes_seed(reset: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(reset).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(parameter.name == "seed" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _required(env: Any, api: str, found: Optional[str]) -> str:
    """Return the interface that was asked for, or raise if the environment does not have it."""
    wanted = [api]
    if api == gymnasium_vector.NAME:
        wanted.append(SINGLE)
    if found in wanted:
        return str(found)
    for name in wanted:
        if not _missing(env, name):
            return name
    missing = _missing(env, wanted[-1])
    if _has(env, "single_observation_space"):
        missing = _missing(env, wanted[0])
    fix = None
    if _has(env, "agent_iter"):
        fix = "pettingzoo.utils.aec_to_parallel(env)"
    if OLD_GYM in missing:
        missing, fix = ["seed as an argument of reset"], OLD_GYM
    raise ContractError(
        f"the factory returns an environment that does not have {api}'s interface",
        contract="factory",
        got=f"{type(env).__module__}.{type(env).__qualname__}",
        expected=f"it lacks: {', '.join(missing)}",
        fix=fix,
    )
