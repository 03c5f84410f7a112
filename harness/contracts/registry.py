"""The contracts by name."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List

Check = Callable[[Any], None]


@dataclasses.dataclass(frozen=True)
class Contract:
    """A named promise, and the function that raises `ContractError` where it is broken.

    Attributes:
      name: what reports and `--contracts` call it.
      group: what it is about: "env", or a part of the stack.
      check: takes the subject of its group; raises `ContractError`, or `NotJudgedError` where it does not apply.
    """

    name: str
    group: str
    check: Check

    @property
    def sentence(self) -> str:
        """The promise in one sentence."""
        return (self.check.__doc__ or "").strip().split("\n")[0]


CONTRACTS: Dict[str, Contract] = {}


def contract(name: str, group: str = "env") -> Callable[[Check], Check]:
    """Register the decorated function under `name`; its docstring is the promise in one sentence."""

    def register(check: Check) -> Check:
        CONTRACTS[name] = Contract(name, group, check)
        return check

    return register


def names(group: str) -> List[str]:
    """Return the names of a group's contracts in the order in which they run."""
    return [one.name for one in CONTRACTS.values() if one.group == group]
