"""Numbers at the ends of episodes that count on over episodes, under a name that does not say so.

No step shows what such a number adds up, so it cannot be computed again, as in `told_totals`. It is recognised by how
it grows: from end to end of each env it never falls, and rises by about as much as the first episodes gave, and not
always by the same. A number that counts for a lifetime by design has a name that says so, or rises by one each time.
"""

from __future__ import annotations

import collections
import re
from typing import Dict, List

import numpy as np

from harness.contracts.played_run import PlayedRun
from harness.contracts.told_totals import wrong_number
from harness.interface.player import Seen

LIFETIME_NAME = re.compile(
    r"(^|[_/])(num|n|id|index|number|seed|t|time\w*|clock|age|date|day|month|year|level|stage|difficulty|"
    r"curriculum|episodes?|epochs?|resets?|odometer|mileage|meter|counter|wear|elapsed|frames?|games?|battles|version|"
    r"ever|all|total|record|so_far|life\w*|cum\w*|best|global|history)"
    r"([_/]|$)",
    re.IGNORECASE,
)
ONLY_STEPS = re.compile(r"(^|/)(env_)?steps?$", re.IGNORECASE)
MIN_ENVS = 3
MIN_RISES = 8  # over all envs
MANY_ENDS = 5  # of an env, if the number falls in other envs
ABOUT_AS_MUCH = (0.3, 10.0)  # how many times the first number of an env its later rises are


def require_no_running_on(history: List[Seen]) -> None:
    """Raise if a number that only ends have adds up the episodes of an env."""
    run = PlayedRun(history)
    for path in run.paths_of_ends():
        if LIFETIME_NAME.search(path) or ONLY_STEPS.search(path):
            continue
        values = run.values(path)
        if _adds_up(values, [one.ended.span.env for one in run.episodes]):
            at = int(np.flatnonzero(~run.first)[-1])
            raise wrong_number(
                f"{path} in infos goes on over the episodes of an env",
                path,
                run,
                at,
                f"{values[at]:g}; it never falls from one end of an env to the next, and rises by about the number "
                "that the first end had",
                "a number of the episode that ended, or a name that says otherwise, as total_ or lifetime_",
                "it is not set again where an episode ends within a step",
            )


def _adds_up(values: np.ndarray, envs: List[int]) -> bool:
    """Return whether a number grows from end to end of each env as a sum over episodes does."""
    by_env: Dict[int, List[float]] = collections.defaultdict(list)
    for env, value in zip(envs, values):
        by_env[env].append(float(value))
    growing: List[List[float]] = []
    num_envs = 0
    for series in by_env.values():
        num_envs += len(series) > 1
        if len(series) > 1 and min(series[0], *np.diff(series)) >= 0.0:
            growing.append(series)
    if len(growing) < num_envs:  # as where only the first env sets it again
        growing = [series for series in growing if len(series) >= MANY_ENDS]
    rises: List[float] = []
    for series in growing:
        rises += np.diff(series).tolist()
    if len(growing) < MIN_ENVS or len(rises) < MIN_RISES:
        return False
    is_varied = len(np.unique(np.round(rises, 6))) > 2
    usual, first = float(np.median(rises)), float(np.median([series[0] for series in growing]))
    low, high = ABOUT_AS_MUCH
    return is_varied and usual > 0.0 and low * first <= usual <= high * first
