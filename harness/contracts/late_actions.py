"""What follows from the step in which impulses first show: actions or observations that come late.

The fastest impulse decides. Some actions may need several steps to change anything, but if no action of anyone changes
a bit in the step that it is given to, all actions are applied late. If rewards or one of the observed fields change at
once and a different field does not, that field was read before the step. A part of the batch is late only if all of its
impulses are later than the fastest of the others, and after more than one start.
"""

from __future__ import annotations

from typing import Dict, List

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.impulse_probes import OBSERVED_FIELDS, Impulse
from harness.findings import ContractError


def require_no_delay(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if no action of anyone changes a bit before the second step."""
    delay = getattr(subject.task, "delay", 0)
    late = _steps_late([impulse.first_step for impulse in impulses])
    by_field = {}
    for name in OBSERVED_FIELDS:
        first_steps = []
        for impulse in impulses:
            if impulse.change is not None:  # else a new start hides the effect
                first_steps.append(impulse.first_by_field[name])
        by_field[name] = _steps_late(first_steps)
    stale = max(OBSERVED_FIELDS, key=lambda name: by_field[name])
    if late <= delay < by_field[stale]:
        raise ContractError(
            f"{stale} comes {_in_words(by_field[stale])} late",
            step=start + 1,
            where=f"after {start} steps",
            got="not a bit of it changes in the step that an action is given to, while other things change",
            expected="what is seen after the step",
            cause="it is read before the step is taken",
            fix=f"if the delay is intended, pass Task(delay={by_field[stale]})",
        )
    if late > delay:
        raise ContractError(
            f"actions take effect {_in_words(late)} late",
            step=start + 1,
            where=f"after {start} steps",
            got="not a bit changes in the step that an action is given to",
            cause="the action of the step before is applied, or observations are from before the action",
            fix=f"if the delay is intended, pass Task(delay={late})",
        )


def _steps_late(first_steps: List[int]) -> int:
    """Return by how many steps the fastest impulse is late; 0 if none shows at all."""
    shown = [step for step in first_steps if step > 0]
    return min(shown, default=1) - 1


def _in_words(steps: int) -> str:
    plural = "s" * (steps > 1)
    return f"{steps} step{plural}"


def require_none_later(subject: EnvUnderTest, tried: Dict[int, List[Impulse]], part: str) -> None:
    """Raise if, after every start, the actions of some envs or agents take effect later than those of others.

    Args:
      subject: the environment.
      tried: the impulses after each start.
      part: "env" or "agent".
    """
    shown: Dict[int, List[int]] = {}
    for impulses in tried.values():
        for member, steps in later_than_fastest(impulses, part).items():
            shown.setdefault(member, []).append(steps)
    always: Dict[int, int] = {}  # members that are late after every start, and by how much at least
    for member, steps_late in sorted(shown.items()):
        if len(steps_late) > 1 and min(steps_late) > 0:
            always[member] = min(steps_late)
    late = min(always.values(), default=0)
    if late > getattr(subject.task, "delay", 0):
        raise ContractError(
            f"actions of {part} {min(always)} take effect {_in_words(late)} later than others",
            where=f"{part}s {list(always)}, after each of {len(tried)} starts",
            expected="the same delay for all",
            cause="the action of the step before is applied in a part of the batch",
            fix=f"if the delay is intended, pass Task(delay={late})",
        )


def later_than_fastest(impulses: List[Impulse], part: str) -> Dict[int, int]:
    """Return by how many steps the fastest impulse of each env or agent shows later than the fastest of all.

    Members with fewer than two impulses that show are left out.
    """
    shows: Dict[int, List[int]] = {}
    for impulse in impulses:
        if impulse.change is not None and impulse.first_by_field["obs"]:
            shows.setdefault(getattr(impulse, part), []).append(impulse.first_by_field["obs"])
    fastest = min(map(min, shows.values()), default=0)
    return {member: min(steps) - fastest for member, steps in shows.items() if len(steps) > 1}


def stays_behind(impulses: List[Impulse]) -> bool:
    """Return whether nothing changes in an env that was tried, or an env's or agent's impulses all show late."""
    tried, alive = set(), set()
    for impulse in impulses:
        tried.add(impulse.env)
        if impulse.first_step:
            alive.add(impulse.env)
    if alive != tried:
        return True
    for part in ("env", "agent"):
        if any(later_than_fastest(impulses, part).values()):
            return True
    return False
