"""`python -m harness doctor`: what is wrong with this machine, before a run finds out.

Every line is ok, a warning or wrong, and says what to do about it. Exit codes: 0 training can begin; 1 something that
it needs is wrong. The upstream stack, Isaac Gym with MQE and HARL, is optional: it only warns, unless `--upstream` asks
for it. Whatever might crash is tried in a process of its own.
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
from typing import List, Optional, Sequence

from harness.doctor import machine, training_stack, upstream_stack
from harness.doctor.line import OK, WARNING, WRONG, Check, Line


def examine(upstream_too: bool = False) -> List[Line]:
    """Return what is found of everything; of what cannot be checked, that it cannot, which is wrong where it is needed.

    Args:
      upstream_too: whether the upstream stack is needed.
    """
    needed = functools.partial(_checked, WRONG)
    checks: List[Check] = [functools.partial(needed, check) for check in training_stack.checks(upstream_too)]
    checks += [functools.partial(_checked, WARNING, check) for check in machine.checks()]
    checks += [functools.partial(needed if upstream_too else _at_most_warn, check) for check in upstream_stack.checks()]
    try:
        with ThreadPoolExecutor(8) as pool:  # some wait for processes of theirs
            return list(pool.map(_call, checks))
    except RuntimeError:  # the system allows no more threads
        return list(map(_call, checks))


def _call(check: Check) -> Line:
    return check()


def _checked(otherwise: str, check: Check) -> Line:
    """Return what a check says; one that cannot say anything has the status `otherwise`."""
    try:
        return check()
    except Exception as error:  # a sick machine has many ways to fail, and the other lines are needed all the more
        name = getattr(check, "func", check).__name__.replace("_", " ")
        return Line(name, otherwise, f"could not be checked: {error!r}")


def _at_most_warn(check: Check) -> Line:
    line = _checked(WARNING, check)
    return dataclasses.replace(line, status=WARNING) if line.status == WRONG else line


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Examine this machine, say what was found, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness doctor", description="Say what is wrong here.")
    parser.add_argument("--upstream", action="store_true", help="Isaac Gym, MQE and HARL are needed, too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    lines = examine(options.upstream)
    count = {status: sum(line.status == status for line in lines) for status in (WRONG, WARNING, OK)}
    if options.json:
        report = {"python": sys.executable, "platform": platform.platform(), "count": count}
        _say(json.dumps(dict(report, lines=[dataclasses.asdict(line) for line in lines]), indent=2))
    else:
        summary = ", ".join(f"{number} {status}" for status, number in count.items())
        _say("\n".join([str(line) for line in lines] + [summary]))
    return 1 if count[WRONG] else 0


def _say(text: str) -> None:
    """Print in any encoding; if stdout takes nothing, tell stderr."""
    if sys.stdout is None:  # it was closed before Python began
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        print(f"the report could not be written: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes at its end
