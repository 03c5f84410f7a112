"""Success rates over training."""

from __future__ import annotations

import dataclasses
from typing import List, Sequence

from mapush.evaluation.results import Evaluation
from mapush.reports.formatting import Bounds
from mapush.reports.published import PUBLISHED, STEPS_BETWEEN


@dataclasses.dataclass
class RateCurve:
    """Success rates over training, with their intervals.

    Attributes:
      steps: env steps of training [million].
      rates: success rates.
      bounds: bounds of their intervals; empty if they are not known.
    """

    steps: List[float] = dataclasses.field(default_factory=list)
    rates: List[float] = dataclasses.field(default_factory=list)
    bounds: List[Bounds] = dataclasses.field(default_factory=list)

    def add(self, env_steps: int, rate: float, bounds: Bounds) -> None:
        """Append one point."""
        self.steps.append(env_steps / 1e6)
        self.rates.append(rate)
        self.bounds.append(bounds)


def rate_curve(evaluations: Sequence[Evaluation]) -> RateCurve:
    """Return the success rates of the checkpoints of a run."""
    curve = RateCurve()
    for evaluation in evaluations:
        metrics = evaluation.metrics
        curve.add(evaluation.step, metrics.success_rate, metrics.success_rate_interval)
    return curve


def published_curve(task_name: str) -> RateCurve:
    """Return the success rates that MAPush published, without intervals."""
    curve = RateCurve()
    for index, evaluation in enumerate(PUBLISHED.get(task_name, ())):
        curve.steps.append(STEPS_BETWEEN / 1e6 * (index + 1))
        curve.rates.append(evaluation.success_rate)
    return curve
