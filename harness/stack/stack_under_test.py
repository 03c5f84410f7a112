"""The stack under test: mapush's own run, learner and logger, small enough to be checked in seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
from pathlib import Path
from typing import Any, Dict, Iterator

import torch

from harness.findings import NotJudgedError
from mapush.config import HappoConfig, PushRunConfig, RunConfig, SimConfig
from mapush.happo.happo import Happo
from mapush.run.logger import RunLogger
from mapush.train import Run, train_run

NUM_ENVS, NUM_STEPS = 5, 7
OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 8, 11, 3
"""Sizes of a learner without an environment. All sizes differ, so that swapped axes cannot go unnoticed."""
LOGGER_ROWS = 3000


@dataclasses.dataclass(frozen=True)
class StackUnderTest:
    """Makes the parts of the stack that the contracts check. Every call makes a new part.

    Attributes:
      seed: seed for weights, actions and initial states.
      logger_rows: how many rows a logger writes before its growth is judged.
    """

    seed: int = 0
    logger_rows: int = LOGGER_ROWS

    @contextlib.contextmanager
    def run(self) -> Iterator[Run]:
        """Give a run before its first step, and close it afterwards.

        Raises:
          NotJudgedError: MuJoCo is not installed.
        """
        require_mujoco()
        with contextlib.closing(Run.start(small_config(self.seed))) as run:
            yield run

    def agent(self, num_agents: int, **changes: Any) -> Happo:
        """Return a learner without an environment.

        Args:
          num_agents: number of agents.
          changes: settings of the learner that differ from `small_happo`.
        """
        return Happo(
            small_happo(**changes),
            num_agents=num_agents,
            obs_dim=OBS_DIM,
            share_obs_dim=SHARE_OBS_DIM,
            action_dim=ACTION_DIM,
            device=torch.device("cpu"),
            seed=self.seed,
        )

    def logger(self, folder: Path) -> RunLogger:
        """Return the logger of a run in a folder."""
        return RunLogger(folder, small_config(self.seed))


def small_happo(**changes: Any) -> HappoConfig:
    """Return settings of a learner that learns fast, depends on what it sees, and exceeds the bounds of actions.

    Args:
      changes: settings to use instead.
    """
    settings: Dict[str, Any] = {
        "hidden_sizes": (16, 12),
        "gain": 1.0,
        "std_y_coef": 2.0,
        "lr": 0.01,
        "critic_lr": 0.01,
        "ppo_epoch": 2,
    }
    settings.update(changes)
    return HappoConfig(**settings)


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


def require_mujoco() -> None:
    """Raise `NotJudgedError` if MuJoCo is not installed."""
    if importlib.util.find_spec("mujoco") is None:
        raise NotJudgedError("it needs MuJoCo, which needs Python 3.11: python -m pip install mujoco==4.0.0")


def train_in(folder: Path, run: Run) -> None:
    """Train a run to its end as `mapush.train` does, which logs and saves in the folder; printed output is dropped."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train_run(run, folder, reason="a contract of the stack")
