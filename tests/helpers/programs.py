"""Small programs that end in every way, and what they may take."""

from __future__ import annotations

import sys

from harness.isolate import Limits

PYTHON = [sys.executable, "-S", "-c"]
SHORT = Limits(timeout=3.0)
LONG = Limits(timeout=30.0)
MIB = 2**20
GROWING = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * 10**7)\n    time.sleep(0.01)"
LOOP = "while True: pass"
