"""Contracts of the examples: each runs as its first line says, and shows what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.harness

EXAMPLE = Path(__file__).parents[2] / "examples" / "check_your_env.py"


def run_example(*words):
    """Run the example; return its exit code and what it printed."""
    root = str(EXAMPLE.parents[1])  # so that it runs where the packages are not installed
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, str(EXAMPLE), *words], env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_example_env_breaks_no_contract():
    """The environment of the example holds every contract; a script cannot be judged by those that start processes."""
    code, output = run_example()
    assert code == 0, output
    assert "contracts judged: 0 broken" in output
    left = set()
    for names in re.findall(r"^not judged: ([a-z, -]+):", output, re.MULTILINE):
        left.update(names.split(", "))
    assert left <= {
        "other-process",
        "made-and-closed",
        "left-agents",
        "no-lost-reward",
        "episode-infos",
        "mask-effects",
        "reward-parts",
    }, output
    # the last two need denser rewards, and infos that give returns


@pytest.mark.slow
def test_broken_example_env_is_found():
    """The planted bug of the example is the only finding, and the finding names it."""
    code, output = run_example("--broken")
    assert code == 1, output
    assert output.startswith("bad-transition: time limits count as failures: bad_transition is not set")
    assert "contracts judged: 1 broken" in output
