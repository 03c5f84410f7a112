"""`python -m harness stack`: check mapush's own learner, rollout, logger, configuration and checkpoint.

Exit codes: 0 every contract that was judged holds; 1 a contract is broken; 2 the command line is wrong.
"""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

import tyro

from harness.findings import Finding, Report
from harness.status.status_line import StatusLine
from mapush.errors import MapushError


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """Check mapush's own learner, rollout, logger, configuration and checkpoint."""

    contracts: str = ""
    """Names of contracts, separated by commas; by default all."""
    seed: int = 0
    """Seed for weights, actions and initial states."""
    ranks: int = 1
    """With 2 or more, check the promises of that many ranks instead, in processes of this machine."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return the exit code.

    Args:
      argv: the words after the command's name; by default those of this process.
    """
    options = tyro.cli(StackConfig, args=argv, prog="python -m harness stack")
    contracts = None
    if options.contracts:
        contracts = options.contracts.split(",")
    try:
        report = _checked(contracts, options)
    except MapushError as error:
        print(error)
        return 2
    print(report)
    return 0 if report.ok else 1


def _checked(contracts: Optional[List[str]], options: StackConfig) -> Report:
    """Check the stack, and say meanwhile what runs and what was found."""
    with StatusLine("harness stack") as status:
        status.say("importing torch")
        from harness.stack.check_stack import check_stack

        def show(finding: Finding) -> None:
            if status.is_terminal:
                status.print(f"found: {finding.contract}: {finding.what}")

        return check_stack(contracts, options.seed, ranks=options.ranks, on_progress=status.say, on_finding=show)
