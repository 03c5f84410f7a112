"""`python -m harness doctor`: what is wrong with this machine, before a run finds out.

The first line says what this machine can do now: how fast it trains, or the command that installs what is missing.
Every further line is ok, a warning or wrong, and says how to fix it. Exit codes: 0 training can begin; 1 something that
it needs is wrong. The upstream stack (Isaac Gym with MQE, and HARL) is optional: what is found of it is examined, and
at most warns; `--upstream` asks for all of it. Software that might crash is loaded in a process of its own.

With `--harl DIR` or `--mqe DIR`, the doctor reads these checkouts instead, without running them, and names lines that
are known to end or to spoil a run.

The doctor runs on machines that are not ready, so it imports only the standard library; what is missing becomes a line.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from harness.doctor import machine, training_stack, upstream_stack
from harness.doctor.ability import ability
from harness.doctor.checkouts import examine_checkouts
from harness.doctor.line import OK, WARNING, WRONG, Check, Line
from harness.stack import training_hints
from harness.status.status_line import StatusLine

THREADS = 8  # most of them wait for processes that they have started


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Examine this machine, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness doctor", description="Report what is wrong here.")
    parser.add_argument("--upstream", action="store_true", help="Isaac Gym, MQE and HARL are needed, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--no-measurement", action="store_true", help="state how fast it trains, instead of training for some seconds"
    )
    checkouts = parser.add_argument_group("read the source code of checkouts instead of examining this machine")
    checkouts.add_argument("--harl", type=Path, metavar="DIR", help="a checkout of HARL, with your environment in it")
    checkouts.add_argument("--mqe", type=Path, metavar="DIR", help="a checkout of MAPush or MQE")
    checkouts.add_argument("--env", default="mapush", metavar="NAME", help="name of your environment in HARL")
    options = parser.parse_args(argv)
    if options.harl or options.mqe:
        lines, can = examine_checkouts(options.harl, options.mqe, options.env), ""
    else:
        with StatusLine("harness doctor") as status:
            status.say("looking at this machine, and loading torch and MuJoCo")
            lines = examine(options.upstream)
            status.say("training for some seconds, to see how fast it is")
            can = ability(lines, measure=not options.no_measurement)
    count = dict.fromkeys((WRONG, WARNING, OK), 0)
    for line in lines:
        count[line.status] += 1
    if options.json:
        _print(_as_json(lines, count, can))
    else:
        summary = ", ".join(f"{number} {status}" for status, number in count.items())
        if can:
            summary += f"\nthis machine {can}"
        _print("\n".join([*map(str, lines), summary]))
    return 1 if count[WRONG] else 0


def examine(upstream_too: bool = False) -> List[Line]:
    """Return one line for each check; a check that cannot be made is a line, too.

    Args:
      upstream_too: whether the upstream stack is needed.
    """
    training_hints.activate()
    checks: List[Check] = []
    for check in training_stack.checks(upstream_too):
        checks.append(functools.partial(_checked, WRONG, check))
    for check in machine.checks():
        checks.append(functools.partial(_checked, WARNING, check))
    for check in upstream_stack.checks(only_found=not upstream_too):
        if upstream_too:
            checks.append(functools.partial(_checked, WRONG, check))
        else:
            checks.append(functools.partial(_checked_optional, check))
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(_call, checks))
    except RuntimeError:  # the system allows no more threads
        return [check() for check in checks]


def _call(check: Check) -> Line:
    return check()


def _checked(if_unknown: str, check: Check) -> Line:
    """Return the line of a check; if the check itself fails, a line with the status `if_unknown`."""
    try:
        return check()
    except Exception as error:  # a broken machine fails in many ways, and the other lines are needed all the more
        function = getattr(check, "func", check)
        name = function.__name__.replace("_", " ")
        if isinstance(error, ImportError) and error.name:
            return Line(name, if_unknown, f"could not be checked: {error.name} is missing", f"pip install {error.name}")
        return Line(name, if_unknown, f"could not be checked: {error!r}")


def _checked_optional(check: Check) -> Line:
    """Return the line of a check of something optional, which at most warns."""
    line = _checked(WARNING, check)
    if line.status == WRONG:
        return dataclasses.replace(line, status=WARNING)
    return line


def _as_json(lines: Sequence[Line], count: Dict[str, int], can: str) -> str:
    report = {
        "python": sys.executable,
        "platform": platform.platform(),
        "can": can,
        "count": count,
        "lines": [dataclasses.asdict(line) for line in lines],
    }
    return json.dumps(report, indent=2)


def _print(text: str) -> None:
    """Print in the encoding of stdout; if stdout cannot be written, say so on stderr."""
    if sys.stdout is None:  # it was closed before Python started
        return
    encoding = sys.stdout.encoding or "utf-8"
    printable = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(printable, flush=True)
    except OSError as error:
        print(f"the report could not be written: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it exits
