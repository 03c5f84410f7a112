"""The light toy keeps every contract of the harness; the other environments and the stack are in tests/harness."""

from __future__ import annotations

import pytest

from harness.contracts import Effort, check_env, names
from harness.toys import PointmassTask, make_pointmass

pytestmark = pytest.mark.contracts

EFFORT = Effort(long_run_steps=100, impulse_starts=(1,), episodes=12, growth_steps=25, max_searches=2)
BUDGET_S = 60.0  # far more than it takes: it is the work that is limited here, for the machine may be busy


ELSEWHERE = ("mask-effects", "left-agents", "reward-parts", "other-process", "made-and-closed")
"""Contracts that tests/harness judges: the toy has no masks, its robots end together, its infos give no parts of the
reward, and new processes take as long as all other contracts."""


def test_light_toy_keeps_every_contract():
    """All contracts that need no new process, including that of the reward, are judged, and all hold."""
    here = [name for name in names("env") if name not in ELSEWHERE]
    report = check_env(make_pointmass, task=PointmassTask(), contracts=here, seed=3, budget_s=BUDGET_S, effort=EFFORT)
    assert report.ok, str(report)
    assert report.passed == here, str(report)
