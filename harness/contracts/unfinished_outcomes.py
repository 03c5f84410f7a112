"""Outcomes in words that still say "running" at some of the ends, a part of `episode-infos`."""

from __future__ import annotations

import collections
import re
from typing import Dict, List, NamedTuple

import numpy as np

from harness.findings import ContractError
from harness.interface.infos import leaves
from harness.interface.player import Seen

UNFINISHED = re.compile(r"^(running|on_?going|in[_ ]?progress|continuing|unfinished|not[_ ]done)$", re.IGNORECASE)
MIN_ENDS = 3  # at which it says so, and as many at which it does not


class Told(NamedTuple):
    """What a text in the infos of an end says."""

    env: int
    step: int
    text: str
    truncated: bool


def require_finished_outcomes(history: List[Seen]) -> None:
    """Raise if a text in infos says at some ends that the episode is not over, and not at others."""
    for key, texts in _texts_of_ends(history).items():
        unfinished = [told for told in texts if UNFINISHED.match(told.text)]
        if len(unfinished) < MIN_ENDS or len(texts) - len(unfinished) < MIN_ENDS:
            continue
        first = unfinished[0]
        which = "ends"
        if all(told.truncated for told in unfinished):
            which = "ends by a time limit"
        raise ContractError(
            f"{key} in infos says {first.text!r} at the end of an episode",
            step=first.step,
            where=f"infos[{first.env}][0][{key!r}], step {first.step}",
            got=f"{first.text!r} at {len(unfinished)} {which}",
            expected=f"how the episode ended, as at the other {len(texts) - len(unfinished)} ends",
            cause="the outcome is worked out before the time limit is looked at, or by other conditions than dones",
            fix="give each way to end an outcome of its own, the time limit included",
        )


def _texts_of_ends(history: List[Seen]) -> Dict[str, List[Told]]:
    """Return the texts in agent 0's infos of ends, by key."""
    found: Dict[str, List[Told]] = collections.defaultdict(list)
    for step, seen in enumerate(history[1:], start=1):
        ended = set(map(int, np.flatnonzero(seen.ended)))
        for env, agent, info in leaves(seen.infos):
            if agent != 0 or env not in ended or not hasattr(info, "items"):
                continue
            for key, value in info.items():
                if isinstance(value, str):
                    found[str(key)].append(Told(env, step, value, bool(seen.truncated[env].all())))
    return found
