"""What a contract must have seen before it may hold.

A form that is right for a while may be wrong where an episode ends, so a run without an end says nothing about it.
"""

from __future__ import annotations

from typing import Dict, NamedTuple

from harness.contracts.env_under_test import EnvUnderTest


class Needs(NamedTuple):
    """What the long run must have shown.

    Attributes:
      steps: number of steps.
      ends: number of episodes that ended.
    """

    steps: int = 0
    ends: int = 0


SOME_STEPS = Needs(steps=16)
AN_END = Needs(steps=16, ends=1)
NEEDS: Dict[str, Needs] = {
    "step-form": AN_END,
    "finite": AN_END,
    "bounds": SOME_STEPS,
    "actions-untouched": SOME_STEPS,
    "infos": AN_END,
    "infos-fresh": AN_END,
    "dones": AN_END,
    "available-actions": SOME_STEPS,
    "share-obs-same": SOME_STEPS,
}
"""The contracts of which the check is the long run itself; all others count what they need by themselves."""


def require_enough(subject: EnvUnderTest, contract: str) -> None:
    """Give up a contract that holds so far if the long run has shown too little of what it is about.

    Raises:
      NotJudgedError: it has; the message names the budget that would do.
    """
    needs = NEEDS.get(contract)
    if needs is None:
        return
    history = subject.long_run().seen[1:]
    if len(history) < min(needs.steps, subject.effort.long_run_steps):
        raise subject.too_few("steps", len(history), needs.steps)
    ends = sum(int(seen.ended.sum()) for seen in history)
    if ends < needs.ends:
        raise subject.too_few("episodes that ended", ends, needs.ends)
