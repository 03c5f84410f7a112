"""Small programs that end in every way, and what they may take."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from harness.process.isolate import Limits, run

PYTHON = [sys.executable, "-S", "-c"]
SHORT = Limits(timeout=3.0)
LONG = Limits(timeout=30.0)
MIB = 2**20
GROWING = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * 10**7)\n    time.sleep(0.01)"
LOOP = "while True: pass"


def run_all(cases):
    """Return the endings of programs, (source, limits, ...) each, run side by side because most of them wait."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda case: run(PYTHON + [case[0]], case[1]), cases))
