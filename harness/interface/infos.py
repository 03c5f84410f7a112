"""How infos are read: HARL reads `infos[env][agent]`, and from it only `bad_transition`."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from harness.interface.same_bytes import same_bytes
from harness.interface.spaces import Sizes

TRUNCATION = "bad_transition"  # the only key that HARL's on-policy runner reads
MAX_DEPTH = 3  # of dicts within an info


def truncation_flags(infos: Any, sizes: Sizes, per_agent: bool = True) -> np.ndarray:
    """Return where `bad_transition` is set, (N, A) bool; False where infos have a different form.

    Args:
      infos: of a step.
      sizes: of the environment.
      per_agent: whether HARL reads every agent's info, as in FP mode; in EP mode, agent 0's stands for all.
    """
    flags = np.zeros((sizes.num_envs, sizes.num_agents), bool)
    for env, agent, info in leaves(infos):
        if env < sizes.num_envs and agent < sizes.num_agents and hasattr(info, "get"):
            flag = info.get(TRUNCATION)
            if flag is None:
                continue
            flags[env, agent] = np.size(flag) == 1 and bool(flag == True)  # noqa: E712
    if not per_agent:
        flags[:] = flags[:, :1]
    return flags


def entries(infos: Any) -> List[Tuple[int, Any]]:
    """Return pairs (env, infos of its agents), or nothing if infos have a different form."""
    if hasattr(infos, "keys") or not is_sequence(infos):
        return []
    return list(enumerate(infos))


def agents_of(env_infos: Any) -> List[Tuple[int, Any]]:
    """Return pairs (agent, info) for every agent of an env."""
    if hasattr(env_infos, "keys"):
        found = []
        for key in env_infos.keys():
            if isinstance(key, (int, np.integer)):
                found.append((int(key), env_infos[key]))
        return found
    if isinstance(env_infos, (list, tuple, np.ndarray)):
        return list(enumerate(env_infos))
    return []


def leaves(infos: Any) -> List[Tuple[int, int, Any]]:
    """Return triples (env, agent, info) for every agent of every env."""
    found = []
    for env, env_infos in entries(infos):
        for agent, info in agents_of(env_infos):
            found.append((env, agent, info))
    return found


def numbers_in(
    info: Any, prefix: str = "", depth: int = MAX_DEPTH, *, booleans: bool = False
) -> Iterator[Tuple[str, float]]:
    """Yield path and value of every number in a dict of dicts.

    Args:
      info: the dict.
      prefix: what the paths begin with.
      depth: how many dicts within each other are read.
      booleans: whether True and False are numbers, 1 and 0.
    """
    if depth == 0 or not hasattr(info, "items"):
        return
    for key, value in info.items():
        path = f"{prefix}{key}"
        is_boolean = isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == np.dtype(bool)
        if is_boolean and not booleans:
            continue
        if is_tensor(value):
            value = array_of(value)
        if isinstance(value, (int, float, np.number, np.bool_)) or (isinstance(value, np.ndarray) and value.size == 1):
            yield path, float(np.asarray(value).item())
        else:
            yield from numbers_in(value, f"{path}/", depth - 1, booleans=booleans)


def is_sequence(infos: Any) -> bool:
    """Return whether a value has a length and can be indexed, as HARL does with infos."""
    return hasattr(infos, "__len__") and hasattr(infos, "__getitem__")


def copy_of_infos(infos: Any) -> Any:
    """Return infos as they are now, also if the environment uses their dicts again; a different form is not copied."""
    copies: List[Any] = []
    for _, env_infos in entries(infos):
        by_agent = {}
        for agent, info in agents_of(env_infos):
            by_agent[agent] = info
            if hasattr(info, "keys"):
                by_agent[agent] = copy_of_items(info)
        copies.append(by_agent or env_infos)
    return copies or infos


def copy_of_items(info: Any) -> Dict[Any, Any]:
    """Return the items of an info, with copies of values that may change in place."""
    return {key: _copy_of(info[key]) for key in info.keys()}


def _copy_of(value: Any) -> Any:
    if isinstance(value, (np.ndarray, dict, list)):
        return value.copy()
    if is_tensor(value):
        return array_of(value).copy()
    return value


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of PyTorch, without importing it."""
    return type(value).__module__ == "torch" and hasattr(value, "detach")


def array_of(tensor: Any) -> np.ndarray:
    """Return the numbers of a tensor of PyTorch, on whatever device."""
    return np.asarray(tensor.detach().cpu().numpy())


def has_same_items(info: Any, items: Dict[Any, Any]) -> bool:
    """Return whether an info still has the items that it had."""
    if len(info) != len(items):
        return False
    return all(key in info and _is_same(info[key], items[key]) for key in items)


def _is_same(a: Any, b: Any) -> bool:
    if is_tensor(a):
        a = array_of(a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and same_bytes(a, b):
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    try:
        return a is b or bool(a == b) or a != a
    except (ValueError, TypeError, RuntimeError):
        return True


def describe(value: Any) -> str:
    """Return type and size of a value in words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    kind = type(value).__name__
    if hasattr(value, "__len__"):
        return f"a {kind} of {len(value)}"
    return f"a {kind}"
