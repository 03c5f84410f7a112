"""One PettingZoo parallel environment: all agents of an env as arrays, started again when its episode ends."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from harness.apis.env_view import EnvView, ReturnedArrays, require_parts, to_numpy
from harness.apis.vector_spaces import flat_dim, to_users_actions
from harness.findings import ContractError

NAME = "pettingzoo"
STEP_PARTS = ("observations", "rewards", "terminations", "truncations", "infos")


class TeamStep(NamedTuple):
    """What a step shows of one env.

    Attributes:
      obs: observations, (A, D); after an end, the first of the next episode.
      state: the global state, (S,).
      rewards: (A,).
      ended: whether the episode ended.
      truncated: whether a time limit ended it.
      final_obs: the last observations (A, D) of the episode that ended.
    """

    obs: np.ndarray
    state: np.ndarray
    rewards: np.ndarray
    ended: bool
    truncated: bool
    final_obs: Optional[np.ndarray] = None


class ParallelTeam:
    """One PettingZoo parallel environment as arrays. An agent that is gone observes zeros and earns nothing.

    Args:
      env: the environment.
      view: keeps the errors that are found.
    """

    def __init__(self, env: Any, view: EnvView) -> None:
        self.env = env
        self._view = view
        self._agents: List[str] = list(env.possible_agents)
        self._obs_spaces: Dict[str, Any] = {}
        self._action_spaces: Dict[str, Any] = {}
        self._dim = 0  # of the longest observation
        for agent in self._agents:
            self._obs_spaces[agent] = space_of(env, "observation_space", agent)
            self._dim = max(self._dim, flat_dim(self._obs_spaces[agent], "observation_space"))
        for agent in self._agents:
            self._action_spaces[agent] = space_of(env, "action_space", agent)
        self._returned = ReturnedArrays()
        self._has_state = has_state(env)

    def reset(self, seed: Optional[int] = None) -> TeamStep:
        """Start an episode."""
        obs = self._start(seed)
        return TeamStep(obs, self._state(obs), np.zeros(len(self._agents)), False, False)

    def _start(self, seed: Optional[int]) -> np.ndarray:
        returned = self.env.reset() if seed is None else self.env.reset(seed=seed)
        require_parts(returned, ("observations", "infos"), "reset", NAME)
        missing = set(self._agents) - set(self.env.agents)
        if missing and not self.env.agents:
            raise ContractError("env.agents is empty after reset", contract="reset-form", expected=str(self._agents))
        return self._stacked(returned[0], list(self.env.agents), "reset-form")

    def step(self, actions: np.ndarray) -> TeamStep:
        """Let each agent that is there take its action (A, K)."""
        acting = list(self.env.agents)
        users: Dict[str, Any] = {}
        for number, agent in enumerate(self._agents):
            if agent in acting:
                users[agent] = self._users_action(agent, actions[number])
        returned = self.env.step(users)
        require_parts(returned, STEP_PARTS, "step", NAME)
        obs, rewards, terminations, truncations, _ = returned
        for name, part in zip(STEP_PARTS, returned):
            _require_agents(name, part, acting)
        self._returned.require_unchanged(self._view)
        stacked = self._stacked(obs, acting, "step-form")
        earned = np.zeros(len(self._agents))
        for number, agent in enumerate(self._agents):
            earned[number] = float(to_numpy(rewards.get(agent, 0.0)))
        all_flagged = all(terminations[agent] or truncations[agent] for agent in acting)
        self._require_leaving(acting, terminations, truncations)
        if self.env.agents and not all_flagged:
            return TeamStep(stacked, self._state(stacked), earned, False, False)
        truncated = any(truncations[agent] and not terminations[agent] for agent in acting)
        first = self._start(None)
        return TeamStep(first, self._state(first), earned, True, truncated, final_obs=stacked)

    def _users_action(self, agent: str, action: np.ndarray) -> Any:
        space = self._action_spaces[agent]
        if type(space).__name__ == "Discrete":
            return int(to_users_actions(np.minimum(action, space.n - 1), space))
        return to_users_actions(action, space)

    def _require_leaving(self, acting: List[str], terminations: Any, truncations: Any) -> None:
        """Keep an error if an agent leaves without a flag, or stays in spite of one."""
        for agent in acting:
            flagged = bool(terminations[agent] or truncations[agent])
            if flagged == (agent in self.env.agents):
                left = "leaves env.agents" if not flagged else "stays in env.agents"
                self._view.breach(
                    "dones",
                    f"{agent} {left}, with terminated {terminations[agent]} and truncated {truncations[agent]}",
                    expected="an agent leaves env.agents in the step in which it is terminated or truncated",
                )

    def _stacked(self, obs: Any, agents: List[str], contract: str) -> np.ndarray:
        """Return observations (A, D), zero where an agent is gone or sees less than others."""
        _require_agents("observations", obs, agents, contract)
        stacked = np.zeros((len(self._agents), self._dim), np.float32)
        arrays: Dict[str, np.ndarray] = {}
        for number, agent in enumerate(self._agents):
            if agent not in agents:
                continue
            array = to_numpy(obs[agent])
            space = self._obs_spaces[agent]
            if not isinstance(array, np.ndarray) or array.shape != space.shape:
                raise ContractError(
                    f"the observation of {agent} is a {type(array).__name__} of shape {np.shape(array)}",
                    contract=contract,
                    expected=f"an array {space.shape}, as observation_space({agent!r}) says",
                )
            arrays[agent] = array
            stacked[number, : array.size] = array.ravel()
        self._returned.keep(arrays)
        return stacked

    def _state(self, obs: np.ndarray) -> np.ndarray:
        if self._has_state:
            return np.array(to_numpy(self.env.state()), np.float32).ravel()
        return obs.ravel().copy()


def space_of(env: Any, name: str, agent: str) -> Any:
    """Return an agent's space: from the method of today, or from the dict of older versions."""
    if callable(getattr(env, name, None)):
        return getattr(env, name)(agent)
    return getattr(env, f"{name}s")[agent]


def has_state(env: Any) -> bool:
    """Return whether an environment states the space of a global state."""
    try:
        space = env.state_space
    except Exception:
        return False
    return space is not None and callable(getattr(env, "state", None))


def _require_agents(name: str, part: Any, agents: List[str], contract: str = "step-form") -> None:
    """Raise unless a dict has an entry for each of these agents.

    Raises:
      ContractError: an agent is missing.
    """
    if not hasattr(part, "keys"):
        got = type(part).__name__
        raise ContractError(f"{name} is a {got}, not a dict", contract=contract, expected="a dict by agent")
    missing = [agent for agent in agents if agent not in part]
    if missing:
        raise ContractError(
            f"{name} has no entry for {missing[0]}",
            contract=contract,
            got=f"keys {list(part)}",
            expected=f"an entry for each agent that acted: {agents}",
        )
