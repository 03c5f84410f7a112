"""Replays the bundle of a finding: first its shortest sequence of actions, then the complete contract."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Callable, Optional

from harness.checking.bundle import Bundle
from harness.checking.check import check
from harness.findings import Report
from harness.installed import changed
from harness.status.status_line import StatusLine
from mapush.errors import MapushError

HOLDS, BROKEN, NOT_JUDGED = 0, 1, 2


def replay(path: Path, judge: Optional[Callable[..., Report]] = None) -> int:
    """Replay a bundle, print what came of it, and return the exit code.

    Args:
      path: file of the bundle.
      judge: checks a factory, as `harness.checking.check.check` does, which is the default.

    Returns:
      0 the contract holds now; 1 it is still broken; 2 it cannot be judged, or the file is not a bundle.
    """
    try:
        bundle = Bundle.read(path)
        with StatusLine("harness replay") as status:
            judge = judge or functools.partial(check, say=status.say)
            report = _checked_again(bundle, judge, status)
    except MapushError as error:
        print(error, file=sys.stderr)
        return NOT_JUDGED
    contract = bundle.contract
    broken = [finding.contract for finding in report.findings]
    if contract != "factory" and broken == ["factory"]:
        print(f"{contract} cannot be judged:\n{report.findings[0]}", file=sys.stderr)
        return NOT_JUDGED
    if not report.ok:
        print(f"{contract} is still broken")
        for finding in report.findings:
            print(finding)
        return BROKEN
    if contract not in report.passed:
        print(f"{contract} could not be judged: {report.not_judged.get(contract)}", file=sys.stderr)
        return NOT_JUDGED
    print(f"{contract} holds now; when it broke: {bundle.finding['what']}")
    print("\n".join(changed(bundle.versions)) or "the versions are the same")
    return HOLDS


def _checked_again(bundle: Bundle, judge: Callable[..., Report], status: StatusLine) -> Report:
    """Take the actions of the finding, if it has any; if they break nothing, judge the complete contract."""
    arguments = (bundle.factory, bundle.kwargs, [bundle.contract], bundle.seed)
    actions = bundle.finding.get("actions")
    named = {"task": bundle.task}
    if bundle.api:
        named["api"] = bundle.api
    if actions:
        report = judge(*arguments, actions=actions, **named)
        if not report.ok:
            return report
        steps = sum(count for count, _ in actions)
        if steps == 1:
            status.print("its one step no longer shows it; checking the complete contract:")
        else:
            status.print(f"its {steps} steps no longer show it; checking the complete contract:")
    return judge(*arguments, **named)
