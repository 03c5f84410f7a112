"""Tests of returns in infos after a call of reset in mid-episode, on toys."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import DONES, INFOS, REWARDS, factory, report_of

from harness.contracts import Effort

pytestmark = pytest.mark.harness

EFFORT = Effort(long_run_steps=200, max_searches=0, growth_steps=40, max_kept_entries=150)


def counting(clears):
    """Return a factory with a return of its own in infos; `clears` says whether `reset` sets it to 0."""

    def reset(env, returned):
        if clears or "total" not in env.__dict__:
            env.total = np.zeros(len(returned[0]))
        return returned

    def result(env, returned):
        env.total += returned[REWARDS][:, 0, 0]
        for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
            for info in returned[INFOS][env_id]:
                info["episode_return"] = float(env.total[env_id])
            env.total[env_id] = 0.0

    return factory(reset=reset, result=result)


def test_return_that_reset_does_not_set_back_is_found():
    """The ends of a run without such calls are right."""
    report = report_of(counting(clears=False), contracts=["episode-infos"], effort=EFFORT)
    (finding,) = report.findings
    assert finding.what == "infos give a wrong number for the return of an episode after reset in mid-episode"
    assert "['episode_return']" in finding.where


def test_return_that_reset_sets_back_holds():
    """So does the toy's own."""
    for make_env in (counting(clears=True), factory()):
        assert report_of(make_env, contracts=["episode-infos"], effort=EFFORT).passed == ["episode-infos"]
