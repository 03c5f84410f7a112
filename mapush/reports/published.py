"""The results that MAPush published: `results/10-15-23_*/success_rate.txt` in its repository."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple

EPISODES = 300  # per evaluation
STEPS_BETWEEN = 10_000_000  # env steps of training between two evaluations


class Published(NamedTuple):
    """The measures of one evaluation.

    Attributes:
      success_rate: share of successful episodes.
      finished_time: mean duration [s]; a failure counts as the longest episode.
      collaboration_degree: mean share of the steps in which all robots are near the object, over successful episodes.
    """

    success_rate: float
    finished_time: float
    collaboration_degree: float


def _evaluations(*rows: Tuple[float, float, float]) -> Tuple[Published, ...]:
    evaluations: List[Published] = []
    for success_rate, finished_time, collaboration_degree in rows:
        evaluations.append(Published(success_rate, finished_time, collaboration_degree))
    return tuple(evaluations)


# success rate, finished time [s], collaboration degree
PUBLISHED: Dict[str, Tuple[Published, ...]] = {
    "cuboid": _evaluations(
        (0.0067, 19.948, 0.2406),
        (0.0367, 19.759, 0.0000),
        (0.1367, 18.858, 0.0002),
        (0.1133, 18.545, 0.0322),
        (0.2433, 17.107, 0.0428),
        (0.2767, 16.956, 0.0357),
        (0.4533, 15.289, 0.0622),
        (0.5533, 14.037, 0.0935),
        (0.5833, 13.560, 0.1192),
        (0.5967, 13.610, 0.1099),
    ),
    "tblock": _evaluations(
        (0.0200, 19.774, 0.0000),
        (0.1800, 18.138, 0.2017),
        (0.2967, 16.471, 0.4357),
        (0.4133, 15.372, 0.4908),
        (0.4967, 14.015, 0.5705),
        (0.5967, 13.089, 0.4524),
        (0.6767, 12.603, 0.2583),
        (0.7767, 11.246, 0.1817),
        (0.7800, 11.107, 0.1897),
        (0.7433, 11.630, 0.2224),
    ),
    "cylinder": _evaluations(
        (0.0267, 19.727, 0.0),
        (0.1300, 18.414, 0.0),
        (0.3600, 16.080, 0.0),
        (0.5600, 13.293, 0.0),
        (0.7233, 11.212, 0.0),
        (0.6733, 11.417, 0.0),
        (0.6433, 11.939, 0.0),
        (0.5867, 12.006, 0.0),
        (0.6233, 11.960, 0.0),
        (0.6167, 11.749, 0.0),
    ),
}
"""By task: after 10, 20, ..., 100 million env steps of training."""
