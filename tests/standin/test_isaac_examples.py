"""The examples for users of Isaac Gym run by the launcher, and end as their formulas say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isaac_standin import install

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "isaac"
LINES = {"cartpole": 2, "box_on_slope": 5, "quadruped": 7}  # that each prints


def run_example(name: str) -> subprocess.CompletedProcess[str]:
    """Run an example in its folder by the launcher, with the default settings."""
    environ = dict(os.environ, OMP_NUM_THREADS="1")
    for setting in os.environ:
        if setting.startswith(install.PREFIX):
            del environ[setting]
    command = [sys.executable, "-m", "isaac_standin", "--", sys.executable, f"{name}.py"]
    environ["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES.parents[1]), environ.get("PYTHONPATH", "")])
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environ, cwd=EXAMPLES)


@pytest.mark.parametrize("name", sorted(LINES))
def test_example_agrees_with_its_formula(name):
    """The exit code is 0: periods, distances, forces and heights are as the example computes them by hand."""
    ended = run_example(name)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(ended.stdout.splitlines()) == LINES[name], ended.stdout
    assert "Traceback" not in ended.stderr
