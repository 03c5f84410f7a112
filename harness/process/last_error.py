"""Finds in the lines that a command printed the exception that ended it."""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Sequence

from harness.causes.cause import Cause

MAX_MESSAGE_LINES = 30  # lines of an exception's text that are not indented

_ERROR = re.compile(r"(?:[\w.]+\.)?(?:[A-Z]\w*(?:Error|Exception|Interrupt|Exit)|(?:Base)?Exception(?:Group)?)(?::|$)")
_TRACEBACK = re.compile(r"(Exception Group )?Traceback \(most recent call last\)")
_CHAINED = re.compile(r"(During handling of|The above exception was)")
_LOGGED = re.compile(r"Exception (ignored )?in|.*\b(ERROR|CRITICAL|WARNING)\b")  # line before a logged traceback
_DETAIL = re.compile(r"  (cause|fix) +(.+)")


def last_traceback(lines: Sequence[str]) -> str:
    """Return the last traceback and what follows it; all lines if there is no traceback."""
    lines = _without_group_frames(lines)
    for index in reversed(range(len(lines))):
        if _TRACEBACK.match(lines[index]):
            return "\n".join(lines[index:])
    return "\n".join(lines)


def last_error(lines: Sequence[str], exit_code: Optional[int]) -> Optional[str]:
    """Return the line that names the exception which ended a command; None if no exception ended it.

    An exception that was logged, and after which the command went on, did not end it. So the last line that is not
    indented must name an exception, or follow a traceback as closely as the text of an exception does.

    Args:
      lines: the last lines that the command printed.
      exit_code: its exit code; 1 is that of an exception that nobody caught.
    """
    lines = _without_group_frames(lines)
    unindented = [index for index, line in enumerate(lines) if not line.startswith(" ")]
    if unindented and _ERROR.match(lines[unindented[-1]]):
        return lines[unindented[-1]]
    tracebacks = [index for index in unindented if _TRACEBACK.match(lines[index])]
    if not tracebacks:
        return None
    message = [lines[index] for index in unindented if index > tracebacks[-1]]
    if len(message) <= 1:
        return message[0] if message else lines[-1].strip()
    too_long = len(message) > MAX_MESSAGE_LINES
    if exit_code != 1 or too_long or _was_logged(lines, tracebacks):
        return None
    return message[0]


def _was_logged(lines: Sequence[str], tracebacks: List[int]) -> bool:
    """Return whether the last traceback, or the first of those that are chained to it, follows a line of a log."""
    remaining = list(tracebacks)
    first = remaining.pop()
    while remaining and _CHAINED.match(lines[first - 1]):
        first = remaining.pop()
    return first > 0 and bool(_LOGGED.match(lines[first - 1]))


def _without_group_frames(lines: Sequence[str]) -> List[str]:
    """Return the lines with the outermost exception group printed like a single exception."""
    return [re.sub(r"^  [|+] ", "", line) for line in lines]


def stated_cause(lines: Sequence[str]) -> Optional[Cause]:
    """Return the cause and the fix that the error itself printed, as every `MapushError` does; None if it did not."""
    stated: Dict[str, str] = {}
    for line in reversed(list(lines)):
        detail = _DETAIL.match(line)
        if detail:
            stated.setdefault(detail.group(1), detail.group(2))
        elif _ERROR.match(line):
            break
    if not stated:
        return None
    return Cause(stated.get("cause", ""), stated.get("fix", ""))
