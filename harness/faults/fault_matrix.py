"""Which contract catches which bug: every bug is planted in turn, and the contracts that it names are run."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from harness.contracts import check_env
from harness.contracts.task import Task
from harness.faults.plant import Fault
from harness.faults.planted_run import named, planted_in_children
from harness.findings import Finding, Report
from harness.grid_toy import make_grid
from harness.toys import PointmassTask, PushTask, make_pointmass, make_push

BUDGET_S = 60.0  # for the contracts of one bug


@dataclasses.dataclass(frozen=True)
class World:
    """An environment into which bugs are planted.

    Attributes:
      make_env: its factory.
      task: what is known about its task.
    """

    make_env: Callable[..., Any]
    task: Optional[Task]


WORLDS: Dict[str, World] = {
    "pointmass": World(make_pointmass, PointmassTask()),
    "push": World(make_push, PushTask()),
    "grid": World(make_grid, None),
}


@dataclasses.dataclass(frozen=True)
class MatrixRow:
    """What the contracts found with one bug planted.

    Attributes:
      fault: name of the bug.
      kind: class of the bug.
      expected: the contracts that the bug names.
      caught_by: the contracts that were broken, of those that ran, in the order of the report.
      step: at which the first of the expected ones saw it, counted from the reset.
      seconds: until the contracts had run [s].
      diagnosis: first line of the first finding.
      well_diagnosed: whether the findings contain the words that the bug demands, if it does.
    """

    fault: str
    kind: str
    expected: Tuple[str, ...]
    caught_by: Tuple[str, ...]
    step: Optional[int]
    seconds: float
    diagnosis: str
    well_diagnosed: bool = True

    @property
    def caught(self) -> bool:
        """Whether a contract that the bug names was broken, and for the right reason."""
        return self.well_diagnosed and bool(set(self.expected) & set(self.caught_by))


def _ignore(row: MatrixRow) -> None:
    """Take no notice of a row."""


def run_matrix(
    faults: Iterable[Fault],
    world: str = "pointmass",
    start: int = 1,
    seed: int = 0,
    all_contracts: bool = False,
    on_row: Callable[[MatrixRow], None] = _ignore,
) -> List[MatrixRow]:
    """Plant each bug in turn and run the contracts.

    Args:
      faults: the bugs; those that need more than a CPU are left out.
      world: of `WORLDS`, in which bugs of an environment are planted, unless only a different one can show them.
      start: step at which the bug begins, counted from 1.
      seed: seed for environments and actions.
      all_contracts: run every contract, not only those that a bug names.
      on_row: called with each row as it is made.
    """
    rows = []
    for fault in faults:
        if fault.needs != "cpu":
            continue
        row = _row(fault, world, start, seed, all_contracts)
        rows.append(row)
        on_row(row)
    return rows


def _row(fault: Fault, world: str, start: int, seed: int, all_contracts: bool) -> MatrixRow:
    began = time.perf_counter()
    contracts: Optional[Sequence[str]] = fault.contracts
    if all_contracts:
        contracts = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(fault.inject(start))
        if fault.group == "env":
            stack.enter_context(planted_in_children(fault, start))
        elif fault.group == "ranks":
            stack.enter_context(named(fault, start))
        report = _check(fault.group, contracts, fault.world or world, seed)
    seconds = time.perf_counter() - began
    row = MatrixRow(
        fault=fault.name,
        kind=fault.kind,
        expected=fault.contracts,
        caught_by=tuple(finding.contract for finding in report.findings),
        step=None,
        seconds=seconds,
        diagnosis="",
    )
    if not report.findings:
        return row
    first = min(report.findings, key=lambda finding: finding.contract not in fault.contracts)
    demanded = dict(zip(fault.contracts, fault.says))
    well_diagnosed = all(demanded.get(finding.contract, "") in finding.what for finding in report.findings)
    return dataclasses.replace(row, step=first.step, diagnosis=first.what, well_diagnosed=well_diagnosed)


def findings_without_bug(
    faults: Iterable[Fault],
    world: str = "pointmass",
    seed: int = 0,
    on_contract: Callable[[str], Any] = lambda name: None,
) -> List[Finding]:
    """Run the contracts that bugs name, without any bug.

    A contract that is broken anyway proves nothing when it is broken with a bug.

    Args:
      faults: the bugs; those that need more than a CPU are left out.
      world: of `WORLDS`, in which bugs of an environment are planted.
      seed: seed for environments and actions.
      on_contract: called with the name of each contract before it runs.

    Returns:
      The broken contracts; [] if the matrix can be trusted.
    """
    named_of: Dict[Tuple[str, str], Set[str]] = {}  # contracts by group and environment
    for fault in faults:
        if fault.needs == "cpu":
            named_of.setdefault((fault.group, fault.world or world), set()).update(fault.contracts)
    findings: List[Finding] = []
    for (group, name), contracts in named_of.items():
        findings += _check(group, sorted(contracts), name, seed, on_contract).findings
    return findings


def _check(
    group: str,
    contracts: Optional[Sequence[str]],
    world: str,
    seed: int,
    on_contract: Callable[[str], Any] = lambda name: None,
) -> Report:
    """Run contracts of a group; all of them for None."""
    if group != "env":
        from harness.stack.check_stack import check_stack

        ranks = 1
        if group == "ranks":
            ranks = 2
        return check_stack(contracts, seed=seed, ranks=ranks, on_progress=lambda doing, done: on_contract(doing))
    chosen = WORLDS[world]
    return check_env(
        chosen.make_env,
        task=chosen.task,
        contracts=contracts,
        seed=seed,
        budget_s=BUDGET_S,
        on_contract=on_contract,
    )
