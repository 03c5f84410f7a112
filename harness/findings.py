"""What a check found: broken contracts, how to reproduce them, and the report of all contracts."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shlex
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from mapush.errors import MapushError

PLANTED_FAULT = "HARNESS_PLANTED_FAULT"
"""Environment variable that `harness faults --inject` sets to its own options where it plants a bug."""
NO_TIME = "there was no time left"
LACKS_TIME = "there was no time"  # how the reasons begin that a larger budget removes, if they name none
BUDGET = re.compile(r"--budget (\d+)")
SPARE = 1.3  # factor of the estimated budget, as contracts do more if there is time
USUAL_BUDGET_S = 60.0
SHOWN_FIELDS = ("where", "code", "got", "expected", "cause", "fix", "shortest", "reproduce", "replay")
MAX_NAMED_ACTIONS = 3  # entries of the last action that are listed one by one


class ContractError(MapushError):
    """A broken contract.

    Args:
      what: the defect in one line, as a person would name it.
      contract: the name of the broken contract, if it differs from the contract that is running.
      step: the step since the reset at which the defect showed, counted from 1; 0 is the reset.
      details: `where`, `got`, `expected`, `cause`, `fix`, as in `MapushError`.

    Attributes:
      actions: the actions (N, A, K) of all steps since the reset, if a player saw the defect.
      code: the line of the user's own code that the defect is about.
      sizes: the sizes of the environment, if a player saw the defect.
      last_words: the last lines that a process printed which died.
    """

    def __init__(
        self, what: str, *, contract: Optional[str] = None, step: Optional[int] = None, **details: Optional[str]
    ) -> None:
        super().__init__(what, **details)
        self.contract = contract
        self.step = step
        self.actions: Optional[Sequence[Any]] = None
        self.code: Optional[str] = None
        self.sizes: Any = None
        self.last_words: List[str] = []


class NotJudgedError(Exception):
    """A contract that cannot be judged here; the message gives the reason."""


@dataclasses.dataclass(frozen=True)
class CheckTarget:
    """What is checked, as `python -m harness check` takes it.

    Attributes:
      factory: "package.module:factory" of the environment.
      kwargs: fixed arguments of the factory.
      seed: seed for environments and actions.
      task: "package.module:task" of the stated task; "" if none was stated.
      inexpressible: parts of the check that a command line cannot express, one phrase each.
      harl: folder of the user's HARL, if it was named.
      one_per_process: whether each environment is built in a process of its own, because that was asked for.
      budget_s: time for all contracts [s].
      api: name of the interface of the environment, if it was named.
    """

    factory: str
    kwargs: Dict[str, Any]
    seed: int
    task: str = ""
    inexpressible: Tuple[str, ...] = ()
    harl: str = ""
    one_per_process: bool = False
    budget_s: float = USUAL_BUDGET_S
    api: str = ""

    def command(self, contract: str) -> str:
        """Return the command that runs one contract again."""
        return check_command(
            self.factory,
            self.kwargs,
            contract,
            self.seed,
            self.task,
            self.inexpressible,
            self.harl,
            self._further_words(),
        )

    def _further_words(self) -> List[str]:
        words = []
        if self.api:
            words += ["--api", self.api]
        if self.budget_s != USUAL_BUDGET_S:
            words += ["--budget", f"{self.budget_s:g}"]
        if self.one_per_process:
            words.append("--one-per-process")
        return words


def check_command(
    factory: str,
    kwargs: Dict[str, Any],
    contract: str,
    seed: int,
    task: str = "",
    inexpressible: Sequence[str] = (),
    harl: str = "",
    further: Sequence[str] = (),
) -> str:
    """Return the shell command that runs one contract again.

    If the command cannot repeat the check exactly, it ends in a shell comment that says why.

    Args:
      factory: "package.module:factory" of the environment.
      kwargs: fixed arguments of the factory; those that JSON cannot express are left out and named in the comment.
      contract: name of the contract.
      seed: seed for environments and actions.
      task: "package.module:task" of the stated task; "" if none was stated.
      inexpressible: further reasons why the command cannot repeat the check.
      harl: folder of the user's HARL, if it was named.
      further: further words of the command.
    """
    words = ["check", factory]
    expressible, lost = _json_part(kwargs)
    if expressible:
        words += ["--kwargs", json.dumps(expressible)]
    if task:
        words += ["--task", task]
    if harl:
        words += ["--harl", harl]
    words += [*further, "--contracts", contract, "--seed", str(seed)]
    command = harness_command(*words)
    reasons = list(inexpressible)
    if lost:
        reasons.append(f"JSON cannot express kwargs {', '.join(lost)}")
    if not reasons:
        return command
    return f"{command}  # incomplete, use check_env in Python: {'; '.join(reasons)}"


def harness_command(*words: str) -> str:
    """Return the shell command `python -m harness WORDS`; where a bug is planted in this process, with the same bug.

    Args:
      words: the command of the harness and its arguments, unquoted.
    """
    line = ["python", "-m", "harness"]
    planted = os.environ.get(PLANTED_FAULT)
    if planted:
        line += ["faults", *shlex.split(planted), "--", "harness"]
    return " ".join(map(shlex.quote, [*line, *words]))


def _json_part(kwargs: Dict[str, Any]) -> Tuple[Dict[str, Any], List[str]]:
    """Return the arguments that survive JSON unchanged, and the names of the others."""
    expressible: Dict[str, Any] = {}
    lost: List[str] = []
    for name, value in kwargs.items():
        try:
            unchanged = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            unchanged = False
        if unchanged:
            expressible[name] = value
        else:
            lost.append(name)
    return expressible, lost


@dataclasses.dataclass(frozen=True)
class Finding:
    """One broken contract: the fields of its `ContractError`, and how to reproduce it.

    Attributes:
      contract: name of the broken contract.
      what: the defect in one line.
      where: the place: env, agent, entry, step.
      got: what was found.
      expected: what would have been correct.
      cause: the most likely reason.
      fix: what to change.
      step: the step since the reset at which the defect showed, counted from 1; 0 is the reset.
      reproduce: the command that runs the contract again.
      actions: the shortest known sequence that breaks the contract after a reset, as pairs (count, action (N, A, K)).
      replay: the command that replays the bundle of this finding.
      code: the line of the user's own code that the finding is about: file, number, function, text.
      last_words: the last lines that the environment's process printed, if it died.
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
    code: Optional[str] = None
    last_words: List[str] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, error: ContractError, contract: str, command: Optional[Callable[[str], str]] = None) -> Finding:
        """Return the finding that describes an error of a contract.

        Args:
          error: the error that was raised.
          contract: the contract that was running; the error may name a different one.
          command: returns the command that runs the named contract again.
        """
        name = error.contract or contract
        reproduce = None
        if command is not None:
            reproduce = command(name)
        fields = ("where", "got", "expected", "cause", "fix", "step", "actions", "code", "last_words")
        details = {field: getattr(error, field) for field in fields}
        return cls(name, error.what, reproduce=reproduce, **details)

    def __str__(self) -> str:
        rows = [f"{self.contract}: {self.what}"]
        for name in SHOWN_FIELDS:
            value = getattr(self, name)
            if value:
                rows.append(f"  {name:<9} {value}")
        if self.last_words:
            rows.append("  last words of the process:")
            rows += [f"  | {line}" for line in self.last_words]
        return "\n".join(rows)

    @property
    def fields(self) -> Dict[str, str]:
        """Everything that is known about it as text, by name, for pages."""
        texts = {"contract": self.contract, "what": self.what}
        for name in SHOWN_FIELDS:
            value = getattr(self, name)
            if value:
                texts[name] = str(value)
        if self.last_words:
            texts["last words"] = "\n".join(self.last_words)
        return texts

    @property
    def shortest(self) -> Optional[str]:
        """The shortest known sequence of actions, in words."""
        if not self.actions:
            return None
        return in_words(self.actions)


def in_words(packed: Sequence[Any]) -> str:
    """Return how long a packed sequence of actions is, and what its last step does.

    Args:
      packed: pairs (count, action (N, A, K) as lists).
    """
    steps = sum(count for count, _ in packed)
    plural = "s" * (steps > 1)
    text = f"{steps} step{plural} after a reset; "
    last = np.array(packed[-1][1])
    nonzero = np.argwhere(last)
    if len(nonzero) == 0:
        return text + "no action is needed"
    if len(nonzero) > MAX_NAMED_ACTIONS:
        return text + f"the last step has {len(nonzero)} nonzero actions"
    named = []
    for env, agent, entry in nonzero:
        named.append(f"{last[env, agent, entry]:g} for env {env}, agent {agent}, entry {entry}")
    return text + "in the last step " + "; ".join(named)


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of a run of contracts.

    Attributes:
      findings: the broken contracts, at most one finding for each.
      passed: names of the contracts that hold.
      not_judged: the reason for each contract that could not be judged, by name.
      notes: what the reader should know, such as how many steps were seen.
      seconds: how long the run took [s].
      times: how long each contract took, by name [s]. A run that several contracts share counts for the first of them.
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
        rows = list(map(str, self.findings))
        rows += self.unjudged
        for note in self.notes:
            rows.append(f"note: {note}")
        rows.append(f"{self.summary}; {self.seconds:.1f} s")
        return "\n".join(rows)

    @property
    def conclusive(self) -> bool:
        """Whether any contract was judged, and there was time for most."""
        return bool(self.findings or self.passed) and not self._hurried

    @property
    def _total(self) -> int:
        return len(self.findings) + len(self.passed) + len(self.not_judged)

    @property
    def _hurried(self) -> bool:
        """Whether there was no time for more than half of the contracts."""
        without_time = list(self.not_judged.values()).count(NO_TIME)
        return 2 * without_time > self._total

    @property
    def without_time(self) -> List[str]:
        """Names of the contracts that a larger budget would judge."""
        return [name for name, reason in self.not_judged.items() if LACKS_TIME in reason or BUDGET.search(reason)]

    @property
    def budget_for_all(self) -> int:
        """About the budget [s] with which all of them would be judged."""
        stated = [int(match.group(1)) for match in map(BUDGET.search, self.not_judged.values()) if match]
        num_late = sum(LACKS_TIME in reason for reason in self.not_judged.values())
        estimated = 0.0
        if num_late:
            estimated = SPARE * max(self.seconds, 1.0) * self._total / max(self._total - num_late, 1)
        return 10 * math.ceil(max([estimated, *stated]) / 10)

    @property
    def unjudged(self) -> List[str]:
        """One line for each reason why contracts could not be judged."""
        by_reason: Dict[str, List[str]] = {}
        for name, reason in self.not_judged.items():
            by_reason.setdefault(reason, []).append(name)
        return [f"not judged: {', '.join(names)}: {reason}" for reason, names in by_reason.items()]

    @property
    def summary(self) -> str:
        """How many contracts were judged, and with what result."""
        broken, kept = len(self.findings), len(self.passed)
        text = f"{broken + kept} of {self._total} contracts judged: {broken} broken, {kept} hold"
        late = len(self.without_time)
        if late:
            text += f"; {late} had too little time: raise the budget, --budget {self.budget_for_all} should judge all"
        return text

    def as_dict(self) -> Dict[str, Any]:
        """Return the report as types that JSON can express."""
        return dict(dataclasses.asdict(self), ok=self.ok)
