"""From what was seen of a command to how it ended, why, and what to do about it."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from harness.installed import versions
from harness.process.known_crashes import ENDLESS_RECURSION, NO_MEMORY, OF_A_CHILD, Cause, likely
from harness.process.monitor import Process, Sample
from harness.units import gib
from mapush.errors import CheckpointError
from mapush.run.checkpoint import latest

SHOWN_LINES, SHOWN_STACK = 20, 60
LAST_LINES = 10  # in which a crash or a hang is sought: what was printed before them was survived
MOST_OF_A_MESSAGE = 30  # lines of an exception's text that are not indented
ENDLESS = 30  # times that one frame stands in a stack, of which faulthandler writes a hundred
FULL = 0.8  # share of the machine's memory at which the out-of-memory killer is a likely suspect
TIMEOUT_CODE, NOT_FOUND_CODE, KILLED_CODE = 124, 127, 137  # as of timeout(1) and of shells

_ILLEGAL_ACCESS = re.compile(r"illegal memory access|CUDA_ERROR_ILLEGAL_ADDRESS|CUDA error:? 700|failed with error 700")
_NO_MEMORY = re.compile(NO_MEMORY)
_ERROR = re.compile(r"(?:[\w.]+\.)?(?:[A-Z]\w*(?:Error|Exception|Interrupt|Exit)|(?:Base)?Exception(?:Group)?)(?::|$)")
_TRACEBACK = re.compile(r"(Exception Group )?Traceback \(most recent call last\)")
_CHAINED = re.compile(r"(During handling of|The above exception was)")
_SURVIVED = re.compile(r"Exception (ignored )?in|.*\b(ERROR|CRITICAL|WARNING)\b")  # before a traceback that is logged
_USAGE = re.compile(r"[^:]+: (error: |can't open file |No module named |Error while finding module )")
_DETAIL = re.compile(r"  (cause|fix) +(.+)")
_WAITS_FOR_WORK = re.compile(
    r"multiprocessing[/\\](queues|connection|pool)|concurrent[/\\]futures|selectors\.py|socket\.py"
)
_CRASHES = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "abort",
    "SIGBUS": "bus error",
    "SIGILL": "illegal instruction",
    "SIGFPE": "arithmetic fault",
}


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was seen of a command.

    Attributes:
      command: program and arguments.
      status: as `wait` gives it; None if it was killed for passing a limit or could not be started.
      start_error: why it could not be started.
      stopped_for: the limit that it passed: timeout, silence or memory.
      asked: the signal that was handed on to it.
      seconds: how long it ran.
      limits: what it was allowed.
      lines: the last ones that it printed.
      stacks: Python stacks as `faulthandler` wrote them.
      processes: what its processes did when it passed a limit.
      left: processes that were still there after its end, and were killed.
      oom_kills: processes that the kernel killed meanwhile because memory was full.
      memory: over time.
      peak: largest resident memory [bytes].
      step: env steps that it told last.
      run: folder of the training run.
      result_lost: it was a function and did not come to its end.
    """

    command: Tuple[str, ...]
    status: Optional[int] = None
    start_error: Optional[str] = None
    stopped_for: Optional[str] = None
    asked: Optional[int] = None
    seconds: float = 0.0
    limits: Dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: Sequence[str] = ()
    stacks: Sequence[str] = ()
    processes: Sequence[Process] = ()
    left: int = 0
    oom_kills: int = 0
    memory: Sequence[Sample] = ()
    peak: int = 0
    step: Optional[int] = None
    run: Optional[Path] = None
    result_lost: bool = False

    @property
    def signal(self) -> Optional[str]:
        """Name of the signal that ended it, also where a shell says so by its exit code; None for none."""
        if self.status is None:
            return None
        number = self.status & 0x7F or (self.status >> 8) - 128
        return signal.Signals(number).name if number in set(signal.Signals) else None

    @property
    def exit_code(self) -> Optional[int]:
        """Exit code as a shell gives it: 128 + the number of a signal; None if it did not end by itself."""
        if self.status is None:
            return None
        return 128 + (self.status & 0x7F) if self.status & 0x7F else self.status >> 8

    @property
    def text(self) -> str:
        """All that it wrote, as far as it was kept."""
        return "\n".join(list(self.lines) + list(self.stacks))

    @property
    def closing(self) -> List[str]:
        """The last lines, without the frames of C++ that torch adds to an error, and the stacks."""
        return [line for line in self.lines if not line.startswith("frame #")][-LAST_LINES:] + list(self.stacks)


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a command ended; as text, the report.

    Attributes:
      kind: in plain words.
      details: what belongs to the kind, such as the error's text.
      evidence: what was seen.
      exit_code: as a shell gives it, 128 + the number of a signal.
      cause: the likely reason.
      fix: what to do about it.
      result: what a function returned.
    """

    kind: str
    details: str
    evidence: Evidence
    exit_code: int
    cause: Optional[str] = None
    fix: Optional[str] = None
    result: Any = None

    @property
    def ok(self) -> bool:
        """It did what it was to do."""
        return self.kind == WELL

    @property
    def as_asked(self) -> bool:
        """It ended because a signal was handed on to it."""
        return self.kind == STOPPED

    def __str__(self) -> str:
        evidence = self.evidence
        when = f"after {evidence.seconds:.1f} s"
        when += "" if evidence.step is None else f", at env step {evidence.step:,}"
        rows = ["{}{} ({})".format(self.kind, ": " + self.details if self.details else "", when)]
        rows += [f"  {name:<9} {value}" for name, value in self._rows() if value]
        if self.ok:
            return "\n".join(rows)
        rows += ["last lines:"] + ["  | " + line for line in list(evidence.lines)[-SHOWN_LINES:]]
        stacks = self._stacks()
        rows += ["Python stacks:"] + (stacks[:SHOWN_STACK] if stacks else ["  none were written"])
        if len(stacks) > SHOWN_STACK:
            rows.append(f"  ... {len(stacks) - SHOWN_STACK} more lines")
        return "\n".join(rows)

    def _stacks(self) -> List[str]:
        """Return the stacks; of processes that were made to write them, each under its number."""
        if not any(process.stack for process in self.evidence.processes):
            return [line for line in self.evidence.stacks if line and not line.startswith("Extension modules")]
        rows: List[str] = []
        for process in self.evidence.processes:
            rows.append("process {}:{}".format(process.pid, "" if process.stack else " none was written"))
            rows += [
                line for line in process.stack if line and not line.startswith(("Fatal Python error", "Extension"))
            ]
        return rows

    def _rows(self) -> List[Tuple[str, Optional[str]]]:
        evidence = self.evidence
        processes = "\n            ".join(map(str, evidence.processes))
        left = f"{evidence.left} outlived it and were killed" if evidence.left and not processes else None
        return [
            ("command", " ".join(map(shlex.quote, evidence.command))),
            ("cause", self.cause),
            ("fix", self.fix),
            ("memory", _curve([sample.rss for sample in evidence.memory], evidence.peak)),
            ("GPU", _curve([sample.gpu for sample in evidence.memory if sample.gpu is not None], 0)),
            ("saved", _saved(evidence.run)),
            ("processes", processes or left),
        ]

    def as_dict(self) -> Dict[str, Any]:
        """Return everything as JSON types."""
        evidence = dataclasses.asdict(self.evidence)
        evidence.update(
            run=None if self.evidence.run is None else str(self.evidence.run),
            memory=[sample._asdict() for sample in self.evidence.memory],
            processes=[process._asdict() for process in self.evidence.processes],
        )
        names = ("kind", "details", "exit_code", "cause", "fix")
        return dict(
            {name: getattr(self, name) for name in names},
            signal=self.evidence.signal,
            evidence=evidence,
            versions=versions(),
        )

    def write(self, folder: Path) -> Path:
        """Write crash.txt and crash.json into `folder`; return the path of the text."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "crash.json").write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        path = folder / "crash.txt"
        everything = ["", "all stacks:", *self.evidence.stacks, "", "all last lines:", *self.evidence.lines]
        text = "\n".join([str(self), *everything]) + "\n"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names need not be Unicode
        return path


WELL, STOPPED = "ended well", "stopped as asked"


def diagnose(evidence: Evidence) -> Ending:
    """Say how a command ended, and why."""
    kind, details, cause = _of_limits(evidence) or _of_end(evidence)
    if kind not in (WELL, STOPPED):
        cause = cause or _own_words(evidence.lines) or likely(evidence.text, evidence.signal)
    return Ending(kind, details, evidence, _exit_code(evidence), cause and cause.cause, cause and cause.fix)


def _exit_code(evidence: Evidence) -> int:
    if evidence.start_error:
        return NOT_FOUND_CODE
    if evidence.stopped_for:
        return KILLED_CODE if evidence.stopped_for == "memory" else TIMEOUT_CODE
    return KILLED_CODE if evidence.exit_code is None else evidence.exit_code


_Diagnosis = Tuple[str, str, Optional[Cause]]


def _of_limits(evidence: Evidence) -> Optional[_Diagnosis]:
    """Say what it is if the command did not end by itself."""
    if evidence.start_error:
        return "cannot start", evidence.start_error, _why_not_started(evidence)
    if evidence.stopped_for == "memory":
        details = "{} resident, {} allowed".format(gib(evidence.peak), gib(evidence.limits["memory"]))
        fix = "lower num_envs or num_steps, or raise the limit; the curve shows whether it grew"
        return "memory limit passed", details, Cause("", "too much at once, or a leak", fix)
    if evidence.stopped_for in ("timeout", "silence"):
        return _fork_deadlock(evidence.processes) or _hang(evidence)
    return None


def _why_not_started(evidence: Evidence) -> Cause:
    program = evidence.command[0]
    if "No such file" in (evidence.start_error or "") and shutil.which(program):
        cause = "it is there, but not what is to interpret it: the program in its first line, or its loader"
        return Cause("", cause, f"head -1 {shlex.quote(program)}")
    fix = "check the name, the PATH and the permissions"
    return likely(evidence.start_error or "") or Cause("", "there is no such program, or it may not be run", fix)


def _hang(evidence: Evidence) -> _Diagnosis:
    limit = evidence.limits[evidence.stopped_for]
    wait = "no end" if evidence.stopped_for == "timeout" else "nothing printed"
    if any(process.computes for process in evidence.processes):
        cause = "it computes: an endless loop, or work that takes longer than allowed"
    elif any(process.state == "disk-sleep" for process in evidence.processes):
        cause = "it waits for a disk, a network share or a driver that does not answer"
    elif any(process.state == "stopped" for process in evidence.processes):
        cause = "a process was stopped (SIGSTOP, Ctrl-Z or a debugger)"
    else:
        cause = "it waits: for a lock, another process, a network, or input"
    fix = "the stacks show where; if it is only slow, raise the limit"
    known = likely("\n".join(evidence.closing))
    if known is not None:
        cause, fix = f"{cause}; perhaps {known.cause}", f"{known.fix}; otherwise {fix}"
    return "hang", f"{wait} within {limit:g} s", Cause("", cause, fix)


def _fork_deadlock(processes: Sequence[Process]) -> Optional[_Diagnosis]:
    """Recognise a process that was forked from one with several threads and waits for a lock that one of them held."""
    by_pid = {process.pid: process for process in processes}
    for process in processes:
        parent = by_pid.get(process.parent)
        forked = parent is not None and list(process.command) == list(parent.command)  # and ran nothing else since
        idle = process.cpu < 0.1 and process.state == "sleeping"
        innermost = "\n".join([line for line in process.stack if line.startswith("  File")][:3])
        if not forked or not idle or parent.most_threads < 2 or process.threads > 1:
            continue
        if (process.waits_in and "futex" not in process.waits_in) or _WAITS_FOR_WORK.search(innermost):
            continue
        details = f"process {process.pid} was forked from one with {parent.most_threads} threads"
        return (
            "deadlock at fork, probably",
            details,
            Cause(
                "",
                "only the thread that forks lives on in the child; a lock that another one held stays locked there",
                "multiprocessing.get_context('spawn') or 'forkserver', or fork before any thread is started "
                "(torch, OpenMP, TensorBoard and logging start some)",
            ),
        )
    return None


def _of_end(evidence: Evidence) -> _Diagnosis:
    """Say what it is if the command ended by itself."""
    name, code = evidence.signal, evidence.exit_code
    if evidence.status is None:
        return "killed by SIGKILL", "with the process that watched over it", None
    if evidence.asked is not None and code == 128 + evidence.asked:
        return STOPPED, signal.Signals(evidence.asked).name, None
    if code and _ILLEGAL_ACCESS.search(evidence.text):
        return "illegal memory access on the GPU", _error(evidence) or name or "", None
    if code and "address_space" in evidence.limits and _NO_MEMORY.search(evidence.text):
        details = "{} of address space (RLIMIT_AS)".format(gib(evidence.limits["address_space"]))
        return "memory limit passed", details, None
    if name is not None:
        return _of_signal(name, evidence)
    if code == 0 and not evidence.result_lost:
        return WELL, "", None
    return _of_code(evidence)


def _of_signal(name: str, evidence: Evidence) -> _Diagnosis:
    if name in _CRASHES:
        known = _own_words(evidence.closing) or likely("\n".join(evidence.closing), name)
        return _CRASHES[name], name, ENDLESS_RECURSION if _recurs(evidence.stacks) else known
    if name == "SIGXCPU":
        details = "{} s (RLIMIT_CPU)".format(evidence.limits["cpu"]) if "cpu" in evidence.limits else name
        cause = Cause("", "it computed longer than allowed", "raise the limit; ulimit -t shows that of the shell")
        return "CPU time limit passed", details, cause
    if name == "SIGKILL":
        return _of_kill(evidence)
    return f"killed by {name}", "", Cause("", "somebody sent it this signal", "ask who")


def _recurs(stacks: Sequence[str]) -> bool:
    """Return whether the stack of the thread that crashed, in Python or in C, repeats itself."""
    frames: Counter = Counter()
    crashed = False
    for line in stacks:
        if line.startswith("  "):
            frames[line] += crashed
        else:
            crashed = line.startswith("Current thread")
    return any(count >= ENDLESS for count in frames.values())


def _of_kill(evidence: Evidence) -> _Diagnosis:
    if evidence.oom_kills or _machine_full(evidence.peak):
        counted = f"the kernel counted {evidence.oom_kills} such kills meanwhile"
        details = counted if evidence.oom_kills else f"{gib(evidence.peak)} resident"
        fix = "lower num_envs, num_steps or the number of processes, or allow the container more; dmesg says who it was"
        return "killed because memory was full, probably", details, Cause("", "the kernel's out-of-memory killer", fix)
    cause = "kill -9, a batch system past its time or memory, or a container that was stopped"
    return "killed by SIGKILL", "", Cause("", cause, "ask who; mapush saves on SIGTERM, which can come first")


def _machine_full(peak: int) -> bool:
    import psutil

    return peak > FULL * psutil.virtual_memory().total


def _of_code(evidence: Evidence) -> _Diagnosis:
    error = _error(evidence)
    if any(line.startswith("Fatal Python error") for line in evidence.stacks):
        return "exception", error or f"exit code {evidence.exit_code}", likely(evidence.text) or OF_A_CHILD
    if error is None:
        return ("exit without an exception", *_of_exit(evidence))
    if _NO_MEMORY.search(error):
        return "out of memory", error, None
    text = evidence.text if "CUDA" in error else _traceback(evidence.lines)
    return "exception", error, _own_words(evidence.lines) or likely(text) or Cause("", "", "")


def _of_exit(evidence: Evidence) -> Tuple[str, Cause]:
    last = evidence.lines[-1] if evidence.lines else ""
    if evidence.exit_code in (1, 2) and _USAGE.match(last):
        fix = "check the command, the folder that it is run in, and PYTHONPATH"
        return last, Cause("", "the command line is wrong", fix)
    fix = "look for os._exit, sys.exit and exit() in what it calls, and at the last lines"
    details = f"exit code {evidence.exit_code}"
    return details, Cause("", "it called os._exit or sys.exit, or a library did", fix)


def _traceback(lines: Sequence[str]) -> str:
    """Return the last traceback; all lines if there is none."""
    lines = _flat(lines)
    begins = [index for index, line in enumerate(lines) if _TRACEBACK.match(line)]
    return "\n".join(lines[begins[-1] :] if begins else lines)


def _flat(lines: Sequence[str]) -> List[str]:
    """Return the lines with the outermost group of exceptions in the form of a single one."""
    return [re.sub(r"^  [|+] ", "", line) for line in lines]


def _error(evidence: Evidence) -> Optional[str]:
    """Return the line that names the exception that ended it; None for none, or if it went on after the last one."""
    lines = _flat(evidence.lines)
    unindented = [index for index, line in enumerate(lines) if not line.startswith(" ")]
    if unindented and _ERROR.match(lines[unindented[-1]]):
        return lines[unindented[-1]]
    begins = [index for index in unindented if _TRACEBACK.match(lines[index])]
    if not begins:
        return None
    message = [lines[index] for index in unindented if index > begins[-1]] or [lines[-1].strip()]
    first = begins.pop()
    while begins and _CHAINED.match(lines[first - 1]):
        first = begins.pop()
    logged = first > 0 and _SURVIVED.match(lines[first - 1])
    went_on = len(message) > 1 and (evidence.exit_code != 1 or logged or len(message) > MOST_OF_A_MESSAGE)
    return None if went_on else message[0]


def _own_words(lines: Sequence[str]) -> Optional[Cause]:
    """Return cause and fix of an error of ours, which says them itself."""
    found: Dict[str, str] = {}
    for line in reversed(list(lines)):
        detail = _DETAIL.match(line)
        if detail:
            found.setdefault(detail.group(1), detail.group(2))
        elif _ERROR.match(line):
            break
    return Cause("", found.get("cause", ""), found.get("fix", "")) if found else None


def _curve(values: Sequence[int], peak: int) -> Optional[str]:
    """Draw memory [bytes] over time in one line."""
    if not values:
        return f"peak {gib(peak)}" if peak else None
    steps, top = "▁▂▃▄▅▆▇█", max(max(values), 1)
    width = min(len(values), 40)
    picked = [values[index * len(values) // width] for index in range(width)]
    line = "".join(steps[min(int(8 * value / top), 7)] for value in picked)
    return f"{line} {gib(values[0])} to {gib(values[-1])}, peak {gib(max(peak, top))}"


def _saved(run: Optional[Path]) -> Optional[str]:
    """Say how to continue the training run in the folder `run`."""
    if run is None:
        return None
    try:
        newest = latest(run)
    except CheckpointError:
        return f"nothing yet in {run}"
    return f"{newest}; continue with: python -m mapush.train --resume {run}"
