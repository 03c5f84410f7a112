"""How far a process of the harness is, written for the process that shows it.

The writer may be the process whose memory is judged, so writing keeps nothing: a few bytes are copied to a file that is
mapped into memory.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import NamedTuple, Optional

from harness.status.status_line import StatusLine

LAYOUT = struct.Struct("=160sd")
_TEXT_BYTES = 160


class Progress(NamedTuple):
    """What a process does.

    Attributes:
      doing: in a few words; "" if nothing was written yet.
      done: share that is done, 0 to 1; nan if that is not known.
    """

    doing: str = ""
    done: float = math.nan


class ProgressWriter:
    """Writes to a file what this process does.

    Args:
      path: of the file.
    """

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(LAYOUT.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)

    def __call__(self, doing: str, done: float = math.nan) -> None:
        """Write what this process does from now on; see `Progress`."""
        LAYOUT.pack_into(self._memory, 0, doing.encode()[:_TEXT_BYTES], done)


def read_progress(path: Path) -> Progress:
    """Return what was last written to a file; nothing if it does not exist yet."""
    try:
        content = path.read_bytes()
    except OSError:
        return Progress()
    if len(content) < LAYOUT.size:
        return Progress()
    text, done = LAYOUT.unpack_from(content)
    return Progress(text.rstrip(b"\0").decode(errors="ignore"), done)


class FollowedProgress:
    """Shows in this process what a different one writes; called again and again, as a watcher of `isolate.call`.

    Args:
      path: of the file.
      status: where to show it.
    """

    def __init__(self, path: Path, status: StatusLine) -> None:
        self._path = path
        self._status = status

    def __call__(self) -> Optional[str]:
        """Show what was last written; return no reason to end the process."""
        progress = read_progress(self._path)
        if progress.doing:
            self._status.say(progress.doing, progress.done)
        return None
