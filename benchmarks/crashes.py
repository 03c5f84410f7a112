"""Crashes that are told right: `python -m benchmarks.crashes [--number 100]`.

Runs real processes that really crash, hang or leave, one kind after the other, under `harness.process.isolate`, and
prints how many of them were diagnosed correctly in the first line of the report. The exit code is 1 if one was not.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, NamedTuple, Optional, Sequence

import psutil

from harness.process.isolate import Limits, run

GIB = 2**30
SLOW = Limits(timeout=60.0)  # for what ends by itself
HANG = Limits(timeout=3.0)
MARK = f"--of-crashes-{os.getpid()}"  # on the command lines of all that is started here


class Crash(NamedTuple):
    """A way to end badly.

    Attributes:
      kind: how the report has to begin.
      source: Python code; `{n}` stands for a number that differs from run to run.
      limits: what it may take.
    """

    kind: str
    source: str
    limits: Limits = SLOW


THREADS = "import threading, time\nfor _ in range({n} % 5 + 1):\n"
THREADS += "    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"
FORK = """
import logging, os, threading, time
lock = [threading.Lock(), threading.RLock(), threading.Condition()][{n} % 3]
def hold():
    with lock:
        time.sleep(99)
threading.Thread(target=hold, daemon=True).start()
time.sleep(0.2)
pid = os.fork()
if pid == 0:
    with lock:
        os._exit(0)
os.waitpid(pid, 0)
"""
BUS = """
import mmap, tempfile
file = tempfile.TemporaryFile()
file.truncate(4096 * ({n} + 2))
view = mmap.mmap(file.fileno(), 0)
file.truncate(4096)
view[4096 * ({n} + 1)]
"""
ILLEGAL_ACCESS = "CUDA error: an illegal memory access was encountered"

CRASHES = {
    "segfault": Crash("segmentation fault: SIGSEGV", "import ctypes; ctypes.string_at({n})"),
    "segfault in a thread": Crash(
        "segmentation fault: SIGSEGV",
        THREADS + "import ctypes\nthread = threading.Thread(target=ctypes.string_at, args=({n},))\nthread.start()\n"
        "thread.join()",
    ),
    "abort": Crash("abort: SIGABRT", THREADS + "import os; os.abort()"),
    "bus error": Crash("bus error: SIGBUS", BUS),
    "illegal instruction": Crash(
        "illegal instruction: SIGILL",
        "import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write(b'\\x0f\\x0b' * {n})\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()",
    ),
    "SIGKILL": Crash("killed by SIGKILL", "import os, time; time.sleep(0.00{n}); os.kill(os.getpid(), 9)"),
    "SIGTERM": Crash("killed by SIGTERM", "import os; os.kill(os.getpid(), 15)"),
    "os._exit": Crash("exit without an exception: exit code ", "import os; os._exit({n})"),
    "sys.exit": Crash("exit without an exception: exit code ", "import sys; print('bye'); sys.exit({n})"),
    "exception": Crash("exception: ValueError: number {n}", "raise ValueError('number {n}')"),
    "address space": Crash(
        "memory limit passed: 1.0 GiB of address space", "bytearray({n} * 10**10)", Limits(address_space=GIB)
    ),
    "resident memory": Crash(
        "memory limit passed: 0.2 GiB resident",
        "import time\nkept = []\nwhile True:\n    kept.append(b'x' * {n} * 10**5)\n    time.sleep(0.002 * {n})",
        Limits(timeout=60.0, memory=GIB // 5),
    ),
    "CPU time": Crash("CPU time limit passed: 1 s", "while True: sum(range({n}))", Limits(timeout=60.0, cpu=1)),
    "endless loop": Crash("hang: no end within 3 s", "while True: sum(range({n}))", HANG),
    "wait": Crash("hang: no end within 3 s", THREADS + "threading.Event().wait()", HANG),
    "silence": Crash(
        "hang: nothing printed within 2 s",
        "import time\nfor _ in range(5):\n    print('.', flush=True); time.sleep(0.0{n})\ntime.sleep(99)",
        Limits(silence=2.0),
    ),
    "stopped": Crash("hang: no end within 3 s", "import os; os.kill(os.getpid(), 19)", HANG),
    "deadlock at fork": Crash("deadlock at fork, probably", FORK, HANG),
    "illegal access, abort": Crash(
        "illegal memory access on the GPU",
        "import os; os.write(2, b'  what():  " + ILLEGAL_ACCESS + "\\n'); os.abort()",
    ),
    "illegal access, exception": Crash(
        "illegal memory access on the GPU", "raise RuntimeError('" + ILLEGAL_ACCESS + "')"
    ),
    "no program": Crash("cannot start", ""),
}
"""Illegal memory access is played with the words of torch and its ways to end, for not every machine has a GPU."""


def crash(name: str, number: int) -> Optional[str]:
    """Let a process crash; return what is wrong with the report, None if nothing is.

    Args:
      name: of `CRASHES`.
      number: of the variant, 1 to 9.
    """
    how = CRASHES[name]
    command = [sys.executable, "-S", "-c", how.source.replace("{n}", str(number)), MARK]
    ending = run(command if how.source else [f"no-such-program-{number}"], how.limits)
    report = str(ending)
    if not report.startswith(how.kind.replace("{n}", str(number))):
        return report
    if ending.exit_code == 0 or not (ending.cause or how.kind.startswith("exception")):
        return "no exit code or no cause:\n" + report
    return None


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes", description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=100, help="of crashes (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="decides their variants (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="crashes side by side (default 2)")
    options = parser.parse_args(argv)
    names = [list(CRASHES)[index % len(CRASHES)] for index in range(options.number)]
    draw = random.Random(options.seed)
    numbers = [draw.randint(1, 9) for _ in names]
    began = time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        failures = list(pool.map(crash, names, numbers))
    wrong: Dict[str, List[str]] = collections.defaultdict(list)
    for name, failure in zip(names, failures):
        if failure is not None:
            wrong[name].append(failure)
            print(f"{name}\n{failure}")
    orphans = [one.pid for one in psutil.process_iter(["cmdline"]) if MARK in (one.info["cmdline"] or [])]
    print(f"crashes.injected {len(names)}")
    print(f"crashes.kinds {len(set(names))}")
    print(f"crashes.told_right {len(names) - sum(map(len, wrong.values()))}")
    print(f"crashes.orphans {len(orphans)}")
    print(f"crashes.seconds {time.perf_counter() - began:.0f}")
    return int(bool(wrong or orphans))


if __name__ == "__main__":
    raise SystemExit(main())
