"""The last lines that a command printed, and the stacks that `faulthandler` wrote between them."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Any, Deque, Dict

MAX_LINES = 200
MAX_LINE_LENGTH = 2000
MAX_STACK_LINES = 2000

_STACK_BEGINS = re.compile(r"(Fatal Python error: |Current thread|Thread 0x|Stack \(most recent|Timeout \()")
_STACK_GOES_ON = re.compile(r'(  File "|  Binary file "|  <|  \.\.\.|Extension modules: |Python runtime state: |$)')
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_])")
_LINE_END = re.compile(rb"\r\n|[\r\n]")


class OutputTail:
    """Keeps the last lines of a command's output, and separately the stacks that `faulthandler` wrote.

    Attributes:
      lines: the last lines, without colours and cursor movements.
      stacks: Python stacks in the format of `faulthandler`.
      last_line_at: when the last line ended, on the clock of `time.monotonic`. A progress bar, which rewrites its own
        line, does not count.
    """

    def __init__(self) -> None:
        self.lines: Deque[str] = deque(maxlen=MAX_LINES)
        self.stacks: Deque[str] = deque(maxlen=MAX_STACK_LINES)
        self.last_line_at = time.monotonic()
        self._unfinished: Dict[Any, bytes] = {}  # by stream: the line that has not ended yet
        self._in_stack = False

    def feed(self, stream: Any, data: bytes) -> None:
        """Add output.

        Args:
          stream: any key; lines of different streams are kept apart.
          data: what came from the stream.
        """
        if b"\n" in data:
            self.last_line_at = time.monotonic()
        lines = _LINE_END.split(self._unfinished.get(stream, b"") + data)
        unfinished = lines.pop()
        if len(unfinished) > MAX_LINE_LENGTH:
            lines.append(unfinished)
            unfinished = b""
        self._unfinished[stream] = unfinished
        for line in lines:
            self._add(line)

    def finish(self) -> None:
        """Add the lines that have not ended."""
        for line in self._unfinished.values():
            self._add(line)
        self._unfinished = {}

    def _add(self, data: bytes) -> None:
        text = data.decode(errors="replace")
        line = _ESCAPES.sub("", text).rstrip()[:MAX_LINE_LENGTH]
        goes_on = self._in_stack and _STACK_GOES_ON.match(line)
        self._in_stack = bool(goes_on or _STACK_BEGINS.match(line))
        if self._in_stack:
            self.stacks.append(line)
        elif line:
            self.lines.append(line)
