"""How fast a run is and how long it will take."""

from __future__ import annotations

import math
import time
from typing import Callable, Optional

from mapush.config import RunConfig
from mapush.presets import PRESETS

LONG_RUN_S = 3600.0


class Speed:
    """Measures env steps per second from now on.

    Args:
      step: env steps taken before.
      clock: returns the time [s].
    """

    def __init__(self, step: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()
        self._first_step = step

    def rate(self, step: int) -> float:
        """Return the mean rate [env-steps/s] up to `step`."""
        return (step - self._first_step) / (self._clock() - self._start)


def duration(seconds: float) -> str:
    """Return a time in words, rounded up to minutes, such as 1 h 40 min."""
    hours, minutes = divmod(math.ceil(seconds / 60.0), 60)
    if hours > 0:
        return f"{hours} h {minutes} min"
    return f"{minutes} min"


def clock_time(seconds: float) -> str:
    """Return a time in at most six characters, such as 13h48m, 5m20s or 4d11h."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, whole_hours = divmod(hours, 24)
    if hours >= 100:
        return f"{days}d{whole_hours:02d}h"
    if hours > 0:
        return f"{hours}h{minutes:02d}m"
    if minutes > 0:
        return f"{minutes}m{rest:02d}s"
    return f"{rest}s"


def advice(config: RunConfig, seconds: float) -> Optional[str]:
    """Return what to do about a run that will take hours on a CPU, if there is a preset for that; otherwise None.

    Args:
      config: resolved configuration.
      seconds: how long the run will still take [s].
    """
    small = "quick" in PRESETS.get(config.task_name, {}) and config.preset == "default"
    if not small or config.sim.backend != "mujoco" or seconds < LONG_RUN_S:
        return None
    return (
        f"{duration(seconds)} to go, because no GPU is used. --preset quick is sized for two CPU cores and learns in a "
        "quarter of an hour; Ctrl-C saves and ends this run"
    )


def time_left(steps: int, rate: float) -> str:
    """Return a line that says how long `steps` env steps will take at `rate` env-steps/s."""
    return f"about {duration(steps / rate)} to go at {rate:,.0f} env-steps/s"
