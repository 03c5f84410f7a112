"""Small parts of mapush's own stack on which its contracts run, and a window through which an env is watched."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
from pathlib import Path
from typing import Any, Iterator, List
from unittest import mock

import torch

from harness.findings import NotJudgedError
from mapush.config import HappoConfig, PushRunConfig, RunConfig, SimConfig
from mapush.env.vec_env import Transition
from mapush.happo.happo import Happo
from mapush.run.logger import RunLogger
from mapush.train import Run, train

NUM_ENVS, NUM_STEPS = 5, 7


def small_happo(**changes: Any) -> HappoConfig:
    """Return settings of a learner that is quick, heeds what it sees, and goes beyond the bounds of actions."""
    settings = {"hidden_sizes": (16, 12), "gain": 1.0, "std_y_coef": 2.0, "lr": 0.01, "critic_lr": 0.01, "ppo_epoch": 2}
    return HappoConfig(**{**settings, **changes})


def small_config(seed: int = 0) -> RunConfig:
    """Return a run of two robots that push on the CPU: 5 envs, 7 steps in each rollout, three rollouts."""
    return PushRunConfig(
        num_envs=NUM_ENVS,
        num_steps=NUM_STEPS,
        total_steps=3 * NUM_ENVS * NUM_STEPS,
        seed=seed,
        device="cpu",
        sim=SimConfig("mujoco", threads=1),
        happo=small_happo(use_linear_lr_decay=True, actor_num_mini_batch=2, critic_num_mini_batch=2),
    )


def require_simulator() -> None:
    """Give up the contract that runs, without a verdict, where there is no MuJoCo."""
    if importlib.util.find_spec("mujoco") is None:
        raise NotJudgedError("it needs MuJoCo, which needs Python 3.11: python -m pip install mujoco==4.0.0")


def small_run(seed: int = 0) -> Run:
    """Return a fresh run of `small_config`, before its first step."""
    require_simulator()
    return Run.start(small_config(seed))


def small_agent(num_agents: int, seed: int = 0, **changes: Any) -> Happo:
    """Return a learner without an env: 8 features, 11 of the critic, 3 numbers in an action."""
    sizes = {"obs_dim": 8, "share_obs_dim": 11, "action_dim": 3}
    return Happo(small_happo(**changes), num_agents=num_agents, device=torch.device("cpu"), seed=seed, **sizes)


class WatchedEnv:
    """An env that is watched: every call is passed on, and copies are kept of what went in.

    Args:
      env: to watch.
      terminated: (T, E) bool, which ends to report instead of the env's own in its first T steps; None for its own.
      truncated: (T, E) bool, likewise.

    Attributes:
      acted: the actions of every step, as they were when the env got them.
      left: the same tensors as they were when the env returned.
      results: what the env returned, and the learner got.
    """

    def __init__(self, env: Any, terminated: Any = None, truncated: Any = None) -> None:
        self._env, self._terminated, self._truncated = env, terminated, truncated
        self.acted: List[torch.Tensor] = []
        self.left: List[torch.Tensor] = []
        self.results: List[Transition] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Transition:
        """Step the env."""
        step = len(self.acted)
        self.acted.append(actions.clone())
        result = self._env.step(actions)
        self.left.append(actions.clone())
        if self._terminated is not None and step < len(self._terminated):
            ends = {"terminated": self._terminated[step], "truncated": self._truncated[step]}
            result = dataclasses.replace(result, **ends)
        self.results.append(result)
        return result


def random_ends(num_steps: int, num_envs: int, seed: int) -> Any:
    """Return (T, E) terminated and truncated: random, yet each alone, both together and neither do occur."""
    generator = torch.Generator().manual_seed(seed)
    terminated = torch.rand((num_steps, num_envs), generator=generator) < 0.2
    truncated = torch.rand((num_steps, num_envs), generator=generator) < 0.2
    for env_id, (term, trunc) in enumerate(((True, False), (False, True), (True, True), (False, False))):
        terminated[num_steps // 2, env_id], truncated[num_steps // 2, env_id] = term, trunc
    return terminated, truncated


def fill(run: Any) -> None:
    """Advance a run until its rollout is full."""
    while run.rollout.step < run.rollout.num_steps:
        run.advance()


def train_in(folder: Path, run: Run) -> None:
    """Train `run` in the loop of `mapush.train`, which logs and saves in `folder`; what it prints is dropped."""
    with mock.patch.object(Run, "start", lambda _: run), quiet():
        train(run.config, folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def small_logger(folder: Path) -> RunLogger:
    """Return the logger of a run in `folder`."""
    return RunLogger(folder, small_config())
