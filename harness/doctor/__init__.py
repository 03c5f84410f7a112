"""`python -m harness doctor`: what is wrong with this machine, before a run finds out.

Every line is ok, a warning or wrong, and says what to do about it. Exit codes: 0 training can begin; 1 something that
it needs is wrong. The upstream stack, Isaac Gym with MQE and HARL, is optional: it only warns, unless `--upstream` asks
for it. Whatever might crash is tried in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import List, Optional, Sequence

from harness.doctor import machine, stack, upstream
from harness.doctor.line import OK, WARNING, WRONG, Check, Line


def examine(upstream_too: bool = False) -> List[Line]:
    """Return what is found of everything; of what cannot be checked, that it cannot.

    Args:
      upstream_too: whether the upstream stack is needed.
    """
    with ThreadPoolExecutor(8) as pool:  # some wait for processes of theirs
        needed = pool.map(_never_raise, stack.checks(upstream_too) + machine.checks())
        optional = pool.map(_never_raise, upstream.checks())
    return list(needed) + [line if upstream_too else _at_most_warn(line) for line in optional]


def _never_raise(check: Check) -> Line:
    try:
        return check()
    except Exception as error:  # a sick machine has many ways to fail, and the other lines are needed all the more
        name = getattr(check, "func", check).__name__.replace("_", " ")
        return Line(name, WARNING, "could not be checked: {!r}".format(error))


def _at_most_warn(line: Line) -> Line:
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
        print(json.dumps(dict(report, lines=[dataclasses.asdict(line) for line in lines]), indent=2))
    else:
        print("\n".join(map(str, lines)))
        print(", ".join("{} {}".format(number, status) for status, number in count.items()))
    return 1 if count[WRONG] else 0
