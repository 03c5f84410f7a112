"""The results of the most recent episodes on the host, as a logger asks for them."""

from __future__ import annotations

import collections
import math
from typing import Any, Deque, Dict, Mapping

CAPACITY = 1000  # episodes

_STATISTICS = {
    "success_rate": "success",
    "collision_rate": "collision",
    "mean_length": "length",
    "collaboration_degree": "collaboration",
}
"""Names of the means, and of the outcomes that they are taken over."""


class RecentEpisodes:
    """Means over the most recent episodes since the last `clear`, at most `CAPACITY` of them.

    Attributes:
      count: episodes since the last `clear`, also those that are no longer kept.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all episodes."""
        self.count = 0
        self._kept: Dict[str, Deque[float]] = {}
        for name in _STATISTICS.values():
            self._kept[name] = collections.deque(maxlen=CAPACITY)

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Count an episode with these results; the names that no mean is taken over are not kept."""
        self.count += 1
        for name, values in self._kept.items():
            if name in outcome:
                values.append(float(outcome[name]))

    def statistics(self) -> Dict[str, float]:
        """Return the means by name, as fractions and env steps, and `num_episodes`; nan is a mean of nothing."""
        found: Dict[str, float] = {"num_episodes": self.count}
        for name, outcome in _STATISTICS.items():
            values = self._kept[outcome]
            found[name] = math.nan
            if values:
                found[name] = math.fsum(values) / len(values)
        return found
