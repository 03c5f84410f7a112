"""File descriptors of a command that is watched: its terminal, and writing to descriptors that may fail."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Tuple


def open_terminal() -> Tuple[int, int]:
    """Return (reader, writer) of a new terminal that has the size of the present one; POSIX only."""
    import fcntl
    import termios

    reader, writer = os.openpty()
    size = fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(writer, termios.TIOCSWINSZ, size)
    return reader, writer


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; give up without an error if the disk is full or nobody reads the pipe any more."""
    with contextlib.suppress(OSError):
        while data:
            written = os.write(descriptor, data)
            data = data[written:]


def print_to_stderr(text: str) -> None:
    """Print a line to stderr, whatever its encoding is, even if it is closed or full."""
    encoding = "utf-8"
    if sys.stderr is not None:
        encoding = sys.stderr.encoding
    write_all(2, f"{text}\n".encode(encoding, "backslashreplace"))


def open_closed_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, so that no pipe takes their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            lowest_free = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(lowest_free, True)
