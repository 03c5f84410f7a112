"""What a check found, for people and for programs."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional

from mapush.errors import MapushError


class ContractError(MapushError):
    """A broken contract.

    Args:
      what: the defect as a person would name it, in one line.
      contract: the name of the broken contract, if it is another one than the one that is running.
      step: the step since the reset at which it showed, counted from 1; 0 is the reset.
      details: `where`, `got`, `expected`, `cause`, `fix`, as in `MapushError`.
    """

    def __init__(
        self, what: str, *, contract: Optional[str] = None, step: Optional[int] = None, **details: Optional[str]
    ) -> None:
        super().__init__(what, **details)
        self.contract = contract
        self.step = step


class NotJudgedError(Exception):
    """A contract that has nothing to judge here; its text says why."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One broken contract: the fields of a `ContractError`, and the command that shows it again."""

    contract: str
    what: str
    where: Optional[str] = None
    got: Optional[str] = None
    expected: Optional[str] = None
    cause: Optional[str] = None
    fix: Optional[str] = None
    step: Optional[int] = None
    reproduce: Optional[str] = None

    @classmethod
    def of(cls, error: ContractError, contract: str, reproduce: Optional[str] = None) -> Finding:
        """Return the finding that an error of a contract stands for.

        Args:
          error: what was raised.
          contract: the contract that was running; the error may name another one.
          reproduce: the command that shows it again, with `{}` where the contract's name belongs.
        """
        name = error.contract or contract
        details = {field: getattr(error, field) for field in ("where", "got", "expected", "cause", "fix", "step")}
        return cls(name, error.what, reproduce=reproduce and reproduce.replace("{}", name), **details)

    def __str__(self) -> str:
        rows = ["{}: {}".format(self.contract, self.what)]
        details = dataclasses.asdict(self)
        for name in ("where", "got", "expected", "cause", "fix", "reproduce"):
            if details[name]:
                rows.append("  {:<9} {}".format(name, details[name]))
        return "\n".join(rows)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run of contracts came to.

    Attributes:
      findings: the broken contracts, at most one finding for each.
      passed: names of the contracts that hold.
      not_judged: why, for each contract that could be neither broken nor kept.
      notes: what the reader should know, such as how many steps were seen.
      seconds: how long it took.
    """

    findings: List[Finding]
    passed: List[str]
    not_judged: Dict[str, str] = dataclasses.field(default_factory=dict)
    notes: List[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no contract is broken."""
        return not self.findings

    def __str__(self) -> str:
        head = "{} broken, {} hold, {} not judged, in {:.1f} s".format(
            len(self.findings), len(self.passed), len(self.not_judged), self.seconds
        )
        rows = [head] + [str(finding) for finding in self.findings]
        rows += ["not judged: {}: {}".format(name, reason) for name, reason in self.not_judged.items()]
        return "\n".join(rows + ["note: " + note for note in self.notes])

    def as_dict(self) -> Dict[str, Any]:
        """Return the report in JSON's types."""
        return dict(dataclasses.asdict(self), ok=self.ok)
