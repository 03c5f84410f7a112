"""What runs in the child process of `harness.checking.check`."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from harness.contracts import Task, check_env
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.shrink import broken_by
from harness.findings import CheckTarget, ContractError, Finding, Report
from harness.interface.player import first_line, innermost_line, is_ctrl_c, load_factory
from harness.interface.sequence import unpack


def check(
    factory: str,
    kwargs: Dict[str, Any],
    contracts: List[str],
    seed: int,
    budget_s: float,
    actions: Optional[Sequence[Any]],
    task: str,
    running: Path,
) -> Report:
    """Check what a factory builds.

    Args:
      factory: "package.module:factory", found from the present folder, too.
      kwargs: as in `harness.checking.check.check`.
      contracts: names of those to run.
      seed: of environments and actions.
      budget_s: for all contracts [s].
      actions: as in `harness.checking.check.check`.
      task: as in `harness.checking.check.check`.
      running: the file that says which contract runs, for whoever finds this process dead.
    """
    sys.path.insert(0, os.getcwd())
    target = CheckTarget(factory, kwargs, seed, task)
    try:
        make_env = load_factory(factory)
        stated = _load_task(task) if task else None
    except ContractError as error:
        return Report([Finding.of(error, "factory", target.command)], [])
    if actions:
        errors = broken_by(EnvUnderTest(make_env, kwargs, stated, seed=seed, budget_s=budget_s), unpack(actions))
        found = {name: Finding.of(errors[name], name, target.command) for name in contracts if name in errors}
        findings = [dataclasses.replace(finding, actions=list(actions)) for finding in found.values()]
        return Report(findings, [name for name in contracts if name not in found])
    return check_env(
        make_env,
        kwargs=kwargs,
        task=stated,
        contracts=contracts,
        seed=seed,
        budget_s=budget_s,
        on_contract=running.write_text,
        target=target,
    )


def _load_task(name: str) -> Task:
    """Return the task that a class or a function of this name makes.

    Raises:
      ContractError: it makes none.
    """
    make_task = load_factory(name, "task")
    try:
        task = make_task()
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        what = f"{name} raises {type(error).__name__}: {first_line(error)}"
        raise ContractError(what, contract="factory", where=innermost_line(error)) from error
    if not isinstance(task, Task):
        raise ContractError(
            f"{name} returns a {type(task).__name__}, not a Task",
            contract="factory",
            expected="a subclass of harness.contracts.Task, or a function without arguments that returns one",
        )
    return task
