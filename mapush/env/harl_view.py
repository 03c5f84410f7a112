"""Any `VecEnv` behind the interface that HARL's on-policy runner expects: numpy arrays, agent by agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np

from mapush.env.recent_episodes import RecentEpisodes
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.errors import SpecError
from mapush.spec import TensorSpec

if TYPE_CHECKING:
    import torch

ACTION_DIMS = ("num_envs", "num_agents", "action_dim")

Views = Tuple[np.ndarray, np.ndarray]
Infos = List[List[Dict[str, Any]]]


class Box:
    """A box of real numbers. HARL recognises a space by the name of its class, `Box`, and reads its shape.

    Args:
      low: smallest value, the same for every element; may be infinite.
      high: largest value, the same for every element; may be infinite.
      shape: shape of a member.

    Attributes:
      low: (shape) float32.
      high: (shape) float32.
      dtype: float32.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, low: float, high: float, shape: Tuple[int, ...]) -> None:
        self.shape = shape
        self.low = np.full(shape, low, self.dtype)
        self.high = np.full(shape, high, self.dtype)
        self.seed()

    def seed(self, seed: Optional[int] = None) -> None:
        """Seed the generator from which `sample` draws; None seeds it from the operating system."""
        self._generator = np.random.default_rng(seed)

    def sample(self) -> np.ndarray:
        """Draw a member: uniform between finite bounds, otherwise normal and clipped to the bounds."""
        if np.isfinite(self.low).all() and np.isfinite(self.high).all():
            return self._generator.uniform(self.low, self.high).astype(self.dtype)
        normal = self._generator.standard_normal(self.shape)
        return normal.clip(self.low, self.high).astype(self.dtype)

    def contains(self, value: Any) -> bool:
        """Return whether `value` is an array of real numbers with this shape, within the bounds."""
        if not isinstance(value, np.ndarray) or value.shape != self.shape:
            return False
        if value.dtype.kind not in "fiu":
            return False
        within = (value >= self.low) & (value <= self.high)
        return bool(within.all())

    def __repr__(self) -> str:
        return f"Box({self.low.min():g}, {self.high.max():g}, {self.shape}, {self.dtype})"


class HarlView:
    """A `VecEnv` behind the interface of HARL's vectorised environments, for N envs of A agents.

    Below, D = obs_dim, S = share_obs_dim and K = action_dim. Every array and every dict that it returns is new and
    belongs to the caller. An env whose episode ends is reset within the step, so where `dones` is True, `obs` is the
    first observation of the next episode. All agents of an env are done together.

    Each agent of each env has an info, a dict. It is empty except at the end of an episode, where it holds:

    * `bad_transition`: True, if the time limit ended the episode; otherwise the key is absent.
    * `final_obs` (D,) and `final_share_obs` (S,) float32: the last observation of agent and critic in the episode.
    * `outcome`: the results of the episode by name, as Python numbers.

    Source: HARL@d539bad, `harl/envs/env_wrappers.py` and `harl/runners/on_policy_base_runner.py`, which read these.

    Args:
      env: the environment. Every step waits for its device, and raises what went wrong there.
      team_reward: give every agent the team's mean reward, for HARL's EP mode, which learns from the reward of agent 0
        only but logs the mean of all. False leaves every agent its own reward, for the FP mode.

    Attributes:
      num_envs: N.
      n_agents: A.
      observation_space: one Box (D,) per agent.
      share_observation_space: one Box (S,) per agent, all the same.
      action_space: one Box (K,) per agent; values outside its bounds are clipped.
    """

    def __init__(self, env: VecEnv, team_reward: bool = True) -> None:
        self.env = env
        self.team_reward = team_reward
        self.num_envs = env.num_envs
        self.n_agents = env.num_agents
        self.observation_space = self._spaces(env.obs_spec)
        self.share_observation_space = self._spaces(env.share_obs_spec)
        self.action_space = self._spaces(env.action_spec)
        self._recent = RecentEpisodes()
        self._actions_spec = TensorSpec("actions", ACTION_DIMS, env.action_spec.shape)

    def reset(self) -> Tuple[np.ndarray, np.ndarray, List[None]]:
        """Start a new episode in every env.

        Returns:
          obs (N, A, D) float32, share_obs (N, A, S) float32, and available_actions, a list of N times None.
        """
        obs, share_obs = self._views(self.env.reset())
        return obs, share_obs, [None] * self.num_envs

    def step(self, actions: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos, List[None]]:
        """Act; see `VecEnv.step`.

        Args:
          actions: (N, A, K) of any floating-point type, in any memory layout; neither modified nor kept.

        Returns:
          obs (N, A, D) float32, share_obs (N, A, S) float32, rewards (N, A, 1) float32, dones (N, A) bool,
          infos `[N][A]`, and available_actions, a list of N times None.

        Raises:
          SpecError: `actions` has a different shape or type.
          NonFiniteError: an action or the new state is NaN or infinite.
          SimulatorError: the physics of an env diverged, or a buffer was too small.
        """
        transition = self.env.step(self._checked(actions))
        self.env.check()
        obs, share_obs = self._views(transition.observation)
        rewards = _numpy(transition.reward)
        if self.team_reward:
            rewards = self._per_agent(self._team_mean(rewards))
        dones = self._per_agent(_numpy(transition.done))
        return obs, share_obs, rewards[:, :, np.newaxis], dones, self._infos(transition), [None] * self.num_envs

    def _team_mean(self, rewards: np.ndarray) -> np.ndarray:
        """Return the mean reward (N,) of the agents that each env has; `rewards` (N, A) of others are 0."""
        if self.env.active is None:
            return rewards.mean(axis=1)
        return rewards.sum(axis=1) / _numpy(self.env.active).sum(axis=1)

    def get_statistics(self) -> Dict[str, float]:
        """Return the means over the episodes that ended since the last `reset_statistics`, at most the last 1,000.

        Returns:
          `success_rate`, `collision_rate` and `collaboration_degree`: fractions from 0 to 1.
          `mean_length`: mean length of an episode [env steps].
          `num_episodes`: the number of episodes, an int.

          A mean is nan before the first episode, and where the environment does not tell that outcome.
        """
        return self._recent.statistics()

    def reset_statistics(self) -> None:
        """Begin new statistics; those of the environment, `env.metrics`, stay as they are."""
        self._recent.clear()

    def close(self) -> None:
        """Release the simulator; further calls do nothing."""
        self.env.close()

    def _spaces(self, spec: TensorSpec) -> List[Box]:
        low, high = spec.low, spec.high
        if low is None:
            low = -np.inf
        if high is None:
            high = np.inf
        return [Box(low, high, spec.shape[-1:]) for _ in range(self.n_agents)]

    def _checked(self, actions: np.ndarray) -> torch.Tensor:
        """Return a copy of the caller's actions on the env's device.

        Raises:
          SpecError: they are not floating-point numbers in an array of the right shape.
          NonFiniteError: one of them is NaN, or infinite as float32.
        """
        import torch

        where = "HarlView.step"
        if not isinstance(actions, np.ndarray) or actions.dtype.kind != "f":
            raise self._wrong_type(actions, where)
        with np.errstate(over="ignore"):
            copy = np.array(actions, dtype=np.float32, order="C")
        return self._actions_spec.validate(torch.from_numpy(copy), where).to(self.env.device)

    def _wrong_type(self, actions: Any, where: str) -> SpecError:
        got = f"a {type(actions).__name__}"
        if hasattr(actions, "dtype"):
            got = f"dtype {actions.dtype}"
        return SpecError(
            "actions have the wrong type",
            where=where,
            got=got,
            expected=f"a numpy array {self._actions_spec}",
            cause=f"integers are the actions of a Discrete space; this space is {self.action_space[0]}",
        )

    def _views(self, observation: Observation) -> Views:
        """Return obs (N, A, D), and share_obs (N, A, S), which is the same for all agents."""
        return _numpy(observation.obs), self._per_agent(_numpy(observation.share_obs))

    def _per_agent(self, values: np.ndarray) -> np.ndarray:
        """Repeat values (N, ...) for every agent: (N, A, ...)."""
        return np.repeat(values[:, np.newaxis], self.n_agents, axis=1)

    def _infos(self, transition: Transition) -> Infos:
        """Return the infos `[N][A]` of a step."""
        infos = self._empty_infos()
        ended = np.flatnonzero(_numpy(transition.done))
        if not ended.size:
            return infos
        truncated = _numpy(transition.truncated)
        final_obs, final_share_obs = self._views(transition.final_observation)
        outcome = {name: _numpy(values) for name, values in transition.outcome.items()}
        for env_id in ended:
            result = {name: values[env_id].item() for name, values in outcome.items()}
            self._recent.add(result)
            for agent, info in enumerate(infos[env_id]):
                info["outcome"] = dict(result)
                info["final_obs"] = final_obs[env_id, agent]
                info["final_share_obs"] = final_share_obs[env_id, agent]
                if truncated[env_id]:
                    info["bad_transition"] = True
        return infos

    def _empty_infos(self) -> Infos:
        infos: Infos = []
        for _ in range(self.num_envs):
            infos.append([{} for _ in range(self.n_agents)])
        return infos


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy on the host; without `np.array` it would be a view of a tensor on the CPU."""
    return np.array(tensor.detach().cpu().numpy())
