"""The toy of the harness with the interfaces of other libraries, as strict as the real libraries are.

Each environment takes the name of a bug; "" for none. No library is imported, except torch by those that use it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from harness.toys import PointMass

HORIZON = 12
AGENTS = ("ant", "bee")
WAYS = {"SAME_STEP": "SameStep", "NEXT_STEP": "NextStep", "DISABLED": "Disabled"}


class Box:
    """As gymnasium's Box, with the parts that the views read."""

    def __init__(self, low: float, high: float, shape: Tuple[int, ...]) -> None:
        self.low = np.full(shape, low, np.float32)
        self.high = np.full(shape, high, np.float32)
        self.shape = shape
        self.dtype = np.dtype(np.float32)

    def require(self, value: Any) -> None:
        """Raise unless a value belongs to the space."""
        if not isinstance(value, np.ndarray) or value.dtype != self.dtype or value.shape != self.shape:
            raise TypeError(f"{type(value).__name__} of shape {np.shape(value)}, expected {self.shape}")
        if not ((value >= self.low) & (value <= self.high)).all():
            raise ValueError("the action is not in the action space")


class World:
    """One env of the toy, which is reset only when it is told to.

    Args:
      num_agents: A.
      bug: "seed": the seed of `reset` is ignored; "nan": an observation is NaN from the seventh step of an episode on.
    """

    def __init__(self, num_agents: int, bug: str = "") -> None:
        self.num_agents = num_agents
        self.bug = bug
        self.dim = 3 + 2 * num_agents
        self._toy: Any = None
        self._is_fresh = False
        self._age = 0

    def reset(self, seed: Optional[int] = None) -> np.ndarray:
        """Start an episode, and return observations (A, D)."""
        if self.bug == "seed":
            seed = None if self._toy is not None else 5
        if self._toy is None or seed is not None:
            self._toy = PointMass(1, self.num_agents, seed or 0, HORIZON)
            self._is_fresh = False
        self._age = 0
        if not self._is_fresh:
            self._obs = self._toy.reset()[0][0]
        self._is_fresh = False
        return self._obs.copy()

    def step(self, actions: np.ndarray) -> Tuple[np.ndarray, float, bool, bool]:
        """Return the last observations (A, D) of this step, the reward, terminated and truncated."""
        obs, _, rewards, dones, infos, _ = self._toy.step(np.array(actions, np.float32)[None])
        self._obs = obs[0]
        self._age += 1
        shown = obs[0]
        self._is_fresh = bool(dones[0, 0])
        if self._is_fresh:
            shown = np.stack([info["final_obs"] for info in infos[0]])
        if self.bug == "nan" and self._age >= 7:
            shown[-1, 1] = np.nan
        truncated = infos[0][0].get("bad_transition", False)
        return shown.copy(), float(rewards[0, 0, 0]), bool(dones[0, 0]) and not truncated, truncated


class VectorEnv:
    """A gymnasium vector environment of one agent.

    Args:
      num_envs: N.
      way: "SAME_STEP", "NEXT_STEP" or "DISABLED".
      bug: as of `World`; "mode": the metadata state a different way; "shared": observations are one buffer;
        "limit": a time limit counts as terminated; "writes": actions are clipped in place.
    """

    def __init__(self, num_envs: int, way: str, bug: str = "") -> None:
        self.num_envs, self.way, self.bug = num_envs, way, bug
        stated = way
        if bug == "mode":
            stated = {"SAME_STEP": "NEXT_STEP", "NEXT_STEP": "SAME_STEP"}[way]
        self.metadata = {"autoreset_mode": SimpleNamespace(name=stated, value=WAYS[stated])}
        self._worlds = [World(1, bug) for _ in range(num_envs)]
        self.single_observation_space = Box(-9.0, 9.0, (5,))
        self.single_action_space = Box(-1.0, 1.0, (3,))
        self.observation_space = Box(-9.0, 9.0, (num_envs, 5))
        self.action_space = Box(-1.0, 1.0, (num_envs, 3))
        self._obs = np.zeros((num_envs, 5), np.float32)
        self._ended = np.zeros(num_envs, bool)

    def reset(self, *, seed: Optional[int] = None, options: Optional[Dict[str, Any]] = None) -> Any:
        """Reset all envs, or those of a mask."""
        mask = np.ones(self.num_envs, bool)
        if options is not None:
            mask = options.pop("reset_mask")
            if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
                raise ValueError("reset_mask")
        for env_id in np.flatnonzero(mask):
            of_env = None if seed is None else 100 * seed + int(env_id)
            self._obs[env_id] = self._worlds[env_id].reset(of_env)[0]
        self._ended[mask] = False
        return self._returned(), {}

    def step(self, actions: np.ndarray) -> Any:
        """Step all envs."""
        if self.bug == "writes":
            actions *= 0.5
        self.action_space.require(actions)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        infos: Dict[str, Any] = {}
        for env_id, world in enumerate(self._worlds):
            if self.way == "NEXT_STEP" and self._ended[env_id]:
                self._obs[env_id] = world.reset()[0]
                continue
            if self.way == "DISABLED" and self._ended[env_id]:
                raise RuntimeError("step of an env whose episode has ended")
            obs, rewards[env_id], terminated[env_id], truncated[env_id] = world.step(actions[env_id : env_id + 1])
            self._obs[env_id] = obs[0]
            if self.way == "SAME_STEP" and (terminated[env_id] or truncated[env_id]):
                infos.setdefault("final_obs", np.full(self.num_envs, None, object))[env_id] = obs[0]
                infos.setdefault("_final_obs", np.zeros(self.num_envs, bool))[env_id] = True
                self._obs[env_id] = world.reset()[0]
        self._ended = terminated | truncated
        if self.bug == "limit":
            terminated, truncated = self._ended.copy(), np.zeros(self.num_envs, bool)
        return self._returned(), rewards, terminated, truncated, infos

    def _returned(self) -> np.ndarray:
        if self.bug == "shared":
            return self._obs
        return self._obs.copy()

    def close(self) -> None:
        """Release nothing."""


class SingleEnv:
    """A gymnasium environment of one env and one agent; `bug` as of `World`."""

    observation_space = Box(-9.0, 9.0, (5,))
    action_space = Box(-1.0, 1.0, (3,))

    def __init__(self, bug: str = "") -> None:
        self._world = World(1, bug)
        self._is_running = False

    def reset(self, *, seed: Optional[int] = None, options: Any = None) -> Any:
        """Start an episode."""
        self._is_running = True
        return self._world.reset(seed)[0], {}

    def step(self, action: np.ndarray) -> Any:
        """Take one step."""
        if not self._is_running:
            raise RuntimeError("step before reset, or after the end")
        self.action_space.require(action)
        obs, reward, terminated, truncated = self._world.step(action[None])
        self._is_running = not (terminated or truncated)
        return obs[0], reward, terminated, truncated, {}

    def close(self) -> None:
        """Release nothing."""


class ParallelEnv:
    """A PettingZoo parallel environment of two agents.

    Args:
      bug: as of `World`; "shared": observations are buffers that change later; "limit": a time limit counts as
        terminated; "swapped": each agent takes the other's action; "stays": agents stay in `agents` after the end;
        "lost": the dict of rewards lacks an agent.
    """

    possible_agents = list(AGENTS)

    def __init__(self, bug: str = "") -> None:
        self.bug = bug
        self._world = World(2, bug)
        self.agents: List[str] = []
        self._obs = np.zeros((2, 7), np.float32)

    def observation_space(self, agent: str) -> Box:
        """Return the space of an agent's observations."""
        return {name: Box(-9.0, 9.0, (7,)) for name in AGENTS}[agent]

    def action_space(self, agent: str) -> Box:
        """Return the space of an agent's actions."""
        return {name: Box(-1.0, 1.0, (3,)) for name in AGENTS}[agent]

    def reset(self, seed: Optional[int] = None, options: Any = None) -> Any:
        """Start an episode."""
        self.agents = list(AGENTS)
        self._obs[:] = self._world.reset(seed)
        return self._observations(), {agent: {} for agent in AGENTS}

    def _observations(self) -> Dict[str, np.ndarray]:
        shown = self._obs
        if self.bug != "shared":
            shown = self._obs.copy()
        return dict(zip(AGENTS, shown))

    def step(self, actions: Dict[str, np.ndarray]) -> Any:
        """Take one step."""
        if not self.agents or set(actions) != set(self.agents):
            raise KeyError(f"actions of {sorted(actions)}, expected {self.agents}")
        for agent, action in actions.items():
            self.action_space(agent).require(action)
        stacked = np.stack([actions[agent] for agent in AGENTS])
        if self.bug == "swapped":
            stacked = stacked[::-1]
        self._obs[:], reward, terminated, truncated = self._world.step(stacked)
        if (terminated or truncated) and self.bug != "stays":
            self.agents = []
        if self.bug == "limit":
            terminated, truncated = terminated or truncated, False
        rewards = dict.fromkeys(AGENTS, reward)
        if self.bug == "lost":
            del rewards["bee"]
        flags = [dict.fromkeys(AGENTS, flag) for flag in (terminated, truncated)]
        return (self._observations(), rewards, *flags, {agent: {} for agent in AGENTS})

    def close(self) -> None:
        """Release nothing."""


class TorchWorlds:
    """N envs of the toy on torch tensors, each started again in the step in which its episode ends."""

    def __init__(self, num_envs: int, num_agents: int, seed: int, bug: str) -> None:
        import torch

        self.torch = torch
        self.num_envs, self.bug = num_envs, bug
        self._worlds = [World(num_agents, bug) for _ in range(num_envs)]
        self.obs = torch.zeros(num_envs, num_agents, 3 + 2 * num_agents)
        self.start(seed)

    def start(self, seed: Optional[int]) -> None:
        """Reset all envs."""
        for env_id, world in enumerate(self._worlds):
            of_env = None if seed is None else 100 * seed + env_id
            self.obs[env_id] = self.torch.from_numpy(world.reset(of_env))

    def step(self, actions: Any) -> Tuple[Any, Any, Any]:
        """Return rewards, terminated and truncated, (N,) each."""
        if actions.dtype != self.torch.float32 or actions.shape != (self.num_envs, self.obs.shape[1], 3):
            raise RuntimeError(f"actions are {actions.dtype} of shape {tuple(actions.shape)}")
        rewards = self.torch.zeros(self.num_envs)
        terminated, truncated = self.torch.zeros(2, self.num_envs, dtype=self.torch.bool)
        for env_id, world in enumerate(self._worlds):
            obs, reward, ended, by_time = world.step(actions[env_id].numpy().clip(-1.0, 1.0))
            rewards[env_id], terminated[env_id], truncated[env_id] = reward, ended, by_time
            if ended or by_time:
                obs = world.reset()
            self.obs[env_id] = self.torch.from_numpy(obs)
        return rewards, terminated, truncated

    def shown(self) -> Any:
        """Return the observations: the buffer itself, or a copy."""
        if self.bug == "shared":
            return self.obs
        return self.obs.clone()


class Groups:
    """Groups of tensors, with the parts of a TensorDict that the runner of rsl_rl uses; it is no dict."""

    def __init__(self, groups: Dict[str, Any]) -> None:
        self._groups = groups

    def keys(self) -> Any:
        """Return the names of the groups."""
        return self._groups.keys()

    def __getitem__(self, name: str) -> Any:
        return self._groups[name]


class RslRlEnv:
    """A VecEnv of rsl_rl.

    Args:
      num_envs: N.
      seed: seeds the toy.
      form: of what `get_observations` and `step` return: "groups", "extras" (rsl_rl 2), or "pair" (rsl_rl 1).
      bug: as of `World`; "shared": observations are one buffer; "missing": no `time_outs`; "stale": `time_outs` stay
        as they were until the next reset of any env; "writes": actions are scaled in place.
    """

    num_actions = 3
    max_episode_length = HORIZON
    device = "cpu"
    cfg: Dict[str, Any] = {}

    def __init__(self, num_envs: int, seed: int, form: str = "groups", bug: str = "") -> None:
        self.num_envs, self.form, self.bug = num_envs, form, bug
        self._worlds = TorchWorlds(num_envs, 1, seed, bug)
        self.episode_length_buf = self._worlds.torch.zeros(num_envs, dtype=self._worlds.torch.long)
        self._time_outs = self._worlds.torch.zeros(num_envs, dtype=self._worlds.torch.bool)

    def get_observations(self) -> Any:
        """Return the observations in the form of this version."""
        obs = self._worlds.shown()[:, 0]
        if self.form == "groups":
            return Groups({"policy": obs, "critic": self._critic(obs)})
        if self.form == "extras":
            return obs, {"observations": {"critic": self._critic(obs)}}
        return obs

    def get_privileged_observations(self) -> Any:
        """Return what the critic observes, as in rsl_rl 1."""
        if self.form == "pair":
            return self._critic(self._worlds.shown()[:, 0])
        return None

    def _critic(self, obs: Any) -> Any:
        return self._worlds.torch.cat([obs, 2.0 * obs[:, :2]], dim=1)

    def reset(self) -> Any:
        """Reset all envs."""
        self._worlds.start(None)
        if self.form == "groups":
            return self.get_observations(), {}
        if self.form == "pair":
            return self.get_observations(), self.get_privileged_observations()
        return self.get_observations()

    def step(self, actions: Any) -> Any:
        """Take one step."""
        if self.bug == "writes":
            actions *= 0.5
        rewards, terminated, truncated = self._worlds.step(actions[:, None])
        dones = terminated | truncated
        if self.bug != "stale" or dones.any():
            self._time_outs = truncated
        extras: Dict[str, Any] = {"log": {}}
        if self.bug != "missing":
            extras["time_outs"] = self._time_outs
        obs = self.get_observations()
        if self.form == "extras":
            obs, more = obs
            extras.update(more)
        if self.form == "pair":
            return obs, self._critic(obs), rewards, dones, extras
        return obs, rewards, dones.long(), extras


class MarlEnv:
    """Isaac Lab's DirectMARLEnv, with the parts that its users call.

    Args:
      num_envs: N.
      bug: as of `World`; "shared": observations are views of a buffer; "limit": a time limit is in `terminated`;
        "swapped": each agent takes the other's action.
    """

    possible_agents = list(AGENTS)
    device = "cpu"
    num_agents = 2

    def __init__(self, num_envs: int, bug: str = "") -> None:
        self.num_envs, self.bug = num_envs, bug
        self._worlds = TorchWorlds(num_envs, 2, 0, bug)
        self.agents = list(AGENTS)
        self.observation_spaces = {agent: Box(-9.0, 9.0, (7,)) for agent in AGENTS}
        self.action_spaces = {agent: Box(-1.0, 1.0, (3,)) for agent in AGENTS}
        self.state_space = Box(-9.0, 9.0, (14,))

    def observation_space(self, agent: str) -> Box:
        """Return the space of an agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """Return the space of an agent's actions."""
        return self.action_spaces[agent]

    def state(self) -> Any:
        """Return the global state, (N, 14)."""
        return self._worlds.obs.reshape(self.num_envs, 14).clone()

    def reset(self, seed: Optional[int] = None, options: Any = None) -> Any:
        """Reset all envs."""
        self._worlds.start(seed)
        return self._by_agent(self._worlds.shown()), {agent: {} for agent in AGENTS}

    def _by_agent(self, values: Any) -> Dict[str, Any]:
        return {agent: values[:, number] for number, agent in enumerate(AGENTS)}

    def step(self, actions: Dict[str, Any]) -> Any:
        """Take one step."""
        order = AGENTS[::-1] if self.bug == "swapped" else AGENTS
        stacked = self._worlds.torch.stack([actions[agent] for agent in order], dim=1)
        rewards, terminated, truncated = self._worlds.step(stacked)
        if self.bug == "limit":
            terminated, truncated = terminated | truncated, self._worlds.torch.zeros_like(truncated)
        parts = []
        for part in (rewards, terminated, truncated):
            parts.append(dict.fromkeys(AGENTS, part))
        return (self._by_agent(self._worlds.shown()), *parts, {agent: {} for agent in AGENTS})

    def close(self) -> None:
        """Release nothing."""
