"""The sizes of an environment, read from its spaces as HARL reads them.

N envs, A agents; D, S and K as in `harness.interface.player`.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, List, Mapping, Optional, Set, Tuple

import numpy as np

from harness.findings import ContractError

SPACES = ("observation_space", "share_observation_space", "action_space")
NAMES_OF_NUM_ENVS = ("num_envs", "n_rollout_threads", "n_envs")

Bounds = Tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes and bounds that an environment's spaces state.

    Attributes:
      num_envs: N.
      num_agents: A.
      obs_dim: D.
      share_obs_dim: S.
      action_dim: K; 1 for Discrete.
      low: lower bound of an action, (K,); may be infinite.
      high: upper bound of an action, (K,); for discrete spaces the largest index.
      discrete: whether actions are indices.
      maskable: whether `available_actions` says which actions are legal: for Discrete, but not for MultiDiscrete.
      obs_bounds: lowest and highest observation of each agent, (A, D) each; None if the space states no bounds.
      share_obs_bounds: lowest and highest global state, (A, S) each; None if the space states no bounds.
    """

    num_envs: int
    num_agents: int
    obs_dim: int
    share_obs_dim: int
    action_dim: int
    low: np.ndarray
    high: np.ndarray
    discrete: bool = False
    maskable: bool = False
    obs_bounds: Optional[Bounds] = None
    share_obs_bounds: Optional[Bounds] = None

    @property
    def action_shape(self) -> Tuple[int, int, int]:
        """(N, A, K)."""
        return self.num_envs, self.num_agents, self.action_dim

    @property
    def num_choices(self) -> int:
        """How many actions a Discrete space has."""
        return int(self.high[0]) + 1

    def __str__(self) -> str:
        return (
            f"num_envs {self.num_envs}, num_agents {self.num_agents}, obs_dim {self.obs_dim}, "
            f"share_obs_dim {self.share_obs_dim}, action_dim {self.action_dim}"
        )

    def alike(self) -> List[str]:
        """Return the sizes that are equal or 1: a swapped axis or a silent broadcast could go unnoticed there."""
        values = dict(
            A=self.num_agents, D=self.obs_dim, K=self.action_dim, N=self.num_envs, S=self.share_obs_dim
        )  # in alphabetical order
        found = []
        for a, b in itertools.combinations(values, 2):
            if values[a] == values[b]:
                found.append(f"{a} = {b} = {values[a]}")
        for name, value in values.items():
            if value == 1 and not (name == "K" and self.discrete):
                found.append(f"{name} = 1")
        return found


def read_sizes(env: Any, num_envs: Optional[int] = None) -> Sizes:
    """Return the sizes that an environment's spaces state.

    Args:
      env: the environment.
      num_envs: how many envs were requested; None reads the number from the environment or its first observation.

    Raises:
      ContractError: HARL cannot read the spaces (contract "spaces").
    """
    count = _stated_num_agents(env)
    spaces = {name: _per_agent(env, name) for name in SPACES}
    num_agents = len(spaces["action_space"])
    if count is not None and count != num_agents:
        raise ContractError(
            f"the environment states {count} agents, but has {num_agents} action spaces", contract="spaces"
        )
    action = spaces["action_space"][0]
    low, high, discrete = _action_range(action)
    return Sizes(
        num_envs=num_envs or _num_envs(env),
        num_agents=num_agents,
        obs_dim=_width("observation_space", spaces["observation_space"][0]),
        share_obs_dim=_width("share_observation_space", spaces["share_observation_space"][0]),
        action_dim=len(low),
        low=low,
        high=high,
        discrete=discrete,
        maskable=type(action).__name__ == "Discrete",
        obs_bounds=_bounds(spaces["observation_space"]),
        share_obs_bounds=_bounds(spaces["share_observation_space"]),
    )


def _stated_num_agents(env: Any) -> Optional[int]:
    count = getattr(env, "n_agents", getattr(env, "num_agents", None))
    if count is None:
        return None
    if not hasattr(count, "__index__"):
        raise ContractError(
            f"the number of agents is {count!r}, a {type(count).__name__}, not a whole number",
            contract="spaces",
            cause="HARL makes its networks and buffers in range(n_agents)",
            fix="n_agents = len(action_space)",
        )
    return int(count)


def _per_agent(env: Any, name: str) -> List[Any]:
    space = getattr(env, name, None)
    expected = "a list or tuple with one space for each agent"
    if space is None:
        raise ContractError(f"the environment has no {name}", contract="spaces", expected=expected)
    if isinstance(space, Mapping):
        raise ContractError(
            f"{name} is a {type(space).__name__}, not a list with one space for each agent",
            contract="spaces",
            got=repr(space),
            expected=expected,
            fix="return [space_of[agent] for agent in agents], in the order of the agents' numbers",
        )
    if _is_one_space(space):
        raise ContractError(
            f"{name} is one space, not one for each agent",
            contract="spaces",
            got=repr(space),
            expected=expected,
            fix="return [space] * n_agents",
        )
    return [space[agent] for agent in range(len(space))]


def _is_one_space(space: Any) -> bool:
    """Return whether this is a single space; HARL also takes a list of numbers, such as [8], for one."""
    if isinstance(space, list) and space:
        return all(isinstance(size, (int, np.integer)) for size in space)
    return not hasattr(space, "__getitem__") or not hasattr(space, "__len__")


def _bounds(spaces: List[Any]) -> Optional[Bounds]:
    """Return the bounds of vectors, (A, dim) each, if all agents' spaces state bounds of one shape."""
    low, high = [], []
    shapes: Set[Tuple[int, ...]] = set()
    for space in spaces:
        lower, upper = getattr(space, "low", None), getattr(space, "high", None)
        if lower is None or upper is None:
            return None
        shapes.update((np.shape(lower), np.shape(upper)))
        low.append(lower)
        high.append(upper)
    if len(shapes) != 1 or len(shapes.pop()) != 1:
        return None
    return np.array(low, np.float64), np.array(high, np.float64)


def _width(name: str, space: Any) -> int:
    """Return the length of the vectors of an observation space."""
    kind = type(space).__name__
    shape = getattr(space, "shape", None)
    if kind == "list":
        shape = space
    if kind not in ("Box", "list") or shape is None or len(shape) != 1:
        raise ContractError(
            f"{name} is not a vector that HARL can read",
            contract="spaces",
            got=f"{kind} of shape {shape}",
            expected="a class named Box (HARL goes by the name) with shape (dim,), or a list such as [8]",
        )
    return int(shape[0])


def _action_range(space: Any) -> Tuple[np.ndarray, np.ndarray, bool]:
    """Return the lowest and the highest action, (K,) each, and whether actions are indices."""
    kind = type(space).__name__
    if kind == "Box" and len(space.shape) == 1:
        ones = np.ones(space.shape)
        low, high = getattr(space, "low", -np.inf), getattr(space, "high", np.inf)
        return np.asarray(low, np.float64) * ones, np.asarray(high, np.float64) * ones, False
    if kind == "Discrete":
        return np.zeros(1), np.array([float(space.n) - 1.0]), True
    if kind == "MultiDiscrete":
        bounds_name = "nvec"
        if not hasattr(space, bounds_name):
            bounds_name = "high"  # as HARL's own MultiDiscrete calls it
        counts = np.asarray(getattr(space, bounds_name), np.float64)
        return np.zeros(len(counts)), counts - 1.0, True
    cause = None
    if kind == "Box":
        cause = "HARL uses only shape[0]"
    raise ContractError(
        "HARL cannot read this action_space",
        contract="spaces",
        got=f"{kind} of shape {getattr(space, 'shape', None)}",
        expected="a class named Box with shape (action_dim,), Discrete or MultiDiscrete (HARL goes by the name)",
        cause=cause,
    )


def _num_envs(env: Any) -> int:
    for name in NAMES_OF_NUM_ENVS:
        value = getattr(env, name, None)
        if isinstance(value, (int, np.integer)):
            return int(value)
    obs = env.reset()
    if isinstance(obs, (tuple, list)) and obs:
        obs = obs[0]
    if np.ndim(obs) == 0:
        return 1
    return int(np.shape(obs)[0])
