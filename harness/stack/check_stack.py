"""Check mapush's own learner, rollout, logger, configuration and checkpoint: `python -m harness stack`.

Exit codes: 0 every contract that was judged holds; 1 a contract is broken; 2 the command line is wrong.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import traceback
from typing import Dict, List, Optional, Sequence

import tyro

from harness.contracts.registry import CONTRACTS, contract, names
from harness.findings import ContractError, Finding, NotJudgedError, Report
from harness.stack.checkpoint_contracts import checkpoint_complete, checkpoint_restores
from harness.stack.config_contracts import task_names, unknown_keys
from harness.stack.learner_contracts import advantages, factor
from harness.stack.logger_contracts import logger_bounded, logger_environment, logger_keys
from harness.stack.rollout_contracts import buffer_aliasing, log_probs, masks, stored_actions
from harness.stack.stack_under_test import LOGGER_ROWS, StackUnderTest
from mapush.errors import MapushError, unknown

GROUP = "stack"

for _name, _check in (  # in the order in which they run
    ("stored-actions", stored_actions),
    ("log-probs", log_probs),
    ("buffer-aliasing", buffer_aliasing),
    ("advantages", advantages),
    ("masks", masks),
    ("factor", factor),
    ("logger-environment", logger_environment),
    ("logger-keys", logger_keys),
    ("logger-bounded", logger_bounded),
    ("task-names", task_names),
    ("unknown-keys", unknown_keys),
    ("checkpoint-complete", checkpoint_complete),
    ("checkpoint-restores", checkpoint_restores),
):
    contract(_name, GROUP)(_check)


def check_stack(contracts: Optional[Sequence[str]] = None, seed: int = 0, *, logger_rows: int = LOGGER_ROWS) -> Report:
    """Run the contracts of mapush's own stack.

    Args:
      contracts: names of the contracts to run; by default all.
      seed: seed for weights, actions and initial states.
      logger_rows: how many rows a logger writes before its growth is judged.

    Raises:
      ConfigError: a contract is unknown.
    """
    known = names(GROUP)
    wanted = known if contracts is None else list(contracts)
    for name in wanted:
        if name not in known:
            raise unknown("contract", name, known)
    stack = StackUnderTest(seed, logger_rows)
    start = time.perf_counter()
    findings: List[Finding] = []
    passed: List[str] = []
    not_judged: Dict[str, str] = {}
    for name in wanted:
        try:
            CONTRACTS[name].check(stack)
            passed.append(name)
        except NotJudgedError as reason:
            not_judged[name] = str(reason)
        except ContractError as error:
            findings.append(_finding(error, name, seed))
        except Exception as error:  # a bug in the stack may raise anything, and that is a finding, too
            findings.append(_finding(_as_contract_error(error), name, seed))
    return Report(findings, passed, not_judged, seconds=time.perf_counter() - start)


def _finding(error: ContractError, name: str, seed: int) -> Finding:
    def command(broken: str) -> str:
        return f"python -m harness stack --contracts {broken} --seed {seed}"

    return Finding.of(error, name, command)


def _as_contract_error(error: Exception) -> ContractError:
    """Return an exception that the stack raised as a broken contract."""
    if isinstance(error, MapushError):
        details = {name: getattr(error, name) for name in ("where", "got", "expected", "cause", "fix")}
        return ContractError(f"the stack refuses to work: {error.what}", **details)
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    for frame in frames:
        if f"{os.sep}mapush{os.sep}" in frame.filename:
            last = frame
    first_line = (str(error) or "no text").splitlines()[0]
    what = f"the stack raises {type(error).__name__}: {first_line}"
    return ContractError(what, where=f"{last.filename}:{last.lineno} in {last.name}: {last.line}")


# -- command line ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """Check mapush's own learner, rollout, logger, configuration and checkpoint."""

    contracts: str = ""
    """Names of contracts, separated by commas; by default all."""
    seed: int = 0
    """Seed for weights, actions and initial states."""


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
        report = check_stack(contracts, options.seed)
    except MapushError as error:
        print(error)
        return 2
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
