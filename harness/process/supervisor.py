"""Starts a command and answers for every process that comes of it: `python -I -S supervisor.py SETTINGS COMMAND ...`.

It stands between a command and the process that asked for it, the owner. On Linux it adopts every descendant whose
parent dies; when the command has ended, or the owner says so or is gone, it kills what is left. A process that is
started for each command has to start fast, so it takes nothing but the standard library.

SETTINGS is JSON: `control` and `report`, two file descriptors; `owner`, a process id; `limits`, soft and hard, as
`resource` names them. The owner writes to `control` the numbers of signals for the command, one byte each; closing it
kills everything. To `report` go lines of JSON: `{"pid": ...}` or `{"error": ...}` at the start; at the end `status`,
`peak`, the largest resident memory of a process [bytes], and `left`, how many processes had to be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Set

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
GRACE = 0.5  # for descendants that end by themselves once the command has [s]
PATIENCE = 10.0  # with processes that do not even die when killed [s]


def main() -> None:
    """Start the command, wait for its end, leave nothing behind."""
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    for name in ("control", "report"):
        os.set_inheritable(settings[name], False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wakeup = wake_on(signal.SIGCHLD, signal.SIGTERM)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    with os.fdopen(settings["report"], "w", buffering=1) as report:
        try:
            pid = start(command, settings["limits"])
        except OSError as error:
            print(json.dumps({"error": f"{command[0]}: {error}"}), file=report)
            return
        print(json.dumps({"pid": pid}), file=report)
        ending = wait(pid, settings["control"], wakeup, settings["owner"])
        left = clear(pid, GRACE if ending else 0.0)
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(dict(ending or {}, left=left)), file=report)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where the system knows it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def wake_on(*numbers: int) -> int:
    """Return a file descriptor from which a byte can be read for each such signal."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reader


def start(command: List[str], limits: Dict[str, List[int]]) -> int:
    """Run the command as a child, in a session of its own.

    Raises:
      OSError: it cannot be run.
    """
    reader, writer = os.pipe()  # closes when the command runs; otherwise it brings the reason
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, limits)
        except BaseException as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(127)
    os.close(writer)
    with os.fdopen(reader) as failure:
        reason = failure.read()
    if reason:
        os.waitpid(pid, 0)
        raise OSError(reason)
    return pid


def _become(command: List[str], limits: Dict[str, List[int]]) -> None:
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM):  # which Python or we have changed
        signal.signal(number, signal.SIG_DFL)
    for name, (soft, hard) in limits.items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    os.execvp(command[0], command)


def wait(pid: int, control: int, wakeup: int, owner: int) -> Optional[Dict[str, Any]]:
    """Return how the command ended; None if everything is to be killed before it has."""
    events = select.poll()
    for descriptor in (control, wakeup):
        events.register(descriptor, select.POLLIN)
    while os.getppid() == owner:
        ready = [descriptor for descriptor, _ in events.poll()]
        if wakeup in ready:
            os.read(wakeup, 4096)
        ending = _reap(pid)
        if ending is not None:
            return ending
        if control in ready:
            numbers = os.read(control, 64)
            if not numbers:
                return None
            for number in numbers:
                os.kill(pid, number)
    return None


def _reap(pid: int) -> Optional[Dict[str, Any]]:
    ending = None
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status, usage = os.wait4(-1, os.WNOHANG)
            if ended == 0:
                break
            if ended == pid:
                unit = 1 if sys.platform == "darwin" else 1024
                ending = {"status": status, "peak": unit * usage.ru_maxrss}
    return ending


def clear(command: int, grace: float) -> int:
    """Wait `grace` seconds for all descendants, then kill them; return how many that were.

    Args:
      command: the process that was started first.
      grace: how long [s].
    """
    begin = time.monotonic()
    killed: Set[int] = set()
    while time.monotonic() < begin + grace + PATIENCE:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if ended:
            continue
        if time.monotonic() >= begin + grace:
            for pid in set(children() if sys.platform == "linux" else [-command]) - killed:  # -: the process group
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        time.sleep(0.005)
    return len(killed)


def children() -> List[int]:
    """Return the processes whose parent this one is, by birth or because theirs died."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(name)}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b")")[2].split()[1])
            if parent == os.getpid():
                found.append(int(name))
    return found


if __name__ == "__main__":
    main()
