"""Count crashes that are diagnosed correctly: `python -m benchmarks.crashes [--number 100]`.

Runs processes that really crash, hang or exit, one kind after the other, under `harness.process.isolate`, and prints
how many of them were diagnosed correctly in the first line of the report. The exit code is 1 if one was not.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import List, NamedTuple, Optional, Sequence

import psutil

from harness.process.isolate import Limits, run
from harness.stack import training_hints

GIB = 2**30
ENDS = Limits(timeout=60.0)  # for programs that end by themselves
HANGS = Limits(timeout=3.0)
MARK = f"--of-crashes-{os.getpid()}"  # on the command line of every process that is started here


class Crash(NamedTuple):
    """A way to end badly.

    Attributes:
      kind: the expected beginning of the report; "{n}" stands for the number of the variant.
      source: Python code; "" for a program that does not exist.
      limits: what it may use.
    """

    kind: str
    source: str
    limits: Limits = ENDS


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
    "endless loop": Crash("hang: no end within 3 s", "while True: sum(range({n}))", HANGS),
    "wait": Crash("hang: no end within 3 s", THREADS + "threading.Event().wait()", HANGS),
    "silence": Crash(
        "hang: nothing printed within 2 s",
        "import time\nfor _ in range(5):\n    print('.', flush=True); time.sleep(0.0{n})\ntime.sleep(99)",
        Limits(silence=2.0),
    ),
    "stopped": Crash("hang: no end within 3 s", "import os; os.kill(os.getpid(), 19)", HANGS),
    "deadlock at fork": Crash("deadlock at fork, probably", FORK, HANGS),
    "illegal access, abort": Crash(
        "illegal memory access on the GPU",
        "import os; os.write(2, b'  what():  " + ILLEGAL_ACCESS + "\\n'); os.abort()",
    ),
    "illegal access, exception": Crash(
        "illegal memory access on the GPU", "raise RuntimeError('" + ILLEGAL_ACCESS + "')"
    ),
    "no program": Crash("cannot start", ""),
}
"""An illegal memory access is simulated by the message and the exit of torch, since not every machine has a GPU."""


def crash(name: str, number: int) -> Optional[str]:
    """Let a process crash; return what is wrong with the report, None if it is right.

    Args:
      name: key of `CRASHES`.
      number: number of the variant, 1 to 9.
    """
    expected = CRASHES[name]
    command = [f"no-such-program-{number}"]
    if expected.source:
        command = [sys.executable, "-S", "-c", _variant(expected.source, number), MARK]
    ending = run(command, expected.limits)
    report = str(ending)
    if not report.startswith(_variant(expected.kind, number)):
        return report
    if ending.exit_code == 0:
        return f"no exit code:\n{report}"
    if not ending.cause and not expected.kind.startswith("exception"):
        return f"no cause:\n{report}"
    return None


def _variant(text: str, number: int) -> str:
    return text.replace("{n}", str(number))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes", description=str(__doc__).splitlines()[0])
    parser.add_argument("--number", type=int, default=100, help="number of crashes (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="decides their variants (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="crashes that run at the same time (default 2)")
    options = parser.parse_args(argv)
    training_hints.activate()
    kinds = list(CRASHES)
    names = [kinds[index % len(kinds)] for index in range(options.number)]
    draw = random.Random(options.seed)
    numbers = [draw.randint(1, 9) for _ in names]
    began = time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        failures = list(pool.map(crash, names, numbers))
    wrong = 0
    for name, failure in zip(names, failures):
        if failure is not None:
            wrong += 1
            print(f"{name}\n{failure}")
    orphans = _orphans()
    print(f"crashes.injected {len(names)}")
    print(f"crashes.kinds {len(set(names))}")
    print(f"crashes.diagnosed_correctly {len(names) - wrong}")
    print(f"crashes.orphans {len(orphans)}")
    print(f"crashes.seconds {time.perf_counter() - began:.0f}")
    return 1 if wrong or orphans else 0


def _orphans() -> List[int]:
    """Return the ids of processes that were started here and are still running."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if MARK in (process.info["cmdline"] or []):
            found.append(process.pid)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
