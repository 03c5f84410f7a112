"""`python -m harness check PACKAGE.MODULE:FACTORY`: every contract on the environments of a factory.

The contracts run in a child process, so that an environment that crashes or hangs is a finding, too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from harness.contracts import check_env, chosen, names
from harness.findings import ContractError, Finding, Report
from harness.interface import first_line, load_factory
from harness.report import Row, write_report
from mapush.errors import MapushError

CHILD = "HARNESS_CHILD"  # set in the child's environment: where it writes its report


def main(argv: Optional[List[str]] = None) -> int:
    """Check a factory; return 0 if no contract is broken, 1 if one is, 2 if the command line is wrong."""
    words = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(words)
    try:
        kwargs = _kwargs(options.kwargs)
        contracts = [name for name in options.contracts.split(",") if name] if options.contracts else None
        chosen(contracts)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    if os.environ.get(CHILD):
        report = _check(options, kwargs, contracts)
        Path(os.environ[CHILD]).write_text(json.dumps(report.as_dict(), default=str))
        return 0
    report = _in_child(words, options)
    print(report)
    if options.report:
        print("report: {}".format(write_report(options.report, _rows(report), options.factory)))
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness check", description=__doc__.split("\n")[0])
    parser.add_argument("factory", metavar="PACKAGE.MODULE:FACTORY", help="builds an environment with HARL's interface")
    parser.add_argument("--kwargs", metavar="JSON", help="arguments of the factory that stay as they are")
    parser.add_argument("--contracts", metavar="NAME,NAME", help="only these: " + ", ".join(names("env")))
    parser.add_argument("--seed", type=int, default=0, help="of environments and actions (default 0)")
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="for all contracts (default 60)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="kill it then (default 3 x budget + 60)")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html and report.json there")
    return parser


def _kwargs(text: Optional[str]) -> Dict[str, Any]:
    try:
        kwargs = json.loads(text or "{}")
    except ValueError as error:
        raise MapushError(
            "--kwargs is not JSON", got=text, cause=first_line(error), fix="--kwargs '{\"num_envs\": 5}'"
        ) from None
    if not isinstance(kwargs, dict):
        raise MapushError("--kwargs is not a JSON object", got=text, fix="--kwargs '{\"num_envs\": 5}'")
    return kwargs


def _check(options: argparse.Namespace, kwargs: Dict[str, Any], contracts: Optional[List[str]]) -> Report:
    try:
        factory = load_factory(options.factory)
    except ContractError as error:
        return Report([Finding.of(error, "factory", _command(options))], [])
    return check_env(factory, kwargs=kwargs, contracts=contracts, seed=options.seed, budget_s=options.budget)


def _in_child(words: List[str], options: argparse.Namespace) -> Report:
    """Run the same command in a child process, and turn what it dies of into a finding."""
    timeout = options.timeout or 3.0 * options.budget + 60.0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        log = Path(folder) / "log"
        environment = dict(os.environ, PYTHONFAULTHANDLER="1", **{CHILD: str(path)})
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "harness", "check"] + words
        with log.open("wb") as stream:
            child = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            try:
                status = child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.send_signal(getattr(signal, "SIGABRT", signal.SIGTERM))  # faulthandler says where it hangs
                child.wait()
                status = None
        if path.exists():
            return _read(json.loads(path.read_text()))
        place = _place(log.read_text(errors="replace"))
    error = _hang(timeout, place) if status is None else _crash(status, place)
    return Report([Finding.of(error, "factory", _command(options))], [], seconds=time.perf_counter() - started)


def _hang(timeout: float, place: Optional[str]) -> ContractError:
    return ContractError(
        "the environment hangs",
        got="no end after {:.0f} s".format(timeout),
        where=place,
        expected="an answer",
        fix="if it is only slow, raise --timeout",
    )


def _crash(status: int, place: Optional[str]) -> ContractError:
    name = signal.Signals(-status).name if status < 0 else "exit status {}".format(status)
    return ContractError(
        "the environment kills the process ({})".format(name),
        where=place,
        expected="an exception, if anything goes wrong",
        cause="native code: a simulator, an extension, or running out of memory" if status < 0 else "it calls exit",
    )


def _place(log: str) -> Optional[str]:
    """Return where a process was when it died: the innermost Python line that is not the harness's."""
    lines = [line.strip() for line in log.splitlines() if line.strip().startswith("File ")]
    own = os.sep + "harness" + os.sep
    outside = [line for line in lines if own not in line and "importlib" not in line]
    return (outside or lines or log.strip().splitlines()[-1:] or [None])[0]


def _read(data: Dict[str, Any]) -> Report:
    fields = {name: data[name] for name in ("passed", "not_judged", "notes", "seconds")}
    return Report([Finding(**finding) for finding in data["findings"]], **fields)


def _command(options: argparse.Namespace) -> str:
    kwargs = " --kwargs '{}'".format(options.kwargs) if options.kwargs not in (None, "{}") else ""
    return "python -m harness check {}{} --seed {}".format(options.factory, kwargs, options.seed)


def _rows(report: Report) -> List[Row]:
    broken = [Row(one.contract, "failed", 0.0, one.what, str(one), one.reproduce or "") for one in report.findings]
    passed = [Row(name, "passed", 0.0) for name in report.passed]
    return broken + passed + [Row(name, "skipped", 0.0, why) for name, why in report.not_judged.items()]
