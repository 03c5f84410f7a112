"""Programs that keep something in every turn, and twins that do the same work and keep nothing.

A program turns for as long as it asks for, and for three times as long as its own start took, so that no verdict
depends on how fast a process starts.
"""

from __future__ import annotations

import sys
from typing import Dict, List, NamedTuple

SECONDS = 3.5
PAUSE_S = 0.03
BEGIN = f"""
import os, subprocess, sys, threading, time
import psutil
{{imports}}
leaks = sys.argv[1] == "leaks"
seconds = float(sys.argv[2])
kept = []
stop = threading.Event()
{{prepare}}
started = time.time() - psutil.Process().create_time()
end = time.monotonic() + max(seconds, 3.0 * started)
while time.monotonic() < end:
{{turn}}
    time.sleep({PAUSE_S})
stop.set()
"""


class Program(NamedTuple):
    """A program of both kinds.

    Attributes:
      meter: that finds the leak.
      owner: what the first owner of the report contains.
      turn: one turn; keeps something if `leaks`.
      imports: what it imports.
      prepare: what it does before the first turn.
    """

    meter: str
    owner: str
    turn: str
    imports: str = ""
    prepare: str = ""


PROGRAMS: Dict[str, Program] = {
    "array": Program(
        "rss", "memory of process", "one = np.ones(70_000)\nif leaks: kept.append(one)", imports="import numpy as np"
    ),
    "list": Program("rss", "memory of process", "one = [0.5 * n for n in range(20_000)]\nif leaks: kept.append(one)"),
    "descriptor": Program(
        "descriptors",
        "open files /dev/null: +",
        "one = os.open(os.devnull, os.O_RDONLY)\nkept.append(one)\nif not leaks: os.close(kept.pop())",
    ),
    "thread": Program(
        "threads",
        "threads ",
        "one = threading.Thread(target=stop.wait, daemon=True)\none.start() if leaks else one.run\nkept.append(0)",
        prepare="threading.Thread(target=stop.wait, daemon=True).start()",
    ),
    "child": Program(
        "children",
        "child processes sleep: +",
        "one = subprocess.Popen(['sleep', '600'])\nif not leaks:\n    one.kill()\n    one.wait()\ntime.sleep(0.05)",
    ),
    "zombie": Program(
        "children",
        "(ended): +",
        "one = os.fork()\nif not one: os._exit(0)\nif not leaks: os.waitpid(one, 0)\ntime.sleep(0.05)",
    ),
    "array of a worker": Program(
        "rss",
        "memory of process",
        "pass",
        prepare="worker = os.fork()\nif worker:\n    os.waitpid(worker, 0)\n    sys.exit()\nimport numpy as np",
    )._replace(turn="one = np.ones(70_000)\nif leaks: kept.append(one)"),
}


def command(name: str, leaks: bool, seconds: float = SECONDS) -> List[str]:
    """Return the command of a program, or of its clean twin."""
    program = PROGRAMS[name]
    turn = "\n".join(f"    {line}" for line in program.turn.splitlines())
    source = BEGIN.format(imports=program.imports, prepare=program.prepare, turn=turn)
    return [sys.executable, "-c", source, "leaks" if leaks else "clean", str(seconds)]
