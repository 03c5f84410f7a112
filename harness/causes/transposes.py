"""Finds in source code where actions are transposed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterable, Iterator, Optional, Tuple

from harness.causes.symptom import CodeLine

Axes = Tuple[int, ...]
METHODS = ("transpose", "permute", "swapaxes", "movedim", "moveaxis")
SWAPS = ((1, 0), (1, 0, 2), (0, 1))  # axes, or the pair of axes, that exchange envs and agents


def swapped_actions(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that exchange the first two axes of something whose name says that it holds actions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            subject, axes = _subject_and_axes(node, node.func)
            if _is_of_actions(subject) and axes in SWAPS:
                yield node


def _subject_and_axes(node: ast.Call, method: ast.Attribute) -> Tuple[ast.AST, Optional[Axes]]:
    """Return what is transposed, and its new axes: `x.transpose(1, 0, 2)` or `np.transpose(x, (1, 0, 2))`."""
    owner = method.value
    arguments = list(node.args)
    if isinstance(owner, ast.Name) and owner.id in ("np", "numpy", "torch") and arguments:
        return arguments[0], _numbers(arguments[1:])
    return owner, _numbers(arguments)


def _numbers(arguments: Iterable[ast.expr]) -> Optional[Axes]:
    """Return the axes that a call names; None if they are not written as numbers."""
    try:
        values = [ast.literal_eval(argument) for argument in arguments]
    except ValueError:
        return None
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = list(values[0])
    return tuple(values)


def _is_of_actions(subject: ast.AST) -> bool:
    """Return whether a name in an expression is that of actions."""
    for node in ast.walk(subject):
        name = ""
        if isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Attribute):
            name = node.attr
        if name in ("action", "actions") or name.startswith(("action_t", "actions_")):
            return True
    return False


def swap_below(frames: Iterable[CodeLine]) -> Optional[str]:
    """Return file and line of the first function among those that were running which transposes its actions.

    Args:
      frames: what was running, innermost first.
    """
    for frame in frames:
        for line in _swaps_in_function(frame):
            return f"{frame.file}:{line}"
    return None


def _swaps_in_function(frame: CodeLine) -> Iterator[int]:
    """Yield the lines, up to the one that was running, at which the function of a frame transposes actions."""
    try:
        tree = ast.parse(Path(frame.file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != frame.function:
            continue
        if node.lineno <= frame.line <= _last_line(node):
            for call in swapped_actions(node):
                if call.lineno <= frame.line:
                    yield call.lineno


def _last_line(node: ast.AST) -> int:
    return max(getattr(inner, "lineno", 0) for inner in ast.walk(node))
