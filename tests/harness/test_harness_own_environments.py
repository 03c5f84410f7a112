"""The environments of this repository keep the contracts of the harness that `-m contracts` does not judge."""

from __future__ import annotations

import pytest
from fakes import make_env

from harness.contracts import Effort, check_env, names
from harness.grid_toy import make_grid
from harness.toys import make_pointmass, make_push
from mapush.env import push, terminations
from mapush.env.harl_view import HarlView

pytestmark = pytest.mark.harness

WITHOUT_AN_END = "spaces reset-form bounds actions-untouched same-seed".split()
SHORT_EPISODES = 22  # env steps, so that many end in a short run
BUDGET_S = 60.0  # far more than it takes: it is the work that is limited here, for the machine may be busy


def limited(steps):
    """Return the effort that limits the runs of every contract to a number of steps."""
    return Effort(
        long_run_steps=steps, impulse_starts=(1,), episodes=12, growth_steps=max(steps // 4, 20), max_searches=2
    )


@pytest.mark.slow
def test_push_env_keeps_every_contract(monkeypatch):
    """The pushing task on a kinematic simulator keeps the contracts, with episodes that end within the run."""
    for module in (push, terminations):
        monkeypatch.setattr(module, "MAX_EPISODE_LENGTH", SHORT_EPISODES)

    def make(num_envs=5, seed=0):
        return HarlView(make_env(seed, num_envs, steps_per_decision=2))

    report = check_env(make, seed=3, budget_s=BUDGET_S, effort=limited(30))
    assert report.ok, str(report)
    unjudged = set(names("env")) - set(report.passed)
    in_other_processes = {"other-process", "made-and-closed"}  # this test's factory exists only here
    assert (
        unjudged <= {"reward-task", "partial-reset", "one-moment", "batch-size", "mask-effects"} | in_other_processes
    ), str(report)


@pytest.mark.mujoco
def test_push_env_on_mujoco_keeps_the_contracts_that_a_short_run_can_judge():
    """The pushing task on MuJoCo keeps the contracts that need no end of an episode."""
    report = check_env(make_push, contracts=WITHOUT_AN_END, seed=3, budget_s=BUDGET_S, effort=limited(10))
    assert report.ok, str(report)
    assert report.passed == WITHOUT_AN_END, str(report)


def test_light_toy_keeps_the_contracts_that_need_new_processes():
    """The light toy is the same in other processes, and nothing is left of it once it is closed."""
    wanted = ["other-process", "made-and-closed"]
    report = check_env(make_pointmass, contracts=wanted, seed=3, budget_s=BUDGET_S, effort=limited(100))
    assert report.passed == wanted, str(report)


@pytest.mark.slow
def test_grid_keeps_every_contract_but_those_of_continuous_actions():
    """The grid has masks, and all contracts that apply to it hold."""
    report = check_env(make_grid, seed=3, budget_s=BUDGET_S, effort=limited(100))
    assert report.ok, str(report)
    assert set(report.not_judged) <= {
        "action-levels",
        "actions-any-range",
        "episode-infos",
        "partial-reset",
        "reward-task",
    }
    assert {"mask-effects", "timely-views", "clean-start"} <= set(report.passed)
