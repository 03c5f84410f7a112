"""Soak a training of several ranks: `python -m harness memory cuboid --gpus 2`.

The ranks are processes of their own, so the training runs as a command under `harness run --memory`: each rank has a
curve and a verdict of its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence

from harness.soaking import run_with_meters
from mapush.errors import ConfigError

ENDLESS_STEPS = 10**11  # env steps: more than a day of the fastest job


def soak_ranks(training: Sequence[str], minutes: float, report: Optional[Path]) -> int:
    """Train for some minutes, print the verdict of each rank, and return the exit code of `harness run --memory`.

    Args:
      training: the words after `python -m mapush.train`, without those of the run folder and of the length.
      minutes: how long to train [min].
      report: folder to write the report to, if any.

    Raises:
      ConfigError: there is no time to train.
    """
    if minutes <= 0.0:
        raise ConfigError("invalid --minutes", got=str(minutes), expected="above 0: several ranks are soaked by time")
    words: List[str] = ["--memory", "--minutes", str(minutes)]
    if report is not None:
        words += ["--report", str(report)]
    with tempfile.TemporaryDirectory() as folder:
        endless = ["--total-steps", str(ENDLESS_STEPS), "--run-dir", str(Path(folder, "run"))]
        return run_with_meters.main([*words, "--", sys.executable, "-m", "mapush.train", *training, *endless])
