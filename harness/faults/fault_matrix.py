"""The bug zoo against the contracts: `python -m harness faults`.

Without options every bug that a CPU can show is planted in turn, the contracts that it names are run, and the table of
what caught it is printed; the exit code is 1 if a bug was caught by none of them.

  python -m harness faults --only transposed-actions,rare-infinity --start 50
  python -m harness faults --list
  python -m harness faults --inject infos-shared -- harness check harness.toys:make_pointmass
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import runpy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from harness import toys
from harness.contracts import Report, check_env
from harness.contracts.task import Task
from harness.faults import FAULTS, Fault, find
from harness.interface.player import Seen

MOVED = 0.01  # by an object in a decision [m]; with less, other terms of the reward say more
BUDGET_S = 60.0  # for the contracts of one bug


class PointmassTask(Task):
    """What the light toy is about: the reward rises with the progress of the disc towards the goal.

    A robot sees where the disc is in its own frame: driving ahead brings it nearer, and so does driving to the left.
    """

    def reward(self, previous: Seen, current: Seen) -> np.ndarray:
        """Return by how much the distance between disc and goal shrank, (N,) [m]."""
        return _distance(previous) - _distance(current)

    def effect(self, agent: int, axis: int) -> Optional[Tuple[int, float]]:
        """Return the entry of the disc's place that a velocity lowers, and the sign; nothing of a turn."""
        return (axis, -1.0) if axis < 2 else None


def _distance(seen: Seen) -> np.ndarray:
    disc, goal = seen.share_obs[:, 0, :2], seen.share_obs[:, 0, 2:4]
    return np.linalg.norm(goal - disc, axis=1)


class PushTask(Task):
    """What the pushing task is about: while the object moves, the reward rises with its progress towards the target."""

    def reward(self, previous: Seen, current: Seen) -> np.ndarray:
        """Return by how much the distance between object and target shrank, (N,) [m]; NaN where it hardly did."""
        before, after = (np.linalg.norm(seen.share_obs[:, 0, :2], axis=1) for seen in (previous, current))
        return np.where(abs(before - after) > MOVED, before - after, np.nan)


WORLDS: Dict[str, Tuple[Callable[..., Any], Optional[Task]]] = {
    "pointmass": (toys.make_pointmass, PointmassTask()),
    "push": (toys.make_push, PushTask()),
}
"""Where bugs of an environment are planted: its factory, and what is said about its task."""


@dataclasses.dataclass(frozen=True)
class MatrixRow:
    """What the contracts made of one bug.

    Attributes:
      fault: its name.
      kind: its class.
      expected: the contracts that it names.
      caught_by: the contracts that were broken, of those that ran, in the order of the report.
      step: at which the first of the expected ones saw it, counted from the reset.
      seconds: until the contracts had run [s].
      diagnosis: first line of the first finding.
    """

    fault: str
    kind: str
    expected: Tuple[str, ...]
    caught_by: Tuple[str, ...]
    step: Optional[int]
    seconds: float
    diagnosis: str

    @property
    def caught(self) -> bool:
        """Whether a contract that the bug names was broken."""
        return bool(set(self.expected) & set(self.caught_by))


def run_matrix(
    faults: Iterable[Fault],
    world: str = "pointmass",
    start: int = 1,
    seed: int = 0,
    all_contracts: bool = False,
    on_row: Callable[[MatrixRow], None] = lambda row: None,
) -> List[MatrixRow]:
    """Plant each bug in turn and run the contracts.

    Args:
      faults: which; those that need more than a CPU are left out.
      world: of `WORLDS`, in which bugs of an environment are planted.
      start: at which step the bug begins, counted from 1.
      seed: of the checks.
      all_contracts: run every contract, not only those that a bug names.
      on_row: called with each row as it is made.
    """
    rows = []
    for fault in faults:
        if fault.needs == "cpu":
            rows.append(_row(fault, world, start, seed, all_contracts))
            on_row(rows[-1])
    return rows


def _row(fault: Fault, world: str, start: int, seed: int, all_contracts: bool) -> MatrixRow:
    began = time.perf_counter()
    with fault.inject(start):
        report = _check(fault, world, seed, all_contracts)
    seconds = time.perf_counter() - began
    findings = sorted(report.findings, key=lambda finding: finding.contract not in fault.contracts)
    first = findings[0] if findings else None
    return MatrixRow(
        fault.name,
        fault.kind,
        fault.contracts,
        tuple(finding.contract for finding in report.findings),
        first.step if first else None,
        seconds,
        first.what if first else "",
    )


def _check(fault: Fault, world: str, seed: int, all_contracts: bool) -> Report:
    """Run the contracts of what the bug is in: an environment, or the rest of the stack."""
    contracts = None if all_contracts else fault.contracts
    if fault.of_stack:
        from harness.stack.check_stack import check_stack

        return check_stack(contracts, seed=seed)
    make_env, task = WORLDS[world]
    return check_env(make_env, task=task, contracts=contracts, seed=seed, budget_s=BUDGET_S)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    options, command = _parse(list(sys.argv[1:] if argv is None else argv))
    if options.list:
        _print_list()
        return 0
    if options.inject:
        return _run_with(find(options.inject), options.start, command)
    faults = [find(name) for name in options.only.split(",")] if options.only else list(FAULTS.values())
    console = Console(stderr=True, highlight=False)
    rows = run_matrix(
        faults,
        options.world,
        options.start,
        options.seed,
        options.all_contracts,
        on_row=lambda row: console.print(_line(row), markup=False),
    )
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")
    _print_matrix(rows)
    return 0 if all(row.caught for row in rows) else 1


def _parse(argv: List[str]) -> Tuple[argparse.Namespace, List[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m harness faults", description="Plant bugs, and see what finds them."
    )
    parser.add_argument("--only", metavar="A,B", help="these bugs alone")
    parser.add_argument("--world", choices=sorted(WORLDS), default="pointmass", help="where bugs of an env are planted")
    parser.add_argument("--start", type=int, default=1, help="step at which a bug begins (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the checks (default 0)")
    parser.add_argument("--all-contracts", action="store_true", help="run every contract, not only those a bug names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matrix there")
    parser.add_argument("--list", action="store_true", help="list the bugs, and run nothing")
    parser.add_argument("--inject", metavar="NAME", help="run the command after -- as `python -m` does, with this bug")
    split = argv.index("--") if "--" in argv else len(argv)
    options, command = parser.parse_args(argv[:split]), argv[split + 1 :]
    if bool(options.inject) != bool(command):
        parser.error("--inject NAME -- MODULE ARGUMENTS: the bug and the command go together")
    return options, command


def _run_with(fault: Fault, start: int, command: List[str]) -> int:
    """Run a module as `python -m` does, with the bug planted, and return its exit code."""
    with fault.inject(start), _planted_in_children(fault, start), mock.patch.object(sys, "argv", list(command)):
        try:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextlib.contextmanager
def _planted_in_children(fault: Fault, start: int) -> Iterator[None]:
    """Plant the bug in the Python processes that are started meanwhile, too: `harness check` works in one."""
    code = "from harness.faults import find\nplanted = find({!r}).inject({})\nplanted.__enter__()\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(code.format(fault.name, start))
        places = (folder, str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
        with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, places))):
            yield


def _line(row: MatrixRow) -> str:
    return "{} {} in {:.1f} s".format("caught" if row.caught else "MISSED", row.fault, row.seconds)


def _console() -> Console:
    """Return where tables are printed: as wide as the terminal, or wide enough for a file."""
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def _print_list() -> None:
    table = Table("bug", "class", "origin", "needs", "contracts", "what it does")
    for fault in FAULTS.values():
        contracts = ", ".join(fault.contracts)
        table.add_row(fault.name, fault.kind, fault.origin, fault.needs, contracts, fault.about)
    _console().print(table)


def _print_matrix(rows: Sequence[MatrixRow]) -> None:
    table = Table("bug", "class", "expected", "caught by", "step", "seconds", "diagnosis")
    for row in rows:
        table.add_row(
            row.fault if row.caught else f"[red]{row.fault}",
            row.kind,
            ", ".join(row.expected),
            ", ".join(row.caught_by) or "[red]nothing",
            "" if row.step is None else str(row.step),
            f"{row.seconds:.2f}",
            row.diagnosis,
        )
    console = _console()
    console.print(table)
    seconds = sorted(row.seconds for row in rows) or [0.0]
    caught, classes = sum(row.caught for row in rows), len({row.kind for row in rows})
    text = "{} of {} bugs in {} classes caught by a contract they name; median {:.1f} s, longest {:.1f} s"
    console.print(text.format(caught, len(rows), classes, seconds[len(seconds) // 2], seconds[-1]))
