"""Outcomes in infos that stay set: a success that an env had once is that of all its later episodes, too.

An outcome is recognised by its name, and by being 0 or 1 at each end. It must have been rare before it was set in an
env, and be set at all of many ends after that, in several envs. A record says by its name that it is one.
"""

from __future__ import annotations

import collections
import re
from typing import Dict, List, NamedTuple

import numpy as np

from harness.contracts.told_totals import OF_ALL_EPISODES
from harness.findings import ContractError
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

MIN_BEFORE = 8  # ends before an outcome was set in their env
MIN_AGAIN = 8  # ends after that, at all of which it is set
MIN_ENVS = 2
OUTCOME_NAME = re.compile(
    r"succe|solved|(^|[_/])(won|win|reached|arrived|goal|fail\w*|crash\w*|collision|collided|fell|fallen|caught|lost)$",
    re.IGNORECASE,
)


class Flag(NamedTuple):
    """What is 0 or 1 at an end: its env, the step, and the value."""

    env: int
    step: int
    value: float


def require_no_sticking_flags(history: List[Seen]) -> None:
    """Raise if an outcome that an env had once is that of all its later episodes, too."""
    for path, flags in _flags_of_ends(history).items():
        if {flag.value for flag in flags} == {0.0, 1.0}:
            _require_it_falls_again(path, flags)


def _flags_of_ends(history: List[Seen]) -> Dict[str, List[Flag]]:
    """Return the numbers in agent 0's infos of ends that are called an outcome, by path."""
    found: Dict[str, List[Flag]] = collections.defaultdict(list)
    for step, seen in enumerate(history[1:], start=1):
        ended = set(map(int, np.flatnonzero(seen.ended)))
        for env, agent, info in leaves(seen.infos):
            if agent != 0 or env not in ended:
                continue
            for path, value in numbers_in(info, booleans=True):
                if OUTCOME_NAME.search(path) and not OF_ALL_EPISODES.search(path):
                    found[path].append(Flag(env, step, value))
    return found


def _require_it_falls_again(path: str, flags: List[Flag]) -> None:
    set_before = set()  # envs in which it was set
    num_before = 0
    again: List[Flag] = []
    for flag in flags:
        if flag.env in set_before:
            again.append(flag)
        elif flag.value == 1.0:
            set_before.add(flag.env)
        else:
            num_before += 1
    falls = any(flag.value == 0.0 for flag in again)
    if falls or num_before < MIN_BEFORE or len(again) < MIN_AGAIN or len({flag.env for flag in again}) < MIN_ENVS:
        return
    first = again[0]
    raise ContractError(
        f"{path} in infos stays set once it was set in an env",
        step=first.step,
        where=f"infos[{first.env}][0][{path!r}], step {first.step}",
        got=f"set at all {len(again)} ends that follow the first one in their env; not set at {num_before} ends before",
        expected="the outcome of the episode that ended",
        cause="the flag is not set back where an episode ends within a step",
        fix="set it back in the function that starts an episode; if it is by design, call it a record, as ever_solved",
    )
