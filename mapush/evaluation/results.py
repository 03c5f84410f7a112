"""The score of one evaluated policy."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional

if TYPE_CHECKING:
    from mapush.env.metrics import EvaluationMetrics
    from mapush.evaluation.traces import Trace


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The score of one policy.

    Attributes:
      path: its checkpoint; None for untrained weights.
      step: env steps that it was trained for.
      metrics: its metrics.
      name: the policy or run that it belongs to.
      trace: its episodes; None if they were not traced.
      steps_per_decision: env steps for which it held each action.
      rate_from: who says so, in a few words.
      kinds: metrics of each object and team size, such as cuboid_2, where several were evaluated together.
    """

    path: Optional[Path]
    step: int
    metrics: EvaluationMetrics
    name: str = ""
    trace: Optional[Trace] = None
    steps_per_decision: int = 1
    rate_from: str = ""
    kinds: Dict[str, EvaluationMetrics] = dataclasses.field(default_factory=dict)

    @property
    def decision_rate(self) -> str:
        """How often it decided, and who says so, in a sentence."""
        return decision_rate(self.steps_per_decision, self.rate_from)

    @property
    def success_time(self) -> float:
        """Mean duration of the successful episodes [s]; NaN if there is none.

        `finished_time` is the mean over all episodes, in which a failed one counts as the longest episode.
        """
        from mapush.env.terminations import MAX_EPISODE_LENGTH
        from mapush.sim.physics import STEP_DT

        success_rate = self.metrics.success_rate
        if success_rate == 0:
            return math.nan
        failed_time = (1.0 - success_rate) * MAX_EPISODE_LENGTH * STEP_DT
        return (self.metrics.finished_time - failed_time) / success_rate

    def as_dict(self) -> Dict[str, Any]:
        """Return path, step and metrics as JSON types."""
        metrics = dict(dataclasses.asdict(self.metrics), success_time=self.success_time)
        path: Optional[str] = None
        if self.path is not None:
            path = str(self.path)
        decision = {"env_steps": self.steps_per_decision, "from": self.rate_from}
        values = {"checkpoint": path, "step": self.step, "decision": decision, "metrics": metrics}
        if self.kinds:
            values["kinds"] = {name: dataclasses.asdict(kind) for name, kind in self.kinds.items()}
        return values


def decision_rate(steps: int, rate_from: str) -> str:
    """Return how often a policy decides, in a sentence.

    Args:
      steps: env steps for which it holds each action.
      rate_from: who says so, in a few words.
    """
    from mapush.sim.physics import STEP_DT

    interval = "every env step"
    if steps > 1:
        interval = f"every {steps} env steps"
    return f"one decision {interval} ({1.0 / (steps * STEP_DT):g} Hz), {rate_from}"
