"""Concludes from what was observed of a command how it ended, why, and what to do about it."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import signal
from collections import Counter
from typing import List, NamedTuple, Optional, Sequence

import psutil

from harness.causes.cause import Cause
from harness.causes.known_errors import explain
from harness.causes.symptom import Symptom
from harness.process.ending import ENDED_WELL, STOPPED_AS_ASKED, Ending
from harness.process.evidence import Evidence
from harness.process.known_crashes import NO_MEMORY, SIGNALS, SITUATIONS, likely_cause
from harness.process.last_error import last_error, last_traceback, stated_cause
from harness.process.processes import ProcessState
from harness.process.rank_failure import RankFailure, rank_failure
from harness.units import gib

TIMEOUT_CODE, NOT_FOUND_CODE, KILLED_CODE = 124, 127, 137  # exit codes of timeout(1) and of shells
REPEATED_FRAME = 30  # a frame that stands so often in a stack, of which faulthandler writes 100 frames, recurs
FULL_MEMORY = 0.8  # share of the machine's memory at which the out-of-memory killer is a likely suspect

_ILLEGAL_ACCESS = re.compile(r"illegal memory access|CUDA_ERROR_ILLEGAL_ADDRESS|CUDA error:? 700|failed with error 700")
_NO_MEMORY = re.compile(NO_MEMORY)
_USAGE = re.compile(r"[^:]+: (error: |can't open file |No module named |Error while finding module )")
_WAITS_FOR_WORK = re.compile(
    r"multiprocessing[/\\](queues|connection|pool)|concurrent[/\\]futures|selectors\.py|socket\.py"
)
_CRASH_KINDS = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "abort",
    "SIGBUS": "bus error",
    "SIGILL": "illegal instruction",
    "SIGFPE": "arithmetic fault",
}
_FATAL_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
}  # in faulthandler's words


class _Diagnosis(NamedTuple):
    """How a command ended.

    Attributes:
      kind: see `Ending`.
      details: see `Ending`.
      cause: None to look the cause up in everything that the command printed.
    """

    kind: str
    details: str
    cause: Optional[Cause] = None


def diagnose(evidence: Evidence) -> Ending:
    """Return how a command ended, and why."""
    diagnosis = _did_not_end_itself(evidence) or _ended_itself(evidence)
    cause = diagnosis.cause
    if cause is None and diagnosis.kind not in (ENDED_WELL, STOPPED_AS_ASKED):
        cause = stated_cause(evidence.lines) or likely_cause(evidence.output, evidence.signal)
    ending = Ending(diagnosis.kind, diagnosis.details, evidence, _exit_code(evidence))
    if cause is None:
        return ending
    return dataclasses.replace(ending, cause=cause.cause, fix=cause.fix)


def _exit_code(evidence: Evidence) -> int:
    if evidence.start_error:
        return NOT_FOUND_CODE
    if evidence.stopped_for not in (None, "memory"):
        return TIMEOUT_CODE
    if evidence.stopped_for == "memory" or evidence.exit_code is None:
        return KILLED_CODE
    return evidence.exit_code


# -- a command that could not start or was stopped -------------------------------------------------------------------


def _did_not_end_itself(evidence: Evidence) -> Optional[_Diagnosis]:
    if evidence.start_error:
        return _Diagnosis("cannot start", evidence.start_error, _why_not_started(evidence))
    if evidence.stopped_for == "memory":
        details = f"{gib(evidence.peak)} resident, {gib(evidence.limits['memory'])} allowed"
        return _Diagnosis("memory limit passed", details, SITUATIONS["memory limit"])
    if evidence.stopped_for is not None:
        return _deadlock_at_fork(evidence.processes) or _hang(evidence, evidence.stopped_for)
    return None


def _why_not_started(evidence: Evidence) -> Cause:
    program = evidence.command[0]
    error = evidence.start_error or ""
    if "No such file" in error and shutil.which(program):
        known = SITUATIONS["no interpreter"]
        return Cause(known.cause, known.fix.replace("FILE", shlex.quote(program)))
    return likely_cause(error) or SITUATIONS["no program"]


def _hang(evidence: Evidence, limit: str) -> _Diagnosis:
    details = f"ended after {evidence.seconds:.0f} s"
    if limit in evidence.limits:
        missing = {"timeout": "no end", "silence": "nothing printed"}[limit]
        details = f"{missing} within {evidence.limits[limit]:g} s"
    cause = SITUATIONS[_activity(evidence.processes)].cause
    fix = SITUATIONS["hang"].fix
    hint = likely_cause("\n".join(evidence.closing))
    if hint is not None:
        cause = f"{cause}; perhaps {hint.cause}"
        fix = f"{hint.fix}; otherwise {fix}"
    return _Diagnosis("hang", details, Cause(cause, fix))


def _activity(processes: Sequence[ProcessState]) -> str:
    """Return what the processes of a command that hangs do, as a key of `SITUATIONS`."""
    if any(process.computes for process in processes):
        return "computes"
    states = {process.state for process in processes}
    for state in ("disk-sleep", "stopped"):
        if state in states:
            return state
    return "waits"


def _deadlock_at_fork(processes: Sequence[ProcessState]) -> Optional[_Diagnosis]:
    """Recognise a process that was forked from one with several threads and waits for a lock that one of them held.

    Only the thread that calls `fork` exists in the child. A lock that a different thread of the parent held at that
    moment stays locked in the child for ever.
    """
    by_pid = {process.pid: process for process in processes}
    for process in processes:
        parent = by_pid.get(process.parent)
        if parent is None or not _is_fork_of(process, parent):
            continue
        if parent.most_threads > 1 and process.threads == 1 and _waits_for_a_lock(process):
            details = f"process {process.pid} was forked from one with {parent.most_threads} threads"
            return _Diagnosis("deadlock at fork, probably", details, SITUATIONS["deadlock at fork"])
    return None


def _is_fork_of(process: ProcessState, parent: ProcessState) -> bool:
    """Return whether a process has been running the program of its parent since it was forked."""
    return list(process.command) == list(parent.command)


def _waits_for_a_lock(process: ProcessState) -> bool:
    """Return whether a process sleeps in a lock, and not in a queue, a pool or a socket, where idle workers wait."""
    if process.cpu >= 0.1 or process.state != "sleeping":
        return False
    if process.waits_in and "futex" not in process.waits_in:
        return False
    frames = [line for line in process.stack if line.startswith("  File")]
    innermost = "\n".join(frames[:3])
    return not _WAITS_FOR_WORK.search(innermost)


# -- a command that ended by itself ----------------------------------------------------------------------------------


def _ended_itself(evidence: Evidence) -> _Diagnosis:
    name, code = evidence.signal, evidence.exit_code
    if code is None:
        return _Diagnosis("killed by SIGKILL", "together with its supervisor")
    if evidence.asked is not None and code == 128 + evidence.asked:
        return _Diagnosis(STOPPED_AS_ASKED, signal.Signals(evidence.asked).name)
    if code == 0 and not evidence.result_lost:
        return _Diagnosis(ENDED_WELL, "")
    failure = rank_failure(evidence.lines)
    if failure is not None:
        return _failure_of_rank(failure, evidence)
    if code and _ILLEGAL_ACCESS.search(evidence.output):
        details = last_error(evidence.lines, code) or name or ""
        return _Diagnosis("illegal memory access on the GPU", details)
    if code and "address_space" in evidence.limits and _NO_MEMORY.search(evidence.output):
        limit = gib(evidence.limits["address_space"])
        return _Diagnosis("memory limit passed", f"{limit} of address space (RLIMIT_AS)")
    if name is not None:
        return _ended_by_signal(name, evidence)
    return _ended_by_exit(evidence)


def _failure_of_rank(failure: RankFailure, evidence: Evidence) -> _Diagnosis:
    """Return the failure of the first rank of a job; what the others and the launcher say follows from it."""
    kind = "exception"
    if failure.lost:
        kind = "a rank was killed"
    elif failure.hangs:
        kind = "a rank hangs"
    traceback = last_traceback(failure.lines)
    error = last_error(failure.lines, 1) or failure.lines[0]
    known = stated_cause(failure.lines)
    if failure.lost and (evidence.oom_kills or _fills_the_machine(evidence.peak)):
        known = SITUATIONS["memory full"]
    if known is None and not (failure.lost or failure.hangs):
        known = explain(Symptom.of_traceback(traceback, error, failure.lines)) or likely_cause(traceback)
    if known is None and failure.lost:
        known = SITUATIONS["killed"]
    return _Diagnosis(kind, failure.text, known or Cause())


def _ended_by_signal(name: str, evidence: Evidence) -> _Diagnosis:
    if name in _CRASH_KINDS:
        return _Diagnosis(_CRASH_KINDS[name], name, _why_crashed(name, evidence))
    if name == "SIGXCPU":
        limit = evidence.limits.get("cpu")
        details = name if limit is None else f"{limit} s (RLIMIT_CPU)"
        return _Diagnosis("CPU time limit passed", details, SIGNALS[name])
    if name == "SIGKILL":
        return _killed(evidence)
    return _Diagnosis(f"killed by {name}", "", SITUATIONS["signal"])


def _why_crashed(name: str, evidence: Evidence) -> Optional[Cause]:
    if _recurs(evidence.stacks):
        return SITUATIONS["endless recursion"]
    printed = stated_cause(evidence.closing) or likely_cause("\n".join(evidence.closing))
    return printed or explain(Symptom.of_signal(name, evidence.stacks, evidence.lines)) or SIGNALS.get(name)


def _recurs(stacks: Sequence[str]) -> bool:
    """Return whether the stack of the thread that crashed, in Python or in C, repeats itself."""
    frames: Counter = Counter()
    crashed = False
    for line in stacks:
        if not line.startswith("  "):
            crashed = line.startswith("Current thread")
        elif crashed:
            frames[line] += 1
    return any(count >= REPEATED_FRAME for count in frames.values())


def _killed(evidence: Evidence) -> _Diagnosis:
    kind = "killed because memory was full, probably"
    if evidence.oom_kills:
        details = f"the kernel counted {evidence.oom_kills} such kills meanwhile"
        return _Diagnosis(kind, details, SITUATIONS["memory full"])
    if _fills_the_machine(evidence.peak):
        return _Diagnosis(kind, f"{gib(evidence.peak)} resident", SITUATIONS["memory full"])
    return _Diagnosis("killed by SIGKILL", "", SITUATIONS["killed"])


def _fills_the_machine(peak: int) -> bool:
    return peak > FULL_MEMORY * psutil.virtual_memory().total


def _ended_by_exit(evidence: Evidence) -> _Diagnosis:
    error = last_error(evidence.lines, evidence.exit_code)
    fatal = []
    for line in evidence.stacks:
        if line.startswith("Fatal Python error"):
            fatal.append(line)
    if fatal:
        name = next((name for words, name in _FATAL_SIGNALS.items() if words in fatal[0]), "")
        known = likely_cause(evidence.output) or explain(Symptom.of_signal(name, evidence.stacks, evidence.lines))
        cause = known or SITUATIONS["child crashed"]
        return _Diagnosis("exception", error or f"exit code {evidence.exit_code}", cause)
    if error is None:
        return _exited_without_exception(evidence)
    if _NO_MEMORY.search(error):
        return _Diagnosis("out of memory", error)
    traceback = last_traceback(evidence.lines)
    text = evidence.output if "CUDA" in error else traceback
    known = stated_cause(evidence.lines) or explain(Symptom.of_traceback(traceback, error, evidence.lines))
    cause = known or likely_cause(text) or Cause()
    return _Diagnosis("exception", error, cause)


def _exited_without_exception(evidence: Evidence) -> _Diagnosis:
    kind = "exit without an exception"
    lines: List[str] = list(evidence.lines)
    if evidence.exit_code in (1, 2) and lines and _USAGE.match(lines[-1]):
        return _Diagnosis(kind, lines[-1], SITUATIONS["wrong command line"])
    return _Diagnosis(kind, f"exit code {evidence.exit_code}", SITUATIONS["silent exit"])
