"""Statistics of episodes: bounded running means for training, and the published measures for evaluation."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from mapush.device.cuda_graphs import Captured
from mapush.errors import ConfigError, MapushError
from mapush.spec import TensorSpec

Interval = Tuple[float, float]

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
ENDINGS = ("success", "collision", "fall", "timeout")
ALL_ENVS = slice(None)


class EpisodeMetrics:
    """Means over the most recent episodes, and means of reward terms since the last `summary`.

    Everything stays on the device, and the host does not wait for it before `summary` is called.

    Args:
      names: keys of the outcomes to keep.
      num_envs: parallel envs, E.
      device: where the statistics are stored.
      capacity: number of most recent episodes over which the means are taken.
      recorded: let a GPU replay the bookkeeping; worth it in an env that calls it at every env step.
    """

    def __init__(
        self,
        names: Sequence[str],
        num_envs: int,
        device: torch.device,
        capacity: int = 1000,
        recorded: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.capacity = capacity
        self._done_spec = TensorSpec("done", ("num_envs",), (num_envs,), "bool")
        # A ring of episodes, one row each. What must not be stored is written to the last row, which nobody reads:
        # the GPU then needs neither a branch nor a boolean index, for which the host would wait.
        self._episodes = torch.zeros((capacity + 1, len(self.names)), device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._term_sums: Dict[str, torch.Tensor] = {}
        self._steps = 0
        self._add_means: Callable[..., Any] = _add_means
        self._store: Callable[..., Any] = functools.partial(_store, self._episodes, self._count)
        if recorded:
            self._add_means, self._store = Captured(self._add_means), Captured(self._store)

    def add_step(self, terms: Dict[str, torch.Tensor]) -> None:
        """Count the reward terms of one step, (E, A) or (E,) each, by name."""
        for name, value in terms.items():
            if name not in self._term_sums:
                self._term_sums[name] = torch.zeros((), device=value.device)
        self._term_sums.update(self._add_means(terms, {name: self._term_sums[name] for name in terms}))
        self._steps += 1

    def add_episodes(self, done: torch.Tensor, outcome: Dict[str, torch.Tensor]) -> None:
        """Count the episodes that ended.

        Args:
          done: envs whose episode ended, (E,) bool.
          outcome: their results by name, (E,) each.

        Raises:
          SpecError: `done` has a different shape or type.
        """
        self._done_spec.validate_form(done, "EpisodeMetrics.add_episodes")
        self._store(done, [outcome[name] for name in self.names])

    def summary(self, last: Optional[int] = None) -> Dict[str, float]:
        """Return the means, and begin new means of the reward terms.

        Args:
          last: the most recent episodes over which the means are taken, at most `capacity`; by default so many.

        Returns:
          `episode/<name>`: mean of each outcome; nan before the first episode.
          `reward/<name>`: mean of each reward term per step.
          `episodes`: the number of episodes ever counted.
        """
        row = torch.arange(self.capacity, device=self._count.device)
        age = (self._count - 1 - row) % self.capacity  # 0 for the most recent episode
        counted = (row < self._count) & (age < (last or self.capacity))
        rows = self._episodes[:-1].double().masked_fill(~counted.unsqueeze(1), 0.0)
        means = rows.sum(dim=0) / counted.sum()
        terms = [value.double() / self._steps for value in self._term_sums.values()]
        # All numbers come to the host in one transfer.
        values = torch.cat((means, torch.stack(terms + [self._count.double()]))).tolist()
        names = [f"episode/{name}" for name in self.names]
        names += [f"reward/{name}" for name in self._term_sums]
        names += ["episodes"]
        self._term_sums, self._steps = {}, 0
        return dict(zip(names, values))

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""
        return {
            "episodes": self._episodes.clone(),
            "count": self._count.clone(),
            "term_sums": {name: value.clone() for name, value in self._term_sums.items()},
            "steps": self._steps,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._episodes.copy_(state["episodes"])
        self._count.copy_(state["count"])
        device = self._count.device
        self._term_sums = {name: value.to(device) for name, value in state["term_sums"].items()}
        self._steps = state["steps"]


def _add_means(terms: Dict[str, torch.Tensor], sums: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """Return the sums after the means of `terms` were added; a GPU replays this."""
    return {name: sums[name] + value.mean() for name, value in terms.items()}


def _store(
    episodes: torch.Tensor, count: torch.Tensor, done: torch.Tensor, outcome: List[torch.Tensor]
) -> torch.Tensor:
    """Store the episodes that ended in a ring, and count them; a GPU replays this.

    Args:
      episodes: the ring and a last row that nobody reads, (capacity + 1, N); changed in place.
      count: episodes stored so far, (); changed in place.
      done: envs whose episode ended, (E,) bool.
      outcome: the N results, (E,) each.

    Returns:
      `count`.
    """
    capacity = len(episodes) - 1
    rank = done.cumsum(0)  # 1 for the first episode that ended in this step, 2 for the second, ...
    ended = rank[-1]
    kept = done & (rank > ended - capacity)
    row = ((count + rank - 1) % capacity).masked_fill(~kept, capacity)
    columns = [result.to(episodes.dtype) for result in outcome]
    episodes[row] = torch.stack(columns, dim=1)
    return count.add_(ended)


@dataclasses.dataclass(frozen=True)
class EvaluationMetrics:
    """The published measures, taken over the first episodes of each env.

    Source: MAPush@0e61e1b, `openrl_ws/test.py --test_mode calculator`.

    Attributes:
      episodes: number of episodes.
      success_rate: share of the episodes that succeeded.
      success_rate_interval: its 95 % Wilson score interval.
      finished_time: mean duration [s]; a failure counts as long as the longest possible episode.
      finished_time_interval: its 95 % normal interval [s].
      collision_rate: share of the episodes that a collision of robots ended.
      collision_rate_interval: its 95 % Wilson score interval.
      collision_degree: nearness of object and obstacles in the successful episodes; 0, because this task has no
        obstacles.
      collaboration_degree: mean share of the steps in which all robots are near the object, over the successful
        episodes; nan if none succeeded.
      collaboration_degree_interval: its 95 % normal interval.
      endings: number of episodes by cause: success, collision, fall, timeout.
    """

    episodes: int
    success_rate: float
    success_rate_interval: Interval
    finished_time: float
    finished_time_interval: Interval
    collision_rate: float
    collision_rate_interval: Interval
    collision_degree: float
    collaboration_degree: float
    collaboration_degree_interval: Interval
    endings: Dict[str, int]


class FirstEpisodes:
    """The outcomes of each env's first episodes; later episodes are ignored.

    How many episodes of an env count is fixed before the first step: `episodes` are shared out evenly, and the envs
    with the lowest ids play the remainder. So whether an episode counts does not depend on how long it is. To count the
    first `episodes` that end, in whatever env, would favour short ones.

    Args:
      num_envs: number of envs, E.
      episodes: number of episodes, at least E; by default one of each env.

    Raises:
      ConfigError: fewer episodes than envs.
    """

    def __init__(self, num_envs: int, episodes: Optional[int] = None) -> None:
        episodes = episodes or num_envs
        if episodes < num_envs:
            got, fix = f"{episodes} episodes in {num_envs} envs", "use as many envs as episodes, or fewer"
            raise ConfigError("an env would play no episode", got=got, fix=fix)
        self._done_spec = TensorSpec("done", ("num_envs",), (num_envs,), "bool")
        self._episodes = episodes
        shares = [len(range(env_id, episodes, num_envs)) for env_id in range(num_envs)]
        self._share = torch.tensor(shares)  # episodes of each env, (E,)
        self._rows = max(shares)
        self._ended = torch.zeros_like(self._share)
        self._outcome: Dict[str, torch.Tensor] = {}  # (largest share, E) each

    @property
    def complete(self) -> bool:
        """Whether every env has ended all of its episodes."""
        return bool((self._ended >= self._share).all())

    @property
    def ended(self) -> int:
        """Number of episodes that count and have ended so far."""
        return int(self._ended.sum())

    def mean_so_far(self, name: str) -> float:
        """Return the mean of an outcome over the episodes that count and have ended; NaN if there are none."""
        if name not in self._outcome or self.ended == 0:
            return math.nan
        rows = torch.arange(self._rows, device=self._ended.device)
        return float(self._outcome[name][rows.unsqueeze(1) < self._ended].double().mean())

    def add(self, done: torch.Tensor, outcome: Dict[str, torch.Tensor]) -> None:
        """Take `done` and `outcome` of one transition.

        Args:
          done: envs whose episode ended, (E,) bool.
          outcome: their results by name, (E,) each.

        Raises:
          SpecError: `done` has a different shape or type.
        """
        self._done_spec.validate(done, "FirstEpisodes.add")
        self._share, self._ended = self._share.to(done.device), self._ended.to(done.device)
        counts = done & (self._ended < self._share)
        for name, values in outcome.items():
            if name not in self._outcome:
                self._outcome[name] = values.new_zeros((self._rows,) + values.shape)
            kept = self._outcome[name]
            for row in range(self._rows):
                kept[row] = torch.where(counts & (self._ended == row), values, kept[row])
        self._ended = self._ended + counts.long()

    @property
    def outcome(self) -> Dict[str, torch.Tensor]:
        """Results of the first episode of each env by name, (E,) each; zero where it has not ended."""
        return {name: kept[0].clone() for name, kept in self._outcome.items()}

    @property
    def episodes(self) -> int:
        """Number of episodes that count."""
        return self._episodes

    def results(self, envs: slice = ALL_ENVS) -> Dict[str, torch.Tensor]:
        """Return the results of the episodes that count, by name, (episodes,) each.

        Args:
          envs: whose episodes.

        Raises:
          MapushError: an env has not ended its episodes; leaving them out would favour short episodes.
        """
        self._require_complete()
        rows = torch.arange(self._rows, device=self._share.device)
        counted = rows.unsqueeze(1) < self._share[envs]
        return {name: kept[:, envs][counted] for name, kept in self._outcome.items()}

    def metrics(self, envs: slice = ALL_ENVS) -> EvaluationMetrics:
        """Return the published measures of the episodes that count.

        Args:
          envs: whose episodes.

        Raises:
          MapushError: see `results`.
        """
        results = self.results(envs)
        success = results["success"]
        successes, episodes = int(success.sum()), success.numel()
        collisions = int(results["collision"].sum())
        time, time_interval = mean_interval(results["finished_time"])
        collaboration, collaboration_interval = mean_interval(results["collaboration"][success])
        return EvaluationMetrics(
            episodes=episodes,
            success_rate=successes / episodes,
            success_rate_interval=wilson_interval(successes, episodes),
            finished_time=time,
            finished_time_interval=time_interval,
            collision_rate=collisions / episodes,
            collision_rate_interval=wilson_interval(collisions, episodes),
            collision_degree=0.0,
            collaboration_degree=collaboration,
            collaboration_degree_interval=collaboration_interval,
            endings={name: int(results[name].sum()) for name in ENDINGS},
        )

    def _require_complete(self) -> None:
        if self.complete:
            return
        raise MapushError(
            "the evaluation is not over",
            where="FirstEpisodes.metrics",
            got=f"{int(self._ended.sum())} of {self._episodes} episodes have ended",
            expected="all of them",
            fix="step until FirstEpisodes.complete",
        )


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the 95 % score interval of a rate (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Unlike the normal interval it stays within [0, 1], and it is not empty when all trials succeed or all fail.
    """
    rate = successes / trials
    spread = Z_95**2 / trials
    centre = rate + spread / 2.0
    half = math.sqrt(rate * (1.0 - rate) * spread + spread**2 / 4.0)
    low, high = (centre - half) / (1.0 + spread), (centre + half) / (1.0 + spread)
    return max(0.0, low), min(1.0, high)


def mean_interval(values: torch.Tensor) -> Tuple[float, Interval]:
    """Return the mean of (n,) and its 95 % normal interval; nan if there are too few values."""
    values = values.double()
    mean = float(values.mean())
    if values.numel() < 2:
        return mean, (math.nan, math.nan)
    half = Z_95 * float(values.std()) / math.sqrt(values.numel())
    return mean, (mean - half, mean + half)
