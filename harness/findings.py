"""What a check found, for people and for programs."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Sequence

from harness.interface.sequence import in_words
from mapush.errors import MapushError

NO_TIME = "there was no time left"


class ContractError(MapushError):
    """A broken contract.

    Args:
      what: the defect as a person would name it, in one line.
      contract: the name of the broken contract, if it is another one than the one that is running.
      step: the step since the reset at which it showed, counted from 1; 0 is the reset.
      details: `where`, `got`, `expected`, `cause`, `fix`, as in `MapushError`.

    Attributes:
      actions: those of all steps since the reset, (N, A, K) each, if a player saw it happen.
    """

    def __init__(
        self, what: str, *, contract: Optional[str] = None, step: Optional[int] = None, **details: Optional[str]
    ) -> None:
        super().__init__(what, **details)
        self.contract = contract
        self.step = step
        self.actions: Optional[Sequence[Any]] = None


class NotJudgedError(Exception):
    """A contract that has nothing to judge here; its text says why."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One broken contract: the fields of a `ContractError`, and how to see it again.

    Attributes:
      actions: the shortest sequence found that breaks it after a reset, as pairs (how often, action (N, A, K)).
      reproduce: the command that runs the contract again.
      replay: the command that replays its bundle.
    """

    contract: str
    what: str
    where: Optional[str] = None
    got: Optional[str] = None
    expected: Optional[str] = None
    cause: Optional[str] = None
    fix: Optional[str] = None
    step: Optional[int] = None
    reproduce: Optional[str] = None
    actions: Optional[List[Any]] = None
    replay: Optional[str] = None

    @classmethod
    def of(cls, error: ContractError, contract: str, reproduce: Optional[str] = None) -> Finding:
        """Return the finding that an error of a contract stands for.

        Args:
          error: what was raised.
          contract: the contract that was running; the error may name another one.
          reproduce: the command that shows it again, with `{}` where the contract's name belongs.
        """
        name = error.contract or contract
        fields = ("where", "got", "expected", "cause", "fix", "step", "actions")
        details = {field: getattr(error, field) for field in fields}
        return cls(name, error.what, reproduce=reproduce and reproduce.replace("{}", name), **details)

    def __str__(self) -> str:
        rows = [f"{self.contract}: {self.what}"]
        details = {name: getattr(self, name) for name in ("where", "got", "expected", "cause", "fix")}
        details["shortest"] = self.actions and in_words(self.actions)
        details.update(reproduce=self.reproduce, replay=self.replay)
        rows += [f"  {name:<9} {value}" for name, value in details.items() if value]
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
      times: how long each contract took, by name [s]; the first that needs a run that others look at, too, plays it.
    """

    findings: List[Finding]
    passed: List[str]
    not_judged: Dict[str, str] = dataclasses.field(default_factory=dict)
    notes: List[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    times: Dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no contract is broken."""
        return not self.findings

    def __str__(self) -> str:
        rows = [str(finding) for finding in self.findings] + self.unjudged + ["note: " + note for note in self.notes]
        return "\n".join(rows + [f"{self.summary}; {self.seconds:.1f} s"])

    @property
    def conclusive(self) -> bool:
        """Whether any contract was judged, and there was time for most."""
        return bool(self.findings or self.passed) and not self._hurried

    @property
    def _hurried(self) -> bool:
        total = len(self.findings) + len(self.passed) + len(self.not_judged)
        return 2 * list(self.not_judged.values()).count(NO_TIME) > total

    @property
    def unjudged(self) -> List[str]:
        """One line for each reason for which contracts could not be judged."""
        alike: Dict[str, List[str]] = {}
        for name, reason in self.not_judged.items():
            alike.setdefault(reason, []).append(name)
        return ["not judged: {}: {}".format(", ".join(names), reason) for reason, names in alike.items()]

    @property
    def summary(self) -> str:
        """How many contracts were judged, and how."""
        broken, kept = len(self.findings), len(self.passed)
        judged, total = broken + kept, broken + kept + len(self.not_judged)
        hint = "; too little time for most: give them a larger budget" if self._hurried else ""
        return f"{judged} of {total} contracts judged: {broken} broken, {kept} hold{hint}"

    def as_dict(self) -> Dict[str, Any]:
        """Return the report in JSON's types."""
        return dict(dataclasses.asdict(self), ok=self.ok)
