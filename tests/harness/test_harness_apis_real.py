"""Tests of the views on the libraries themselves, where they are installed: their own environments have no finding."""

from __future__ import annotations

import pytest

from harness.apis.recognition import recognise
from harness.contracts import Effort, Task, check_env

pytestmark = pytest.mark.harness

EFFORT = Effort(
    long_run_steps=260, max_searches=5, impulse_starts=(1, 20), endless_steps=300, episodes=8, growth_steps=60
)
CONTRACTS = ["factory", "reset-form", "step-form", "finite", "dones", "impulse", "auto-reset", "bad-transition"]
CONTRACTS += ["horizon", "terminal-observation", "first-action", "one-moment", "same-seed", "other-seed", "aliasing"]


@pytest.mark.gymnasium
@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_gymnasium_vector_environments_have_no_finding(name, mode):
    """The vector environments of gymnasium are judged clean in each of their modes, and the modes are told apart."""
    import gymnasium
    from gymnasium import vector

    def make_env(num_envs=5):
        makers = [lambda: gymnasium.make(name)] * num_envs
        return vector.SyncVectorEnv(makers, autoreset_mode=vector.AutoresetMode[mode])

    report = check_env(make_env, contracts=CONTRACTS, effort=EFFORT, budget_s=30.0)
    assert [str(finding) for finding in report.findings] == []
    assert {"step-form", "impulse", "auto-reset", "same-seed"} <= set(report.passed)
    assert f"autoreset mode: {mode.lower().replace('_', '-')}" in report.notes


@pytest.mark.gymnasium
def test_gymnasium_environment_of_one_agent_has_no_finding():
    """The factory of a single environment is called once for each env."""
    import gymnasium

    def make_env():
        return gymnasium.make("Pendulum-v1")

    assert recognise(make_env()) == "gymnasium with one env"
    report = check_env(make_env, contracts=CONTRACTS, effort=EFFORT, budget_s=30.0)
    assert [str(finding) for finding in report.findings] == []
    assert {"step-form", "impulse", "auto-reset", "horizon", "other-seed"} <= set(report.passed)


@pytest.mark.mpe
def test_mpe_of_pettingzoo_has_the_axis_without_effect_that_it_documents():
    """The first of the continuous actions is `no_action`: it is found, and a task can state it."""
    from mpe2 import simple_spread_v3 as scenario

    def make_env():
        return scenario.parallel_env(continuous_actions=True, max_cycles=10)

    assert recognise(make_env()) == "pettingzoo"
    found = check_env(make_env, contracts=["impulse"], effort=EFFORT, budget_s=30.0).findings
    assert [finding.what for finding in found] == ["axis 0 of the actions is ignored"]
    report = check_env(make_env, task=Task(idle_axes=[0]), contracts=CONTRACTS, effort=EFFORT, budget_s=30.0)
    assert [str(finding) for finding in report.findings] == []
