"""What an environment's spaces say, read as HARL reads them.

N envs, A agents; D, S and K as in `harness.interface.player`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Mapping, Optional, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface import step_checks

Bounds = Tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What an environment's spaces say.

    Attributes:
      num_envs: N.
      num_agents: A.
      obs_dim: D.
      share_obs_dim: S.
      action_dim: K; 1 for Discrete.
      low: of an action, (K,); may be infinite.
      high: of an action, (K,); for discrete spaces the largest index.
      discrete: whether actions are indices.
      maskable: whether `available_actions` says which of them are legal: Discrete, not MultiDiscrete.
      obs_bounds: lowest and highest observation of each agent, (A, D) each, or None where the space says nothing.
      share_obs_bounds: of the global state, (A, S) each, or None.
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
        values = (self.num_envs, self.num_agents, self.obs_dim, self.share_obs_dim, self.action_dim)
        return "num_envs {}, num_agents {}, obs_dim {}, share_obs_dim {}, action_dim {}".format(*values)

    def alike(self) -> List[str]:
        """Return the pairs of sizes that are equal, or one, so that a swapped axis or a broadcast could hide there."""
        values = dict(N=self.num_envs, A=self.num_agents, D=self.obs_dim, S=self.share_obs_dim, K=self.action_dim)
        names = sorted(values)
        pairs = [(a, b) for a in names for b in names if a < b and values[a] == values[b]]
        return [f"{a} = {b} = {values[a]}" for a, b in pairs] + [
            f"{name} = 1" for name in names if values[name] == 1 and not (name == "K" and self.discrete)
        ]


def read_sizes(env: Any, num_envs: Optional[int] = None) -> Sizes:
    """Return the sizes that an environment's spaces state.

    Args:
      env: the environment.
      num_envs: how many envs were asked for, or None: then what the environment says, or its first observation has.
    Raises:
      ContractError: of the contract "spaces": HARL cannot read them.
    """
    count = getattr(env, "n_agents", getattr(env, "num_agents", None))
    if count is not None and not hasattr(count, "__index__"):
        raise ContractError(
            f"the number of agents is {count!r}, a {type(count).__name__}, not a whole number",
            contract="spaces",
            cause="HARL makes its networks and buffers in range(n_agents)",
            fix="n_agents = len(action_space)",
        )
    spaces = {name: _per_agent(env, name) for name in step_checks.SPACES}
    num_agents = len(spaces["action_space"])
    if count is not None and int(count) != num_agents:
        raise ContractError(
            f"the environment says {count} agents, but has {num_agents} action spaces", contract="spaces"
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
    is_plain = isinstance(space, list) and space and all(isinstance(size, (int, np.integer)) for size in space)
    if is_plain or not hasattr(space, "__getitem__") or not hasattr(space, "__len__"):
        raise ContractError(
            f"{name} is one space, not one for each agent",
            contract="spaces",
            got=repr(space),
            expected=expected,
            fix="return [space] * n_agents",
        )
    return [space[agent] for agent in range(len(space))]


def _bounds(spaces: List[Any]) -> Optional[Bounds]:
    """Return the bounds of vectors, (A, dim) each, if all agents' spaces have some, and of one shape."""
    low, high = ([getattr(space, name, None) for space in spaces] for name in ("low", "high"))
    shapes = {np.shape(bound) for bound in low + high if bound is not None}
    if any(bound is None for bound in low + high) or len(shapes) != 1 or len(shapes.pop()) != 1:
        return None
    return np.array(low, np.float64), np.array(high, np.float64)


def _width(name: str, space: Any) -> int:
    """Return the length of the vectors of an observation space."""
    kind = type(space).__name__
    shape = space if kind == "list" else getattr(space, "shape", None)
    if kind not in ("Box", "list") or shape is None or len(shape) != 1:
        raise ContractError(
            f"{name} is not a vector that HARL can read",
            contract="spaces",
            got=f"{kind} of shape {shape}",
            expected="a class named Box (HARL goes by the name) with shape (dim,), or a list such as [8]",
        )
    return int(shape[0])


def _action_range(space: Any) -> Tuple[np.ndarray, np.ndarray, bool]:
    kind = type(space).__name__
    if kind == "Box" and len(space.shape) == 1:
        ones = np.ones(space.shape)
        low, high = getattr(space, "low", -np.inf), getattr(space, "high", np.inf)
        return np.asarray(low, np.float64) * ones, np.asarray(high, np.float64) * ones, False
    if kind == "Discrete":
        return np.zeros(1), np.array([float(space.n) - 1.0]), True
    if kind == "MultiDiscrete":
        sizes = np.asarray(getattr(space, "nvec", None) if hasattr(space, "nvec") else space.high, np.float64)
        return np.zeros(len(sizes)), sizes - 1.0, True
    raise ContractError(
        "action_space is not one that HARL can read",
        contract="spaces",
        got="{} of shape {}".format(kind, getattr(space, "shape", None)),
        expected="a class named Box with shape (action_dim,), Discrete or MultiDiscrete (HARL goes by the name)",
        cause="HARL uses shape[0] alone" if kind == "Box" else None,
    )


def _num_envs(env: Any) -> int:
    for name in ("num_envs", "n_rollout_threads", "n_envs"):
        value = getattr(env, name, None)
        if isinstance(value, (int, np.integer)):
            return int(value)
    returned = env.reset()
    obs = returned[0] if isinstance(returned, (tuple, list)) and returned else returned
    return int(np.shape(obs)[0]) if np.ndim(obs) else 1
