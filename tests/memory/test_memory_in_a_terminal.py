"""Tests of `python -m harness memory` in a terminal and in a pipe: its own display is not among what is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import own_loops
import pytest
from terminal_runs import run_in_terminal

pytestmark = pytest.mark.memory

ROOT = Path(__file__).resolve().parents[2]
PATHS = {"PYTHONPATH": os.pathsep.join([str(Path(own_loops.__file__).parent), str(ROOT)])}
RUNS = 10  # in a terminal, and as many in a pipe
SIZES = ["--minutes", "0", "--cycles", "400", "--warm-up", "5"]
CLEAN, LEAK = "memory: clean", "memory: leak of open files /dev/null: +"


def command(name):
    """Return the words of a short soak of a factory of `own_loops`."""
    return [sys.executable, "-m", "harness", "memory", f"own_loops:{name}", *SIZES]


def verdict_in_terminal(name):
    """Return the exit code and the line of the verdict, with a terminal for input, output and errors."""
    run = run_in_terminal(command(name), env=PATHS)
    return run.code, *[line for line in run.lines if line.startswith("memory: ")]


def verdict_in_pipe(name):
    """Return the same with pipes, in an environment that asks every display to behave as in a terminal."""
    variables = {**os.environ, **PATHS, "FORCE_COLOR": "1"}
    done = subprocess.run(command(name), capture_output=True, text=True, env=variables, timeout=200)
    return done.returncode, *[line for line in done.stdout.splitlines() if line.startswith("memory: ")]


def test_clean_loop_gets_the_same_verdict_in_a_terminal_and_in_a_pipe():
    """The display is in a different process than the loop, so no terminal can change the verdict."""
    with ThreadPoolExecutor(2) as pool:
        in_terminal = pool.submit(verdict_in_terminal, "clean_function")
        in_pipe = pool.submit(verdict_in_pipe, "clean_function")
    assert in_terminal.result() == in_pipe.result() == (0, CLEAN)


@pytest.mark.slow  # a minute: forty processes
def test_verdict_is_the_same_every_time():
    """Twenty of twenty: the clean loop is clean and the leak is found, in a terminal and in a pipe."""
    cases = [(judge, name) for judge in (verdict_in_terminal, verdict_in_pipe) for name in ("clean", "leaking")]
    with ThreadPoolExecutor(2) as pool:
        for judge, name in cases:
            results = list(pool.map(judge, [f"{name}_function"] * RUNS))
            for code, line in results:
                assert code == (name == "leaking"), line
                assert line.startswith(LEAK if name == "leaking" else CLEAN)


@pytest.mark.slow  # two minutes: the real training, twice
def test_training_gets_the_same_verdict_in_a_terminal_and_in_a_pipe():
    """`harness memory cuboid` is clean in both, and its bar moves to the end."""
    pytest.importorskip("mujoco")
    words = [sys.executable, "-m", "harness", "memory", "cuboid", "--minutes", "0", "--num-envs", "8"]
    words += ["--num-steps", "8"]
    run = run_in_terminal(words, timeout=500)
    assert run.code == 0, run.text
    assert "memory: clean" in run.lines
    for share in (0, 25, 50, 75, 100):
        assert f"{share}% " in run.text.replace("100%", "100% ")
    variables = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=variables, timeout=500)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("memory: clean\n")
