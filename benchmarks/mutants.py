"""How tight the tests are: `python -m benchmarks.mutants [--rooms env happo] [--sample 1500] [--jobs 8]`.

A mutant is a module with one small change, made by mutmut's operators: a different operator, number, argument or value.
It is killed if a test fails. mutmut's own runner skips decorated functions, and so every contract. Therefore mutants
run here: a process that has loaded the libraries forks, imports the mutated module in place of the original, and runs
the tests that reach the changed line, the fastest first. No file is changed.

With --sample, a random part of the mutants is judged, from each module in proportion to its size.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
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
from typing import Any, Callable, Dict, List, Optional, Sequence

import hypothesis.strategies  # noqa: F401  libraries that the tests need are loaded once, for all mutants
import mujoco  # noqa: F401
import pytest
import torch
import torch._dynamo  # noqa: F401  Adam loads it
import torch.utils.tensorboard  # noqa: F401
import tyro  # noqa: F401

from benchmarks.mutant_reach import OPTIONS, Reach, file_of, write_reach
from benchmarks.mutations import ROOMS, UNCHANGED, Mutant, mutated, sample

MIN_TIMEOUT_S = 20.0  # of CPU time, for a test
TIMEOUT_FACTOR = 5.0  # a test hangs if it takes this many times as long as without a mutant
IDLE_FACTOR = 10.0  # the time-out on the clock, in time-outs of CPU time: other processes compute, too
CONTROLS = 3  # how often the tests are run on unchanged code, which none may kill


# -- running tests ---------------------------------------------------------------------------------------------------


class _Only:
    """Runs only some tests, in their order, each for a limited time."""

    def __init__(self, seconds: Dict[str, float]) -> None:
        self._seconds = seconds
        self._rank = {test: place for place, test in enumerate(seconds)}
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: List[pytest.Item]) -> None:
        """Keep only the tests that are to run."""
        chosen = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(chosen, key=lambda item: self._rank[item.nodeid])

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Let the process be killed if the test hangs."""
        limit = max(MIN_TIMEOUT_S, TIMEOUT_FACTOR * self._seconds[item.nodeid])
        signal.setitimer(signal.ITIMER_PROF, limit)
        signal.setitimer(signal.ITIMER_REAL, IDLE_FACTOR * limit)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the first test that fails."""
        if report.failed and not self.failed:
            self.failed = report.nodeid


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a source that is not its file's."""

    source = ""

    def get_code(self, fullname: str) -> Any:
        """Compile that source."""
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


def _run_tests(answer: Path, mutant: Mutant, seconds: Dict[str, float]) -> None:
    """Run tests on a mutant; write the id of the test that kills it, "import" if no test could start, or ""."""
    sys.meta_path.insert(0, _Finder(mutant.path, mutated(mutant)))
    only = _Only(seconds)
    files = sorted(set(map(file_of, seconds)))
    code = pytest.main(files + list(OPTIONS) + ["-x", "--basetemp", str(answer) + ".tmp"], plugins=[only])
    killer = only.failed
    if not killer and code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        killer = "import"
    answer.write_text(killer)


def _in_fork(function: Callable[..., None], *arguments: Any) -> str:
    """Call a function in a fork of this process, with the path of a file for its answer as the first argument.

    Returns:
      The answer; "timeout" or "crash" if there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        process = multiprocessing.get_context("fork").Process(
            target=_call_and_exit, args=(function, answer, *arguments)
        )
        process.start()
        process.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # the processes that it has left behind
        if answer.exists():
            return answer.read_text()
    if process.exitcode in (-signal.SIGALRM, -signal.SIGPROF):
        return "timeout"
    return "crash"


def _call_and_exit(function: Callable[..., None], answer: Path, *arguments: Any) -> None:
    os.setsid()
    output = os.open(str(answer) + ".log", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    function(answer, *arguments)
    os._exit(0)


def judge(mutant: Mutant, seconds: Dict[str, float]) -> str:
    """Return which of the tests kills a mutant, "import", "timeout" or "crash", or "" if it survives."""
    if not seconds:
        return ""
    return _in_fork(_run_tests, mutant, seconds)


# -- the command -----------------------------------------------------------------------------------------------------


def reach(file: Optional[Path]) -> Reach:
    """Return which lines the tests reach: from a file if it exists, else by running the tests.

    Raises:
      SystemExit: the tests do not come to their end.
    """
    if file is not None and file.exists():
        text = file.read_text()
    else:
        text = _in_fork(write_reach)
        if not text.startswith("{"):
            raise SystemExit(f"the tests end in a {text} without any mutant: run `pytest -m contracts` first")
        if file is not None:
            file.write_text(text)
    found = json.loads(text)
    for test in found["failed"]:
        print(f"fails without a mutant, left out: {test}")
    lines: Dict[str, Dict[int, List[str]]] = {}
    for path, by_line in found["lines"].items():
        lines[path] = {int(line): tests for line, tests in by_line.items()}
    return Reach(found["seconds"], lines)


def earlier_survivors(file: Path) -> List[Mutant]:
    """Return the mutants that survived in earlier results."""
    survivors = []
    for row in json.loads(file.read_text()):
        if row["killed_by"] or row["number"] == UNCHANGED:
            continue
        first, last = row["lines"]
        survivors.append(Mutant(row["room"], row["path"], row["number"], (first, last), row["change"]))
    return survivors


def report(rows: List[Dict[str, Any]]) -> None:
    """Print the survivors, and the share that was killed in each room, with its 95 % interval."""
    mutants = [row for row in rows if row["number"] != UNCHANGED]
    for row in sorted(mutants, key=lambda row: (row["path"], row["lines"])):
        if not row["killed_by"]:
            _print_survivor(row)
    for room in ROOMS:
        _print_share(room, [row for row in mutants if row["room"] == room])
    _print_share("all", mutants)
    controls = [row for row in rows if row["number"] == UNCHANGED]
    killed = len([row for row in controls if row["killed_by"]])
    print(f"unchanged.killed {killed} of {len(controls)}")


def _print_survivor(row: Dict[str, Any]) -> None:
    line = f"{row['path']}:{row['lines'][0]}: {row['change']}"
    if not row["tests"]:
        line += "  [reached by no test]"
    print(line)


def _print_share(room: str, rows: List[Dict[str, Any]]) -> None:
    from mapush.env.metrics import wilson_interval

    if not rows:
        return
    killed = len([row for row in rows if row["killed_by"]])
    low, high = wilson_interval(killed, len(rows))
    print(f"{room}.killed {killed} of {len(rows)}, {killed / len(rows):.1%} [{low:.1%}, {high:.1%}]")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS), help="what to mutate (default: all)")
    parser.add_argument("--sample", type=int, metavar="N", help="judge about N mutants (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are judged at the same time (default 1)")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the verdict on each mutant there, as JSON")
    parser.add_argument("--again", type=Path, metavar="FILE", help="judge the survivors of these results again")
    parser.add_argument(
        "--reach",
        type=Path,
        metavar="FILE",
        help="which lines the tests reach in these sources; written if the file does not exist",
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.again:
        chosen = earlier_survivors(options.again)
    else:
        chosen = sample(options.rooms, options.sample, random.Random(options.seed))
    controls = [dataclasses.replace(one, number=UNCHANGED, change="") for one in chosen[:CONTROLS]]
    chosen = controls + chosen
    known = reach(options.reach)
    tests = [known.tests_of(mutant) for mutant in chosen]
    rows: List[Dict[str, Any]] = []
    gc.freeze()  # the collector skips what is loaded by now, so that forks share it
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
