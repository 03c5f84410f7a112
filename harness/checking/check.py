"""Checks environments in a child process, so that an environment that crashes or hangs becomes a finding."""

from __future__ import annotations

import contextlib
import dataclasses
import sysconfig
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from harness.apis.recognition import require_known
from harness.causes.symptom import Symptom
from harness.checking import check_process
from harness.checking.onlooker import END_PAUSE_S, OUT_OF_TIME, Onlooker, say_nothing
from harness.contracts import chosen
from harness.contracts.factory_call import BUILT_ONCE
from harness.findings import NO_TIME, USUAL_BUDGET_S, CheckTarget, ContractError, Finding, Report
from harness.harl.harl_folder import HarlFolder, find_harl
from harness.interface.own_code import innermost_own
from harness.process.ending import SHOWN_LINES, Ending
from harness.process.isolate import Limits, call, can_isolate
from mapush.errors import ConfigError

BUDGET_S = USUAL_BUDGET_S
OWN_FOLDER = str(Path(__file__).parents[1])
KILLS = "the environment kills the process"
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
    one_per_process: bool = False,
    show: Callable[[str], Any] = str,
    api: str = "",
    say: Callable[..., Any] = say_nothing,
) -> Report:
    """Check what a factory builds in a child process; the death of that process is a finding.

    Where the system cannot isolate processes, the check runs in this process, and a note says so.

    Args:
      factory: "package.module:factory".
      kwargs: fixed arguments of the factory.
      contracts: names of the contracts to run; None for all.
      seed: seed for environments and actions.
      budget_s: time for all contracts [s].
      timeout_s: time after which the process is killed, and hangs [s]; None to end it soon after the budget, and to say
        that it hangs after `harness.process.pulse.IDLE_S` in one call.
      actions: a packed sequence of actions; then the check only resets, takes these actions, and looks at the form of
        what is returned.
      task: "package.module:task", a `Task` or a function that returns one; "" if no task is stated.
      harl: folder of the user's HARL; by default that of `HARL_DIR`, an installed one, or upstream's as measured.
      one_per_process: build each environment in a process of its own; if False, this is done where the second one in a
        process fails.
      show: called with a line about each finding at once.
      api: name of the interface of the environment; "" to recognise it.
      say: called several times a second with what is done, in words, and the share of the contracts that have run.

    Raises:
      ConfigError: a contract or an interface does not exist, the folder is not a HARL that can be imported, or this
        system has no process for each environment.
    """
    require_known(api)
    wanted = chosen(contracts)
    target = CheckTarget(
        factory, kwargs or {}, seed, task, harl=harl, one_per_process=one_per_process, budget_s=budget_s, api=api
    )
    folder_of_harl = find_harl(harl)
    if harl:
        folder_of_harl.forms()  # a HARL that was asked for by name must be usable
    work = _Work(target, wanted, budget_s, timeout_s, actions, folder_of_harl, show, say)
    if can_isolate():
        return work.done_in_children()
    if one_per_process:
        fix = "leave --one-per-process out, or run it under WSL"
        raise ConfigError("this system cannot build each environment in a process of its own", fix=fix)
    report = work.done_here()
    report.notes.append(NOT_ISOLATED)
    return report


@dataclasses.dataclass(frozen=True)
class _Work:
    """A check that is to be done; for its attributes, see `check`."""

    target: CheckTarget
    wanted: List[str]
    budget_s: float
    timeout_s: Optional[float]
    actions: Optional[Sequence[Any]]
    harl: HarlFolder
    show: Callable[[str], Any]
    say: Callable[..., Any] = say_nothing

    def done_here(self) -> Report:
        """Check in this process."""
        with tempfile.TemporaryDirectory() as folder:
            onlooker = Onlooker(Path(folder), None, self.show, self.say, len(self.wanted))
            with _looking(onlooker):
                return check_process.check(*self._arguments(onlooker))

    def done_in_children(self) -> Report:
        """Check in a child process, and once more in another if a process can hold only one environment."""
        report, reason = self.done_in_child()
        if not reason or self.target.one_per_process:
            return report
        self.show(f"{report.seconds:.0f} s: {reason}; from now on, each has a process of its own")
        again = dataclasses.replace(self, target=dataclasses.replace(self.target, one_per_process=True))
        report, _ = again.done_in_child()
        report.notes.append(f"{reason}: each was built in a process of its own, as with --one-per-process")
        return report

    def done_in_child(self) -> Tuple[Report, str]:
        """Check in a child process, and also return why it can hold only one environment; "" if it can hold more."""
        budget_s: Optional[float] = self.budget_s
        limits = Limits(timeout=self.timeout_s)
        if self.timeout_s is not None:
            budget_s = None
        with tempfile.TemporaryDirectory() as folder:
            onlooker = Onlooker(Path(folder), budget_s, self._show_unless_second, self.say, len(self.wanted))
            ending = call(check_process.check, *self._arguments(onlooker), limits=limits, watcher=onlooker)
            if ending.ok:
                report = ending.result
                return _with_places(report, ending), _refused(report)
            if ending.evidence.stopped_for == OUT_OF_TIME:
                report = onlooker.so_far(self.wanted, NO_TIME)
                report.notes.append(_cut_off(onlooker, self.budget_s))
                return report, ""
            return self._died(ending, onlooker)

    def _arguments(self, onlooker: Onlooker) -> Tuple[Any, ...]:
        return self.target, self.wanted, self.budget_s, self.actions, onlooker.file, onlooker.pulse, self.harl

    def _show_unless_second(self, line: str) -> None:
        if BUILT_ONCE not in line:
            self.show(line)

    def _died(self, ending: Ending, onlooker: Onlooker) -> Tuple[Report, str]:
        """Return what was found before the process died or hung, and its death as a finding."""
        onlooker.look()
        died_in = onlooker.running
        verb = "hung" if ending.evidence.stopped_for else "died"
        reason = f"the process {verb} in {died_in}"
        report = onlooker.so_far(self.wanted, reason)
        error = _death(ending, onlooker.stall)
        finding = Finding.of(error, died_in, self.target.command)
        others = [known for known in report.findings if known.contract != died_in]
        report = dataclasses.replace(report, findings=[finding, *others])
        report.not_judged.pop(died_in, None)
        if onlooker.dies_at_second_build and not ending.evidence.stopped_for:
            return report, f"the second environment in one process ends it ({_manner(ending)})"
        return report, ""


@contextlib.contextmanager
def _looking(onlooker: Onlooker) -> Iterator[None]:
    """Let the onlooker look several times a second, from a thread of this process, which it cannot end."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(END_PAUSE_S):
            onlooker()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        onlooker.look()


def _refused(report: Report) -> str:
    """Return why a process can hold only one environment, if the factory says so; otherwise ""."""
    for finding in report.findings:
        if finding.contract == "factory" and finding.cause and BUILT_ONCE in finding.cause:
            return f"the second environment in one process is refused ({finding.what})"
    return ""


def _cut_off(onlooker: Onlooker, budget_s: float) -> str:
    return f"ended in {onlooker.running} as the time was up; --budget {2 * budget_s:.0f} gives it twice as much"


def _with_places(report: Report, ending: Ending) -> Report:
    """Add to the deaths of processes of single environments where they were."""
    findings = []
    for finding in report.findings:
        if finding.what.startswith(KILLS) and not finding.where:
            stacks = list(ending.evidence.stacks)
            code = innermost_own(Symptom.of_signal(finding.what, stacks).frames)
            finding = dataclasses.replace(finding, where=_innermost_place(stacks), code=code)
            finding.last_words.extend(list(ending.evidence.lines)[-SHOWN_LINES:])
        findings.append(finding)
    return dataclasses.replace(report, findings=findings)


def _manner(ending: Ending) -> str:
    return ending.evidence.signal or f"exit status {ending.exit_code}"


def _death(ending: Ending, stall: Optional[str]) -> ContractError:
    """Return the end of the environment's process as a broken contract."""
    evidence = ending.evidence
    if evidence.stopped_for:
        what = "the environment hangs"
        if stall:
            what = f"the environment hangs: {stall}"
    else:
        what = f"{KILLS} ({_manner(ending)})"
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
    places = []
    for line in stacks:
        if line.strip().startswith("File "):
            places.append(line.strip())
    for place in places:
        of_python = sysconfig.get_path("stdlib") in place and "site-packages" not in place
        if OWN_FOLDER not in place and not of_python:
            return place
    return places[0] if places else None
