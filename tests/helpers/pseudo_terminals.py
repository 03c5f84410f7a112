"""A pseudo-terminal, and programs that run in one."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Dict, List, Sequence, Tuple


class Terminal:
    """A pseudo-terminal to write to; keeps what arrives, and when."""

    def __enter__(self) -> Terminal:
        self._reader, writer = os.openpty()
        self.stream = os.fdopen(writer, "w", encoding="utf-8")
        self._arrived: List[Tuple[float, bytes]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        if not self.stream.closed:
            self.stream.close()
        self._thread.join(timeout=10)
        os.close(self._reader)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._reader, 65536)
            except OSError:  # Linux says so when the other end is closed
                return
            if not data:
                return
            self._arrived.append((time.monotonic(), data))

    def chunks(self) -> List[str]:
        """Return what arrived so far, in pieces."""
        return [data.decode("utf-8", "replace") for _, data in self._arrived]

    def text(self) -> str:
        """Close the terminal, and return everything that arrived."""
        self.stream.close()
        self._thread.join(timeout=10)
        return b"".join(data for _, data in self._arrived).decode("utf-8", "replace")

    def gaps(self, start: float, end: float) -> List[float]:
        """Return the times between two arrivals [s], from `start` to `end`."""
        times = [start, *(moment for moment, _ in self._arrived), end]
        return [after - before for before, after in zip(times, times[1:])]


def run_in_terminal(command: Sequence[str], env: Dict[str, str], folder: Path) -> Tuple[int, str, List[float]]:
    """Run a program in a terminal.

    Returns:
      Its exit code, what it wrote, and the times between two outputs [s], from its start to its end.
    """
    with Terminal() as terminal:
        start = time.monotonic()
        process = subprocess.Popen(
            command, env=env, cwd=str(folder), stdin=subprocess.DEVNULL, stdout=terminal.stream, stderr=terminal.stream
        )
        code = process.wait()
        end = time.monotonic()
        text = terminal.text()
        return code, text, terminal.gaps(start, end)
