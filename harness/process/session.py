"""A command while it runs: reads its output, measures its memory, enforces its limits, and leaves nothing running."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import psutil

from harness.process.announcement import Announcement, AnnouncementFile
from harness.process.command_onlooker import CommandOnlooker
from harness.process.console import OutputTail
from harness.process.descriptors import write_all
from harness.process.evidence import Evidence
from harness.process.launch import launch
from harness.process.limits import Limits
from harness.process.memory_curve import MemoryCurve
from harness.process.processes import ProcessState, alive, descendants, examine, kill_below, oom_kills

STACK_WAIT_S = 1.0  # for a process that was asked to write its stack
KILL_TIMEOUT_S = 15.0  # for a supervisor that was asked to kill everything; then it is killed itself
MAX_STACKS = 16  # processes that are asked for their stacks
TERM_GRACE_S = 10.0  # for a command that was asked to end because it was watched long enough
MAX_WAIT_S = 0.5  # between two looks at the supervisor
MAX_LEFTOVER_READS = 1000  # of the pipes, after the command has ended

Watcher = Callable[[], Optional[str]]
"""Looks at what a command does, and returns a reason to end it, or None."""


def watch_nothing() -> Optional[str]:
    """Let the command run."""
    return None


class Session:
    """A command, its supervisor, and what is observed of both.

    Args:
      command: program and arguments.
      limits: what the command may use.
      attached: let the command read what is typed, and print its output here.
      env: environment variables in addition to those of this process.
      onlooker: measures the command, and says when it has seen enough; None for nobody.
      watcher: called several times a second.
      on_output: called before output of the command is printed here.

    Raises:
      OSError, ValueError: it cannot be started, see `launch`.
    """

    def __init__(
        self,
        command: Sequence[str],
        limits: Limits,
        attached: bool,
        env: Mapping[str, str],
        onlooker: Optional[CommandOnlooker] = None,
        watcher: Watcher = watch_nothing,
        on_output: Callable[[], Any] = watch_nothing,
    ) -> None:
        self._watcher = watcher
        self._on_output = on_output
        self._command = tuple(map(str, command))
        self._limits = limits
        self._output = OutputTail()
        self._memory = MemoryCurve()
        self._onlooker = onlooker
        self._end_at = math.inf  # when a command that was asked to end has had enough time for it
        self._reported: Dict[str, Any] = {}  # by the supervisor
        self._unfinished_report = b""
        self._stopped_for: Optional[str] = None
        self._asked: Optional[int] = None
        self._processes: List[ProcessState] = []
        self._oom_kills_before = oom_kills()
        self._start = time.monotonic()
        self._seconds = 0.0
        self._announced = Announcement()
        self._give_up_at = math.inf  # when a supervisor that kills everything has had enough time for it
        self._announcements = AnnouncementFile()
        self._events = selectors.DefaultSelector()
        try:
            launched = launch(self._command, limits, attached, {**self._announcements.environment, **env})
        except BaseException:
            self._close_own_files()
            raise
        self._supervisor = launched.process
        self._control: Optional[int] = launched.control
        self._events.register(launched.report, selectors.EVENT_READ, self._note_report)
        for reader, sink in zip(launched.outputs, (1, 2)):
            self._listen(reader, sink if attached else None)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process of the command running, whatever happened."""
        self._kill_all()
        try:
            self._supervisor.wait(timeout=max(self._give_up_at - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            kill_below(self._supervisor.pid, STACK_WAIT_S)
            self._supervisor.kill()
            self._supervisor.wait()
        for key in list(self._events.get_map().values()):
            self._stop_listening(key.fd)
        self._close_own_files()

    def watch(self) -> None:
        """Follow the command to its end, and end it if it passes a limit."""
        while self._supervisor.poll() is None and time.monotonic() < self._give_up_at:
            now = time.monotonic()
            if now >= self._memory.due:
                self._memory.sample(self._supervisor.pid)
                self._supervisor.send_signal(signal.SIGCONT)  # in case the command has stopped it
            if self._onlooker is not None:
                self._let_look(self._onlooker, now)
            reason = self._limit_passed(now)
            if reason is not None and self._stopped_for is None:
                self._stop(reason)
            pause = self._next_deadline(now) - now
            self._read(min(max(pause, 0.0), MAX_WAIT_S))
        self._seconds = time.monotonic() - self._start
        for _ in range(MAX_LEFTOVER_READS):
            if not self._read(0.0):
                break
        self._output.finish()
        self._announced = self._announcements.read()

    def _let_look(self, onlooker: CommandOnlooker, now: float) -> None:
        """Let the onlooker measure the command, and end the command once the onlooker has seen enough."""
        if self._end_at < math.inf:
            if now >= self._end_at:
                self._kill_all()
            return
        pid = self._reported.get("pid")
        if pid is not None and now >= onlooker.due and alive(pid):
            onlooker.look(self._supervisor.pid)
        if onlooker.has_seen_enough:
            self._end_at = now + TERM_GRACE_S
            self.forward(signal.SIGTERM)

    def forward(self, number: int) -> None:
        """Forward a signal to the command."""
        self._asked = number
        if self._control is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, bytes([number]))

    def evidence(self) -> Evidence:
        """Return what was observed."""
        return Evidence(
            command=self._command,
            status=self._reported.get("status"),
            start_error=self._reported.get("error"),
            stopped_for=self._stopped_for,
            asked=self._asked,
            seconds=self._seconds,
            limits=self._limits.given(),
            lines=list(self._output.lines),
            stacks=list(self._output.stacks),
            processes=self._processes,
            left=self._reported.get("left", 0),
            oom_kills=oom_kills() - self._oom_kills_before,
            memory=self._memory.samples,
            peak=max(self._reported.get("peak", 0), self._memory.peak),
            announced=self._announced,
        )

    # -- limits --------------------------------------------------------------------------------------------------

    def _next_deadline(self, now: float) -> float:
        deadlines = [self._memory.due]
        if self._onlooker is not None:
            deadlines += [self._onlooker.due, self._end_at]
        if self._limits.timeout is not None:
            deadlines.append(self._start + self._limits.timeout)
        if self._limits.silence is not None:
            deadlines.append(self._output.last_line_at + self._limits.silence)
        ahead = [deadline for deadline in deadlines if deadline > now]
        return min(ahead, default=now + MAX_WAIT_S)

    def _limit_passed(self, now: float) -> Optional[str]:
        limits = self._limits
        if limits.memory is not None and self._memory.rss > limits.memory:
            return "memory"
        if limits.timeout is not None and now - self._start > limits.timeout:
            return "timeout"
        if limits.silence is not None and now - self._output.last_line_at > limits.silence:
            return "silence"
        return self._watcher()

    def _stop(self, reason: str) -> None:
        """End a command that has passed a limit, after a look at what its processes do."""
        self._stopped_for = reason
        processes = descendants(self._supervisor.pid)
        for state in examine(processes):
            most_threads = max(state.threads, self._memory.threads.get(state.pid, 0))
            self._processes.append(state._replace(most_threads=most_threads))
        # Children first: once its first child has ended, the supervisor kills all others.
        for process in reversed(processes[:MAX_STACKS]):
            self._ask_for_stack(process)
        self._kill_all()

    def _ask_for_stack(self, process: psutil.Process) -> None:
        """Let `faulthandler`, if the process has enabled it, write the stacks of a process, which ends it."""
        lines_before = len(self._output.stacks)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGABRT)
            os.kill(process.pid, signal.SIGCONT)  # in case it is stopped
        deadline = time.monotonic() + STACK_WAIT_S
        while alive(process.pid) and time.monotonic() < deadline:
            self._read(0.01)
        while self._read(0.02) and time.monotonic() < deadline + STACK_WAIT_S:
            pass
        stack = list(self._output.stacks)[lines_before:]
        for index, state in enumerate(self._processes):
            if state.pid == process.pid:
                self._processes[index] = state._replace(stack=stack)

    def _kill_all(self) -> None:
        """Let the supervisor kill the command and every process below it."""
        if self._control is not None:
            os.close(self._control)
            self._control = None
            self._give_up_at = time.monotonic() + KILL_TIMEOUT_S

    # -- pipes ---------------------------------------------------------------------------------------------------

    def _listen(self, reader: int, sink: Optional[int]) -> None:
        def take(data: bytes) -> None:
            self._output.feed(reader, data)
            if sink is not None:
                self._on_output()
                write_all(sink, data)

        self._events.register(reader, selectors.EVENT_READ, take)

    def _stop_listening(self, reader: int) -> None:
        self._events.unregister(reader)
        os.close(reader)

    def _read(self, seconds: float) -> bool:
        """Read what arrives within some time [s]; return whether anything did."""
        if not self._events.get_map():
            time.sleep(min(seconds, 0.01))
            return False
        ready = self._events.select(seconds)
        for key, _ in ready:
            take: Callable[[bytes], None] = key.data
            try:
                data = os.read(key.fd, 65536)
            except OSError:  # a terminal that was closed
                data = b""
            if data:
                take(data)
            else:
                self._stop_listening(key.fd)
        return bool(ready)

    def _note_report(self, data: bytes) -> None:
        lines = (self._unfinished_report + data).split(b"\n")
        self._unfinished_report = lines.pop()
        for line in lines:
            self._reported.update(json.loads(line))

    def _close_own_files(self) -> None:
        self._events.close()
        self._announcements.close()
