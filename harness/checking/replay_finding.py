"""`python -m harness replay FILE`: a finding once more, by its shortest sequence of actions or by the whole contract.

A file .pt is of a run of `mapush.train` that failed, see `mapush.replay`; its exit codes are that module's.

Exit codes: 0 the contract holds now; 1 it is still broken; 2 it cannot be judged, or the file is no bundle.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Optional, Sequence

from harness.checking.bundle import Bundle
from harness.checking.check import check
from harness.findings import Report
from harness.installed import changed
from harness.stack.guarded_training import GuardedEnvs
from mapush import replay as runs
from mapush.errors import MapushError


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Replay a bundle and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m harness replay", description="Run a failed check or run again.")
    parser.add_argument("file", type=Path, help="bundle that a failed check wrote, or .pt that a failed run did")
    file = parser.parse_args(argv).file
    if file.suffix == ".pt":
        return runs.main([str(file)], make_env=GuardedEnvs(time_share=math.inf))
    try:
        bundle = Bundle.read(file)
        report = _replay(bundle)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    contract = bundle.finding["contract"]
    if contract != "factory" and [finding.contract for finding in report.findings] == ["factory"]:
        print(f"{contract} cannot be judged:\n{report.findings[0]}", file=sys.stderr)
        return 2
    if not report.ok:
        print(f"{contract} is still broken")
        print("\n".join(str(finding) for finding in report.findings))
        return 1
    if contract not in report.passed:
        print(f"{contract} could not be judged: {report.not_judged.get(contract)}", file=sys.stderr)
        return 2
    print("{} holds now; when it broke: {}".format(contract, bundle.finding["what"]))
    print("\n".join(changed(bundle.versions)) or "the versions are the same")
    return 0


def _replay(bundle: Bundle) -> Report:
    """Take the actions of the finding, if it has any; if they show nothing, judge the whole contract."""
    arguments = (bundle.factory, bundle.kwargs, [bundle.finding["contract"]], bundle.seed)
    actions = bundle.finding.get("actions")
    if actions:
        report = check(*arguments, actions=actions, task=bundle.task)
        if not report.ok:
            return report
        count = sum(count for count, _ in actions)
        they = "its one step no longer shows it" if count == 1 else f"its {count} steps no longer show it"
        print(f"{they}; the whole contract:")
    return check(*arguments, task=bundle.task)


if __name__ == "__main__":
    sys.exit(main())
