"""An environment whose envs do not depend on how many there are, so that several ranks have the envs of one process."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch

from mapush.config import HappoConfig, RunConfig
from mapush.distributed.ranks import Ranks
from mapush.env.metrics import EpisodeMetrics
from mapush.env.vec_env import Observation, Transition, VecEnv
from mapush.errors import MapushError
from mapush.run.folder import read_config
from mapush.spec import TensorSpec
from mapush.train import Run, train

NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 2, 5, 7, 3
NUM_ENVS, NUM_STEPS = 12, 4  # of the complete run
ROLLOUT = NUM_ENVS * NUM_STEPS


class RowWorld(VecEnv):
    """Agents that are pulled to a place, each env with numbers of its own.

    Args:
      first: number of the first env in the complete run.
      num_envs: envs of this process.
    """

    simulator_name = "rows"
    max_episode_length = 9
    steps_per_decision = 1

    def __init__(self, first: int, num_envs: int) -> None:
        self.num_envs, self.num_agents, self.device = num_envs, NUM_AGENTS, torch.device("cpu")
        dims = ("num_envs", "num_agents")
        self.obs_spec = TensorSpec("obs", dims + ("obs_dim",), (num_envs, NUM_AGENTS, OBS_DIM))
        self.share_obs_spec = TensorSpec("share_obs", ("num_envs", "share_obs_dim"), (num_envs, SHARE_OBS_DIM))
        self.action_spec = TensorSpec("action", dims + ("action_dim",), (num_envs, NUM_AGENTS, ACTION_DIM))
        self.metrics = EpisodeMetrics(("return", "success", "length"), num_envs, self.device)
        table = torch.randn((100, NUM_AGENTS, OBS_DIM), generator=torch.Generator().manual_seed(0))
        self._starts = table[first : first + num_envs]
        self._longest = 3 + torch.arange(first, first + num_envs) % 5
        self._place = self._starts.clone()
        self._length = torch.zeros(num_envs, dtype=torch.int64)
        self._return = torch.zeros(num_envs)

    def _observe(self) -> Observation:
        team = self._place.flatten(1)[:, :SHARE_OBS_DIM]
        return Observation(self._place.clone(), team.clone())

    def reset(self) -> Observation:
        """Begin episodes."""
        self._place = self._starts.clone()
        self._length.zero_()
        self._return.zero_()
        return self._observe()

    def step(self, actions: torch.Tensor) -> Transition:
        """Move; the longest episodes of odd envs end by success, the others by the time limit."""
        self._place = torch.tanh(self._place)
        self._place[..., :ACTION_DIM] += 0.5 * actions
        reward = -(self._place**2).mean(dim=2)
        self._length += 1
        self._return += reward.mean(dim=1)
        over = self._length >= self._longest
        terminated = over & (self._longest % 2 == 1)
        outcome = {"return": self._return.clone(), "success": terminated, "length": self._length.clone()}
        self.metrics.add_step({"cost": reward})
        self.metrics.add_episodes(over, outcome)
        final = self._observe()
        self._place[over] = self._starts[over]
        self._length[over] = 0
        self._return[over] = 0.0
        return Transition(self._observe(), reward, terminated, over & ~terminated, final, outcome, {"cost": reward})

    def check(self) -> Dict[str, float]:
        """Report the fullest of buffers that do not exist."""
        return {"fullest": float(self._starts.max())}

    def state_dict(self) -> Dict[str, Any]:
        """Return what changes."""
        values = {name: getattr(self, name).clone() for name in ("_place", "_length", "_return")}
        return dict(values, metrics=self.metrics.state_dict())

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from it."""
        for name in ("_place", "_length", "_return"):
            setattr(self, name, state[name].clone())
        self.metrics.load_state_dict(state["metrics"])

    def close(self) -> None:
        """Do nothing."""


def config_of(iterations: int, **changes: Any) -> RunConfig:
    """Return a run of so many iterations in this world."""
    happo = HappoConfig(hidden_sizes=(8, 6), lr=3e-3, critic_lr=3e-3, ppo_epoch=2, critic_epoch=2)
    config = RunConfig(
        task_name="rows",
        num_envs=NUM_ENVS,
        num_steps=NUM_STEPS,
        total_steps=iterations * ROLLOUT,
        checkpoint_every=2 * ROLLOUT,
        device="cpu",
        happo=happo,
    )
    return dataclasses.replace(config, **changes)


def world_of(ranks: Ranks, config: RunConfig) -> RowWorld:
    """Return the envs of a rank: those rows of the complete run that are its own."""
    return RowWorld(ranks.rows(config.num_envs).start, config.num_envs)


# -- what ranks do in tests --------------------------------------------------------------------------------------------


def train_rows(ranks: Ranks, folder: Path, iterations: int, resume: bool = False, **changes: Any) -> str:
    """Train, or resume; return the error that ended it, or ""."""
    config = config_of(iterations, **changes)
    if resume:
        config = dataclasses.replace(read_config(folder), total_steps=iterations * ROLLOUT)
    try:
        train(config, folder, resume, make_env=functools.partial(world_of, ranks), ranks=ranks)
    except MapushError as error:
        return str(error)
    return ""


def run_with_difference(ranks: Ranks, kind: str) -> Tuple[str, str, str, str]:
    """Change the replica of the last rank, compare, and return the fields of the error; "" for no error."""
    run = Run.start(config_of(3), functools.partial(world_of, ranks), ranks)
    run.iterate()
    if ranks.rank == ranks.size - 1:
        _change(run, kind)
    try:
        run.require_equal_replicas()
    except MapushError as error:
        return type(error).__name__, error.what, error.got or "", error.where or ""
    return "", "", "", ""


def _change(run: Run, kind: str) -> None:
    if kind == "bit":
        weight = run.agent.actors[1].base.mlp["fc"][0].weight
        weight.data[0, 0] = torch.nextafter(weight.data[0, 0], torch.tensor(9.0))
    elif kind == "exchange":
        bias = run.agent.critic.v_out.weight.data
        bias[0] = bias[0].flip(0)
    elif kind == "rate":
        run.agent._actor_optimizers[0].decay(0.5)
    elif kind == "generator":
        torch.rand(1, generator=run.agent.generator)
    elif kind == "normaliser":
        run.agent.value_norm.running_mean += 1.0
    elif kind == "moments":
        run.agent._critic_optimizer._adam.state_dict()["state"][0]["exp_avg"].add_(1e-3)
    elif kind == "iteration":
        run.iteration += 1


def messages_printed(ranks: Ranks, folder: Path, iterations: int) -> List[Optional[str]]:
    """Resume, and return what this rank printed."""
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        error = train_rows(ranks, folder, iterations, resume=True)
    return [printed.getvalue(), error]
