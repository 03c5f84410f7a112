"""Small programs that end in different ways, and limits for them."""

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
    """Run programs in parallel, because most of them wait, and return how each of them ended.

    Args:
      cases: tuples whose first items are the source of the program and its limits.
    """

    def run_case(case):
        source, limits = case[:2]
        return run(PYTHON + [source], limits)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run_case, cases))
