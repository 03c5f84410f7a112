"""A failure as the catalogue sees it: what was raised, in which lines of code, and what was printed before."""

from __future__ import annotations

import dataclasses
import linecache
import re
import sysconfig
import traceback
from pathlib import PurePath
from typing import List, Optional, Sequence, Tuple

LIBRARIES = {"torch", "numpy", "multiprocessing", "ctypes"}  # whose frames never tell what their caller did wrong

_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+),? in (?P<function>.+)')
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")


@dataclasses.dataclass(frozen=True)
class CodeLine:
    """A line of code that was running.

    Attributes:
      file: its file.
      line: its number, counted from 1.
      function: the function that contains it.
      code: the line itself, without indentation; "" if it is not known.
    """

    file: str
    line: int
    function: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.file} in {self.function}: {self.code}"

    @property
    def is_of_a_library(self) -> bool:
        """Whether it belongs to Python or to a library that every caller uses."""
        folders = PurePath(self.file).parts[:-1]
        is_installed = "site-packages" in folders or "dist-packages" in folders
        if self.file.startswith("<"):
            return self.file.startswith(("<frozen", "<__array"))
        return bool(LIBRARIES & set(folders)) or (not is_installed and self.file.startswith(_STANDARD_LIBRARY))


@dataclasses.dataclass(frozen=True)
class Symptom:
    """How a program, or a call, ended.

    Attributes:
      what: "KeyError: 0", with all lines of the message, or the name of a signal, such as "SIGSEGV".
      frames: the lines that were running, innermost first.
      words: the last lines that were printed.
    """

    what: str
    frames: Tuple[CodeLine, ...] = ()
    words: Tuple[str, ...] = ()

    @classmethod
    def of_exception(cls, error: BaseException) -> Symptom:
        """Return the failure of a call that raised an exception."""
        name, message = type(error).__name__, ""
        try:
            message = str(error)
        except Exception:  # whatever its __str__ does, the exception remains
            pass
        summaries = traceback.extract_tb(error.__traceback__)
        frames = [CodeLine(one.filename, one.lineno or 0, one.name, one.line or "") for one in reversed(summaries)]
        return cls(f"{name}: {message}", tuple(frames))

    @classmethod
    def of_traceback(cls, text: str, error: str, words: Sequence[str] = ()) -> Symptom:
        """Return the failure that a printed traceback describes.

        Args:
          text: the traceback, and what follows it.
          error: its line that names the exception.
          words: everything that was printed.
        """
        lines = text.split("\n")
        frames = tuple(reversed(_frames(lines)))
        more: List[str] = []
        if error in lines:
            more = lines[lines.index(error) + 1 :]
        name, colon, message = error.partition(":")
        what = name.rpartition(".")[2] + colon + message
        return cls("\n".join([what, *more]), frames, tuple(words))

    @classmethod
    def of_signal(cls, name: str, stacks: Sequence[str], words: Sequence[str] = ()) -> Symptom:
        """Return the failure of a process that a signal ended.

        Args:
          name: the signal.
          stacks: the Python stacks that `faulthandler` wrote.
          words: everything that was printed.
        """
        return cls(name, tuple(_frames(_crashed_thread(stacks))), tuple(words))

    @property
    def own(self) -> List[CodeLine]:
        """The frames, innermost first, from the first one on that belongs to no library."""
        for index, frame in enumerate(self.frames):
            if not frame.is_of_a_library:
                return list(self.frames[index:])
        return []


def _crashed_thread(stacks: Sequence[str]) -> List[str]:
    """Return the stack of the thread that crashed."""
    found: List[str] = []
    inside = False
    for line in stacks:
        if inside and not line.startswith("  "):
            break
        if inside:
            found.append(line)
        inside = inside or line.startswith("Current thread")
    return found


def _frames(lines: Sequence[str]) -> List[CodeLine]:
    """Return the frames of a traceback or a stack in the order in which they stand there."""
    frames: List[CodeLine] = []
    for index, line in enumerate(lines):
        found = _FRAME.match(line)
        if found is None:
            continue
        code = _code_below(lines[index + 1 : index + 2])
        if code is None:
            code = linecache.getline(found["file"], int(found["line"])).strip()
        frames.append(CodeLine(found["file"], int(found["line"]), found["function"].strip(), code))
    return frames


def _code_below(lines: Sequence[str]) -> Optional[str]:
    """Return the line of code that a traceback shows below a frame; None if it shows none."""
    for line in lines:
        if line.startswith("    ") and not line.startswith("    ^"):
            return line.strip()
    return None
