"""Tests of conclusions from pairs of runs: runs and settings written by hand, and toys."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts import Effort, check_env
from harness.contracts import paired_runs as contracts
from harness.contracts.comparison import Difference
from harness.contracts.drawn_noise import draws_in_steps
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.shared_settings import require_same_settings
from harness.contracts.two_environments import two_environments
from harness.faults import find
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, OBS_DIM = 5, 2, 4


class Played:
    """A subject that has played a run already; a different seed gives the starts of `other`."""

    def __init__(self, history, other=None, seed=3):
        self.seen, self.seed, self._other = history, seed, other
        self.varied = {}
        if other is not None:
            self.varied = {"seed": "seed"}

    def long_run(self):
        """Return the run."""
        return self

    def player(self, seed):
        """Return an environment with a different seed, after its reset."""
        assert seed == self.seed + 1
        return SimpleNamespace(seen=[self._other])


def run(starts, ends):
    """Return a run whose episodes begin with `starts` {(step, env): value}, by default 0, and end at `ends`."""
    history = []
    for step in range(12):
        obs = np.full((NUM_ENVS, AGENTS, OBS_DIM), 0.01 * step)
        dones = np.zeros((NUM_ENVS, AGENTS), bool)
        for env in range(NUM_ENVS):
            if step == 0 or (step, env) in ends:
                obs[env] = starts.get((step, env), 0.0)
            dones[env] = (step, env) in ends
        rewards, truncated = np.zeros((NUM_ENVS, AGENTS)), np.zeros((NUM_ENVS, AGENTS), bool)
        history.append(Seen(obs, obs, rewards=rewards, dones=dones, truncated=truncated))
    return history


ENDS = [(3, 0), (3, 1), (5, 2), (6, 3), (6, 4), (7, 0), (7, 1), (8, 2), (8, 3), (9, 4)]


# -- settings ----------------------------------------------------------------------------------------------------


def make_growing(factors, **of_budget):
    """Return a subject whose environments have `sim.pairs` multiplied by these factors, one after the other."""
    made = []

    def make_env(num_envs=5, seed=0):
        env = make_pointmass(num_envs, 2, seed)
        made.append(env)
        env.sim = SimpleNamespace(pairs=8.0 * np.prod(factors[: len(made) - 1]), steps=4.0 + len(made), dt=0.02)
        return env

    return EnvUnderTest(make_env), made


def test_setting_that_is_multiplied_with_each_environment_is_found():
    """The factor may be above or below 1, and the finding gives the path."""
    for factor, values in ((2.0, "8, 16, 32"), (0.5, "8, 4, 2")):
        subject, _ = make_growing([factor, factor])
        with pytest.raises(ContractError) as caught:
            require_same_settings(subject)
        assert caught.value.what == f"env.sim.pairs is multiplied by {factor:g} with every environment that is made"
        assert caught.value.got == values
        assert caught.value.contract == "two-environments"


@pytest.mark.parametrize("factors", [(1.0, 1.0), (2.0, 3.0), (2.0, 1.0), (1.0005, 1.0005)])
def test_setting_that_is_not_multiplied_is_no_finding(factors):
    """A counter, or a setting that changed once, is not multiplied."""
    assert require_same_settings(make_growing(factors)[0]) is None


def test_settings_of_slow_factories_are_left_alone():
    """Three environments may take a tenth of the budget."""
    for build_s, number in ((2.0, 3), (2.1, 0)):
        subject, made = make_growing([1.0, 1.0])
        subject.build_s = build_s
        require_same_settings(subject)
        assert len(made) == number


# -- naming ------------------------------------------------------------------------------------------------------


def test_cross_talk_names_the_env_the_place_and_the_values():
    """The finding gives both values, the place, and the envs that were disturbed."""
    one, other = run({}, [])[3], run({}, [])[3]
    other.rewards[4, 1] = 2.5
    causes = []
    for field, place in (("rewards", (4, 1)), ("dones", (2, 0)), ("obs", (1, 0, 3))):
        found = contracts.CrossTalk(9, Difference(field, place), one, other)
        words = "other actions in envs [0, 1]"
        error = contracts.cross_talk("actions of one env change another", found, words, contracts.CAUSE_IN_ACTIONS)
        causes.append(error.cause)
        assert error.what.endswith(f"{field} of env {place[0]}")
        assert error.step == 9
    assert causes[0] == "rewards mix envs"
    assert "another" in causes[1]
    assert "generator" in causes[2]
    rewards = contracts.CrossTalk(9, Difference("rewards", (4, 1)), one, other)
    error = contracts.cross_talk("x", rewards, "other actions in envs [0, 1]", contracts.CAUSE_IN_ACTIONS)
    assert error.where == "step 9, rewards, env 4, agent 1; other actions in envs [0, 1]"
    assert (error.got, error.expected) == ("2.5", "0.0")
    assert Difference("obs", (1, 0, 3)).where() == "obs, env 1, agent 0, entry 3"
    assert contracts.envs_in_words(np.array([False, True, False, True])) == "envs [1, 3]"


def disturbed(*runs):
    """Return a subject with these disturbed runs, whose actions NaN cannot replace."""
    subject = Played(run({}, ENDS))
    found = {contracts.disturbed_runs: list(runs), draws_in_steps: False}
    subject.once, subject.sizes = lambda find: found.get(find, []), SimpleNamespace(discrete=True)
    return subject


def test_difference_is_of_the_reset_if_an_env_ended_at_another_time():
    """Before that, actions are the cause; resets are not judged if no env ended at a different time."""
    one, other = run({}, [])[3], run({}, [])[3]
    found = contracts.CrossTalk(9, Difference("rewards", (4, 1)), one, other)
    with pytest.raises(ContractError, match="actions of one env change another: rewards of env 4"):
        contracts.independence(
            disturbed(contracts.DisturbedRun(None, True, "envs [1]"), contracts.DisturbedRun(found, False, "envs [0]"))
        )
    assert contracts.independence(disturbed(contracts.DisturbedRun(found, True, "envs [0]"))) is None
    with pytest.raises(ContractError, match="the reset of one env changes another: rewards of env 4"):
        contracts.partial_reset(
            disturbed(contracts.DisturbedRun(None, False, "envs [1]"), contracts.DisturbedRun(found, True, "envs [0]"))
        )
    assert (
        contracts.partial_reset(
            disturbed(contracts.DisturbedRun(None, True, "envs [1]"), contracts.DisturbedRun(found, False, "envs [0]"))
        )
        is None
    )
    with pytest.raises(NotJudgedError, match="no env ended without the others"):
        contracts.partial_reset(
            disturbed(contracts.DisturbedRun(None, False, "envs [1]"), contracts.DisturbedRun(found, False, "envs [0]"))
        )


# -- an env that rests instead of failing ------------------------------------------------------------------------------


@pytest.mark.parametrize("time, envs", [(2, []), (3, [0]), (5, [0]), (6, [0, 1]), (11, [0, 1, 2]), (999, [0, 1, 2])])
def test_env_rests_in_the_first_episodes_that_failed(time, envs):
    """There are as many such plans as there is time for, at most three."""
    sizes = SimpleNamespace(num_envs=NUM_ENVS)
    subject = SimpleNamespace(sizes=sizes, steps=lambda wanted, runs: min(wanted, time), effort=Effort())
    plans = contracts.resting_plans(subject, run({}, ENDS))
    assert [np.flatnonzero(plan.disturbed).tolist() for plan in plans] == [[env] for env in envs]
    assert [(plan.start, plan.end) for plan in plans] == [(0, 3), (0, 3), (0, 5)][: len(envs)]


def test_env_rests_in_an_episode_that_no_time_limit_ended():
    """An env that rests reaches the time limit all the same."""
    history = run({}, ENDS)
    for step, env in ENDS[:5]:
        history[step].truncated[env] = True
    sizes = SimpleNamespace(num_envs=NUM_ENVS)
    subject = SimpleNamespace(sizes=sizes, steps=lambda wanted, runs: 999, effort=Effort())
    plans = contracts.resting_plans(subject, history)
    assert [(np.flatnonzero(plan.disturbed).tolist(), plan.start, plan.end) for plan in plans] == [
        ([0], 3, 7),
        ([1], 3, 7),
        ([2], 5, 8),
    ]
    assert all(plan.kinds == ("rest",) for plan in plans)


def test_reset_that_touches_others_is_found_by_resting_an_env(monkeypatch):
    """It is found even if no other run is long enough for an env to end at a different time."""
    monkeypatch.setattr(contracts, "ALL_BUT_ONE", ())
    monkeypatch.setattr(contracts, "ONLY_ONE", ())
    with find("reset-touches-neighbour").inject(1):
        report = check_env(make_pointmass, contracts=("partial-reset",), seed=2)
    (finding,) = report.findings
    assert finding.what.startswith("the reset of one env changes another: ")
    assert finding.cause.startswith("the mask or the indices of the reset cover a different env")
    assert check_env(make_pointmass, contracts=("partial-reset",), seed=2).passed == ["partial-reset"]


# -- an env that is given NaN --------------------------------------------------------------------------------------


def test_env_acts_as_recorded_before_it_is_given_nan():
    """All envs act as in the long run at first, and then one of them is given NaN."""
    acted = []

    class Noting(PointMass):
        """Records where its actions are NaN."""

        def step(self, actions):
            acted.append(np.isnan(actions).any(axis=(1, 2)).tolist())
            return super().step(np.nan_to_num(actions))

    subject = EnvUnderTest(lambda num_envs=5, seed=0: Noting(num_envs, 2, seed, 20), effort=Effort(long_run_steps=40))
    subject.long_run()
    acted.clear()
    contracts.require_no_contagion(subject)
    well, ill = [False] * 5, [False, False, True, False, False]
    assert acted == [well] * contracts.STEPS_BEFORE_NAN + [ill] * contracts.STEPS_WITH_NAN


# -- two environments in one process ----------------------------------------------------------------------------------


class Shared(PointMass):
    """Environments that share a clock, which every step of any of them moves."""

    clock = 0.0

    def step(self, actions):
        """Act, shifted by what other environments did."""
        returned = list(super().step(actions))
        Shared.clock += 1e-3 * float(np.nan_to_num(actions).mean())
        returned[0] = returned[0] + np.float32(Shared.clock - self.own)
        self.own = Shared.clock
        return tuple(returned)

    def reset(self):
        """Start new episodes without changing the clock."""
        self.own = Shared.clock
        return super().reset()


def test_two_environments_that_share_state_are_found():
    """An environment behaves differently if a second one is stepped in turn."""
    for make, expected in ((Shared, "behaves differently when a second one runs"), (PointMass, None)):
        subject = EnvUnderTest(
            lambda num_envs=5, seed=0, make=make: make(num_envs, 2, seed, 20),
            {"make": make},
            effort=Effort(long_run_steps=40),
        )
        if expected is None:
            assert two_environments(subject) is None
            continue
        subject.require_same_again = lambda: None
        with pytest.raises(ContractError, match=expected):
            two_environments(subject)
