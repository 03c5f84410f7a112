"""What one policy scored."""

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
    """What one policy scored.

    Attributes:
      path: its checkpoint; None for untrained weights.
      step: env steps that it was trained for.
      metrics: its measures.
      name: of the policy or run that it belongs to.
      trace: what it did, if that was asked for.
    """

    path: Optional[Path]
    step: int
    metrics: EvaluationMetrics
    name: str = ""
    trace: Optional[Trace] = None

    @property
    def success_time(self) -> float:
        """Mean duration of the successful episodes [s]; NaN without one."""
        from mapush.env.terminations import MAX_EPISODE_LENGTH
        from mapush.sim.physics import STEP_DT

        rate = self.metrics.success_rate
        failed = (1.0 - rate) * MAX_EPISODE_LENGTH * STEP_DT
        return (self.metrics.finished_time - failed) / rate if rate > 0 else math.nan

    def as_dict(self) -> Dict[str, Any]:
        """Return everything as plain values."""
        values = dict(dataclasses.asdict(self.metrics), success_time=self.success_time)
        path = None if self.path is None else str(self.path)
        return {"checkpoint": path, "step": self.step, "metrics": values}
