"""Run commands of the harness without what Windows lacks: `python without_unix.py '[["doctor"], ...]'`.

What the harness builds on is imported first, because it chose by the name of the system, which stays; then modules,
calls and signals are taken away. What our code needs of them becomes an error.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import sys

FOREIGN = "asyncio subprocess psutil multiprocessing.spawn tempfile selectors ctypes.util unittest.mock".split()
MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
CALLS = (
    "fork forkpty getegid geteuid getgid getloadavg getpgid getpgrp getuid killpg mkfifo nice openpty "
    "sched_getaffinity setpgid setsid sysconf wait4 waitstatus_to_exitcode WIFSIGNALED WTERMSIG"
).split()
SIGNALS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN")
"""The signals that Windows has."""
SIGNAL_CALLS = ("alarm", "pause", "pthread_kill", "pthread_sigmask", "set_wakeup_fd", "setitimer", "sigwait")


def take_away() -> None:
    """Remove the modules, calls and signals that Windows lacks."""
    for name in FOREIGN:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for place, names in ((os, CALLS), (signal, SIGNAL_CALLS), (faulthandler, ("register", "unregister"))):
        for name in names:
            if hasattr(place, name):
                delattr(place, name)
    for name in dir(signal):
        if name.startswith("SIG") and name not in SIGNALS:
            delattr(signal, name)


if __name__ == "__main__":
    take_away()
    from harness.__main__ import main

    for words in json.loads(sys.argv[1]):
        print(f"exit code {main(words)} of {words[0]}", flush=True)
