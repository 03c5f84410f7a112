"""`python -m harness check PACKAGE.MODULE:FACTORY`: every contract on the environments of a factory.

The contracts run in a child process, so that an environment that crashes or hangs is a finding, too. Every finding
leaves a bundle for `python -m harness replay FILE`.

Exit codes: 0 every contract that could be judged holds; 1 a contract is broken; 2 nothing could be judged, or less than
half for lack of time, or not all that `--contracts` names, or the command line is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Sequence

import tyro
from typing_extensions import Annotated

from harness.checking import bundle
from harness.checking.check import BUDGET_S, check
from harness.contracts import names
from harness.findings import Report
from harness.interface.player import first_line
from harness.pages.check_page import ReportRow, write_report
from harness.status.status_line import StatusLine
from mapush.errors import ConfigError, MapushError


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    """Check the environments of a factory against every contract."""

    factory: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PACKAGE.MODULE:FACTORY")]
    """Builds an environment with HARL's interface."""

    kwargs: Annotated[str, tyro.conf.arg(metavar="JSON")] = "{}"
    """Fixed arguments of the factory, as a JSON object."""

    task: Annotated[str, tyro.conf.arg(metavar="PACKAGE.MODULE:TASK")] = ""
    """What the reward is for: a harness.contracts.Task, or a function that returns one."""

    harl: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Your HARL; by default that of HARL_DIR, an installed one, or upstream's as it was measured."""

    api: Literal["", "harl", "gymnasium", "pettingzoo", "rsl_rl", "isaaclab"] = ""
    """Interface of the environment; by default, it is recognised."""

    contracts: Annotated[str, tyro.conf.arg(metavar="NAME,NAME")] = ""
    """Run only these contracts."""

    seed: int = 0
    """Seed for environments and actions."""

    budget: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = BUDGET_S
    """Time for all contracts."""

    timeout: Annotated[Optional[float], tyro.conf.arg(metavar="SECONDS")] = None
    """Kill the environment after SECONDS; by default soon after the budget, and after 30 s in a call that hangs."""

    one_per_process: Annotated[bool, tyro.conf.arg(name="one-per-process"), tyro.conf.FlagCreatePairsOff] = False
    """Build each environment in a process of its own; by default only if the second one in a process fails."""

    report: Annotated[Optional[Path], tyro.conf.arg(metavar="DIR")] = None
    """Write report.html, report.json and the replay bundles to this folder."""

    def chosen_contracts(self) -> Optional[List[str]]:
        """Return the names of the contracts to run; None for all."""
        if not self.contracts:
            return None
        return [name for name in self.contracts.split(",") if name]

    def factory_kwargs(self) -> Dict[str, Any]:
        """Return the fixed arguments of the factory.

        Raises:
          ConfigError: `--kwargs` is not a JSON object.
        """
        example = "--kwargs '{\"num_envs\": 5}'"
        try:
            kwargs = json.loads(self.kwargs)
        except ValueError as error:
            cause = first_line(error)
            raise ConfigError("--kwargs is not JSON", got=self.kwargs, cause=cause, fix=example) from None
        if not isinstance(kwargs, dict):
            raise ConfigError("--kwargs is not a JSON object", got=self.kwargs, fix=example)
        return kwargs


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Check a factory, print what was found, and return the exit code."""
    options = tyro.cli(CheckOptions, args=argv, prog="python -m harness check", description=_help())
    try:
        report = _checked(options)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    if options.report is not None:
        print(f"report: {write_report(options.report, _rows(report), options.factory)}")
    if not report.ok:
        return 1
    by_name_left = []
    for name in options.chosen_contracts() or []:
        if name in report.not_judged:
            by_name_left.append(name)
    if by_name_left:
        names_left = ", ".join(by_name_left)
        print(f"exit code 2: not judged, though asked for by name: {names_left}", file=sys.stderr)
    return 0 if report.conclusive and not by_name_left else 2


def _checked(options: CheckOptions) -> Report:
    """Check, and write a bundle for each finding."""
    kwargs = options.factory_kwargs()
    with StatusLine("harness check") as status:
        report = check(
            options.factory,
            kwargs,
            options.chosen_contracts(),
            options.seed,
            options.budget,
            options.timeout,
            task=options.task,
            harl=options.harl,
            one_per_process=options.one_per_process,
            show=lambda line: status.print(f"found after {line}"),
            api=options.api,
            say=status.say,
        )
    folder = options.report or bundle.FOLDER
    kept = []
    for finding in report.findings:
        kept.append(bundle.keep(finding, options.factory, kwargs, options.seed, folder, options.task, options.api))
    return dataclasses.replace(report, findings=kept)


def _help() -> str:
    exit_codes = str(__doc__).split("\n\n")[-1].strip()
    contracts = ", ".join(names("env"))
    return f"{CheckOptions.__doc__}\n\n{exit_codes}\n\nContracts: {contracts}."


def _rows(report: Report) -> List[ReportRow]:
    """Return one row for each contract."""

    def seconds(name: str) -> float:
        return report.times.get(name, 0.0)

    rows = []
    for finding in report.findings:
        row = ReportRow(
            finding.contract,
            "failed",
            seconds(finding.contract),
            diagnosis=finding.what,
            details=str(finding),
            reproduce=finding.reproduce or "",
            replay=finding.replay or "",
            findings=[finding.fields],
        )
        rows.append(row)
    for name in report.passed:
        rows.append(ReportRow(name, "passed", seconds(name)))
    for name, reason in report.not_judged.items():
        rows.append(ReportRow(name, "skipped", seconds(name), diagnosis=reason))
    return rows
