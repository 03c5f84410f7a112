"""Statistics of episodes: a bounded running view for training, and the published measures for evaluation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Optional, Sequence, Tuple

import torch

from mapush.errors import MapushError
from mapush.spec import TensorSpec

Interval = Tuple[float, float]

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
ENDINGS = ("success", "collision", "fall", "timeout")


class EpisodeMetrics:
    """Means over the most recent episodes, and of reward terms since the last `summary`.

    Everything stays on the device, and nothing waits for it, until `summary` is read.

    Args:
      names: keys of the outcomes to keep.
      num_envs: parallel envs.
      device: where the statistics live.
      capacity: how many of the most recent episodes count.
    """

    def __init__(self, names: Sequence[str], num_envs: int, device: torch.device, capacity: int = 1000) -> None:
        self.names = tuple(names)
        self.capacity = capacity
        self._done_spec = TensorSpec("done", ("num_envs",), (num_envs,), "bool")
        self._episodes = torch.zeros((capacity + 1, len(self.names)), device=device)  # the last row takes discards
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._term_sums: Dict[str, torch.Tensor] = {}
        self._steps = 0

    def add_step(self, terms: Dict[str, torch.Tensor]) -> None:
        """Count one step's reward terms, each (E, A) or (E,)."""
        for name, value in terms.items():
            mean = value.mean()
            self._term_sums[name] = self._term_sums[name] + mean if name in self._term_sums else mean
        self._steps += 1

    def add_episodes(self, done: torch.Tensor, outcome: Dict[str, torch.Tensor]) -> None:
        """Count the episodes that ended.

        Args:
          done: which envs' did, (E,) bool.
          outcome: their results, each (E,).
        """
        self._done_spec.validate_form(done, "EpisodeMetrics.add_episodes")
        rank = done.cumsum(0)
        kept = done & (rank > rank[-1] - self.capacity)
        row = ((self._count + rank - 1) % self.capacity).masked_fill(~kept, self.capacity)
        self._episodes[row] = torch.stack([outcome[name].to(self._episodes.dtype) for name in self.names], dim=1)
        self._count = self._count + rank[-1]

    def summary(self) -> Dict[str, float]:
        """Return the means, and start the reward terms anew.

        Returns:
          `episode/<name>` for each outcome (nan before the first episode), `reward/<name>` per step for each term, and
          `episodes`, the number of episodes ever counted.
        """
        recent = torch.arange(self.capacity, device=self._count.device) < self._count
        rows = self._episodes[:-1].double().masked_fill(~recent.unsqueeze(1), 0.0)
        means = rows.sum(dim=0) / recent.sum()
        terms = [value.double() / self._steps for value in self._term_sums.values()]
        values = torch.cat((means, torch.stack(terms + [self._count.double()]))).tolist()
        names = ["episode/" + name for name in self.names] + ["reward/" + name for name in self._term_sums]
        self._term_sums, self._steps = {}, 0
        return dict(zip(names + ["episodes"], values))

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""
        return {
            "episodes": self._episodes.clone(),
            "count": self._count.clone(),
            "term_sums": dict(self._term_sums),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._episodes = state["episodes"].to(self._episodes.device, copy=True)
        self._count = state["count"].to(self._count.device, copy=True)
        self._term_sums = {name: value.to(self._count.device) for name, value in state["term_sums"].items()}
        self._steps = state["steps"]


@dataclasses.dataclass(frozen=True)
class EvaluationMetrics:
    """The published measures, over the first episode of each env.

    Source: MAPush@0e61e1b, `openrl_ws/test.py --test_mode calculator`.

    Attributes:
      episodes: how many.
      success_rate: share that succeeded.
      success_rate_interval: its 95 % Wilson score interval.
      finished_time: mean duration [s]; a failure counts as the longest episode.
      finished_time_interval: its 95 % normal interval [s].
      collision_degree: nearness of object and obstacles, over successes; this task has no obstacles, so it is 0.
      collaboration_degree: mean share of the steps in which all robots are near the object, over successes; nan
        without one.
      collaboration_degree_interval: its 95 % normal interval.
      endings: episodes by cause: success, collision, fall, timeout.
    """

    episodes: int
    success_rate: float
    success_rate_interval: Interval
    finished_time: float
    finished_time_interval: Interval
    collision_degree: float
    collaboration_degree: float
    collaboration_degree_interval: Interval
    endings: Dict[str, int]


class FirstEpisodes:
    """Keeps the outcome of each env's first episode and ignores all later ones.

    Args:
      num_envs: how many envs take part.
    """

    def __init__(self, num_envs: int) -> None:
        self._done_spec = TensorSpec("done", ("num_envs",), (num_envs,), "bool")
        self._done: Optional[torch.Tensor] = None
        self._outcome: Dict[str, torch.Tensor] = {}

    @property
    def complete(self) -> bool:
        """Whether every env has ended an episode."""
        return self._done is not None and bool(self._done.all())

    def add(self, done: torch.Tensor, outcome: Dict[str, torch.Tensor]) -> None:
        """Take one transition's `done` (E,) bool and `outcome`, each (E,)."""
        self._done_spec.validate(done, "FirstEpisodes.add")
        if self._done is None:
            self._done = torch.zeros_like(done)
            self._outcome = {name: torch.zeros_like(value) for name, value in outcome.items()}
        first = done & ~self._done
        self._outcome = {name: torch.where(first, outcome[name], kept) for name, kept in self._outcome.items()}
        self._done = self._done | done

    @property
    def outcome(self) -> Dict[str, torch.Tensor]:
        """Results of the first episodes, each (E,); zero where none has ended."""
        return self._outcome

    def metrics(self) -> EvaluationMetrics:
        """Return the measures.

        Raises:
          MapushError: an env has not ended its first episode; to leave it out would favour short episodes.
        """
        if not self.complete:
            ended = 0 if self._done is None else int(self._done.sum())
            raise MapushError(
                "the evaluation is not over",
                got=f"{ended} of {self._done_spec.shape[0]} envs have ended an episode",
                expected="all of them",
                fix="step until FirstEpisodes.complete",
            )
        success = self._outcome["success"]
        successes, episodes = int(success.sum()), success.numel()
        time, time_interval = _mean(self._outcome["finished_time"])
        collaboration, collaboration_interval = _mean(self._outcome["collaboration"][success])
        return EvaluationMetrics(
            episodes=episodes,
            success_rate=successes / episodes,
            success_rate_interval=wilson_interval(successes, episodes),
            finished_time=time,
            finished_time_interval=time_interval,
            collision_degree=0.0,
            collaboration_degree=collaboration,
            collaboration_degree_interval=collaboration_interval,
            endings={name: int(self._outcome[name].sum()) for name in ENDINGS},
        )


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the 95 % score interval of a rate (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    rate, spread = successes / trials, Z_95**2 / trials
    centre = rate + spread / 2.0
    half = math.sqrt(rate * (1.0 - rate) * spread + spread**2 / 4.0)
    return max(0.0, (centre - half) / (1.0 + spread)), min(1.0, (centre + half) / (1.0 + spread))


def _mean(values: torch.Tensor) -> Tuple[float, Interval]:
    """Return the mean of (n,) and its 95 % normal interval; nan where there are too few values."""
    values = values.double()
    mean = float(values.mean())
    half = Z_95 * float(values.std()) / math.sqrt(values.numel()) if values.numel() > 1 else math.nan
    return mean, (mean - half, mean + half)
