"""Checks environments in a child process, so that an environment that crashes or hangs becomes a finding."""

from __future__ import annotations

import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from harness.apis.recognition import require_known
from harness.causes.symptom import Symptom
from harness.checking import check_process
from harness.contracts import chosen
from harness.findings import CheckTarget, ContractError, Finding, Report
from harness.harl.harl_folder import find_harl
from harness.interface.own_code import innermost_own
from harness.process.ending import SHOWN_LINES, Ending
from harness.process.isolate import Limits, call, can_isolate

BUDGET_S = 60.0
OWN_FOLDER = str(Path(__file__).parents[1])
NOT_ISOLATED = "this system cannot isolate processes, so a crash or a hang of the environment ends the check itself"


def check(
    factory: str,
    kwargs: Optional[Dict[str, Any]] = None,
    contracts: Optional[Sequence[str]] = None,
    seed: int = 0,
    budget_s: float = BUDGET_S,
    timeout_s: Optional[float] = None,
    actions: Optional[Sequence[Any]] = None,
    task: str = "",
    harl: str = "",
    api: str = "",
) -> Report:
    """Check what a factory builds in a child process; the death of that process is a finding.

    Where the system cannot isolate processes, the check runs in this process, and a note says so.

    Args:
      factory: "package.module:factory".
      kwargs: fixed arguments of the factory.
      contracts: names of the contracts to run; None for all.
      seed: seed for environments and actions.
      budget_s: time for all contracts [s].
      timeout_s: time after which the process is killed [s]; None for three times the budget and a minute.
      actions: a packed sequence of actions; then the check only resets, takes these actions, and looks at the form of
        what is returned.
      task: "package.module:task", a `Task` or a function that returns one; "" if no task is stated.
      harl: folder of the user's HARL; by default that of `HARL_DIR`, an installed one, or upstream's as measured.
      api: name of the interface of the environment; "" to recognise it.

    Raises:
      ConfigError: a contract or an interface does not exist, or the folder is not a HARL that can be imported.
    """
    require_known(api)
    wanted = chosen(contracts)
    target = CheckTarget(factory, kwargs or {}, seed, task, harl=harl, api=api)
    folder_of_harl = find_harl(harl)
    if harl:
        folder_of_harl.forms()  # a HARL that was asked for by name must be usable
    with tempfile.TemporaryDirectory() as folder:
        running = Path(folder, "running")
        if not can_isolate():
            report = check_process.check(target, wanted, budget_s, actions, running, folder_of_harl)
            report.notes.append(NOT_ISOLATED)
            return report
        limits = Limits(timeout=timeout_s or 3.0 * budget_s + 60.0)
        ending = call(check_process.check, target, wanted, budget_s, actions, running, folder_of_harl, limits=limits)
        if ending.ok:
            return ending.result
        died_in = running.read_text() if running.exists() else "factory"
    finding = Finding.of(_death(ending), died_in, target.command)
    reason = f"the process died in {died_in}"
    not_judged = {name: reason for name in wanted if name != died_in}
    return Report([finding], [], not_judged, seconds=ending.evidence.seconds)


def _death(ending: Ending) -> ContractError:
    """Return the end of the environment's process as a broken contract."""
    evidence = ending.evidence
    if evidence.stopped_for:
        what = "the environment hangs"
    else:
        manner = evidence.signal or f"exit status {ending.exit_code}"
        what = f"the environment kills the process ({manner})"
    stacks: List[str] = []
    for process in evidence.processes:
        stacks += process.stack
    stacks = stacks or list(evidence.stacks)
    death = ContractError(
        what,
        where=_innermost_place(stacks),
        got=ending.summary,
        expected="a result, or an exception if anything goes wrong",
        cause=ending.cause,
        fix=ending.fix,
    )
    death.code = innermost_own(Symptom.of_signal(what, stacks).frames)
    death.last_words = list(evidence.lines)[-SHOWN_LINES:]
    return death


def _innermost_place(stacks: Sequence[str]) -> Optional[str]:
    """Return the innermost Python line of a process when it died.

    A line of the environment or of a library it uses is preferred over lines of the harness and of Python itself.
    """
    places = [line.strip() for line in stacks if line.strip().startswith("File ")]
    for place in places:
        of_python = sysconfig.get_path("stdlib") in place and "site-packages" not in place
        if OWN_FOLDER not in place and not of_python:
            return place
    return places[0] if places else None
