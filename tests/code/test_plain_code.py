"""Contracts of how the code reads: short functions, one thought a line, f-strings, and one claim per assertion."""

from __future__ import annotations

import ast
import collections
import functools
import itertools
import statistics
from pathlib import Path
from typing import Counter, List, NamedTuple, Tuple

import pytest

pytestmark = pytest.mark.python310  # Python 3.8 cannot parse the files for Python 3.11

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mapush", "harness", "isaac_standin")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
MOST_COMPREHENSIONS, MOST_CONDITIONALS = 12.0, 6.0  # per 1,000 lines
LONGEST_FUNCTION, LONGEST_MEDIAN = 60, 10  # lines
STORED_TEMPLATES = {  # filled with what is only known later, so an f-string cannot do it
    "mapush/device/gpu_errors.py",
    "harness/causes/known_errors.py",
    "isaac_standin/shim/isaacgym/__init__.py",  # runs on every Python, to say which one is needed
}


class SourceFile(NamedTuple):
    """A module, read; its syntax tree is not kept, because the garbage collector would visit it again and again.

    Attributes:
      name: path of the file, from the root.
      lines: how many it has.
      comprehensions: how many it has.
      conditionals: how many conditional expressions it has.
      functions: name and lines of each function.
      formats: lines that call a method `format`.
      conjunctions: lines that assert one thing and a second one.
    """

    name: str
    lines: int
    comprehensions: int
    conditionals: int
    functions: List[Tuple[str, int]]
    formats: List[int]
    conjunctions: List[int]


@functools.lru_cache(maxsize=None)
def read(package: str) -> List[SourceFile]:
    """Return every module of a package."""
    return [read_file(path) for path in sorted((ROOT / package).rglob("*.py"))]


def read_file(path: Path) -> SourceFile:
    """Return what is judged of a module."""
    text = path.read_text(encoding="utf-8")
    kinds: Counter[type] = collections.Counter()
    functions, formats, conjunctions = [], [], []
    for node in ast.walk(ast.parse(text)):
        kinds[type(node)] += 1
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions.append((node.name, node.end_lineno - node.lineno + 1))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "format":
            formats.append(node.lineno)
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And):
            conjunctions.append(node.lineno)
    comprehensions = sum(kinds[kind] for kind in COMPREHENSIONS)
    name = path.relative_to(ROOT).as_posix()
    return SourceFile(name, text.count("\n"), comprehensions, kinds[ast.IfExp], functions, formats, conjunctions)


@pytest.fixture(params=PACKAGES)
def package(request):
    """Return the modules of each package in turn."""
    return read(request.param)


def test_line_holds_one_thought(package):
    """Comprehensions and conditional expressions are rare enough that each reads as English."""
    thousands = sum(module.lines for module in package) / 1000.0
    assert sum(module.comprehensions for module in package) / thousands < MOST_COMPREHENSIONS
    assert sum(module.conditionals for module in package) / thousands < MOST_CONDITIONALS


def test_functions_are_short(package):
    """Half of the functions fit into a few lines; none is longer than a screen."""
    lengths = []
    for module in package:
        for name, length in module.functions:
            assert length <= LONGEST_FUNCTION, f"{module.name}: {name} has {length} lines"
            lengths.append(length)
    assert statistics.median(lengths) < LONGEST_MEDIAN


def test_text_is_made_by_f_strings(package):
    """`str.format` is left to templates that are stored before their values are known."""
    for module in package:
        if module.name not in STORED_TEMPLATES:
            assert module.formats == [], module.name


def test_assertion_states_one_thing():
    """With `assert a and b` nobody sees which of the two failed."""
    for module in itertools.chain.from_iterable(map(read, (*PACKAGES, "tests", "examples", "benchmarks"))):
        assert module.conjunctions == [], module.name
