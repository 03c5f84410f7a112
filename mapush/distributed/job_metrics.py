"""The numbers of a log row over all ranks, as one process with all envs would have them."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Tuple

import psutil

from mapush.distributed.ranks import Ranks

if TYPE_CHECKING:
    from mapush.env.metrics import EpisodeMetrics

Numbers = Dict[str, float]
MIB = 2**20


class _Part(NamedTuple):
    """The numbers of one rank.

    Attributes:
      metrics: the result of `EpisodeMetrics.summary`.
      health: the simulator's report.
      episodes_in_means: number of episodes over which its means were taken.
    """

    metrics: Numbers
    health: Numbers
    episodes_in_means: float


def job_report(ranks: Ranks, metrics: EpisodeMetrics, health: Numbers) -> Tuple[Numbers, Numbers]:
    """Return statistics and the simulators' report of all ranks on rank 0, and nothing on the others.

    Each rank takes its means over its share of the most recent episodes. So together they take them over as many
    episodes as one process does.

    Args:
      ranks: this process among the others.
      metrics: this rank's statistics; new means of the reward terms begin.
      health: this rank's report of the simulator.

    Returns:
      What `EpisodeMetrics.summary` returns, with `rss_mib`, the resident memory of all processes [MiB]; and the
      largest number of each report, because it is about the fullest buffer.
    """
    if ranks.size == 1:
        return metrics.summary(), health
    window = metrics.capacity // ranks.size
    summary = metrics.summary(window)
    summary["rss_mib"] = psutil.Process(os.getpid()).memory_info().rss / MIB
    parts = ranks.gather(_Part(summary, health, min(summary["episodes"], window)))
    if not parts:
        return {}, {}
    merged: Numbers = {}
    for name in summary:
        merged[name] = _merged(name, parts)
    fullest = {name: max(part.health[name] for part in parts) for name in health}
    return merged, fullest


def _merged(name: str, parts: List[_Part]) -> float:
    """Return one number of the job: a sum, or a mean with the weights that one process would give it."""
    if name in ("episodes", "rss_mib"):
        return math.fsum(part.metrics[name] for part in parts)
    weights = [1.0] * len(parts)  # every rank takes as many steps
    if name.startswith("episode/"):
        weights = [part.episodes_in_means for part in parts]
    if name.startswith("success/"):  # of a group of envs; a rank in which no episode of it has ended has no rate
        weights = [float(not math.isnan(part.metrics[name])) for part in parts]
    total = math.fsum(weights)
    if total == 0.0:
        return math.nan
    weighted = [weight * part.metrics[name] for weight, part in zip(weights, parts) if weight > 0.0]
    return math.fsum(weighted) / total
