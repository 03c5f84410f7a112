"""Which tests reach which lines of the unchanged code; see `benchmarks.mutants`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

import coverage
import pytest

from benchmarks.mutations import ROOMS, Mutant

TESTS = ("env", "mqe", "happo", "logger", "checkpoint", "harness")
OPTIONS = ("-q", "-m", "not warp", "-p", "no:cacheprovider", "--assert=plain")
TEST_TIME_S = 20.0  # of the tests that are run on a mutant, the fastest first


@dataclasses.dataclass(frozen=True)
class Reach:
    """Which lines the tests reach in the unchanged code.

    Attributes:
      seconds: how long each test takes, by its id [s].
      lines: for each path, the tests that reach each line; the name of a file stands for all its tests.
    """

    seconds: Dict[str, float]
    lines: Dict[str, Dict[int, List[str]]]

    def tests_of(self, mutant: Mutant) -> Dict[str, float]:
        """Return the tests that reach the statement of a mutant with their durations [s], the fastest first.

        A statement outside functions is reached by all tests of the files whose tests reach its module.
        """
        lines = self.lines.get(mutant.path, {})
        statement = _statement(mutant.path, mutant.lines)
        reached = _tests_of_lines(lines, mutant.lines)
        if not reached:
            reached = _tests_of_lines(lines, (statement.first, statement.last))
        if not statement.in_function:
            for tests in lines.values():
                reached.update(map(file_of, tests))
        chosen: Dict[str, float] = {}
        for test in sorted(self.seconds, key=self.seconds.__getitem__):
            if test not in reached and file_of(test) not in reached:
                continue
            if chosen and sum(chosen.values()) + self.seconds[test] > TEST_TIME_S:
                break
            chosen[test] = self.seconds[test]
        return chosen


def _tests_of_lines(lines: Dict[int, List[str]], span: Tuple[int, int]) -> Set[str]:
    """Return the tests that reach any line from the first to the last of `span`."""
    first, last = span
    tests: Set[str] = set()
    for line in range(first, last + 1):
        tests.update(lines.get(line, ()))
    return tests


def file_of(test: str) -> str:
    """Return the file of a test."""
    return test.split("::")[0]


class Statement(NamedTuple):
    """A statement of a module.

    Attributes:
      first: its first line.
      last: its last line.
      in_function: whether it is within a function.
    """

    first: int
    last: int
    in_function: bool

    def contains(self, lines: Tuple[int, int]) -> bool:
        """Return whether all of these lines belong to the statement."""
        return self.first <= lines[0] and lines[1] <= self.last


@functools.lru_cache(maxsize=None)
def _statements(path: str) -> List[Statement]:
    """Return the statements of a module, the smallest first."""
    found: List[Statement] = []

    def visit(node: ast.AST, in_function: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                found.append(Statement(child.lineno, child.end_lineno or child.lineno, in_function))
            visit(child, in_function or isinstance(child, ast.FunctionDef))

    visit(ast.parse(Path(path).read_text()), False)
    return sorted(found, key=lambda statement: statement.last - statement.first)


def _statement(path: str, lines: Tuple[int, int]) -> Statement:
    """Return the smallest statement that contains some lines.

    Raises:
      ValueError: the file has no such lines.
    """
    for statement in _statements(path):
        if statement.contains(lines):
            return statement
    raise ValueError(f"{path} has no statement in lines {lines}")


class _Watch:
    """Notes which lines each test reaches, and how long it takes."""

    def __init__(self, measure: coverage.Coverage) -> None:
        self._measure = measure
        self._test = ""
        self.seconds: Dict[str, float] = {}
        self.failed: Set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record that the lines which run are reached by this test."""
        self._test = item.nodeid
        self._measure.switch_context(self._test)
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Record that the lines of a shared fixture are reached by all tests of its file."""
        if fixturedef.scope != "function":
            self._measure.switch_context(fixturedef.baseid)
        yield
        self._measure.switch_context(self._test)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the duration of a test, and whether it fails."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


def write_reach(answer: Path) -> None:
    """Run all tests on the unchanged code, and write which lines they reach."""
    measure = coverage.Coverage(data_file=None, config_file=False, include=list(ROOMS.values()))
    watch = _Watch(measure)
    files: List[str] = []
    for part in TESTS:
        files += map(str, sorted(Path("tests").glob(f"*/test_{part}*.py")))
    measure.start()
    pytest.main(files + list(OPTIONS), plugins=[watch])
    measure.stop()
    data = measure.get_data()
    lines: Dict[str, Dict[int, List[str]]] = {}
    for path in data.measured_files():
        of_path = lines.setdefault(os.path.relpath(path), {})
        for line, tests in data.contexts_by_lineno(path).items():
            of_path[line] = [test for test in tests if test]
    seconds = {test: time for test, time in watch.seconds.items() if test not in watch.failed}
    answer.write_text(json.dumps({"seconds": seconds, "lines": lines, "failed": sorted(watch.failed)}))
