"""The example that loads a policy runs, and shows that the policy acts well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "act_with_a_policy.py"


def test_shipped_policy_pushes_the_box_in_every_env_of_the_example():
    """The example prints one line for each env; random actions would fail in all of them."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--num-envs", "3"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = sorted(line for line in done.stdout.splitlines() if line.startswith("env "))
    assert lines == [f"env {env_id}: success True" for env_id in range(3)]
