"""The view of Isaac Lab's DirectMARLEnv: dicts by agent of torch tensors over all envs.

Such an environment resets an env within the step in which all of its agents terminated, or all timed out. The view
reports an end there, and nowhere else.
"""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from harness.apis.env_view import EnvView, ReturnedArrays, require_parts, to_numpy, vector
from harness.apis.pettingzoo_parallel import space_of
from harness.apis.vector_spaces import action_space_of, flat_dim, unbounded
from harness.findings import ContractError

NAME = "isaaclab"
STEP_PARTS = ("observations", "rewards", "terminated", "time_outs", "extras")


class IsaacLabMarl(EnvView):
    """A DirectMARLEnv in HARL's form.

    Args:
      env: the environment.
      seed: passed to the first `reset`.
    """

    api = NAME
    takes_seed = True

    def __init__(self, env: Any, seed: int) -> None:
        agents = list(env.possible_agents)
        super().__init__(env, int(env.num_envs), len(agents))
        self._torch: Any = importlib.import_module("torch")
        self._agents = agents
        self._seed: Optional[int] = seed
        self._returned = ReturnedArrays()
        self._dims: List[int] = []
        for agent in agents:
            self._dims.append(flat_dim(space_of(env, "observation_space", agent), "observation_space"))
        action_spaces, kinds = [], set()
        for agent in agents:
            space = action_space_of(space_of(env, "action_space", agent), "action_space")
            action_spaces.append(space)
            kinds.add((type(space).__name__, tuple(space.shape)))
        if len(kinds) > 1:
            raise ContractError(
                "agents have different kinds of actions, which the view cannot stack",
                contract="factory",
                got=str(action_spaces),
            )
        if len(set(self._dims)) > 1:
            self.notes.append("agents have observations of different lengths; shorter ones end in zeros")
        self._state = self._state_reader()
        state_dim = self.n_agents * max(self._dims)
        if self._state is not None:
            state_dim = flat_dim(env.state_space, "state_space")
        self.set_spaces(unbounded(max(self._dims)), unbounded(state_dim), action_spaces[0])
        self.notes.append("what the contracts call bad_transition is time_outs without terminated")

    def _state_reader(self) -> Optional[Callable[[], Any]]:
        """Return the function that reads the global state; None if the environment has none."""
        if getattr(self.env, "state_space", None) is None or not callable(getattr(self.env, "state", None)):
            return None
        return self.env.state

    def reset(self) -> Tuple[Any, Any, Any]:
        """Start a new episode in every env; the first time with the seed."""
        seed, self._seed = self._seed, None
        returned = self.env.reset() if seed is None else self.env.reset(seed=seed)
        require_parts(returned, ("observations", "extras"), "reset", NAME)
        return (*self._observed(returned[0], "reset-form"), self.available_actions())

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        """Take one step in HARL's form."""
        users: Dict[str, Any] = {}
        for number, agent in enumerate(self._agents):
            users[agent] = self._users_action(actions[:, number])
        given = {agent: tensor.clone() for agent, tensor in users.items()}
        returned = self.env.step(users)
        for number, agent in enumerate(self._agents):
            if not self._torch.equal(users[agent], given[agent]):
                written = to_numpy(users[agent]).reshape(actions[:, number].shape)
                actions[:, number] = written  # so that the player sees what the environment wrote
        require_parts(returned, STEP_PARTS, "step", NAME)
        self._returned.require_unchanged(self)
        obs, share_obs = self._observed(returned[0], "step-form")
        rewards = self._of_all_agents("rewards", returned[1])
        terminated = (self._of_all_agents("terminated", returned[2]) != 0).all(axis=1)
        timed_out = (self._of_all_agents("time_outs", returned[3]) != 0).all(axis=1)
        dones = np.repeat((terminated | timed_out)[:, None], self.n_agents, axis=1)
        infos = self.infos(timed_out & ~terminated)
        return obs, share_obs, rewards[..., None], dones, infos, self.available_actions()

    def _users_action(self, actions: np.ndarray) -> Any:
        """Return the action tensor of one agent: (N, K), or (N,) indices."""
        if type(self.action_space[0]).__name__ == "Discrete":
            actions = actions[:, 0]
        return self._torch.tensor(actions, device=getattr(self.env, "device", "cpu"))

    def _of_all_agents(self, name: str, part: Any) -> np.ndarray:
        """Return what each agent has for each env, (N, A), in memory of its own."""
        columns: List[np.ndarray] = []
        for agent in self._agents:
            columns.append(vector(f"{name}[{agent!r}]", self._entry(name, part, agent), self.num_envs))
        return np.stack(columns, axis=1)

    def _entry(self, name: str, part: Any, agent: str, contract: str = "step-form") -> Any:
        if hasattr(part, "keys") and agent in part.keys():
            return part[agent]
        got = type(part).__name__
        if hasattr(part, "keys"):
            got = f"keys {list(part.keys())}"
        raise ContractError(f"{name} has no entry for {agent}", contract=contract, got=got, expected="a dict by agent")

    def _observed(self, obs: Any, contract: str) -> Tuple[np.ndarray, np.ndarray]:
        """Return obs (N, A, D) and share_obs (N, A, S), in memory of their own."""
        stacked = np.zeros((self.num_envs, self.n_agents, max(self._dims)), np.float32)
        arrays: Dict[str, np.ndarray] = {}
        for number, (agent, dim) in enumerate(zip(self._agents, self._dims)):
            array = to_numpy(self._entry("observations", obs, agent, contract))
            if not isinstance(array, np.ndarray) or array.shape != (self.num_envs, dim):
                raise ContractError(
                    f"the observation of {agent} is a {type(array).__name__} of shape {np.shape(array)}",
                    contract=contract,
                    expected=f"a tensor ({self.num_envs}, {dim}), as observation_space({agent!r}) says",
                )
            arrays[agent] = array
            stacked[:, number, :dim] = array
        self._returned.keep(arrays)
        state = stacked.reshape(self.num_envs, -1)
        if self._state is not None:
            state = np.array(to_numpy(self._state()), np.float32)
        return stacked, np.repeat(state[:, None], self.n_agents, axis=1)
