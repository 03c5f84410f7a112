"""Measure several workloads fairly: warm up, take turns, and report how much the times spread."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Mapping

WARM_UPS = 2
"""Rounds whose times are not used: in them kernels are compiled and loaded, graphs recorded, and buffers allocated."""

Workload = Callable[[], float]
"""Does its work once and returns how long that took [s]."""


@dataclasses.dataclass(frozen=True)
class Times:
    """How long a workload took in each round [s].

    Attributes:
      seconds: one time for each round, in their order.
    """

    seconds: List[float]

    @property
    def median(self) -> float:
        """The median; of an even number the greater of the two in the middle."""
        return sorted(self.seconds)[len(self.seconds) // 2]

    def rates(self, amount: float) -> List[float]:
        """Return `amount` per second at the median, the longest and the shortest time."""
        return [amount / self.median, amount / max(self.seconds), amount / min(self.seconds)]


def measure(workloads: Mapping[str, Workload], rounds: int, warm_ups: int = WARM_UPS) -> Dict[str, Times]:
    """Do all workloads once in each round, and return their times by name.

    Whatever slows the machine down for a while slows all workloads down. Every second round goes backwards, so no
    workload always follows the same one.

    Args:
      workloads: by name.
      rounds: rounds that count, at least 1.
      warm_ups: rounds before them that do not count.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in workloads}
    for index in range(-warm_ups, rounds):
        names = list(workloads)
        if index % 2 == 1:
            names.reverse()
        for name in names:
            took = workloads[name]()
            if index >= 0:
                seconds[name].append(took)
    return {name: Times(times) for name, times in seconds.items()}
