"""A planted leak, and the soak that must find it."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any, Callable, Optional

from harness.memory.driver import DriverMeter
from harness.memory.soak import Subject, soak
from harness.memory.soak_report import SoakReport

WARM_UP_CYCLES = 10


def _nothing() -> None:
    pass


@dataclasses.dataclass(frozen=True)
class PlantedLeak:
    """A subject that leaks.

    Attributes:
      make: makes the subject.
      cycles: number of cycles within which the leak must be found.
      owner: what the name of the first owner must contain.
      clean_up: releases what the leak took, for the soaks that follow.
    """

    make: Callable[[], Subject]
    cycles: int
    owner: str
    clean_up: Callable[[], Any] = _nothing


def find(leak: PlantedLeak, gpu: Optional[DriverMeter] = None) -> SoakReport:
    """Soak a leak for the cycles within which it must be found, and return the report.

    Args:
      leak: the leak.
      gpu: the meter of the GPU that the leak uses; None for a leak on the CPU.
    """
    report = soak(leak.make, WARM_UP_CYCLES, leak.cycles, gpu=gpu, close_timeout=0.0)
    leak.clean_up()
    gc.collect()
    return report
