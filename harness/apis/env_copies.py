"""The view of interfaces with one env: the factory is called several times, and the copies are stepped together."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

import numpy as np

from harness.apis.env_view import CLIPPED, EnvView
from harness.apis.pettingzoo_parallel import ParallelTeam, TeamStep, has_state, space_of
from harness.apis.vector_spaces import IndexSpace, action_space_of, as_vectors, padded_space, unbounded
from harness.findings import ContractError

SEEDS_APART = 1000  # so that envs of neighbouring seeds do not share a seed


class EnvCopies(EnvView):
    """Several PettingZoo parallel environments in HARL's form.

    Args:
      api: name of the interface, for the report.
      envs: the copies.
      seed: seeds the copies, each differently, at the first `reset`.
    """

    takes_seed = True
    makes_copies = True

    def __init__(self, api: str, envs: List[Any], seed: int) -> None:
        agents = list(envs[0].possible_agents)
        super().__init__(envs[0], len(envs), len(agents))
        self.api = api
        self._agents = agents
        self._seed: Optional[int] = seed
        self._teams = [ParallelTeam(env, self) for env in envs]
        self._read_spaces()
        self.unjudged["actions-any-range"] = CLIPPED
        self.notes.append("the factory makes one env at a time: it is called once for each env")
        if "close" not in self.unjudged:
            self.close = self._close

    def _read_spaces(self) -> None:
        obs_spaces, action_spaces = [], []
        for agent in self._agents:
            obs_spaces.append(space_of(self.env, "observation_space", agent))
        for agent in self._agents:
            action_spaces.append(space_of(self.env, "action_space", agent))
        obs_space = padded_space(obs_spaces, "observation_space")
        if len({space.shape for space in obs_spaces}) > 1:
            self.notes.append("agents have observations of different lengths; shorter ones end in zeros")
        state_space = unbounded(self.n_agents * obs_space.shape[0])
        if has_state(self.env):
            state_space = as_vectors(self.env.state_space)
        self.set_spaces(obs_space, state_space, self._common_action_space(action_spaces))
        self._num_actions = []
        for space in action_spaces:
            self._num_actions.append(int(getattr(space, "n", 0)))

    def _common_action_space(self, spaces: List[Any]) -> Any:
        """Return the action space of all agents; of Discrete ones the largest.

        Raises:
          ContractError: they differ otherwise (contract "factory").
        """
        kinds = {(type(space).__name__, tuple(space.shape)) for space in spaces}
        if len(kinds) > 1:
            raise ContractError(
                "agents have different kinds of actions, which the view cannot stack",
                contract="factory",
                got=str(sorted(kinds)),
                fix="pad them: supersuit.pad_action_space_v0(env)",
            )
        if type(spaces[0]).__name__ == "Discrete":
            return IndexSpace(max(space.n for space in spaces))
        return action_space_of(spaces[0], "action_space")

    def available_actions(self) -> Any:
        """Return which actions are available: all that an agent has."""
        available = super().available_actions()
        if isinstance(available, np.ndarray):
            for agent, count in enumerate(self._num_actions):
                available[:, agent, count:] = 0.0
        return available

    def reset(self) -> Tuple[Any, Any, Any]:
        """Start a new episode in every env; the first time with the seed."""
        steps: List[TeamStep] = []
        for number, team in enumerate(self._teams):
            seed = None
            if self._seed is not None:
                seed = SEEDS_APART * self._seed + number
            steps.append(team.reset(seed))
        self._seed = None
        return (*self._observed(steps), self.available_actions())

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Take one step in HARL's form."""
        steps: List[TeamStep] = []
        rewards, ended, truncated = [], [], []
        final_obs = {}
        for number, team in enumerate(self._teams):
            step = team.step(actions[number])
            steps.append(step)
            rewards.append(step.rewards)
            ended.append([step.ended])
            truncated.append(step.truncated)
            if step.final_obs is not None:
                final_obs[number] = step.final_obs
        dones = np.repeat(ended, self.n_agents, axis=1)
        infos = self.infos(np.array(truncated), final_obs)
        return (*self._observed(steps), np.stack(rewards)[..., None], dones, infos, self.available_actions())

    def _observed(self, steps: List[TeamStep]) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, A, D) and share_obs (N, A, S)."""
        obs, states = [], []
        for step in steps:
            obs.append(step.obs)
            states.append(step.state)
        share_obs = np.repeat(np.stack(states)[:, None], self.n_agents, axis=1)
        return np.stack(obs), share_obs

    def _close(self) -> None:
        for team in self._teams:
            team.env.close()


class OneAgent:
    """A gymnasium environment of one env and one agent, with PettingZoo's parallel interface.

    Args:
      env: the environment.
    """

    AGENT = "agent"
    possible_agents = (AGENT,)

    def __init__(self, env: Any) -> None:
        self.env = env
        self.agents: List[str] = []
        if callable(getattr(env, "close", None)):
            self.close: Callable[[], Any] = env.close

    def observation_space(self, agent: str) -> Any:
        """Return the space of observations."""
        return self.env.observation_space

    def action_space(self, agent: str) -> Any:
        """Return the space of actions."""
        return self.env.action_space

    def reset(self, **arguments: Any) -> Any:
        """Start an episode."""
        returned = self.env.reset(**arguments)
        self.agents = list(self.possible_agents)
        return self._by_agent(returned)

    def step(self, actions: Any) -> Any:
        """Take one step."""
        returned = self.env.step(actions[self.AGENT])
        if isinstance(returned, tuple) and len(returned) == 5 and (returned[2] or returned[3]):
            self.agents = []
        return self._by_agent(returned)

    def _by_agent(self, returned: Any) -> Any:
        if not isinstance(returned, tuple):
            return returned
        return tuple({self.AGENT: part} for part in returned)
