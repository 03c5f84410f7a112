"""Numbers in infos that say how far something moved or changed, and are 0 whatever happens.

They are differences of a state before and after a step, where "before" is no copy but the state itself. A number is
recognised by its name, and must be exactly 0 for all agents in all infos of a run in which observations change.
"""

from __future__ import annotations

import collections
import re
from typing import Counter, List, Set

from harness.findings import ContractError
from harness.interface.infos import leaves, numbers_in
from harness.interface.player import Seen

CHANGE_NAME = re.compile(
    r"(^|[_/])(distance|dist|path|travel\w*|walked|driven|moved|displacement|gain|gained|change|delta)([_/]|$)",
    re.IGNORECASE,
)
OTHER_NAME = re.compile(
    r"rew|penalt|bonus|cost|weight|coef|loss|error|limit|max|min|collision|violation", re.IGNORECASE
)
MIN_INFOS = 24  # that have the number
MIN_MOVED = 0.5  # fraction of the steps in which any observation changes


def require_no_unmoved(history: List[Seen]) -> None:
    """Raise if a number that is called a distance or a change is 0 in all infos, while observations change."""
    zeros: Counter[str] = collections.Counter()
    others: Set[str] = set()
    for seen in history[1:]:
        for _, _, info in leaves(seen.infos):
            for path, value in numbers_in(info):
                if value == 0.0:
                    zeros[path] += 1
                else:
                    others.add(path)
    for path, count in zeros.items():
        is_change = CHANGE_NAME.search(path) and not OTHER_NAME.search(path)
        if is_change and path not in others and count >= MIN_INFOS and _moves(history):
            raise ContractError(
                f"{path} in infos is 0 whatever happens",
                where=f"infos[*][*][{path!r}]",
                got=f"exactly 0 in all {count} infos, though observations change",
                expected="how far something moved or changed",
                cause="the state before the step is no copy: it changes with the state after it",
                fix="copy the state before the step: state.clone() in PyTorch, state.copy() in NumPy",
            )


def _moves(history: List[Seen]) -> bool:
    """Return whether observations change in most steps of a run."""
    moved = 0
    for before, seen in zip(history, history[1:]):
        moved += bool((before.obs != seen.obs).any())
    return moved >= MIN_MOVED * (len(history) - 1)
