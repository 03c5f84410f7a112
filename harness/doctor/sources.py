"""Source code that the doctor reads without running it: the files of a checkout, and the traps in them."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

from harness.doctor.line import WARNING, WRONG, Line

SKIPPED = {".git", "__pycache__", "build", "dist", ".venv", "venv", "tests", "results", "DexterousHands"}


class Trap(NamedTuple):
    """A line of code that is known to end, or to spoil, a run.

    Attributes:
      name: what it is about, in a few words.
      file: its file.
      line: its number.
      found: what happens, and when.
      fix: what to write instead.
      is_certain: whether it happens in every run that uses the code, and not only with certain environments or cards.
    """

    name: str
    file: Path
    line: int
    found: str
    fix: str
    is_certain: bool = True

    def as_line(self) -> Line:
        """Return the line of the doctor's report."""
        status = WRONG if self.is_certain else WARNING
        return Line(self.name, status, f"{self.file}:{self.line}: {self.found}", self.fix)


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file of Python code.

    Attributes:
      path: the file.
      tree: its syntax tree.
    """

    path: Path
    tree: ast.Module

    def functions(self, *names: str) -> Iterator[ast.FunctionDef]:
        """Yield the functions and methods of these names."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef) and node.name in names:
                yield node

    def classes(self) -> Iterator[ast.ClassDef]:
        """Yield the classes."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                yield node


class Reader(NamedTuple):
    """A line of a runner that reads what an environment returned, and fails on certain values.

    Attributes:
      source: its file.
      line: its number.
      function: the function that contains it.
      code: the name or the key that it reads.
    """

    source: SourceFile
    line: int
    function: str
    code: str

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.source.path}:{self.line}"

    @property
    def when(self) -> str:
        """When the line runs: in every training, or only on request."""
        if self.function.startswith("eval"):
            return "at the first evaluation (use_eval)"
        if self.function.startswith("render"):
            return "when it renders (use_render)"
        return "in the first step"


class Checkout:
    """The source files of a folder.

    Args:
      folder: the folder.

    Attributes:
      files: those that are Python, in the order of their paths.
      unreadable: one line of a report for each file that is not Python of this version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: List[SourceFile] = []
        self.unreadable: List[Line] = []
        for path in sorted(folder.rglob("*.py")):
            if SKIPPED & set(path.relative_to(folder).parts[:-1]):
                continue
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, ValueError, SyntaxError, RecursionError) as error:
                found = f"{path}:{getattr(error, 'lineno', None) or 1}: cannot be read: {error}"
                self.unreadable.append(Line("source code", WARNING, found, "repair the file, and try again"))
                continue
            self.files.append(SourceFile(path, tree))

    def file(self, *parts: str) -> Optional[SourceFile]:
        """Return the file of this path below the folder; None if there is none that could be read."""
        wanted = self.folder.joinpath(*parts)
        for source in self.files:
            if source.path == wanted:
                return source
        return None

    def below(self, *parts: str) -> List[SourceFile]:
        """Return the files below a folder of the checkout."""
        folder = self.folder.joinpath(*parts)
        return [source for source in self.files if folder in source.path.parents]


def name_of(node: ast.AST) -> str:
    """Return the last name of an expression: "append" for `self.x.append`, "x" for `x`; "" if it has none."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    return ""


def own_attribute(node: ast.AST) -> str:
    """Return "x" for `self.x`, `self.x[key]` and `self.x[i][j]`; "" for everything else."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute) and name_of(node.value) == "self" and isinstance(node.value, ast.Name):
        return node.attr
    return ""


def constants(node: ast.AST) -> List[object]:
    """Return the values of all constants in an expression."""
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]


def keywords(call: ast.Call) -> List[Optional[str]]:
    """Return the names of the arguments that a call passes by name; None for `**settings`."""
    return [keyword.arg for keyword in call.keywords]


def number(node: ast.AST) -> Optional[float]:
    """Return the value of an expression of numbers, such as `2**23`; None if it is something else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.BinOp):
        left, right = number(node.left), number(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Pow) and abs(right) <= 64:
            return float(left) ** right
        if isinstance(node.op, ast.Mult):
            return left * right
    return None
