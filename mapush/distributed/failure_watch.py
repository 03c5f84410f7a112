"""A thread in each rank that notices when a rank of the job fails, says so once, and ends this process.

A rank that raises writes its error to the store of the job before it leaves. A rank that is killed does not, but its
process is gone, or its signs of life end. A rank that hangs is behind the others, which have waited too long for it.
Whoever notices first writes the failure to the store; a failure is printed once on every machine. Without this, the
other ranks would wait in a collective for minutes, and end with errors that are not the cause.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import psutil

from mapush.distributed.activity import DEFAULT_LIMITS, Activity, WatchLimits
from mapush.distributed.first_failure import EXIT_LOST, JobFailure, JobFinding, RankReport, SeenRank, judge
from mapush.distributed.place import Place

FAILURE = "failure"
SEEN = "seen/"
REPORT = "report/"
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a rank that a signal stopped, without saving."""


def print_error(text: str) -> None:
    """Print to stderr in one piece, so that lines of other processes do not come between."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(2, (text + "\n").encode(errors="replace"))


def this_machine() -> str:
    """Return what tells this machine from others: process ids mean the same only here.

    Containers can have the name of their host, and processes of their own; machines can all be called localhost.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def leave(exit_code: int) -> None:
    """End this process at once, even if its main thread waits in a collective."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)


def _record(text: str) -> None:
    """Write an error to the file from which torchrun's agent reads what its report says about this rank."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return
    details = {"py_callstack": text, "timestamp": str(int(time.time()))}
    with contextlib.suppress(OSError), open(file, "w", encoding="utf-8") as opened:
        json.dump({"message": {"message": text, "extraInfo": details}}, opened)


class FailureWatch:
    """Watches the ranks of a job from within one of them.

    Args:
      place: this process in the job.
      store: connection to the store, which only the watch uses.
      activity: what this rank does.
      limits: how long to wait for what.
      on_failure: ends this process; called in the thread of the watch with the exit code.
      machine: name that only the ranks of this machine have; by default `this_machine()`.
      say: prints a failure.
    """

    def __init__(
        self,
        place: Place,
        store: Any,
        activity: Activity,
        limits: WatchLimits = DEFAULT_LIMITS,
        on_failure: Callable[[int], None] = leave,
        *,
        machine: str = "",
        say: Callable[[str], None] = print_error,
    ) -> None:
        self._place = place
        self._store = store
        self._activity = activity
        self._limits = limits
        self._on_failure = on_failure
        self._machine = machine or this_machine()
        self._say = say
        self._launcher = os.getppid()
        self._beat = 0
        self._reports: Dict[int, RankReport] = {}
        self._changed: Dict[int, float] = {}
        self._last_look = time.monotonic()
        self._lock = threading.RLock()  # of the store and of what was read from it
        self._ended = threading.Event()
        self._main_thread = threading.main_thread().ident
        self._thread = threading.Thread(target=self._watch, name="failure watch", daemon=True)
        self.failure: Optional[JobFailure] = None

    def start(self) -> None:
        """Begin to watch."""
        self._report()
        self._activity.on_less_patience = self._report_at_once
        self._thread.start()

    def stop(self) -> None:
        """End the watch: this rank has done its work, and the others must not miss it."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(RuntimeError):
            self._report(left=True)

    # -- for the main thread ---------------------------------------------------------------------------------------

    def claim(self, finding: JobFinding) -> JobFailure:
        """Make a finding the failure of the job, unless there is one already; print it if it is this rank's to print.

        Returns:
          The failure of the job.
        """
        with self._lock:
            if self.failure is None:
                own = JobFailure(*finding, self._machine, self._place.rank)
                try:
                    text = self._store.compare_set(FAILURE, "", own.to_json())
                    self.failure = JobFailure.from_json(text)
                except RuntimeError:  # the store is gone, so the ranks of this machine agree without it
                    self.failure = own._replace(reporter=self._first_here())
                self._note(self.failure)
            return self.failure

    def _note(self, failure: JobFailure) -> None:
        """Acknowledge the failure of the job, and print it if that is up to this rank."""
        if self._is_blamed(failure):
            self._say(f"rank {self._place.rank} is here:\n{self._stack()}")
        with contextlib.suppress(RuntimeError):
            self._store.set(f"{SEEN}{self._place.rank}", "")
        if self._prints(failure):
            self._say(failure.text)
            was_stopped = failure.exit_code in STOPPED
            if not failure.lost and not was_stopped:  # the agent itself reports a rank that was lost, or a signal
                _record(failure.text)

    def _is_blamed(self, failure: JobFailure) -> bool:
        """Whether the others wait for this rank, which hangs."""
        return self._place.rank in failure.ranks and failure.reporter != self._place.rank and not failure.lost

    def find(self, seconds: float) -> Optional[JobFailure]:
        """Wait for the failure of a different rank, which may be the cause of an error in this one.

        Args:
          seconds: how long [s].
        """
        deadline = time.monotonic() + seconds
        while self.failure is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.failure

    def linger(self) -> None:
        """Let the other ranks see the failure before this one ends: the reporter of a failure leaves first."""
        failure = self.failure
        assert failure is not None, "there is one to see"
        deadline = time.monotonic() + self._limits.leave_s
        with contextlib.suppress(RuntimeError), self._lock:
            while time.monotonic() < deadline and not self._may_leave(failure):
                time.sleep(0.02)
        if failure.reporter == self._place.rank:
            self._kill(failure.ranks)

    def _may_leave(self, failure: JobFailure) -> bool:
        if failure.reporter == self._place.rank or self._place.hosts_store:
            return self._all_have_seen(failure)
        reporter = self._reports.get(failure.reporter)
        return reporter is None or reporter.machine != self._machine or self._is_gone(reporter)

    def _all_have_seen(self, failure: JobFailure) -> bool:
        """Whether the others know; ranks of this machine that hang have some time to say where."""
        for rank, report in self._reports.items():
            if rank in failure.ranks and report.machine != self._machine:
                continue
            if not self._is_gone(report) and not self._store.check([f"{SEEN}{rank}"]):
                return False
        return True

    def _kill(self, ranks: List[int]) -> None:
        """Kill those ranks of this machine that do not react to anything else."""
        for rank in ranks:
            report = self._reports.get(rank)
            if rank != self._place.rank and report is not None and report.machine == self._machine:
                with contextlib.suppress(OSError):
                    os.kill(report.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    # -- the thread ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ended.wait(self._limits.beat_s):
            try:
                with self._lock:
                    self._look()
            except RuntimeError as error:
                self._lose_store(error)
            failure = self.failure
            if failure is not None:
                self._end(failure)
                return

    def _look(self) -> None:
        now = time.monotonic()
        passed, self._last_look = now - self._last_look, now
        if passed > self._limits.silent_s / 2.0:
            self._changed = dict.fromkeys(self._changed, now)  # this process was suspended, not the others
        self._activity.pass_time(passed)
        self._report()
        if self._store.check([FAILURE]):
            self.failure = JobFailure.from_json(self._store.get(FAILURE))
            self._note(self.failure)
            return
        finding = judge(self._see(now), self._place.size)
        if finding is None and self._is_orphan():
            finding = self._orphaned()
        if finding is not None:
            self.claim(finding)

    def _report(self, left: bool = False) -> None:
        self._beat += 1
        rank = self._place.rank
        report = RankReport(
            rank, socket.gethostname(), self._machine, os.getpid(), self._beat, self._activity.now(), left
        )
        self._store.set(f"{REPORT}{rank}", report.to_json())

    def _report_at_once(self) -> None:
        """Report between two beats: if this process stops now, the others must not think that it still saves."""
        with contextlib.suppress(RuntimeError), self._lock:
            self._report()

    def _see(self, now: float) -> Dict[int, SeenRank]:
        """Read what the ranks report, and before that which processes are gone: the last report may explain it."""
        gone = {rank for rank, report in self._reports.items() if self._is_gone(report)}
        for rank in range(self._place.size):
            key = f"{REPORT}{rank}"
            if not self._store.check([key]):
                continue
            report = RankReport.from_json(self._store.get(key))
            if rank not in self._reports or report.beat != self._reports[rank].beat:
                self._changed[rank] = now
            self._reports[rank] = report
        seen = {}
        for rank, report in self._reports.items():
            seen[rank] = SeenRank(report, now - self._changed[rank], report.machine == self._machine, rank in gone)
        return seen

    def _is_gone(self, report: RankReport) -> bool:
        if report.machine != self._machine:
            return False
        try:
            return psutil.Process(report.pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    def _is_orphan(self) -> bool:
        return self._place.has_agent and os.getppid() != self._launcher

    def _orphaned(self) -> JobFinding:
        text = f"{self._place} has lost its launcher: process {self._launcher} on {socket.gethostname()} was killed"
        return JobFinding([self._place.rank], text, EXIT_LOST, lost=True)

    def _lose_store(self, error: RuntimeError) -> None:
        place = self._place
        if self._is_orphan():
            self.claim(self._orphaned())
            return
        lines = [
            f"{place} has lost the connection to the store of the job",
            f"  where     {place.address}:{place.port}",
            f"  got       {str(error).splitlines()[0]}",
            "  cause     the machine of rank 0, its launcher or the network between the machines failed",
        ]
        self.claim(JobFinding([place.rank], "\n".join(lines), EXIT_LOST, lost=True))

    def _prints(self, failure: JobFailure) -> bool:
        """Whether this rank prints a failure: its reporter does, and on other machines the first rank that is left."""
        if failure.machine == self._machine:
            return failure.reporter == self._place.rank
        return self._place.rank == self._first_here(failure.ranks)

    def _first_here(self, failed: Sequence[int] = ()) -> int:
        """Return the first living rank of this machine."""
        found = [self._place.rank]
        for rank, report in self._reports.items():
            if report.machine == self._machine and rank not in failed and not self._is_gone(report):
                found.append(rank)
        return min(found)

    def _end(self, failure: JobFailure) -> None:
        """Give the main thread some time to leave by itself, and end the process."""
        if not self._is_blamed(failure) and self._ended.wait(self._limits.leave_s):
            return
        self.linger()
        self._on_failure(failure.exit_code)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._main_thread or 0)
        if frame is None:
            return "  unknown"
        return "".join(traceback.format_stack(frame)).rstrip()
