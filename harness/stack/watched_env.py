"""An environment that is watched while a run collects a rollout."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Optional, Tuple

import torch

from mapush.env.vec_env import Transition
from mapush.train import Run

END_PROBABILITY = 0.2  # of each kind of end, in each env at each step


class WatchedEnv:
    """An environment whose steps are recorded; every call is passed on.

    Args:
      env: the environment to watch.
      terminated: ends (T, E) bool to report in the first T steps instead of the environment's own; None for its own.
      truncated: time limits (T, E) bool, likewise.

    Attributes:
      acted: copies of the actions of each step, made before the environment got them.
      left: copies of the same tensors, made after the environment returned.
      results: the transitions that the environment returned and the learner got.
    """

    def __init__(
        self, env: Any, terminated: Optional[torch.Tensor] = None, truncated: Optional[torch.Tensor] = None
    ) -> None:
        self._env = env
        self._terminated = terminated
        self._truncated = truncated
        self.acted: List[torch.Tensor] = []
        self.left: List[torch.Tensor] = []
        self.results: List[Transition] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Transition:
        """Take one decision; see `VecEnv.step`."""
        step = len(self.acted)
        self.acted.append(actions.clone())
        result = self._env.step(actions)
        self.left.append(actions.clone())
        if self._terminated is not None and self._truncated is not None and step < len(self._terminated):
            ends = {"terminated": self._terminated[step], "truncated": self._truncated[step]}
            result = dataclasses.replace(result, **ends)
        self.results.append(result)
        return result


def watch(run: Run, ends_seed: Optional[int] = None) -> WatchedEnv:
    """Replace the environment of a run by a watched one, and return it.

    Args:
      run: the run.
      ends_seed: report random ends of episodes, drawn with this seed; None for the environment's own.
    """
    terminated = truncated = None
    if ends_seed is not None:
        terminated, truncated = random_ends(run.rollout.num_steps, run.env.num_envs, ends_seed)
    watched: Any = WatchedEnv(run.env, terminated, truncated)
    run.env = watched
    return watched


def random_ends(num_steps: int, num_envs: int, seed: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return random `terminated` and `truncated`, (num_steps, num_envs) bool each.

    The step in the middle has every combination of the two.
    """
    generator = torch.Generator().manual_seed(seed)
    terminated = torch.rand((num_steps, num_envs), generator=generator) < END_PROBABILITY
    truncated = torch.rand((num_steps, num_envs), generator=generator) < END_PROBABILITY
    middle = num_steps // 2
    terminated[middle, :4] = torch.tensor([True, False, True, False])
    truncated[middle, :4] = torch.tensor([False, True, True, False])
    return terminated, truncated


def fill(run: Run) -> None:
    """Advance a run until its rollout is full."""
    while run.rollout.step < run.rollout.num_steps:
        run.advance()
