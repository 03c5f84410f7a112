"""An environment with HARL's interface as a `VecEnv`, so that our HAPPO can train in it."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Sequence, Tuple

import numpy as np
import torch

from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.errors import CheckpointError, ConfigError, SpecError
from mapush.spec import TensorSpec

EPISODE_OUTCOMES = ("return", "length")
REWARD_TERM = "env"
NO_LIMIT = 10**9  # env steps; the environment ends its episodes itself


class HarlEnv(VecEnv):
    """A vectorised environment with HARL's interface behind the interface of our learner.

    The environment has N envs of A agents, with the attributes `num_envs`, `n_agents`, and, as lists with a space for
    each agent, `observation_space`, `share_observation_space` and `action_space`. All agents have equal spaces, and
    actions are boxes of real numbers. Its methods are:

    * `reset()` returns obs (N, A, D), share_obs (N, A, S), which is the same for all agents, and available_actions,
      which is ignored.
    * `step(actions)` takes actions (N, A, K) within their bounds, and returns obs, share_obs, rewards (N, A, 1), dones
      (N, A), infos `[N][A]` and available_actions. An env in which all agents are done resets itself within the step.
    * `close()` releases it.

    The info of the first agent may hold, where an episode ended:

    * `bad_transition`: True if the time limit ended the episode. Without it, every end counts as the task's own.
    * `final_obs` (D,) of each agent and `final_share_obs` (S,): the last observation of the ended episode.
    * `outcome`: results of the ended episode by name.

    If the environment has `state_dict()` and `load_state_dict(state)`, of tensors, numbers and strings in dicts and
    lists, a run in it can be resumed.

    Args:
      env: the environment.
      outcomes: names in `outcome` whose means the log shall show, such as "success".

    Raises:
      ConfigError: an attribute is missing, or actions are not boxes.
    """

    def __init__(self, env: Any, outcomes: Sequence[str] = ()) -> None:
        _require_interface(env)
        self.env = env
        self.num_envs = int(env.num_envs)
        self.num_agents = int(env.n_agents)
        self.device = torch.device("cpu")
        self.max_episode_length = NO_LIMIT
        self.steps_per_decision = 1
        self.simulator_name = type(env).__name__
        per_agent = (self.num_envs, self.num_agents)
        obs_dim = env.observation_space[0].shape[-1]
        share_obs_dim = env.share_observation_space[0].shape[-1]
        action_dim = env.action_space[0].shape[-1]
        self.obs_spec = TensorSpec("obs", ("num_envs", "num_agents", "obs_dim"), per_agent + (obs_dim,))
        self.share_obs_spec = TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (self.num_envs, share_obs_dim))
        self.action_spec = TensorSpec("actions", ("num_envs", "num_agents", "action_dim"), per_agent + (action_dim,))
        self._reward_spec = TensorSpec("rewards", ("num_envs", "num_agents"), per_agent)
        self._low = np.stack([space.low for space in env.action_space])
        self._high = np.stack([space.high for space in env.action_space])
        self._outcomes = tuple(outcomes)
        self.metrics = EpisodeMetrics(EPISODE_OUTCOMES + self._outcomes, self.num_envs, self.device)
        self._return = torch.zeros(self.num_envs)
        self._length = torch.zeros(self.num_envs)
        self._closed = False

    def reset(self) -> Observation:
        """Start a new episode in every env."""
        obs, share_obs, _ = self.env.reset()
        self._return = torch.zeros(self.num_envs)
        self._length = torch.zeros(self.num_envs)
        return self._observation(obs, share_obs, "reset")

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for one step of the environment; see `VecEnv.step`.

        Raises:
          SpecError: an action, or a returned array, has a wrong shape or type.
          NonFiniteError: an action, or a returned value, is NaN or infinite.
        """
        self.action_spec.validate(actions, "HarlEnv.step")
        clipped = np.clip(actions.numpy(), self._low, self._high)
        obs, share_obs, rewards, dones, infos, _ = self.env.step(clipped)
        observation = self._observation(obs, share_obs, "step")
        reward = self._reward_spec.validate(self._tensor(rewards).squeeze(-1), "step of your environment")
        done = torch.from_numpy(np.asarray(dones, bool).reshape(self.num_envs, -1).all(axis=1))
        truncated = done & _timed_out(infos)
        terminated = done & ~truncated
        outcome = self._count(reward, done, infos)
        final = _final_observation(observation, done, infos)
        return Transition(observation, reward, terminated, truncated, final, outcome, terms={REWARD_TERM: reward})

    def check(self) -> Dict[str, float]:
        """Return nothing: every step has been checked already."""
        return {}

    def state_dict(self) -> Dict[str, Any]:
        """Return the state of the environment, if it offers one, and of the statistics."""
        state = {"metrics": self.metrics.state_dict(), "return": self._return, "length": self._length}
        if hasattr(self.env, "state_dict"):
            state["env"] = self.env.state_dict()
        return state

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
          CheckpointError: the environment offers no state.
        """
        if "env" not in state:
            raise CheckpointError(
                "this environment does not save its state, so the run cannot be resumed",
                where=self.simulator_name,
                fix="give it state_dict() and load_state_dict(state); the policy in the checkpoint can be loaded",
            )
        self.env.load_state_dict(state["env"])
        self.metrics.load_state_dict(state["metrics"])
        self._return = state["return"].clone()
        self._length = state["length"].clone()

    def close(self) -> None:
        """Close the environment; further calls do nothing."""
        if not self._closed:
            self._closed = True
            self.env.close()

    def _observation(self, obs: Any, share_obs: Any, method: str) -> Observation:
        where = f"{method} of your environment"
        seen = self.obs_spec.validate(self._tensor(obs), where)
        shared = self._tensor(share_obs)
        if shared.dim() == 3:
            differs = (shared != shared[:, :1]) & ~shared.isnan()  # a NaN is reported below
            if bool(differs.any()):
                fix = "return one state for all agents, as in HARL's EP mode"
                raise SpecError("share_obs differs between the agents", where=where, fix=fix)
            shared = shared[:, 0].clone()
        return Observation(seen, self.share_obs_spec.validate(shared, where))

    def _tensor(self, values: Any) -> torch.Tensor:
        """Return a float32 copy; the environment may reuse its arrays."""
        return torch.from_numpy(np.array(values, dtype=np.float32))

    def _count(self, reward: torch.Tensor, done: torch.Tensor, infos: Any) -> Dict[str, torch.Tensor]:
        """Update the statistics; return the outcome of the episodes that ended."""
        self._return = self._return + reward.mean(dim=1)
        self._length = self._length + 1.0
        outcome = {"return": self._return, "length": self._length}
        for name in self._outcomes:
            outcome[name] = torch.zeros(self.num_envs)
            for env_id in _indices(done):
                outcome[name][env_id] = float(_outcome_of(infos[env_id][0], name))
        self.metrics.add_step({REWARD_TERM: reward})
        self.metrics.add_episodes(done, outcome)
        self._return = self._return.masked_fill(done, 0.0)
        self._length = self._length.masked_fill(done, 0.0)
        return outcome


def _require_interface(env: Any) -> None:
    for name in (
        "num_envs",
        "n_agents",
        "observation_space",
        "share_observation_space",
        "action_space",
        "reset",
        "step",
    ):
        if not hasattr(env, name):
            fix = "see mapush.env.harl_env.HarlEnv for the interface; python -m harness check checks all of it"
            raise ConfigError(f"the environment has no {name}", where=type(env).__name__, fix=fix)
    for space in env.action_space:
        if not hasattr(space, "low") or not hasattr(space, "high"):
            raise ConfigError(
                "actions are not boxes of real numbers",
                where=f"{type(env).__name__}.action_space",
                got=repr(space),
                expected="a Box, with low, high and shape, for each agent",
            )


def _timed_out(infos: Any) -> torch.Tensor:
    """Return (N,) bool: the time limit ended the episode."""
    flags = [bool(agents[0].get("bad_transition", False)) for agents in infos]
    return torch.tensor(flags)


def _outcome_of(info: Dict[str, Any], name: str) -> Any:
    outcome = info.get("outcome", {})
    if name not in outcome:
        raise SpecError(
            f"the info of an ended episode has no outcome {name!r}",
            got=", ".join(sorted(outcome)) or "none",
            fix="put it into info['outcome'] of the first agent, or leave it out of HarlEnv(outcomes=...)",
        )
    return outcome[name]


def _final_observation(observation: Observation, done: torch.Tensor, infos: Any) -> Observation:
    """Return the last observation of the episodes that ended, where the infos have it."""
    obs = observation.obs.clone()
    share_obs = observation.share_obs.clone()
    for env_id in _indices(done):
        for agent, info in _by_agent(infos[env_id]):
            if "final_obs" in info:
                obs[env_id, agent] = torch.as_tensor(info["final_obs"])
        if "final_share_obs" in infos[env_id][0]:
            share_obs[env_id] = torch.as_tensor(infos[env_id][0]["final_share_obs"])
    return Observation(obs, share_obs)


def _by_agent(infos: Any) -> Iterable[Tuple[int, Dict[str, Any]]]:
    """Return agents and their infos; HARL's EP mode reads infos[env][0] only, so some environments return {0: info}."""
    if isinstance(infos, dict):
        return infos.items()
    return enumerate(infos)


def _indices(flags: torch.Tensor) -> List[int]:
    return flags.nonzero().flatten().tolist()
