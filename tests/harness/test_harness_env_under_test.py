"""Tests of what the contracts work on: calling a factory, sharing out time, and comparing runs."""

from __future__ import annotations

import json
import random
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import factory

from harness.__main__ import main as harness_main
from harness.contracts import Effort, Task, check_env, env_under_test, long_run, time_shares
from harness.contracts.comparison import Bystanders, first_difference, first_divergence
from harness.contracts.effort import USUAL_EFFORT
from harness.contracts.env_under_test import EnvUnderTest
from harness.findings import ContractError, NotJudgedError
from harness.interface import drivers
from harness.interface.player import Player, Seen
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS = 5, 2


def make_subject(make_env=make_pointmass, kwargs=None, seed=3, budget_s=60.0, effort=USUAL_EFFORT):
    """Return a subject as `check_env` makes it."""
    return EnvUnderTest(make_env, kwargs, seed=seed, budget_s=budget_s, effort=effort)


# -- the factory -------------------------------------------------------------------------------------------------


def test_factory_is_given_what_it_takes_under_its_own_names():
    """Sizes and seed are varied, fixed arguments stay, and all other arguments keep their defaults."""
    calls = []

    def make(n_rollout_threads=4, seed=9, horizon=20, **others):
        calls.append(dict(others, n_rollout_threads=n_rollout_threads, seed=seed, horizon=horizon))
        return make_pointmass(n_rollout_threads, 2, seed, horizon)

    made = make_subject(make, {"horizon": 30})
    assert made.varied == {"num_envs": "n_rollout_threads", "seed": "seed"}
    made.build()
    made.build(5, num_envs=7, num_agents=3)
    assert made.sizes.num_envs == 5
    made.build()
    assert calls[0] == {"n_rollout_threads": 4, "seed": 3, "horizon": 30}
    assert calls[1] == {"n_rollout_threads": 7, "seed": 5, "horizon": 30}
    assert calls[-1] == {"n_rollout_threads": 5, "seed": 3, "horizon": 30}


def test_factory_argument_that_is_fixed_is_not_varied():
    """This holds for every name under which factories take the argument."""

    def make(n_envs=4, num_envs=4, num_agents=2, *args, **kwargs):
        return None

    assert make_subject(make).varied == {"num_envs": "num_envs", "num_agents": "num_agents"}
    assert make_subject(make, {"n_envs": 3}).varied == {"num_agents": "num_agents"}
    assert make_subject(make, {"num_agents": 3}).varied == {"num_envs": "num_envs"}
    assert make_subject(lambda seed, /: None).varied == {}
    assert make_subject(lambda **seed: None).varied == {}
    assert make_subject(SimpleNamespace()).varied == {}


def test_factory_without_a_seed_finds_the_global_generators_seeded():
    """They are seeded as HARL seeds them, unless the factory takes a seed."""
    torch = pytest.importorskip("torch")
    drawn = []

    def make(num_envs=4):
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
        return make_pointmass(num_envs, 2, 0)

    made = make_subject(make)
    for seed in (None, 3, 2**32 + 3):
        made.build(seed)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    assert drawn[0] == drawn[1] == (random.random(), np.random.rand(), float(torch.rand(())))
    assert drawn[2][1] == drawn[1][1]
    assert drawn[2][0] != drawn[1][0]


def test_sizes_are_chosen_unlike_each_other():
    """The number of envs is the first candidate that equals no other size."""
    made = make_subject(kwargs={"num_agents": 5})  # what is seen has 13 numbers, of all 25
    assert made.sizes.num_envs == 7
    assert not made.notes
    alike = make_subject(lambda seed=0: make_pointmass(2, 2, seed))
    assert alike.sizes.num_envs == 2
    assert alike.notes == ["equal sizes (A = N = 2): a swap of these axes may go unnoticed"]


def test_single_env_and_factory_that_raises_are_findings_of_the_factory():
    """The finding gives the arguments of the call, and where it failed."""
    with pytest.raises(ContractError, match="only one env") as caught:
        make_subject(lambda: make_pointmass(1, 2, 0)).long_run()
    assert caught.value.contract == "factory"

    def fails(num_envs=2):
        raise RuntimeError("no\nthing")

    with pytest.raises(ContractError) as caught:
        make_subject(fails).build(num_envs=4)
    assert caught.value.what == "the factory raises RuntimeError: no"
    assert caught.value.contract == "factory"
    assert caught.value.got == "called with {'num_envs': 4}"
    assert "test_harness_env_under_test" in caught.value.where
    assert "--kwargs" in caught.value.fix
    with pytest.raises(ContractError) as caught:
        make_subject(lambda: 1 / 0).build()
    assert caught.value.got == "called with no arguments"
    assert caught.value.fix is None


def test_factory_that_is_not_given_an_argument_it_needs_names_it():
    """The fix is an option of the command line, and the place is not in the harness."""

    def make(config, num_envs=4, *, name):
        return make_pointmass(num_envs, 2, 0)

    with pytest.raises(ContractError) as caught:
        make_subject(make).build()
    assert caught.value.what == "the factory needs arguments that it is not given: config, name"
    assert caught.value.fix == """--kwargs '{"config": ..., "name": ...}', or give them defaults"""
    with pytest.raises(ContractError, match=r"not given: name\n"):
        make_subject(make, {"config": 1}).build()
    assert make_subject(make, {"config": 1, "name": "a"}).build() is not None
    assert make_subject(lambda num_envs, seed: make_pointmass(num_envs, 2, seed), {"num_envs": 3}).build() is not None


@pytest.mark.parametrize("make, kwargs", [(make_pointmass, {"horizont": 9}), (lambda seed, /: None, {})])
def test_factory_that_cannot_be_called_so_names_no_place_in_the_harness(make, kwargs):
    """The call itself failed, so there is no line to look at."""
    with pytest.raises(ContractError, match="the factory raises TypeError") as caught:
        make_subject(make, kwargs).build()
    assert caught.value.where is None


# -- time --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that only the test moves."""
    now = SimpleNamespace(s=100.0)
    for module in (drivers, env_under_test, long_run, time_shares):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now.s))
    return now


def test_time_is_shared_out_of_what_is_left(clock):
    """A share refers to the complete budget, is at most half of what remains, and a twentieth may be overdrawn."""
    made = make_subject(budget_s=40.0)
    clock.s += 10.0
    assert made.time_left == 30.0
    assert made.time_for(0.1) == 4.0
    assert made.time_for(0.5) == 15.0
    for spent, enough in ((42.0, True), (42.1, False)):
        clock.s = 100.0 + spent
        if enough:
            made.require_time()
        else:
            with pytest.raises(NotJudgedError, match="no time left"):
                made.require_time()


@pytest.mark.parametrize(
    "wanted, runs, share, steps", [(900, 2, 0.1, 128), (50, 2, 0.1, 50), (259, 2, 0.1, 259), (900, 1, 0.1, 256)]
)
def test_steps_are_what_the_share_of_time_is_enough_for(clock, monkeypatch, wanted, runs, share, steps):
    """Building takes time as well; what fits into twice the share is taken, else a rung; eight steps always are."""
    made = make_subject(budget_s=30.0)
    monkeypatch.setattr(made, "long_run", lambda: None)
    made.build_s, made.step_s = 0.2, 0.01
    assert made.steps(wanted, runs, share) == pytest.approx(steps, abs=1)
    clock.s += 29.9
    assert made.steps(wanted, runs, share) == 8


def test_drive_stops_at_the_number_of_steps_or_at_the_limit_of_time(clock):
    """It returns how long a step took."""
    taken = []

    def step(action):
        taken.append(action)
        clock.s += 2.0

    player = SimpleNamespace(seen=["last"], step=step)
    assert drivers.drive(player, lambda seen: seen + "!", 3) == 2.0
    assert taken == ["last!"] * 3
    assert drivers.drive(player, lambda seen: seen, 9, limit_s=5.0) == 2.0
    assert len(taken) == 6
    assert drivers.drive(player, lambda seen: seen, 0) == 0.0


def test_long_run_is_played_once_and_fails_the_same_way_for_everyone():
    """Its outcome is kept, and its length and episodes are noted."""
    effort = Effort(long_run_steps=30)
    made = make_subject(effort=effort)
    player = made.long_run()
    assert made.long_run() is player
    assert len(player.seen) == 31
    ends = sum(int(seen.ended.sum()) for seen in player.seen[1:])
    assert ends > 0
    assert made.notes == [f"long run: 30 steps of 5 envs, {ends} episodes"]
    shortest = make_subject(kwargs={"horizon": 1}, effort=effort)
    shortest.long_run()
    assert shortest.notes == ["long run: 30 steps of 5 envs, 150 episodes"]
    calls = []

    def broken(**kwargs):
        calls.append(1)
        return factory(actions=lambda env, actions: 1 / 0)(**kwargs)

    failing = make_subject(broken, {"num_envs": 5})
    errors = []
    for _ in range(2):
        with pytest.raises(ContractError) as caught:
            failing.long_run()
        errors.append(caught.value)
    assert errors[0] is errors[1]
    assert len(calls) == 2  # one for the sizes, one for the run


def test_step_time_is_that_of_a_replayed_run(clock, monkeypatch):
    """Steps without checks are faster, so more of them fit into the time than the long run suggests."""

    def slow(env, actions):
        clock.s += 0.25
        return actions

    watched = Player._step

    def step_watched(self, actions):
        clock.s += 2.0 * bool(self._checks)
        return watched(self, actions)

    monkeypatch.setattr(Player, "_step", step_watched)
    made = make_subject(factory(actions=slow), {"num_envs": 5}, budget_s=1000.0, effort=Effort(long_run_steps=20))
    made.long_run()
    assert made.step_s == 2.25
    made.require_same_again()
    assert made.step_s == 0.25
    made.replay(0)
    assert made.step_s == 0.25


# -- comparing runs ----------------------------------------------------------------------------------------------


def step(**changes):
    """Return a step of zeros, except for the given fields (place, value)."""
    fields = {"obs": np.zeros((NUM_ENVS, AGENTS, 4)), "share_obs": np.zeros((NUM_ENVS, AGENTS, 3))}
    fields.update(rewards=np.zeros((NUM_ENVS, AGENTS)), dones=np.zeros((NUM_ENVS, AGENTS), bool))
    fields["truncated"] = fields["dones"].copy()
    for name, (place, value) in changes.items():
        fields[name][place] = value
    return Seen(**fields)


EVERYWHERE = np.ones(NUM_ENVS, bool)


def test_first_difference_is_the_first_field_and_the_first_place():
    """A single bit counts, NaN equals NaN, and other envs do not count."""
    other = step(rewards=((3, 1), 1e-300), share_obs=((4, 0, 2), -1.0))
    assert first_difference(step(), other, EVERYWHERE) == ("share_obs", (4, 0, 2))
    assert first_difference(step(), other, np.arange(NUM_ENVS) < 4) == ("rewards", (3, 1))
    assert first_difference(step(), other, np.arange(NUM_ENVS) < 3) is None
    assert first_difference(step(), other, EVERYWHERE, ("obs", "dones")) is None
    ill = step(obs=((2, 1, 3), np.nan))
    assert first_difference(ill, step(obs=((2, 1, 3), np.nan)), EVERYWHERE) is None
    assert first_difference(ill, step(), EVERYWHERE) == first_difference(step(), ill, EVERYWHERE)
    assert first_difference(ill, step(), EVERYWHERE) == ("obs", (2, 1, 3))
    reset = Seen(step().obs, step().share_obs)
    assert first_difference(reset, other, EVERYWHERE, ("rewards", "share_obs")) == ("share_obs", (4, 0, 2))


def test_first_divergence_is_the_first_step_that_differs():
    """It gives step, field and place, and compares as many steps as the shorter run has."""
    one = [step() for _ in range(6)]
    other = [step() for _ in range(4)] + [step(dones=((1, 0), True))]
    assert first_divergence(one, other) == (4, ("dones", (1, 0)))
    assert first_divergence(one[:4], other) is None


def test_bystander_that_starts_elsewhere_is_no_longer_compared():
    """Once a disturbed env has ended at a different time, starts may differ, but nothing else may."""
    undisturbed = np.arange(NUM_ENVS) >= 2
    others = Bystanders(undisturbed)
    assert others.difference(step(), step(obs=((0, 0, 0), 1.0))) is None
    assert not others.diverged
    both_end = {"dones": ((3, slice(None)), True)}
    assert others.difference(step(**both_end), step(**both_end, obs=((3, 0, 0), 1.0))) == ("obs", (3, 0, 0))
    assert others.difference(step(), step(dones=((1, slice(None)), True))) is None
    assert others.diverged
    assert others.difference(step(**both_end), step(**both_end, obs=((3, 0, 0), 1.0))) is None
    assert others.compared.tolist() == [False, False, True, False, True]
    assert others.moved.tolist() == [False, False, False, True, False]
    assert others.difference(step(), step(obs=((3, 0, 0), 1.0))) is None
    assert not others.moved.any()
    assert others.difference(step(), step(rewards=((4, 1), 1.0))) == ("rewards", (4, 1))
    assert undisturbed.tolist() == [False, False, True, True, True]


# -- check_env ---------------------------------------------------------------------------------------------------


def make_nan(num_envs=5, num_agents=2, seed=0, horizon=20, note="", seen=None, sigma=0.0):
    """Return an environment with a NaN from its seventh step on; write its arguments into the file `seen`."""
    if seen is not None:
        Path(seen).write_text(json.dumps({"note": note, "seen": seen}))

    def result(env, returned):
        if env.count >= 7:
            returned[0][2, 1, 3] = np.nan

    return factory(result=result)(num_envs, num_agents, seed)


def test_finding_names_the_command_that_shows_it_again():
    """The command has the factory, its fixed arguments, the contract and the seed."""
    report = check_env(make_nan, kwargs={"note": "a b"}, contracts=["finite"], seed=4)
    command = 'python -m harness check {}:make_nan --kwargs \'{{"note": "a b"}}\' --contracts finite --seed 4'
    assert report.findings[0].reproduce == command.format(__name__)


def test_printed_command_gives_the_factory_the_same_arguments(tmp_path, capsys):
    """A shell reads the line, whatever characters the arguments hold, and the command passes them on unchanged."""
    kwargs = {"note": 'it\'s {} "$HOME" `id`\n#', "seen": str(tmp_path / "seen.json")}
    report = check_env(make_nan, kwargs=kwargs, contracts=["finite"], seed=4)
    Path(kwargs["seen"]).unlink()
    words = shlex.split(report.findings[0].reproduce)
    assert words[:3] == ["python", "-m", "harness"]
    assert harness_main(words[3:]) == 1
    assert json.loads(Path(kwargs["seen"]).read_text()) == kwargs
    assert "finite: obs holds NaN" in capsys.readouterr().out


class Knowing(Task):
    """A task that a command line can name, unless it is given a different delay."""

    def __init__(self, delay=0):
        super().__init__(delay=delay)


@pytest.mark.parametrize(
    "make_env, kwargs, task, said",
    [
        (make_nan, {"sigma": np.float64(0.1)}, None, ""),
        (make_nan, {"sigma": {0.1}, "note": "a"}, None, "JSON cannot express kwargs sigma"),
        (make_nan, {"sigma": (1, 2)}, None, "JSON cannot express kwargs sigma"),
        (lambda: make_nan(), None, None, "the factory cannot be imported by its name"),
        (make_nan, None, Knowing(), ""),
        (make_nan, None, Knowing(2), "the task is more than its class says"),
        (make_nan, None, Task(), ""),
        (make_nan, None, Task(delay=1), "the task is more than its class says"),
    ],
)
def test_printed_command_says_what_it_cannot_express(make_env, kwargs, task, said):
    """A line that cannot repeat the check exactly says so in a comment, which a shell ignores."""
    report = check_env(make_env, kwargs=kwargs, task=task, contracts=["finite"], seed=4)
    command, _, comment = report.findings[0].reproduce.partition("  # ")
    assert shlex.split(report.findings[0].reproduce, comments=True) == shlex.split(command)
    assert shlex.split(command)[-4:] == ["--contracts", "finite", "--seed", "4"]
    assert comment == (said and f"incomplete, use check_env in Python: {said}")
    assert (f"--task {__name__}:Knowing" in command) == isinstance(task, Knowing)


def test_check_env_announces_each_contract_and_times_it():
    """Contracts run in the order of their registration, whatever the order of the request."""
    announced = []
    report = check_env(make_pointmass, contracts=["close", "spaces", "reset-form"], on_contract=announced.append)
    assert announced == ["spaces", "reset-form", "close"] == report.passed == list(report.times)
    assert sum(report.times.values()) <= report.seconds
    assert all(value > 0.0 for value in report.times.values())


def test_check_env_gives_the_generators_back_as_they_were():
    """This holds for the generators of Python, numpy and torch, even if the factory seeds them."""
    torch = pytest.importorskip("torch")

    def make(num_envs=5):
        return make_pointmass(num_envs, 2, 0)

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), float(torch.rand(())))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    check_env(make, contracts=["spaces"])
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected


@pytest.mark.parametrize("seen, advice", [(0, "; no budget gives more: its episodes end after "), (1, "")])
def test_reason_of_too_little_has_advice_that_fits_if_no_budget_gives_more(seen, advice):
    """Nobody can make episodes shorter that end by chance, and who saw some needs no advice."""
    subject = make_subject(lambda: make_pointmass(5, 2, 3, 400), effort=Effort(long_run_steps=60))
    reason = str(subject.too_few("ends", seen, 3))
    text = f"{seen} ends in 60 steps, 3 are needed{advice}"
    assert reason.startswith(text)
    assert reason.endswith("(--kwargs)") == bool(advice)
