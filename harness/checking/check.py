"""`python -m harness check PACKAGE.MODULE:FACTORY`: every contract on the environments of a factory.

The contracts run in a child process, so that an environment that crashes or hangs is a finding, too. Every finding
leaves a bundle for `python -m harness replay FILE`.

Exit codes: 0 what could be judged holds; 1 a contract is broken; 2 nothing could be judged, or less than half for
lack of time, or a wrong command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from harness.check_report import ReportRow, write_report
from harness.checking import bundle, check_process
from harness.contracts import chosen, names
from harness.findings import CheckTarget, ContractError, Finding, Report
from harness.interface.player import first_line
from harness.process.diagnosis import Ending
from harness.process.isolate import Limits, call
from mapush.errors import ConfigError, MapushError

BUDGET_S = 60.0


def main(argv: Optional[List[str]] = None) -> int:
    """Check a factory, print what was found, and return the exit code."""
    options = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    contracts = [name for name in options.contracts.split(",") if name] if options.contracts else None
    try:
        kwargs = _kwargs(options.kwargs)
        report = check(
            options.factory, kwargs, contracts, options.seed, options.budget, options.timeout, task=options.task
        )
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    folder = options.report or bundle.FOLDER
    kept = [bundle.keep(one, options.factory, kwargs, options.seed, folder, options.task) for one in report.findings]
    report = dataclasses.replace(report, findings=kept)
    print(report)
    if options.report:
        print(f"report: {write_report(options.report, _rows(report), options.factory)}")
    return 1 if not report.ok else 0 if report.conclusive else 2


def check(
    factory: str,
    kwargs: Optional[Dict[str, Any]] = None,
    contracts: Optional[Sequence[str]] = None,
    seed: int = 0,
    budget_s: float = BUDGET_S,
    timeout_s: Optional[float] = None,
    actions: Optional[Sequence[Any]] = None,
    task: str = "",
) -> Report:
    """Hold what a factory builds to contracts in a child process, whose death is a finding.

    Args:
      factory: "package.module:factory".
      kwargs: arguments of the factory that stay as they are.
      contracts: names of those to run; all by default.
      seed: of environments and actions.
      budget_s: for all contracts [s].
      timeout_s: when the process is killed [s]; by default three times the budget and a minute.
      actions: a packed sequence; then no more is done than to reset, to take these actions and to look at the form of
        what is returned.
      task: "package.module:task", a `Task` or what returns one; "" if nothing is stated.
    Raises:
      ConfigError: there is no contract of that name.
    """
    wanted = chosen(contracts)
    limits = Limits(timeout=timeout_s or 3.0 * budget_s + 60.0)
    with tempfile.TemporaryDirectory() as folder:
        running = Path(folder) / "running"
        arguments = (factory, kwargs or {}, wanted, seed, budget_s, actions, task, running)
        ending = call(check_process.check, *arguments, limits=limits)
        if ending.ok:
            return ending.result
        died_in = running.read_text() if running.exists() else "factory"
    target = CheckTarget(factory, kwargs or {}, seed, task)
    others = {name: f"the process died in {died_in}" for name in wanted if name != died_in}
    return Report([Finding.of(_death(ending), died_in, target.command)], [], others, seconds=ending.evidence.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness check", description=__doc__.split("\n")[0], epilog=__doc__.split("\n\n")[-1]
    )
    parser.add_argument("factory", metavar="PACKAGE.MODULE:FACTORY", help="builds an environment with HARL's interface")
    parser.add_argument("--kwargs", metavar="JSON", help="arguments of the factory that stay as they are")
    parser.add_argument(
        "--task", default="", metavar="PACKAGE.MODULE:TASK", help="what the reward is for: a harness.contracts.Task"
    )
    parser.add_argument("--contracts", metavar="NAME,NAME", help="only these: " + ", ".join(names("env")))
    parser.add_argument("--seed", type=int, default=0, help="of environments and actions (default 0)")
    parser.add_argument("--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="for all contracts (60)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="kill it then (default 3 x budget + 60)")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write report.html, report.json and the bundles there"
    )
    return parser


def _kwargs(text: Optional[str]) -> Dict[str, Any]:
    try:
        kwargs = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(
            "--kwargs is not JSON", got=text, cause=first_line(error), fix="--kwargs '{\"num_envs\": 5}'"
        ) from None
    if not isinstance(kwargs, dict):
        raise ConfigError("--kwargs is not a JSON object", got=text, fix="--kwargs '{\"num_envs\": 5}'")
    return kwargs


def _death(ending: Ending) -> ContractError:
    """Return what ended the process of the environment as a broken contract."""
    evidence = ending.evidence
    stacks = [line for process in evidence.processes for line in process.stack] or list(evidence.stacks)
    manner = evidence.signal or f"exit status {ending.exit_code}"
    return ContractError(
        "the environment hangs" if evidence.stopped_for else f"the environment kills the process ({manner})",
        where=_place(stacks),
        got=f"{ending.kind}: {ending.details}" if ending.details else ending.kind,
        expected="an answer; an exception, if anything goes wrong",
        cause=ending.cause,
        fix=ending.fix,
    )


def _place(stacks: Sequence[str]) -> Optional[str]:
    """Return where a process was when it died: the innermost Python line of neither the harness nor Python itself."""
    lines = [line.strip() for line in stacks if line.strip().startswith("File ")]
    places = [line for line in lines if str(Path(__file__).parents[1]) not in line]
    outside = [line for line in places if "site-packages" in line or sysconfig.get_path("stdlib") not in line]
    return (outside or lines or [None])[0]


def _rows(report: Report) -> List[ReportRow]:
    def row(name: str, outcome: str, *details: str) -> ReportRow:
        return ReportRow(name, outcome, report.times.get(name, 0.0), *details)

    broken = [row(one.contract, "failed", one.what, str(one), one.reproduce, one.replay) for one in report.findings]
    passed = [row(name, "passed") for name in report.passed]
    return broken + passed + [row(name, "skipped", why) for name, why in report.not_judged.items()]
