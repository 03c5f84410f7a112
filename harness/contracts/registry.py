"""The contracts by name, and which of them are checked at every step."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Optional

from harness.interface.moment import StepCheck

Check = Callable[[Any], None]


def _play_long_run(subject: Any) -> None:
    """Play the long run, in which the player makes the step checks."""
    subject.long_run()


@dataclasses.dataclass(frozen=True)
class Contract:
    """A named promise, and the functions that raise `ContractError` if it is broken.

    Attributes:
      name: what reports and `--contracts` call it.
      group: what it is about: "env", or a part of the stack.
      sentence: the promise in one sentence.
      check: takes the subject of its group; raises `ContractError`, or `NotJudgedError` if it does not apply.
      step_check: the part of the contract that a player checks at every step, if there is one.
    """

    name: str
    group: str
    sentence: str
    check: Check
    step_check: Optional[StepCheck] = None


CONTRACTS: Dict[str, Contract] = {}


def contract(
    name: str, group: str = "env", *, every_step: bool = False, at_reset: bool = False
) -> Callable[[Check], Check]:
    """Register the decorated function as the check of a contract.

    A contract may have two checks under one name: one of complete runs and one that is made at every step.

    Args:
      name: name of the contract.
      group: what the contract is about.
      every_step: whether the function takes the `Moment` of a step instead of the subject.
      at_reset: whether a check of every step also applies to what `reset` returns.

    Returns:
      A decorator. The first line of the function's docstring is the promise; a check of runs has precedence.
    """

    def register(check: Check) -> Check:
        sentence = (check.__doc__ or "").strip().split("\n")[0]
        known = CONTRACTS.setdefault(name, Contract(name, group, sentence, _play_long_run))
        if every_step:
            step_check = StepCheck(name, check, at_reset)
            CONTRACTS[name] = dataclasses.replace(known, step_check=step_check)
        else:
            CONTRACTS[name] = dataclasses.replace(known, sentence=sentence, check=check)
        return check

    return register


def names(group: str) -> List[str]:
    """Return the names of a group's contracts in the order in which they run."""
    return [known.name for known in CONTRACTS.values() if known.group == group]


def step_checks() -> List[StepCheck]:
    """Return the checks that a player makes at every step."""
    return [known.step_check for known in CONTRACTS.values() if known.step_check is not None]
