"""Contracts of all that is not the environment: learner, logger, configuration and checkpoint.

Every contract is a function of the parts that it judges, in `harness.stack_*`; here they are bound to mapush's own.
`python -m harness stack` runs them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence

from harness.contracts.registry import CONTRACTS, contract, names
from harness.findings import ContractError, Finding, NotJudgedError, Report
from harness.stack import checkpoint_contracts, config_contracts, learner_contracts, logger_contracts, rollout_contracts
from harness.stack.small_parts import small_agent, small_logger, small_run
from mapush.errors import ConfigError, MapushError, nearest

GROUP = "stack"

_REPRODUCE = "python -m harness stack --contracts {} --seed {}"


def _on_run(check: Callable[[Any], None]) -> Callable[[int], None]:
    @functools.wraps(check)
    def on_run(seed: int) -> None:
        with contextlib.closing(small_run(seed)) as run:
            check(run)

    return on_run


def _on_runs(check: Callable[[Callable[[], Any]], None]) -> Callable[[int], None]:
    return functools.wraps(check)(lambda seed: check(lambda: small_run(seed)))


def _on_nothing(check: Callable[[], None]) -> Callable[[int], None]:
    return functools.wraps(check)(lambda seed: check())


@functools.wraps(learner_contracts.factor)
def _factor(seed: int) -> None:
    for share_param in (False, True):
        learner_contracts.factor(lambda **settings: small_agent(seed=seed, **settings), share_param)


@functools.wraps(logger_contracts.logger_bounded)
def _logger_bounded(seed: int) -> None:
    logger_contracts.logger_bounded(small_logger)


_CHECKS: Dict[str, Callable[[int], None]] = {
    "stored-actions": _on_run(rollout_contracts.stored_actions),
    "log-probs": _on_run(rollout_contracts.log_probs),
    "buffer-aliasing": _on_run(rollout_contracts.buffer_aliasing),
    "advantages": _on_run(learner_contracts.advantages),
    "masks": _on_run(rollout_contracts.masks),
    "factor": _factor,
    "logger-environment": _on_run(logger_contracts.logger_environment),
    "logger-keys": _on_run(logger_contracts.logger_keys),
    "logger-bounded": _logger_bounded,
    "task-names": _on_nothing(config_contracts.task_names),
    "unknown-keys": _on_nothing(config_contracts.unknown_keys),
    "checkpoint-complete": _on_runs(checkpoint_contracts.checkpoint_complete),
    "checkpoint-restores": _on_runs(checkpoint_contracts.checkpoint_restores),
}
for _name, _check in _CHECKS.items():
    contract(_name, GROUP)(_check)


def check_stack(contracts: Optional[Sequence[str]] = None, seed: int = 0) -> Report:
    """Run the contracts of mapush's own learner, logger, configuration and checkpoint.

    Args:
      contracts: which; by default all.
      seed: of weights, actions and starts.
    Raises:
      ConfigError: no contract has this name.
    """
    known = names(GROUP)
    wanted = known if contracts is None else list(contracts)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"unknown contract {name!r}", fix=nearest(name, known))
    start = time.perf_counter()
    findings: List[Finding] = []
    passed: List[str] = []
    not_judged: Dict[str, str] = {}
    for name in wanted:
        try:
            CONTRACTS[name].check(seed)
            passed.append(name)
        except NotJudgedError as reason:
            not_judged[name] = str(reason)
        except Exception as error:  # whatever a bug in the stack raises is what the contract found
            broken = error if isinstance(error, ContractError) else _as_contract_error(error)
            findings.append(Finding.of(broken, name, lambda broken_name: _REPRODUCE.format(broken_name, seed)))
    return Report(findings, passed, not_judged, seconds=time.perf_counter() - start)


def _as_contract_error(error: Exception) -> ContractError:
    """Return an exception that the stack raised as a broken contract."""
    if isinstance(error, MapushError):
        details = {name: getattr(error, name) for name in ("where", "got", "expected", "cause", "fix")}
        return ContractError(f"the stack refuses to work: {error.what}", **details)
    frames = traceback.extract_tb(error.__traceback__)
    last = ([frame for frame in frames if f"{os.sep}mapush{os.sep}" in frame.filename] or frames)[-1]
    first_line = (str(error) or "no text").splitlines()[0]
    what = f"the stack raises {type(error).__name__}: {first_line}"
    return ContractError(what, where=f"{last.filename}:{last.lineno} in {last.name}: {last.line}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Check the stack from the command line; return 0 if no contract is broken, 1 if one is, 2 for a wrong flag."""
    parser = argparse.ArgumentParser(
        prog="python -m harness stack", description="Check learner, logger, configuration and checkpoint."
    )
    parser.add_argument("--contracts", help="names, separated by commas; by default all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        report = check_stack(args.contracts.split(",") if args.contracts else None, args.seed)
    except MapushError as error:
        print(error)
        return 2
    print(report)
    return 0 if report.ok else 1
