"""A light environment for jobs of several ranks: each env is computed by itself, so it does not matter who has it."""

from __future__ import annotations

from typing import Any, Dict

import torch

from mapush.config import HappoConfig, RunConfig
from mapush.distributed.ranks import Ranks
from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.spec import TensorSpec

NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 2, 5, 7, 3
ENVS_OF_A_RANK, NUM_STEPS = 4, 6
_CHANGES = ("_place", "_length", "_return")


class RankWorld(VecEnv):
    """Agents that move to a place; an env begins every episode in the same state, and ends it after its own time.

    Args:
      starts: the state in which each env begins, (E, A, OBS_DIM).
      lengths: steps of an episode of each env, (E,); odd ones end in success, even ones by the time limit.
    """

    simulator_name = "world of ranks"
    max_episode_length = 9
    steps_per_decision = 1

    def __init__(self, starts: torch.Tensor, lengths: torch.Tensor) -> None:
        self.num_envs, self.num_agents, self.device = len(starts), NUM_AGENTS, torch.device("cpu")
        per_agent, dims = (self.num_envs, NUM_AGENTS), ("num_envs", "num_agents")
        self.obs_spec = TensorSpec("obs", dims + ("obs_dim",), per_agent + (OBS_DIM,))
        self.share_obs_spec = TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (self.num_envs, SHARE_OBS_DIM))
        self.action_spec = TensorSpec("action", dims + ("action_dim",), per_agent + (ACTION_DIM,))
        self.metrics = EpisodeMetrics(("return", "success", "length"), self.num_envs, self.device)
        self._starts = starts
        self._lengths = lengths
        self._place = starts.clone()
        self._length = torch.zeros(self.num_envs, dtype=torch.int64)
        self._return = torch.zeros(self.num_envs)

    def reset(self) -> Observation:
        """Start a new episode in every env."""
        self._begin(torch.ones(self.num_envs, dtype=torch.bool))
        return self._observation()

    def step(self, actions: torch.Tensor) -> Transition:
        """Act for one step; see `VecEnv.step`."""
        place = torch.tanh(self._place)
        place[..., :ACTION_DIM] += 0.5 * actions
        self._place = place
        reward = -(place**2).mean(dim=2)
        self._length = self._length + 1
        self._return = self._return + reward.mean(dim=1)
        done = self._length >= self._lengths
        terminated = done & (self._lengths % 2 == 1)
        outcome = {"return": self._return, "success": terminated, "length": self._length}
        self.metrics.add_step({"cost": reward})
        self.metrics.add_episodes(done, outcome)
        final = self._observation()
        self._begin(done)
        return Transition(self._observation(), reward, terminated, done & ~terminated, final, outcome, {"cost": reward})

    def check(self) -> Dict[str, float]:
        """Return the largest number of a start, as a simulator reports its fullest buffer."""
        return {"largest_start": float(self._starts.max())}

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that changes."""
        state: Dict[str, Any] = {name: getattr(self, name).clone() for name in _CHANGES}
        state["metrics"] = self.metrics.state_dict()
        return state

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        for name in _CHANGES:
            setattr(self, name, state[name].clone())
        self.metrics.load_state_dict(state["metrics"])

    def close(self) -> None:
        """Do nothing."""

    def _begin(self, where: torch.Tensor) -> None:
        """Start new episodes in the envs of `where`, (E,) bool."""
        self._place = torch.where(where[:, None, None], self._starts, self._place)
        self._length = self._length.masked_fill(where, 0)
        self._return = self._return.masked_fill(where, 0.0)

    def _observation(self) -> Observation:
        return Observation(self._place.clone(), self._place.flatten(1)[:, :SHARE_OBS_DIM].clone())


def seeded_world(config: RunConfig) -> RankWorld:
    """Make the envs of a rank from its share of a configuration: their starts are drawn with its seed."""
    return _world(config.num_envs, config.seed)


def rows_of_world(ranks: Ranks, config: RunConfig) -> RankWorld:
    """Make the envs that a rank has of those of one process, from its share of a configuration."""
    complete = _world(ranks.size * config.num_envs, seed=0)
    rows = ranks.rows(config.num_envs)
    return RankWorld(complete._starts[rows], complete._lengths[rows])


def _world(num_envs: int, seed: int) -> RankWorld:
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randn((num_envs, NUM_AGENTS, OBS_DIM), generator=generator)
    return RankWorld(starts, 3 + torch.arange(num_envs) % 5)


def world_config(num_envs: int, iterations: int, seed: int = 0, num_steps: int = NUM_STEPS) -> RunConfig:
    """Return a run in this world: so many envs in all, and so many iterations, with a checkpoint after every second."""
    rollout = num_envs * num_steps
    return RunConfig(
        task_name="world of ranks",
        num_envs=num_envs,
        num_steps=num_steps,
        total_steps=iterations * rollout,
        checkpoint_every=2 * rollout,
        seed=seed,
        device="cpu",
        happo=HappoConfig(hidden_sizes=(8, 6), lr=3e-3, critic_lr=3e-3, ppo_epoch=2, critic_epoch=2),
    )
