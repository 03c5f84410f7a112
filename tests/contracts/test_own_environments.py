"""The light toy keeps every contract of the harness; the other environments and the stack are in tests/harness."""

from __future__ import annotations

import pytest

from harness.contracts import Effort, check_env, names
from harness.toys import PointmassTask, make_pointmass

pytestmark = pytest.mark.contracts

EFFORT = Effort(long_run_steps=100, impulse_starts=(1,), growth_steps=25, max_searches=2)
BUDGET_S = 60.0  # far more than it takes: it is the work that is limited here, for the machine may be busy


def test_light_toy_keeps_every_contract():
    """All contracts, including that of the reward, are judged, and all hold; only masks it has none."""
    report = check_env(make_pointmass, task=PointmassTask(), seed=3, budget_s=BUDGET_S, effort=EFFORT)
    assert report.ok, str(report)
    assert report.passed == [name for name in names("env") if name != "mask-effects"], str(report)
