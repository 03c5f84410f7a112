"""Run commands of mapush without what Windows lacks: `python other_systems.py '[["train", "cuboid"], ...]'`.

The packages of other people are imported first, because they choose by the name of the system, which stays; then
modules, calls and signals are taken away. What our code needs of them becomes an error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import List

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
CALLS = (
    "fork forkpty getegid geteuid getgid getloadavg getpgid getpgrp getuid killpg mkfifo nice openpty "
    "sched_getaffinity setpgid setsid statvfs sysconf uname wait4 WIFSIGNALED WTERMSIG"
).split()
SIGNALS = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN")
"""The signals that Windows has."""
SIGNAL_CALLS = ("alarm", "pause", "pthread_kill", "pthread_sigmask", "set_wakeup_fd", "setitimer", "sigwait")


def import_foreign_packages() -> None:
    """Import what mapush builds on, except MuJoCo: before that, mapush chooses an OpenGL library."""
    import filelock  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import psutil  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import viser  # noqa: F401

    import mapush.run.versions

    mapush.run.versions.versions()  # the name of this system is found once


def take_away() -> None:
    """Remove the modules, calls and signals that Windows lacks."""
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in CALLS:
        if hasattr(os, name):
            delattr(os, name)
    for name in dir(signal):
        if name.startswith("SIG") and name not in SIGNALS:
            delattr(signal, name)
    for name in SIGNAL_CALLS:
        if hasattr(signal, name):
            delattr(signal, name)


def main(commands: List[List[str]]) -> None:
    """Run the commands one after the other, and print the exit code of each."""
    import_foreign_packages()
    take_away()
    from mapush.__main__ import main as mapush

    for words in commands:
        code = mapush(words)
        print(f"exit code {code} of {words[0]}", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
