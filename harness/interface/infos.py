"""What the infos of a step must look like: HARL reads `infos[env][agent]`, and in it `bad_transition` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Tuple

import numpy as np

if TYPE_CHECKING:
    from harness.interface.spaces import Sizes
    from harness.interface.step_checks import Moment

TRUNCATION = "bad_transition"  # the only key that HARL's on-policy runner reads


def check_infos(moment: Moment) -> None:
    """Raise unless infos hold a dict under every agent's number for every env."""
    infos, sizes = moment.parts["infos"], moment.sizes
    expected = f"num_envs = {sizes.num_envs} entries, each with a dict under 0 to {sizes.num_agents - 1}"
    if isinstance(infos, dict) or not hasattr(infos, "__len__") or not hasattr(infos, "__getitem__"):
        cause = "gymnasium's form" if isinstance(infos, dict) else None
        raise moment.error(f"infos is {describe(infos)}, not one entry for each env", expected=expected, cause=cause)
    if len(infos) != sizes.num_envs:
        cause = "envs and agents are transposed" if len(infos) == sizes.num_agents else None
        raise moment.error(f"infos has {len(infos)} entries for {sizes.num_envs} envs", expected=expected, cause=cause)
    for env in range(sizes.num_envs):
        for agent in range(sizes.num_agents):
            _check_leaf(moment, env, agent, infos[env])


def _check_leaf(moment: Moment, env: int, agent: int, of_env: Any) -> None:
    try:
        info = of_env[agent]
    except (KeyError, IndexError, TypeError):
        keys = list(of_env.keys())[:4] if hasattr(of_env, "keys") else None
        raise moment.error(
            f"info of env {env} has no key {agent}",
            moment.at(env, agent),
            got=f"keys {keys}" if keys is not None else describe(of_env),
            expected="a dict for each agent: HARL reads infos[env][agent]",
            fix="return [[{} for _ in range(n_agents)] for _ in range(num_envs)]",
        ) from None
    if not hasattr(info, "keys"):
        raise moment.error(f"the info of an agent is {describe(info)}, not a dict", moment.at(env, agent))
    if moment.sizes.num_agents < len(of_env) and not hasattr(of_env, "keys"):
        raise moment.error(f"infos of env {env} has {len(of_env)} entries for {moment.sizes.num_agents} agents")


def check_infos_fresh(moment: Moment) -> None:
    """Raise if a dict is handed out twice, or changes after it was handed out."""
    owners: Dict[int, Tuple[int, int, int]] = {}
    for kept in moment.kept:
        for env, agent, info, items in kept.infos:
            owners[id(info)] = (kept.step, env, agent)
            if not _same_items(info, items):
                raise moment.error(
                    f"the info of step {kept.step} changed at step {moment.step}",
                    moment.at(env, agent),
                    got=f"{sorted(map(str, info))} after {sorted(map(str, items))}",
                    cause="the dict is reused: a flag of one step shows in others",
                    fix="make new dicts in every step",
                )
    for env, of_env in entries(moment.parts["infos"]):
        for agent, info in leaves(of_env):
            owner = owners.setdefault(id(info), (moment.step, env, agent))
            if owner != (moment.step, env, agent):
                raise moment.error(
                    f"one info dict is shared by {_owner(owner)} and {_owner((moment.step, env, agent))}",
                    cause="[{}] * n repeats one dict: a flag set for one is set for all",
                    fix="make a new dict for each env, agent and step",
                )


def _owner(owner: Tuple[int, int, int]) -> str:
    return "env {1}, agent {2} (step {0})".format(*owner)


def check_bad_transition(moment: Moment) -> None:
    """Raise if the flag of a time limit is unreadable, or set where no episode ended."""
    dones = moment.parts["dones"].astype(bool).all(axis=1)
    for env, of_env in entries(moment.parts["infos"]):
        flags = [info.get(TRUNCATION) if hasattr(info, "get") else None for _, info in leaves(of_env)]
        for agent, flag in enumerate(flags):
            if flag is None or (isinstance(flag, (bool, np.bool_)) and (not flag or dones[env])):
                continue
            if isinstance(flag, (bool, np.bool_)):
                raise moment.error(
                    "bad_transition is set where no episode ended",
                    moment.at(env, agent),
                    got="dones {}".format(moment.parts["dones"][env].tolist()),
                    cause="a stale or shared dict, or a flag of the next step: HARL sets the advantage to 0 there",
                )
            raise moment.error(
                f"bad_transition is {flag!r}, not True or False",
                moment.at(env, agent),
                cause="HARL compares it with True: anything else is a true termination",
            )
        if len(set(map(bool, flags))) > 1:
            raise moment.error(
                "bad_transition is set for some agents of an env",
                moment.at(env),
                got=f"{flags}",
                cause="HARL's EP mode reads agent 0's alone",
            )


def truncation_flags(infos: Any, sizes: Sizes) -> np.ndarray:
    """Return where `bad_transition` is set, (N, A) bool; False where infos have another form."""
    flags = np.zeros((sizes.num_envs, sizes.num_agents), bool)
    for env, of_env in entries(infos):
        for agent, info in leaves(of_env):
            if env < sizes.num_envs and agent < sizes.num_agents and hasattr(info, "get"):
                flags[env, agent] = np.size(info.get(TRUNCATION)) == 1 and bool(info.get(TRUNCATION) == True)  # noqa: E712
    return flags


def entries(infos: Any) -> List[Tuple[int, Any]]:
    """Return (env, infos of its agents), or nothing where infos have another form."""
    is_sequence = hasattr(infos, "__len__") and hasattr(infos, "__getitem__") and not hasattr(infos, "keys")
    return list(enumerate(infos)) if is_sequence else []


def leaves(of_env: Any) -> List[Tuple[int, Any]]:
    """Return (agent, dict) for every agent of an env."""
    if hasattr(of_env, "keys"):
        return [(int(key), of_env[key]) for key in of_env.keys() if isinstance(key, (int, np.integer))]
    if isinstance(of_env, (list, tuple, np.ndarray)):
        return list(enumerate(of_env))
    return []


def copy_of(value: Any) -> Any:
    """Return a copy of what may change in place."""
    return value.copy() if isinstance(value, (np.ndarray, dict, list)) else value


def _same_items(info: Any, items: Dict[Any, Any]) -> bool:
    return len(info) == len(items) and all(key in info and _same(info[key], items[key]) for key in items)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    try:
        return a is b or bool(a == b) or a != a
    except (ValueError, TypeError, RuntimeError):
        return True


def describe(value: Any) -> str:
    """Return what kind of thing a value is, and of which size."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{size}"
