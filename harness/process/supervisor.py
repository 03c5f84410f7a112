"""Starts a command and kills every process that is left of it: `python -I -S supervisor.py SETTINGS COMMAND ...`.

The supervisor stands between a command and the process that asked for it, the owner. On Linux it adopts every
descendant whose parent dies. When the command has ended, or the owner asks for it or has died, the supervisor kills all
processes that are left. It is started for each command, so it must start fast, and imports only the standard library.

SETTINGS is JSON: `control` and `report`, two file descriptors; `owner`, a process id; `limits`, soft and hard limits
under the names of the module `resource`. The owner writes the numbers of signals for the command to `control`, one byte
each; closing it kills everything. The supervisor writes lines of JSON to `report`: `{"pid": ...}` or `{"error": ...}`
at the start; at the end `status`, as `os.wait` returns it, `peak`, the largest resident memory of a process [bytes],
and `left`, how many processes had to be killed.
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

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # from linux/prctl.h
EXIT_GRACE_S = 0.5  # for descendants that end by themselves after the command
KILL_TIMEOUT_S = 10.0  # for processes that do not die although they were killed
NOT_STARTED_CODE = 127
BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    """Start the command, wait for its end, and leave no process behind."""
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
        if ending is None:
            ending = {}
            grace = 0.0
        else:
            grace = EXIT_GRACE_S
        ending["left"] = kill_descendants(pid, grace)
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(ending), file=report)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; does nothing where the system is not Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def wake_on(*numbers: int) -> int:
    """Return a file descriptor from which one byte can be read for each of these signals that arrives."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reader


def start(command: List[str], limits: Dict[str, List[int]]) -> int:
    """Run the command as a child in a session of its own, and return its process id.

    Args:
      command: program and arguments.
      limits: soft and hard limits, under the names of the module `resource`.

    Raises:
      OSError: the command cannot be run.
    """
    reader, writer = os.pipe()  # closed by a successful exec; otherwise it carries the reason
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, limits)
        except BaseException as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(NOT_STARTED_CODE)
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
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # Python or the supervisor has changed it
    for name, (soft, hard) in limits.items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    os.execvp(command[0], command)


def wait(pid: int, control: int, wakeup: int, owner: int) -> Optional[Dict[str, Any]]:
    """Wait for the end of the command.

    Args:
      pid: the command.
      control: see the module's docstring.
      wakeup: descriptor that becomes readable when a child has ended.
      owner: the process for which the command runs.

    Returns:
      `status` and `peak`; None if everything is to be killed although the command has not ended.
    """
    events = select.poll()
    for descriptor in (control, wakeup):
        events.register(descriptor, select.POLLIN)
    while os.getppid() == owner:
        ready = {descriptor for descriptor, _ in events.poll()}
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
    """Collect all children that have ended; return how `pid` ended if it is one of them."""
    ending = None
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status, usage = os.wait4(-1, os.WNOHANG)
            if ended == 0:
                break
            if ended == pid:
                ending = {"status": status, "peak": BYTES_PER_MAXRSS * usage.ru_maxrss}
    return ending


def kill_descendants(command: int, grace: float) -> int:
    """Wait until all descendants have ended, killing them after some time; return how many were killed.

    Args:
      command: process id of the command, which is also the id of its process group.
      grace: how long they may take to end by themselves [s].
    """
    kill_at = time.monotonic() + grace
    give_up_at = kill_at + KILL_TIMEOUT_S
    killed: Set[int] = set()
    while time.monotonic() < give_up_at:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if ended:
            continue
        if time.monotonic() >= kill_at:
            _kill(_targets(command) - killed, killed)
        time.sleep(0.005)
    return len(killed)


def _targets(command: int) -> Set[int]:
    """Return what is to be killed: on Linux all children, elsewhere the process group of the command."""
    if sys.platform == "linux":
        return children()
    return {-command}


def _kill(pids: Set[int], killed: Set[int]) -> None:
    """Kill processes, and add those that still existed to `killed`."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)


def children() -> Set[int]:
    """Return the children of this process, including those it has adopted."""
    found = set()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(name)}/stat", "rb") as stat:
                after_name = stat.read().rpartition(b")")[2]
            parent = int(after_name.split()[1])
            if parent == os.getpid():
                found.add(int(name))
    return found


if __name__ == "__main__":
    main()
