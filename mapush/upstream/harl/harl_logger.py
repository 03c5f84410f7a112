"""What HARL's runner reports to, instead of its own logger and TensorBoard writer."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np
import torch

from mapush.env.vec_env import VecEnv
from mapush.run.logger import RunLogger

_RENAMED = {"dist_entropy": "entropy"}


class Stopped(Exception):
    """Training was asked to stop."""


class HarlLogger:
    """Takes HARL's callbacks and tells what the native learner tells.

    It knows the environment, whose bounded statistics it shows, and keeps nothing else but the returns of the
    evaluation in progress.

    Args:
      log: console, CSV and TensorBoard.
      env: where the team acts.
      stopped: asked at every step; if it says yes, `Stopped` is raised.

    Attributes:
      step: env steps taken so far, summed over envs.
      iteration: the present rollout, from 1.
    """

    def __init__(self, log: RunLogger, env: VecEnv, stopped: Callable[[], bool] = lambda: False) -> None:
        self.step = self.iteration = 0
        self._log, self._env, self._stopped = log, env, stopped
        self._start = time.perf_counter()
        self._running = np.zeros(0)
        self._returns: List[float] = []

    def init(self, episodes: int) -> None:
        """Note when training starts; what HARL calls episodes are iterations."""
        self._start = time.perf_counter()

    def episode_init(self, episode: int) -> None:
        """Note which iteration starts."""
        self.iteration = episode

    def per_step(self, data: Sequence[Any]) -> None:
        """Count a step of all envs.

        Raises:
          Stopped: training shall stop.
        """
        self.step += self._env.num_envs * self._env.steps_per_decision
        if self._stopped():
            raise Stopped

    def episode_log(
        self, actor_train_infos: Sequence[Mapping[str, Any]], critic_train_info: Mapping[str, Any], *buffers: Any
    ) -> None:
        """Write a row: the environment's statistics, and HARL's losses as means over agents.

        HARL lists the agents in the random order in which they were updated, so the losses of one cannot be told.
        """
        losses = {
            _RENAMED.get(name, name): sum(_number(info[name]) for info in actor_train_infos) / len(actor_train_infos)
            for name in actor_train_infos[0]
        }
        losses.update({name: _number(value) for name, value in critic_train_info.items()})
        self._log.report(
            self.step,
            self.iteration,
            self.step / (time.perf_counter() - self._start),
            losses,
            self._env.check(),
            self._env.metrics.summary(),
        )

    def eval_init(self) -> None:
        """Begin an evaluation."""
        self._running, self._returns = np.zeros(0), []

    def eval_per_step(self, eval_data: Sequence[Any]) -> None:
        """Add the mean reward of each team to the return of its episode."""
        team = eval_data[2].mean(axis=(1, 2))
        self._running = self._running + team if self._running.size else team

    def eval_thread_done(self, tid: int) -> None:
        """Take in the return of the episode that ended in env `tid`."""
        self._returns.append(float(self._running[tid]))
        self._running[tid] = 0.0

    def eval_log(self, eval_episode: int) -> None:
        """Tell the mean return."""
        mean = float(np.mean(self._returns))
        self._log.say(f"Evaluation average episode reward is {mean:.4f}.")
        self._log.scalar("eval/return", mean, self.step)

    def close(self) -> None:
        """Close the log; further calls do nothing."""
        self._log.close()


def _number(value: Any) -> float:
    """Return a number of HARL's, which may be a tensor that a gradient belongs to, as a plain one."""
    return float(value.detach() if isinstance(value, torch.Tensor) else value)


class ScalarWriter:
    """What HARL calls `writter`: passes numbers on and, unlike tensorboardX's, keeps none of them for the end."""

    def __init__(self, log: RunLogger) -> None:
        self._log = log

    def add_scalars(self, main_tag: str, tag_scalar_dict: Dict[str, float], global_step: int) -> None:
        """Write numbers under `main_tag/tag`; HARL's own tags repeat the main one, which is then left out."""
        for tag, value in tag_scalar_dict.items():
            name = tag if tag == main_tag else f"{main_tag}/{tag}"
            self._log.scalar("harl/" + name, _number(value), global_step)

    def export_scalars_to_json(self, path: str) -> None:
        """Do nothing: every number is in its file already."""

    def close(self) -> None:
        """Do nothing: the logger closes the files."""
