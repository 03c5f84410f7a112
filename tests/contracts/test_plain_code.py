"""Contracts of how the code reads: short functions, one thought a line, f-strings, and one claim per assertion."""

from __future__ import annotations

import ast
import itertools
import statistics
from pathlib import Path
from typing import Iterator, List, NamedTuple

import pytest

pytestmark = [pytest.mark.contracts, pytest.mark.python310]  # Python 3.8 cannot parse the files for Python 3.11

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
    """A module, read."""

    name: str
    lines: int
    nodes: List[ast.AST]


def read(package: str) -> Iterator[SourceFile]:
    """Yield every module of a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        yield SourceFile(name, text.count("\n"), list(ast.walk(ast.parse(text))))


@pytest.fixture(scope="module", params=PACKAGES)
def package(request):
    """Return the modules of each package in turn."""
    return list(read(request.param))


def per_thousand(package: List[SourceFile], *kinds: type) -> float:
    """Return how many nodes of some kinds there are in 1,000 lines."""
    count = 0
    lines = 0
    for module in package:
        lines += module.lines
        for node in module.nodes:
            count += isinstance(node, kinds)
    return 1000.0 * count / lines


def test_line_holds_one_thought(package):
    """Comprehensions and conditional expressions are rare enough that each reads as English."""
    assert per_thousand(package, *COMPREHENSIONS) < MOST_COMPREHENSIONS
    assert per_thousand(package, ast.IfExp) < MOST_CONDITIONALS


def test_functions_are_short(package):
    """Half of the functions fit into a few lines; none is longer than a screen."""
    lengths = []
    for module in package:
        for node in module.nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{module.name}: {node.name} has {length} lines"
                lengths.append(length)
    assert statistics.median(lengths) < LONGEST_MEDIAN


def test_text_is_made_by_f_strings(package):
    """`str.format` is left to templates that are stored before their values are known."""
    for module in package:
        for node in module.nodes:
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "format":
                assert module.name in STORED_TEMPLATES, f"{module.name}:{node.lineno}"


def test_assertion_states_one_thing():
    """With `assert a and b` nobody sees which of the two failed."""
    for module in itertools.chain.from_iterable(map(read, (*PACKAGES, "tests", "examples", "benchmarks"))):
        for node in module.nodes:
            if isinstance(node, ast.Assert) and isinstance(node.test, ast.BoolOp):
                assert not isinstance(node.test.op, ast.And), f"{module.name}:{node.lineno}"
