"""How fast a run is and how long it will take."""

from __future__ import annotations

import math
import time


class Speed:
    """Measures env steps per second from now on.

    Args:
      step: env steps taken before.
    """

    def __init__(self, step: int) -> None:
        self._start = time.perf_counter()
        self._first_step = step

    def rate(self, step: int) -> float:
        """Return the mean rate [env-steps/s] up to `step`."""
        return (step - self._first_step) / (time.perf_counter() - self._start)


def time_left(steps: int, rate: float) -> str:
    """Return a line that says how long `steps` env steps will take at `rate` env-steps/s."""
    hours, minutes = divmod(math.ceil(steps / rate / 60.0), 60)
    duration = f"{minutes} min"
    if hours > 0:
        duration = f"{hours} h {minutes} min"
    return f"about {duration} to go at {rate:,.0f} env-steps/s"
