"""The part of `harness.checking.check` that runs in the child process."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from pathlib import Path
from typing import Any, List, Optional, Sequence

from harness.checking.onlooker import Teller
from harness.contracts import Task, check_env
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.explanation import complete
from harness.contracts.shrink import broken_by
from harness.findings import CheckTarget, ContractError, Finding, Report
from harness.harl.harl_folder import HarlFolder, forms_or_upstream
from harness.interface.player import first_line, innermost_line, is_ctrl_c, load_factory
from harness.interface.sequence import unpack
from harness.process import pulse

UPSTREAMS = HarlFolder()


def check(
    target: CheckTarget,
    contracts: List[str],
    budget_s: float,
    actions: Optional[Sequence[Any]],
    events: Path,
    pulse_file: Path,
    harl: HarlFolder = UPSTREAMS,
) -> Report:
    """Check what a factory builds.

    Args:
      target: what to check; its names are also searched in the current folder.
      contracts: names of the contracts to run.
      budget_s: time for all contracts [s].
      actions: as in `harness.checking.check.check`.
      events: file to which is written what happens, for the process that watches this one and may find it dead.
      pulse_file: file to which calls of the environment are written, for the process that may find that they hang.
      harl: the user's HARL.
    """
    sys.path.insert(0, os.getcwd())
    pulse.write_to(pulse_file)
    teller = Teller(events)
    teller.tell("importing", target.factory.partition(":")[0])
    try:
        make_env = load_factory(target.factory)
        task = _load_task(target.task) if target.task else None
    except ContractError as error:
        complete(error, "factory")
        return Report([Finding.of(error, "factory", target.command)], [])
    forms = functools.partial(forms_or_upstream, harl)
    if actions:
        env = EnvUnderTest(
            make_env,
            target.kwargs,
            task,
            seed=target.seed,
            budget_s=budget_s,
            harl=forms,
            one_per_process=target.one_per_process,
            api=target.api,
        )
        env.complete = complete
        return _take(actions, env, target, contracts)
    report = check_env(
        make_env,
        kwargs=target.kwargs,
        task=task,
        contracts=contracts,
        seed=target.seed,
        budget_s=budget_s,
        tell=teller.tell,
        target=target,
        harl=forms,
        one_per_process=target.one_per_process,
        api=target.api,
    )
    report.notes.append(_judged_for(harl))
    return report


def _judged_for(harl: HarlFolder) -> str:
    if harl.path:
        return f"judged for {harl.name}; what it accepts is probed where it matters"
    return f"judged for {harl.name}; --harl DIR judges for yours"


def _take(actions: Sequence[Any], env: EnvUnderTest, target: CheckTarget, contracts: List[str]) -> Report:
    """Take a packed sequence of actions after a reset, and report which contracts it breaks."""
    errors = broken_by(env, unpack(actions))
    findings: List[Finding] = []
    passed: List[str] = []
    for name in contracts:
        if name not in errors:
            passed.append(name)
            continue
        complete(errors[name], name, env)
        finding = Finding.of(errors[name], name, target.command)
        findings.append(dataclasses.replace(finding, actions=list(actions)))
    return Report(findings, passed)


def _load_task(name: str) -> Task:
    """Return the task that a class or a function of this name makes.

    Raises:
      ContractError: the name does not exist, or what it names does not return a `Task`.
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
