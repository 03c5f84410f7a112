"""A toy environment with HARL's interface and the spaces of the user's: its numbers say where they come from.

No simulator: observations are drawn anew at every step, and episodes last 3 to 7 steps, so that a few rollouts end
many.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Tuple

import numpy as np

from harness.harl.probe import LeastBox

SHORTEST, LONGEST = 3, 7  # steps of an episode; at the longest, the time is up


@dataclasses.dataclass(frozen=True)
class ToySizes:
    """The sizes of a toy.

    Attributes:
      num_agents: A.
      obs_dim: D.
      share_obs_dim: S.
      action_dim: K.
    """

    num_agents: int = 2
    obs_dim: int = 8
    share_obs_dim: int = 19
    action_dim: int = 3


class Statistics(Dict[str, float]):
    """What `get_statistics` of a toy returns: it has every key, and a number that tells which kind of key it was."""

    def __missing__(self, key: str) -> float:
        lower = str(key).lower()
        for word, value in dict.items(self):
            if word in lower:
                return value
        return self["other"]

    def get(self, key: str, default: Any = None) -> float:  # type: ignore[override]
        """Return the number of a key, which always exists."""
        return self[key]

    def __contains__(self, key: object) -> bool:
        return True


class ToyEnv:
    """The toy.

    Args:
      sizes: of agents, observations and actions.
      num_envs: N.
      role: "training" or "evaluation".
      state_type: HARL's setting; in "FP" mode agents have states and rewards of their own.
    """

    def __init__(self, sizes: ToySizes, num_envs: int, role: str, state_type: str = "EP") -> None:
        self.n_agents = self.num_agents = sizes.num_agents
        self.num_envs = self.n_envs = self.n_threads = num_envs
        self.role = role
        self.observation_space: List[LeastBox] = []
        self.share_observation_space: List[LeastBox] = []
        self.action_space: List[LeastBox] = []
        for _ in range(sizes.num_agents):
            self.observation_space.append(LeastBox(sizes.obs_dim))
            self.share_observation_space.append(LeastBox(sizes.share_obs_dim))
            self.action_space.append(LeastBox(sizes.action_dim, bound=1.0))
        self.num_steps = 0
        self._sizes = sizes
        self._per_agent = state_type == "FP"
        self._random = np.random.default_rng(num_envs + len(role))
        self._length = np.zeros(num_envs, int)
        self._episode = np.arange(num_envs)
        self._ended: List[bool] = []

    def reset(self) -> Tuple[Any, ...]:
        """Start new episodes."""
        self._length[:] = 0
        return (*self._seen(), self._available())

    def step(self, actions: Any) -> Tuple[Any, ...]:
        """Take a step, whatever the actions."""
        self.num_steps += 1
        self._length += 1
        limit = SHORTEST + (7 * self._episode) % (LONGEST - SHORTEST + 1)
        ended = self._length >= limit
        timed_out = ended & (limit == LONGEST)
        self._ended += list(timed_out[ended])
        self._episode[ended] += self.num_envs
        self._length[ended] = 0
        rewards = self._random.normal(size=(self.num_envs, self.n_agents, 1)).astype(np.float32)
        if not self._per_agent:
            rewards[:] = rewards[:, :1]
        infos: List[List[Dict[str, Any]]] = []
        for flag in timed_out:
            infos.append([])
            for _ in range(self.n_agents):
                infos[-1].append({"bad_transition": True} if flag else {})
        dones = np.repeat(ended[:, None], self.n_agents, axis=1)
        return (*self._seen(), rewards, dones, infos, self._available())

    def _seen(self) -> Tuple[np.ndarray, np.ndarray]:
        obs = self._random.normal(size=(self.num_envs, self.n_agents, self._sizes.obs_dim))
        share_obs = self._random.normal(size=(self.num_envs, self.n_agents, self._sizes.share_obs_dim))
        if not self._per_agent:
            share_obs[:] = share_obs[:, :1]
        return obs.astype(np.float32), share_obs.astype(np.float32)

    def _available(self) -> List[None]:
        return [None] * self.num_envs

    def get_statistics(self, *_: Any, **__: Any) -> Statistics:
        """Return statistics of the episodes since the last reset of the statistics."""
        episodes = len(self._ended)
        late = sum(self._ended) / max(episodes, 1)
        rates = {"success": late, "collision": 1.0 - late, "rate": late}
        return Statistics({**rates, "episodes": episodes, "num": episodes, "count": episodes, "other": 0.5})

    def reset_statistics(self, *_: Any, **__: Any) -> None:
        """Forget the episodes so far."""
        self._ended = []

    def seed(self, *_: Any) -> None:
        """Accept a seed."""

    def render(self, *_: Any, **__: Any) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Do nothing."""


class ToyMaker:
    """Makes toys in place of the user's environment, and remembers them.

    Attributes:
      toys: what it has made.
      role: of the toys that it makes next.
      num_envs: the same.
    """

    def __init__(self, sizes: ToySizes, num_envs: int, state_type: str) -> None:
        self.toys: List[ToyEnv] = []
        self.role = "training"
        self.num_envs = num_envs
        self._sizes = sizes
        self._state_type = state_type

    def __call__(self, *_: Any, **__: Any) -> ToyEnv:
        """Make a toy, whatever the arguments."""
        toy = ToyEnv(self._sizes, self.num_envs, self.role, self._state_type)
        self.toys.append(toy)
        return toy
