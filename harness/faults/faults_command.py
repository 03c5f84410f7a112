"""The bug zoo against the contracts: `python -m harness faults`.

Without options, the contracts are first run without a bug, and all must hold. Then every bug that a CPU can show is
planted in turn, the contracts that it names are run, and a table shows what caught it. The exit code is 1 if a contract
is broken without a bug, or if a bug is caught by none of its contracts.

  python -m harness faults --only transposed-actions,rare-infinity --start 50
  python -m harness faults --list
  python -m harness faults --inject infos-shared -- harness check harness.toys:make_pointmass
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import tyro
from rich.console import Console
from rich.table import Table
from typing_extensions import Annotated, Literal

from harness.faults import FAULTS, Fault, find
from harness.faults.fault_matrix import MatrixRow, findings_without_bug, run_matrix
from harness.faults.planted_run import run_with
from harness.status.status_line import StatusLine
from mapush.errors import ConfigError, MapushError

FILE_WIDTH = 200  # of tables that are not printed on a terminal [characters]


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """Plant bugs, and show which contract finds each of them."""

    only: Annotated[str, tyro.conf.arg(metavar="A,B")] = ""
    """Plant only these bugs."""
    world: Literal["pointmass", "push", "grid"] = "pointmass"
    """The environment into which bugs of an environment are planted."""
    start: int = 1
    """Step at which a bug begins, counted from 1."""
    seed: int = 0
    """Seed for environments and actions."""
    all_contracts: bool = False
    """Run every contract, not only those that a bug names."""
    json: Annotated[Optional[Path], tyro.conf.arg(metavar="FILE")] = None
    """Write the matrix to this file."""
    list_bugs: Annotated[bool, tyro.conf.arg(name="list")] = False
    """List the bugs, and run nothing."""
    inject: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """Run the command after -- as `python -m` does, with this bug planted."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for.

    Returns:
      0; 1 if a bug was missed; 2 for a wrong command line; with --inject, the exit code of the command.
    """
    if argv is None:
        argv = sys.argv[1:]
    own, command = _split(list(argv))
    config = tyro.cli(FaultsConfig, args=own, prog="python -m harness faults", config=(tyro.conf.FlagCreatePairsOff,))
    try:
        _require_command_with_bug(config.inject, command)
        if config.list_bugs:
            _print_list()
            return 0
        if config.inject:
            return run_with(find(config.inject), command, config.start)
        return _show_matrix(config)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2


def _split(argv: List[str]) -> Tuple[List[str], List[str]]:
    """Return the words before `--` and those after it."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _require_command_with_bug(name: str, command: List[str]) -> None:
    if bool(name) != bool(command):
        raise ConfigError("a bug and a command go together", fix="--inject NAME -- MODULE ARGUMENTS")


def _show_matrix(config: FaultsConfig) -> int:
    """Plant the bugs, print the matrix, and return the exit code."""
    faults = _chosen(config.only)
    with StatusLine("harness faults") as status:
        broken = findings_without_bug(
            faults, config.world, config.seed, lambda name: status.say(f"without a bug: {name}")
        )
    if broken:
        print("\n".join(map(str, broken)))
        print("These contracts are broken without any bug, so the matrix would prove nothing: repair them first.")
        return 1
    rows = _rows(faults, config)
    if config.json is not None:
        as_dicts = [dict(dataclasses.asdict(row), caught=row.caught) for row in rows]
        config.json.write_text(json.dumps(as_dicts, indent=2) + "\n")
    _print_matrix(rows)
    missed = [row for row in rows if not row.caught]
    return int(bool(missed))


def _rows(faults: List[Fault], config: FaultsConfig) -> List[MatrixRow]:
    """Plant the bugs, and say of each at once whether it was caught."""
    progress = Console(stderr=True, highlight=False)
    judged: List[MatrixRow] = []
    runnable = len([fault for fault in faults if fault.needs == "cpu"])

    def print_progress(row: MatrixRow) -> None:
        verdict = "MISSED"
        if row.caught:
            verdict = "caught"
        judged.append(row)
        with status.hidden():
            progress.print(f"{verdict} {row.fault} in {row.seconds:.1f} s", markup=False)
        say_next()

    def say_next() -> None:
        status.say(f"bug {min(len(judged) + 1, runnable)} of {runnable}", len(judged) / max(runnable, 1))

    with StatusLine("harness faults", even=True) as status:
        say_next()
        return run_matrix(
            faults,
            world=config.world,
            start=config.start,
            seed=config.seed,
            all_contracts=config.all_contracts,
            on_row=print_progress,
        )


def _chosen(only: str) -> List[Fault]:
    """Return the bugs of a list of names that are separated by commas; all bugs for an empty list."""
    if not only:
        return list(FAULTS.values())
    return [find(name) for name in only.split(",")]


def _console() -> Console:
    """Return where tables are printed: as wide as the terminal, or wide enough for a file."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(width=FILE_WIDTH, highlight=False)


def _print_list() -> None:
    table = Table("bug", "class", "origin", "needs", "contracts", "what it does")
    for fault in FAULTS.values():
        contracts = ", ".join(fault.contracts)
        table.add_row(fault.name, fault.kind, fault.origin, fault.needs, contracts, fault.about)
    _console().print(table)


def _print_matrix(rows: Sequence[MatrixRow]) -> None:
    table = Table("bug", "class", "expected", "caught by", "step", "seconds", "diagnosis")
    for row in rows:
        table.add_row(*_cells(row))
    console = _console()
    console.print(table)
    caught = len([row for row in rows if row.caught])
    classes = len({row.kind for row in rows})
    seconds = [row.seconds for row in rows] or [0.0]
    console.print(
        f"{caught} of {len(rows)} bugs in {classes} classes caught by a contract they name; "
        f"median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s"
    )


def _cells(row: MatrixRow) -> List[str]:
    """Return a row of the table; what was missed is red."""
    name = row.fault
    if not row.caught:
        name = f"[red]{name}"
    step = ""
    if row.step is not None:
        step = str(row.step)
    caught_by = ", ".join(row.caught_by) or "[red]nothing"
    return [name, row.kind, ", ".join(row.expected), caught_by, step, f"{row.seconds:.2f}", row.diagnosis]
