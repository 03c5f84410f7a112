"""Runs a command as a plain child process, where the system has no `fork` and so no supervisor: on Windows.

What the command itself starts is not watched, and may outlive it; its memory is not measured.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import IO, Callable, Mapping, Optional, Sequence

from harness.process.console import OutputTail
from harness.process.evidence import Evidence
from harness.process.limits import Limits

LOOK_EVERY_S = 0.1
ACCESS_VIOLATION, SIGSEGV = 0xC0000005, 11  # the exit code by which Windows says what Unix says by this signal
ENVIRONMENT = {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}


def run_plainly(command: Sequence[str], limits: Limits, watcher: Callable[[], Optional[str]]) -> Evidence:
    """Run a command to its end, and return what was observed; its output is not shown.

    Args:
      command: program and arguments.
      limits: only its times count.
      watcher: called several times a second; what it returns is the reason to end the command, if it is not None.
    """
    output = OutputTail()
    started = time.monotonic()
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(os.environ),
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, output), daemon=True)
    reader.start()
    stopped_for = None
    try:
        while process.poll() is None and stopped_for is None:
            time.sleep(LOOK_EVERY_S)
            stopped_for = _limit_passed(limits, time.monotonic() - started, output) or watcher()
    finally:
        if process.poll() is None:
            process.kill()
        code = process.wait()
        reader.join(timeout=1.0)  # a process that it started may hold the pipe open
    output.finish()
    status = None
    if stopped_for is None:
        status = _status(code)
    return Evidence(
        tuple(command),
        status=status,
        stopped_for=stopped_for,
        seconds=time.monotonic() - started,
        limits=limits.given(),
        lines=list(output.lines),
        stacks=list(output.stacks),
    )


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    return {**ENVIRONMENT, **variables}


def _read(pipe: IO[bytes], output: OutputTail) -> None:
    with pipe:
        while True:
            data = os.read(pipe.fileno(), 65536)
            if not data:
                return
            output.feed("output", data)


def _limit_passed(limits: Limits, seconds: float, output: OutputTail) -> Optional[str]:
    if limits.timeout is not None and seconds > limits.timeout:
        return "timeout"
    if limits.silence is not None and time.monotonic() - output.last_line_at > limits.silence:
        return "silence"
    return None


def _status(code: int) -> int:
    """Return an exit code as `os.wait` would: the number of a signal, or 256 times the code."""
    if code < 0:
        return -code
    if code == ACCESS_VIOLATION:
        return SIGSEGV
    if code > 255:
        return 255 << 8
    return code << 8
