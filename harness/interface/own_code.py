"""Finds the line of a user's own code that a finding is about, however deep in a library the error was raised."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional, Sequence

from harness.causes.symptom import CodeLine

HARNESS = Path(__file__).resolve().parents[1]


def home_of(env_class: Optional[type], make_env: Optional[Callable[..., Any]]) -> List[str]:
    """Return the files in which an environment is defined, the most specific first.

    Args:
      env_class: class of the environment; None if it was never made.
      make_env: its factory.
    """
    files: List[str] = []
    for owner in (*getattr(env_class, "__mro__", ())[:-1], make_env):
        file = _file_of(owner)
        if file is not None and file not in files:
            files.append(file)
    return files


def _file_of(owner: Any) -> Optional[str]:
    try:
        return inspect.getfile(inspect.unwrap(owner))
    except (TypeError, ValueError):  # nothing, or something without source code
        return None


def innermost_own(frames: Sequence[CodeLine], home: Iterable[str] = ()) -> Optional[str]:
    """Return the innermost line of a user's own code among those that were running; None if there is none.

    Args:
      frames: what was running, innermost first.
      home: the files of the user's code, the most specific first. Without them, and if none of them was running, it is
        the file of the outermost line that belongs neither to the harness nor to Python: the harness called it.
    """
    for file in (*home, _called_by_harness(frames)):
        for frame in frames:
            if frame.file == file:
                return in_words(frame)
    return None


def _called_by_harness(frames: Sequence[CodeLine]) -> Optional[str]:
    for frame in reversed(frames):
        if not frame.is_of_a_library and not frame.file.startswith("<") and HARNESS not in Path(frame.file).parents:
            return frame.file
    return None


def in_words(line: CodeLine) -> str:
    """Return file, number, function and text of a line."""
    text = f"{line.file}:{line.line} in {line.function}"
    if line.code:
        text += f": {line.code}"
    return text


def last_return(owner: Any, name: str = "") -> Optional[str]:
    """Return the line of the last `return` of a function, or its first line if it has none; None without source code.

    Args:
      owner: the function, or the class that has it.
      name: name of the method of the class; "" if `owner` is the function.
    """
    function = getattr(owner, name, None) if name else owner
    try:
        function = inspect.unwrap(function)  # type: ignore[arg-type]
        lines, first = inspect.getsourcelines(function)
        file = inspect.getfile(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (TypeError, ValueError, OSError, SyntaxError):
        return None
    numbers = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Return):
            numbers.append(node.lineno)
    number = max(numbers, default=1)
    code = lines[number - 1].strip()
    return in_words(CodeLine(file, first + number - 1, getattr(function, "__name__", name), code))
