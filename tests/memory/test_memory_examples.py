"""The examples of the memory harness run, and say what they promise."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.memory import soak

pytestmark = pytest.mark.memory

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "soak_a_loop.py"


@pytest.mark.parametrize("words, code, first_line", [([], 0, "memory: clean"), (["--leak"], 1, "trainer.history")])
def test_example_soaks_a_loop(words, code, first_line):
    """The loop is clean without the planted leak; with it, the list that keeps the memory is named."""
    command = [sys.executable, str(EXAMPLE), *words]
    root = str(EXAMPLE.parents[1])  # so that it runs where the packages are not installed
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(command, env=env, cwd=root, stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == code, done.stdout
    assert first_line in done.stdout.splitlines()[0]


@pytest.mark.slow
def test_example_in_the_docstring_runs():
    """The docstring of `harness.memory.soak` shows what it says."""
    found = doctest.testmod(soak)
    assert found.attempted == 6
    assert found.failed == 0
