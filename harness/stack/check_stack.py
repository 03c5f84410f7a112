"""Checks mapush's own learner, rollout, logger, configuration and checkpoint."""

from __future__ import annotations

import contextlib
import math
import os
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence

from harness.contracts.registry import CONTRACTS, contract, names
from harness.findings import ContractError, Finding, NotJudgedError, Report
from harness.stack.checkpoint_contracts import checkpoint_complete, checkpoint_restores
from harness.stack.config_contracts import task_names, unknown_keys
from harness.stack.learner_contracts import advantages, factor
from harness.stack.logger_contracts import logger_bounded, logger_environment, logger_keys
from harness.stack.rank_contracts import (
    RanksUnderTest,
    rank_checkpoint,
    rank_collectives,
    rank_devices,
    rank_memory,
    rank_order,
    rank_replica_check,
    rank_replicas,
    rank_statistics,
    rank_streams,
    rank_writes,
)
from harness.stack.rollout_contracts import buffer_aliasing, log_probs, masks, stored_actions
from harness.stack.stack_under_test import LOGGER_ROWS, StackUnderTest
from mapush.errors import MapushError, unknown

GROUP = "stack"
RANKS_GROUP = "ranks"

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

for _name, _check_of_ranks in (
    ("rank-streams", rank_streams),
    ("rank-order", rank_order),
    ("rank-collectives", rank_collectives),
    ("rank-devices", rank_devices),
    ("rank-statistics", rank_statistics),
    ("rank-replicas", rank_replicas),
    ("rank-replica-check", rank_replica_check),
    ("rank-checkpoint", rank_checkpoint),
    ("rank-writes", rank_writes),
    ("rank-memory", rank_memory),
):
    contract(_name, RANKS_GROUP)(_check_of_ranks)


def say_nothing(doing: str, done: float = math.nan) -> None:
    """Show nobody how far the check is."""


def check_stack(
    contracts: Optional[Sequence[str]] = None,
    seed: int = 0,
    *,
    logger_rows: int = LOGGER_ROWS,
    ranks: int = 1,
    on_progress: Callable[..., Any] = say_nothing,
    on_finding: Callable[[Finding], Any] = lambda finding: None,
) -> Report:
    """Run the contracts of mapush's own stack, or those of several ranks.

    Args:
      contracts: names of the contracts to run; by default all.
      seed: seed for weights, actions and initial states.
      logger_rows: how many rows a logger writes before its growth is judged.
      ranks: with more than 1, the contracts of that many ranks, in processes of this machine.
      on_progress: called with what runs, in words, and with the share of the contracts that have run.
      on_finding: called with each finding at once.

    Raises:
      ConfigError: a contract is unknown.
    """
    group = GROUP
    if ranks > 1:
        group = RANKS_GROUP
    known = names(group)
    wanted = known if contracts is None else list(contracts)
    for name in wanted:
        if name not in known:
            raise unknown("contract", name, known)
    with contextlib.closing(RanksUnderTest(ranks, seed)) as job:
        subject: Any = job
        if ranks == 1:
            subject = StackUnderTest(seed, logger_rows)
        return _checked(wanted, subject, on_progress, on_finding)


def _checked(
    wanted: Sequence[str], subject: Any, on_progress: Callable[..., Any], on_finding: Callable[[Finding], Any]
) -> Report:
    """Run contracts on their subject."""
    start = time.perf_counter()
    findings: List[Finding] = []
    passed: List[str] = []
    not_judged: Dict[str, str] = {}
    for index, name in enumerate(wanted):
        on_progress(f"contract {index + 1} of {len(wanted)}: {name}", index / len(wanted))
        broken: Optional[ContractError] = None
        try:
            CONTRACTS[name].check(subject)
            passed.append(name)
        except NotJudgedError as reason:
            not_judged[name] = str(reason)
        except ContractError as error:
            broken = error
        except Exception as error:  # a bug in the stack may raise anything, and that is a finding, too
            broken = _as_contract_error(error)
        if broken is not None:
            findings.append(_finding(broken, name, subject))
            on_finding(findings[-1])
    return Report(findings, passed, not_judged, seconds=time.perf_counter() - start)


def _finding(error: ContractError, name: str, subject: Any) -> Finding:
    def command(broken: str) -> str:
        words = f"python -m harness stack --contracts {broken} --seed {subject.seed}"
        if isinstance(subject, RanksUnderTest):
            words += f" --ranks {subject.size}"
        return words

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
