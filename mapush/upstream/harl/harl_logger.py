"""The logger and the writer that HARL's runner calls, instead of its own logger and TensorBoard writer.

Source: HARL@d539bad, `harl/common/base_logger.py` (the callbacks) and `harl/runners/on_policy_base_runner.py` (their
calls).
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np
import torch

from mapush.env.vec_env import VecEnv
from mapush.run.logger import RunLogger

_OUR_NAMES = {"dist_entropy": "entropy"}


class Stopped(Exception):
    """A request to stop the training."""


class HarlLogger:
    """Takes HARL's callbacks and reports what the native learner reports.

    It reads the statistics of the environment, which are bounded, and stores nothing but the returns of the evaluation
    in progress.

    Args:
      log: console, CSV and TensorBoard.
      env: the training environment.
      stopped: called in every step; if it returns True, `Stopped` is raised.

    Attributes:
      step: env steps taken so far, summed over envs.
      iteration: the present rollout, counted from 1.
    """

    def __init__(self, log: RunLogger, env: VecEnv, stopped: Callable[[], bool] = lambda: False) -> None:
        self.step = 0
        self.iteration = 0
        self._log = log
        self._env = env
        self._stopped = stopped
        self._start = time.perf_counter()
        self._step_before = 0  # of a continued run: env steps and rollouts before
        self._iteration_before = 0
        self._running_returns = np.zeros(0)
        self._returns: List[float] = []

    def continue_from(self, step: int, iteration: int) -> None:
        """Count on from the env steps and rollouts that were done before; call it before the training begins."""
        self.step = self._step_before = step
        self.iteration = self._iteration_before = iteration

    def init(self, episodes: int) -> None:
        """Start the clock; what HARL calls episodes are iterations."""
        self._start = time.perf_counter()

    def episode_init(self, episode: int) -> None:
        """Note the iteration that starts; HARL's loop counts from 1, also in a continued run."""
        self.iteration = self._iteration_before + episode

    def per_step(self, data: Sequence[Any]) -> None:
        """Count a step of all envs.

        Raises:
          Stopped: a stop was requested.
        """
        self.step += self._env.num_envs * self._env.steps_per_decision
        self._log.tick(self.step)
        if self._stopped():
            raise Stopped

    def episode_log(
        self, actor_train_infos: Sequence[Mapping[str, Any]], critic_train_info: Mapping[str, Any], *buffers: Any
    ) -> None:
        """Write a row: the environment's statistics, and HARL's losses as means over agents.

        HARL lists the agents in the random order of their updates, so the losses of a single agent are not known.
        """
        losses: Dict[str, float] = {}
        for name in actor_train_infos[0]:
            total = sum(_number(info[name]) for info in actor_train_infos)
            losses[_OUR_NAMES.get(name, name)] = total / len(actor_train_infos)
        for name, value in critic_train_info.items():
            losses[name] = _number(value)
        self._log.report(
            self.step,
            self.iteration,
            (self.step - self._step_before) / (time.perf_counter() - self._start),
            losses,
            self._env.check(),
            self._env.metrics.summary(),
        )

    def eval_init(self) -> None:
        """Start an evaluation."""
        self._running_returns = np.zeros(0)
        self._returns = []

    def eval_per_step(self, eval_data: Sequence[Any]) -> None:
        """Add the mean reward of each team to the return of its episode."""
        rewards = eval_data[2].mean(axis=(1, 2))
        if self._running_returns.size == 0:
            self._running_returns = rewards
        else:
            self._running_returns = self._running_returns + rewards

    def eval_thread_done(self, tid: int) -> None:
        """Store the return of the episode that ended in env `tid`."""
        self._returns.append(float(self._running_returns[tid]))
        self._running_returns[tid] = 0.0

    def eval_log(self, eval_episode: int) -> None:
        """Report the mean return."""
        mean = float(np.mean(self._returns))
        self._log.say(f"Evaluation average episode reward is {mean:.4f}.")
        self._log.scalar("eval/return", mean, self.step)

    def close(self) -> None:
        """Close the log; further calls do nothing."""
        self._log.close()


def _number(value: Any) -> float:
    """Return a number of HARL, which may be a tensor with a gradient, as a float."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
    return float(value)


class ScalarWriter:
    """HARL's `writter`; unlike tensorboardX's, it keeps no numbers until the end."""

    def __init__(self, log: RunLogger) -> None:
        self._log = log

    def add_scalars(self, main_tag: str, tag_scalar_dict: Dict[str, float], global_step: int) -> None:
        """Write numbers under `main_tag/tag`; HARL often repeats the main tag, which is then left out."""
        for tag, value in tag_scalar_dict.items():
            name = f"{main_tag}/{tag}"
            if tag == main_tag:
                name = main_tag
            self._log.scalar(f"harl/{name}", _number(value), global_step)

    def export_scalars_to_json(self, path: str) -> None:
        """Do nothing: every number is in its file already."""

    def close(self) -> None:
        """Do nothing: the logger closes the files."""
