"""How tight the tests are: `python -m benchmarks.mutants [--rooms env happo] [--sample 1500] [--jobs 8]`.

A mutant is a module with one small change, made by mutmut's operators: another operator, number, argument or value. It
is killed if a test fails. mutmut's own runner leaves out decorated functions, and so every contract; therefore mutants
run here: a process that has loaded the libraries forks, imports the mutated module in place of the original, and runs
the tests that reach the changed line, the fastest first. No file is changed.

With --sample, each module gives a random part of its mutants, in proportion.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import coverage
import hypothesis.strategies  # noqa: F401  what the tests need is loaded once, for all mutants; what is mutated is not
import mujoco  # noqa: F401
import pytest
import torch
import torch._dynamo  # noqa: F401  Adam loads it
import torch.utils.tensorboard  # noqa: F401
import tyro  # noqa: F401

from benchmarks.mutations import ROOMS, UNCHANGED, Mutant, mutated, sample

TESTS = ("env", "mqe", "happo", "logger", "checkpoint", "harness")
OPTIONS = ("-q", "-m", "not warp", "-p", "no:cacheprovider", "--assert=plain")
TEST_TIME = 20.0  # of the tests that a mutant meets, the fastest first [s]
PATIENCE = (20.0, 5.0)  # a test hangs if it takes longer than this [s] and this many times as long as without a mutant
IDLE = 10.0  # as many times as long may pass on the clock, while other processes compute
CONTROLS = 3  # how often unchanged code meets the tests of a mutant, which nothing may kill


@dataclasses.dataclass(frozen=True)
class Reach:
    """What the tests do to the code as it is.

    Attributes:
      seconds: how long each test takes, by its id.
      lines: which tests reach each line of each path; files stand for all their tests.
    """

    seconds: Dict[str, float]
    lines: Dict[str, Dict[int, List[str]]]

    def tests_of(self, mutant: Mutant) -> Dict[str, float]:
        """Return the tests that reach the statement of a mutant, and how long they take, the fastest first.

        A statement outside functions is reached by all tests of the files whose tests reach its module.
        """
        lines = self.lines.get(mutant.path, {})
        first, last, in_function = _statement(mutant.path, mutant.lines)
        reached = self._who(lines, mutant.lines) or self._who(lines, (first, last))
        if not in_function:
            reached |= {one.split("::")[0] for ones in lines.values() for one in ones}
        chosen: Dict[str, float] = {}
        tests = [test for test in self.seconds if test in reached or test.split("::")[0] in reached]
        for test in sorted(tests, key=lambda test: self.seconds[test]):
            if chosen and sum(chosen.values()) + self.seconds[test] > TEST_TIME:
                break
            chosen[test] = self.seconds[test]
        return chosen

    @staticmethod
    def _who(lines: Dict[int, List[str]], span: Tuple[int, int]) -> Set[str]:
        return {one for line in range(span[0], span[1] + 1) for one in lines.get(line, ())}


@functools.lru_cache(maxsize=None)
def _statements(path: str) -> List[Tuple[int, int, bool]]:
    """Return the first and the last line of each statement, and whether it is within a function, the smallest first."""
    found = []

    def visit(node: ast.AST, in_function: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                found.append((child.lineno, child.end_lineno, in_function))
            visit(child, in_function or isinstance(child, ast.FunctionDef))

    visit(ast.parse(Path(path).read_text()), False)
    return sorted(found, key=lambda span: span[1] - span[0])


def _statement(path: str, lines: Tuple[int, int]) -> Tuple[int, int, bool]:
    return next(span for span in _statements(path) if span[0] <= lines[0] and lines[1] <= span[1])


# -- running tests ---------------------------------------------------------------------------------------------------


class _Watch:
    """Notes which lines each test reaches, and how long it takes."""

    def __init__(self, measure: coverage.Coverage) -> None:
        self._measure = measure
        self._test = ""
        self.seconds: Dict[str, float] = {}
        self.failed: Set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Count what runs as reached by this test."""
        self._test = item.nodeid
        self._measure.switch_context(self._test)
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Count what a shared fixture does as reached by all tests of its file."""
        if fixturedef.scope != "function":
            self._measure.switch_context(fixturedef.baseid)
        yield
        self._measure.switch_context(self._test)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the time, and what fails."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


def _watch(answer: Path) -> None:
    """Run all tests on the code as it is, and write what they reach."""
    measure = coverage.Coverage(data_file=None, config_file=False, include=list(ROOMS.values()))
    watch = _Watch(measure)
    files = [str(path) for part in TESTS for path in sorted(Path("tests").glob(f"*/test_{part}*.py"))]
    measure.start()
    pytest.main(files + list(OPTIONS), plugins=[watch])
    measure.stop()
    data, lines = measure.get_data(), {}
    for path in data.measured_files():
        by_line = data.contexts_by_lineno(path).items()
        lines[os.path.relpath(path)] = {line: [one for one in ones if one] for line, ones in by_line}
    seconds = {test: time for test, time in watch.seconds.items() if test not in watch.failed}
    answer.write_text(json.dumps({"seconds": seconds, "lines": lines, "failed": sorted(watch.failed)}))


class _Only:
    """Runs some tests, in their order, and gives each of them a limited time."""

    def __init__(self, seconds: Dict[str, float]) -> None:
        self._seconds = seconds
        self._rank = {test: place for place, test in enumerate(seconds)}
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: List[pytest.Item]) -> None:
        """Keep the tests that are to run."""
        chosen = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(chosen, key=lambda item: self._rank[item.nodeid])

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Let the process be killed if the test hangs."""
        least, times = PATIENCE
        limit = max(least, times * self._seconds[item.nodeid])
        signal.setitimer(signal.ITIMER_PROF, limit)
        signal.setitimer(signal.ITIMER_REAL, IDLE * limit)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the test that fails."""
        if report.failed and not self.failed:
            self.failed = report.nodeid


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from another source than its file's."""

    source = ""

    def get_code(self, fullname: str) -> Any:
        """Compile the other source."""
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module in its mutated form."""

    def __init__(self, path: str, source: str) -> None:
        self._name = path[: -len(".py")].replace("/", ".").replace(".__init__", "")
        self._loader = _Loader(self._name, os.path.abspath(path))
        self._loader.source = source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of the mutated module, if it is asked for."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._loader.path, loader=self._loader)


def _meet(answer: Path, mutant: Mutant, seconds: Dict[str, float]) -> None:
    """Let a mutant meet tests; write the id of the one that kills it."""
    sys.meta_path.insert(0, _Finder(mutant.path, mutated(mutant)))
    only = _Only(seconds)
    files = sorted({test.split("::")[0] for test in seconds})
    code = pytest.main(files + list(OPTIONS) + ["-x", "--basetemp", str(answer) + ".tmp"], plugins=[only])
    unnoticed = code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    answer.write_text(only.failed or ("" if unnoticed else "import"))


def _aside(function: Callable[..., None], *arguments: Any) -> str:
    """Call a function in a process of its own, with a file for its answer, and return that.

    Returns:
      The answer; "timeout" or "crash" if there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        process = multiprocessing.get_context("fork").Process(target=_alone, args=(function, answer, *arguments))
        process.start()
        process.join()
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what it has left behind
        except ProcessLookupError:
            pass
        if answer.exists():
            return answer.read_text()
        return "timeout" if process.exitcode in (-signal.SIGALRM, -signal.SIGPROF) else "crash"


def _alone(function: Callable[..., None], answer: Path, *arguments: Any) -> None:
    os.setsid()
    output = os.open(str(answer) + ".log", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    function(answer, *arguments)
    os._exit(0)


def judge(mutant: Mutant, seconds: Dict[str, float]) -> str:
    """Return which of the tests kills a mutant, "import", "timeout" or "crash", or "" if it survives."""
    return _aside(_meet, mutant, seconds) if seconds else ""


# -- the command -----------------------------------------------------------------------------------------------------


def reach(file: Optional[Path]) -> Reach:
    """Return what the tests reach: from a file, if there is one, else by running them.

    Raises:
      SystemExit: the tests do not come to their end.
    """
    known = file is not None and file.exists()
    text = file.read_text() if known else _aside(_watch)
    if not text.startswith("{"):
        raise SystemExit(f"the tests end in a {text} without any mutant: run `pytest -m contracts` first")
    if file and not known:
        file.write_text(text)
    found = json.loads(text)
    for test in found["failed"]:
        print(f"fails without a mutant, left out: {test}")
    lines = {path: {int(line): ones for line, ones in of.items()} for path, of in found["lines"].items()}
    return Reach(found["seconds"], lines)


def earlier_survivors(file: Path) -> List[Mutant]:
    """Return the mutants that survived in earlier results."""
    rows = [row for row in json.loads(file.read_text()) if not row["killed_by"] and row["number"] != UNCHANGED]
    names = [field.name for field in dataclasses.fields(Mutant)]
    return [Mutant(**dict({name: row[name] for name in names}, lines=tuple(row["lines"]))) for row in rows]


def report(rows: List[Dict[str, Any]]) -> None:
    """Print the survivors, and the share that was killed in each room, with its 95 % interval."""
    from mapush.env.metrics import wilson_interval

    mutants = [row for row in rows if row["number"] != UNCHANGED]
    for row in sorted(mutants, key=lambda row: (row["path"], row["lines"])):
        if not row["killed_by"]:
            note = "" if row["tests"] else "  [reached by no test]"
            print("{}:{}: {}{}".format(row["path"], row["lines"][0], row["change"], note))
    for room in [*ROOMS, "all"]:
        verdicts = [bool(row["killed_by"]) for row in mutants if room in (row["room"], "all")]
        if verdicts:
            killed, (low, high) = sum(verdicts), wilson_interval(sum(verdicts), len(verdicts))
            line = "{}.killed {} of {}, {:.1%} [{:.1%}, {:.1%}]"
            print(line.format(room, killed, len(verdicts), killed / len(verdicts), low, high))
    controls = [bool(row["killed_by"]) for row in rows if row["number"] == UNCHANGED]
    print(f"unchanged.killed {sum(controls)} of {len(controls)}")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS), help="what to mutate (default: all)")
    parser.add_argument("--sample", type=int, metavar="N", help="judge about N mutants (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="mutants side by side (default 1)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write what became of each mutant, as JSON")
    parser.add_argument("--again", type=Path, metavar="FILE", help="judge the survivors of these results")
    parser.add_argument(
        "--reach",
        type=Path,
        metavar="FILE",
        help="what the tests reach in these very sources; written if it is not there",
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    draw = random.Random(options.seed)
    chosen = earlier_survivors(options.again) if options.again else sample(options.rooms, options.sample, draw)
    controls = [dataclasses.replace(one, number=UNCHANGED, change="") for one in chosen[:CONTROLS]]
    chosen = controls + chosen
    known = reach(options.reach)
    tests = [known.tests_of(mutant) for mutant in chosen]
    rows: List[Dict[str, Any]] = []
    gc.freeze()  # what is loaded by now is not looked through again for each mutant
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
        for mutant, of_mutant, killer in zip(chosen, tests, pool.map(judge, chosen, tests)):
            rows.append(dict(dataclasses.asdict(mutant), tests=len(of_mutant), killed_by=killer))
            print(f"\r{len(rows)} of {len(chosen)}", end="", file=sys.stderr, flush=True)
            if options.results:
                options.results.write_text(json.dumps(rows, indent=1))
    print(file=sys.stderr)
    report(rows)


if __name__ == "__main__":
    main()
