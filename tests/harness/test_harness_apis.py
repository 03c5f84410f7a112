"""Tests of the views: environments with other interfaces are recognised, and each planted bug is found."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from foreign_envs import MarlEnv, ParallelEnv, RslRlEnv, SingleEnv, VectorEnv

from harness.__main__ import main
from harness.apis.recognition import recognise
from harness.contracts import Effort, check_env, names
from harness.contracts.auto_reset import may_be_accident
from harness.contracts.factory_call import EnvFactory
from harness.contracts.new_episode import ExactSums
from harness.toys import make_pointmass
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness

EFFORT = Effort(
    long_run_steps=150, max_searches=5, impulse_starts=(1, 20), endless_steps=300, episodes=8, growth_steps=60
)
NOT_OF_VIEWS = {"spaces", "infos", "infos-fresh", "share-obs-same", "available-actions"}
QUICK = ["factory", "reset-form", "step-form", "finite", "bounds", "actions-untouched", "dones", "impulse"]
QUICK += ["auto-reset", "bad-transition", "horizon", "terminal-observation", "first-action", "one-moment"]
QUICK += ["same-seed", "other-seed", "independence", "aliasing", *sorted(NOT_OF_VIEWS)]
ALSO_BROKEN = {"mode": {"dones", "terminal-observation"}}  # a wrong mode breaks what depends on it, too
WAYS = ("SAME_STEP", "NEXT_STEP", "DISABLED")
FORMS = ("groups", "extras", "pair")


def make_vector(num_envs=5, way="SAME_STEP", bug=""):
    """Return a gymnasium vector environment."""
    return VectorEnv(num_envs, way, bug)


def make_single(bug=""):
    """Return a gymnasium environment of one agent."""
    return SingleEnv(bug)


def make_parallel(bug=""):
    """Return a PettingZoo parallel environment."""
    return ParallelEnv(bug)


def make_rsl_rl(num_envs=5, seed=0, form="groups", bug=""):
    """Return a VecEnv of rsl_rl."""
    pytest.importorskip("torch")
    return RslRlEnv(num_envs, seed, form, bug)


def make_marl(num_envs=5, bug=""):
    """Return a DirectMARLEnv."""
    pytest.importorskip("torch")
    return MarlEnv(num_envs, bug)


FACTORIES = {
    "gymnasium": make_vector,
    "gymnasium with one env": make_single,
    "pettingzoo": make_parallel,
    "rsl_rl": make_rsl_rl,
    "isaaclab": make_marl,
}
CLEAN = []
for way in WAYS:
    CLEAN.append((make_vector, {"way": way}))
for form in FORMS:
    CLEAN.append((make_rsl_rl, {"form": form}))
CLEAN += [(make_single, {}), (make_parallel, {}), (make_marl, {})]


@pytest.mark.parametrize("api", FACTORIES)
def test_recognise_by_what_an_environment_has(api):
    """Each interface is recognised without a flag, and the environment is presented with spaces for each agent."""
    env = FACTORIES[api]()
    assert recognise(env) == api
    view = EnvFactory(FACTORIES[api], {}).build(0, num_envs=5)
    assert view.api == api
    assert view.num_envs == 5
    assert len(view.observation_space) == view.n_agents


@pytest.mark.slow
@pytest.mark.parametrize("make_env, kwargs", CLEAN)
def test_clean_environments_have_no_finding(make_env, kwargs):
    """A correct environment of each interface and form has no finding; what does not apply is not judged."""
    make_env(**kwargs)  # skips without torch
    contracts = None  # all, for one of them
    if kwargs.get("way") != "NEXT_STEP":
        contracts = QUICK
    report = check_env(make_env, kwargs=kwargs, contracts=contracts, effort=EFFORT, budget_s=30.0)
    assert [str(finding) for finding in report.findings] == []
    assert NOT_OF_VIEWS <= set(report.not_judged)
    assert {"step-form", "finite", "dones", "auto-reset", "bad-transition", "same-seed", "impulse"} <= set(
        report.passed
    )
    assert any(note.startswith("interface: ") for note in report.notes)


BUGS = [
    (make_vector, {"bug": "mode", "way": "SAME_STEP"}, "auto-reset", "although the autoreset mode is next-step"),
    (make_vector, {"bug": "mode", "way": "NEXT_STEP"}, "auto-reset", "although the autoreset mode is same-step"),
    (make_vector, {"bug": "writes"}, "actions-untouched", ""),
    (make_rsl_rl, {"bug": "missing"}, "bad-transition", ""),
    (make_rsl_rl, {"bug": "stale"}, "bad-transition", ""),
    (make_rsl_rl, {"bug": "writes"}, "actions-untouched", ""),
    (make_rsl_rl, {"bug": "missing", "form": "pair"}, "bad-transition", ""),
    (make_rsl_rl, {"bug": "shared", "form": "extras"}, "aliasing", ""),
    (make_parallel, {"bug": "swapped"}, "impulse", ""),
    (make_parallel, {"bug": "stays"}, "dones", "stays in env.agents"),
    (make_parallel, {"bug": "lost"}, "step-form", "rewards has no entry for bee"),
    (make_marl, {"bug": "swapped"}, "impulse", ""),
]
for make in (make_vector, make_parallel, make_marl):
    BUGS.append((make, {"bug": "limit"}, "bad-transition", ""))
    BUGS.append((make, {"bug": "seed"}, "other-seed", ""))
for make in FACTORIES.values():
    BUGS.append((make, {"bug": "nan"}, "finite", ""))
    if make is not make_single:
        BUGS.append((make, {"bug": "shared"}, "aliasing", ""))
for way in WAYS[1:]:
    BUGS.append((make_vector, {"bug": "nan", "way": way}, "finite", ""))
    BUGS.append((make_vector, {"bug": "limit", "way": way}, "bad-transition", ""))


@pytest.mark.slow
@pytest.mark.parametrize("make_env, kwargs, contract, says", BUGS)
def test_planted_bugs_are_found_through_the_views(make_env, kwargs, contract, says):
    """A bug behind a view breaks the contract that it breaks behind HARL's interface."""
    make_env(**kwargs)  # skips without torch
    report = check_env(make_env, kwargs=kwargs, contracts=[contract], effort=EFFORT, budget_s=30.0)
    found = {finding.contract: finding.what for finding in report.findings}
    assert says in found.pop(contract)
    assert set(found) <= ALSO_BROKEN.get(kwargs["bug"], set())


@pytest.mark.parametrize("api", ["gymnasium", "pettingzoo", "rsl_rl", "isaaclab"])
def test_asking_for_an_interface_that_it_has_not_says_what_is_missing(api):
    """HARL's own interface does not pass for a different one."""
    finding = check_env(make_pointmass, api=api, contracts=["factory"]).findings[0]
    assert finding.what == f"the factory returns an environment that does not have {api}'s interface"
    assert finding.expected.startswith("it lacks: ")


def test_asking_for_harls_interface_refuses_others():
    """With --api harl, nothing is presented as something else."""
    finding = check_env(make_parallel, api="harl", contracts=["factory"]).findings[0]
    assert finding.what == "the factory returns a PettingZoo parallel environment, not HARL's interface"


def test_unknown_api_is_refused_with_a_suggestion():
    """A misspelt name is answered with the one that was meant."""
    with pytest.raises(ConfigError, match="unknown api 'gymnasum'; did you mean 'gymnasium'?"):
        check_env(make_vector, api="gymnasum")


def test_reproduce_command_names_the_interface_that_was_asked_for():
    """The command of a finding repeats the flag."""
    asked = check_env(make_parallel, kwargs={"bug": "lost"}, api="pettingzoo", contracts=["step-form"])
    assert " --api pettingzoo " in asked.findings[0].reproduce
    recognised = check_env(make_parallel, kwargs={"bug": "lost"}, contracts=["step-form"])
    assert "--api" not in recognised.findings[0].reproduce


def test_next_step_ends_are_reported_with_the_step_that_resets():
    """The end comes one step later than gymnasium has it, with the first observation, no reward and the old flag."""
    same = EnvFactory(make_vector, {"way": "SAME_STEP"}).build(3, num_envs=4)
    later = EnvFactory(make_vector, {"way": "NEXT_STEP"}).build(3, num_envs=4)
    actions = np.zeros((4, 1, 3), np.float32)
    first, shifted = [same.reset()], [later.reset()]
    for _ in range(12):
        first.append(same.step(actions))
    for _ in range(13):
        shifted.append(later.step(actions))
    assert first[12][3].all()
    assert not shifted[12][3].any()
    assert shifted[13][3].all()
    assert shifted[13][2].sum() == 0.0
    np.testing.assert_array_equal(shifted[13][0], first[12][0])
    for env_id in range(4):
        assert shifted[13][4][env_id][0]["bad_transition"]
        np.testing.assert_array_equal(shifted[12][0][env_id], shifted[13][4][env_id][0]["final_obs"][None])


def test_without_a_stated_mode_that_of_the_library_is_assumed_and_said():
    """The wrappers of gymnasium assume next-step, too."""

    def make_env(num_envs=5):
        env = VectorEnv(num_envs, "NEXT_STEP")
        del env.metadata["autoreset_mode"]
        return env

    report = check_env(make_env, contracts=["auto-reset"], effort=EFFORT)
    assert report.passed == ["auto-reset"]
    assert "metadata states no autoreset_mode; as gymnasium does, next-step is assumed" in report.notes


def test_unknown_mode_is_refused():
    """A mode that gymnasium does not have cannot be judged."""

    def make_env(num_envs=5):
        env = VectorEnv(num_envs, "NEXT_STEP")
        env.metadata["autoreset_mode"] = "sometimes"
        return env

    finding = check_env(make_env, contracts=["step-form"], effort=EFFORT).findings[0]
    assert finding.what == "metadata states an unknown autoreset_mode 'sometimes'"


def test_old_gym_is_refused_with_what_to_do():
    """An environment whose reset takes no seed is one of gym's before 0.26."""

    class OldGym:
        observation_space = action_space = SingleEnv.observation_space

        def reset(self):
            return np.zeros(5, np.float32)

        def step(self, action):
            return np.zeros(5, np.float32), 0.0, False, {}

    finding = check_env(OldGym, api="gymnasium", contracts=["factory"]).findings[0]
    assert "seed as an argument of reset" in finding.expected
    assert "shimmy" in finding.fix


def test_agents_that_leave_early_do_not_end_the_episode():
    """An agent that is gone observes zeros and earns nothing until the others end, too."""

    class Leaving(ParallelEnv):
        def step(self, actions):
            stacked = {agent: actions.get(agent, np.zeros(3, np.float32)) for agent in ("ant", "bee")}
            gone = "bee" not in self.agents
            self.agents = ["ant", "bee"]
            obs, rewards, terminated, truncated, infos = super().step(stacked)
            parts = [obs, rewards, terminated, truncated, infos]
            if gone:
                for part in parts:
                    del part["bee"]
            terminated["bee"] = True
            if "bee" in self.agents:
                self.agents.remove("bee")
            return tuple(parts)

    view = EnvFactory(Leaving, {}).build(0, num_envs=3)
    view.reset()
    actions = np.zeros((3, 2, 3), np.float32)
    seen = [view.step(actions) for _ in range(12)]
    assert view.take_breaches() == []
    assert not seen[0][3].any()
    assert (seen[4][0][:, 1] == 0.0).all()
    assert (seen[4][2][:, 1] == 0.0).all()
    assert seen[11][3].all()
    assert seen[11][4][0][1]["bad_transition"]


def test_unequal_discrete_actions_are_masked():
    """Of agents with different numbers of choices, each is offered its own, and only those."""

    class Uneven(ParallelEnv):
        def action_space(self, agent):
            kind = type("Discrete", (), {"n": {"ant": 3, "bee": 5}[agent], "shape": (), "start": 1})
            return kind()

    view = EnvFactory(Uneven, {}).build(0, num_envs=4)
    available = view.available_actions()
    assert available.shape == (4, 2, 5)
    assert available[:, 0].sum() == 4 * 3
    assert available[:, 1].all()


def test_vec_env_without_reset_is_judged_from_its_first_observations():
    """rsl_rl asks for no reset, so what needs one is not judged, and the rest is."""
    pytest.importorskip("torch")

    class WithoutReset(RslRlEnv):
        reset = None

    def make_env(num_envs=5, seed=0):
        return WithoutReset(num_envs, seed)

    report = check_env(make_env, contracts=["reset-form", "step-form", "close"], effort=EFFORT)
    assert report.passed == ["step-form"]
    assert "no reset" in report.not_judged["reset-form"]
    assert "no close" in report.not_judged["close"]


@pytest.mark.parametrize("api", FACTORIES)
def test_every_reason_names_a_contract(api):
    """A view cannot exempt an environment from a contract that does not exist."""
    if api in ("rsl_rl", "isaaclab"):
        pytest.importorskip("torch")
    env = EnvFactory(functools.partial(FACTORIES[api]), {}).build(0, num_envs=3)
    assert set(env.unjudged) <= set(names("env"))


def test_numbers_that_are_rarely_off_may_be_off_by_accident():
    """A sensor that saw something after 2 of 125 ends, and nothing after 42 starts, is no defect; a clock is one."""
    envs = np.arange(125) % 7
    is_off = np.zeros(125, bool)
    is_off[[31, 77]] = True
    assert may_be_accident(is_off, envs, 42)
    assert not may_be_accident(np.ones(125, bool), envs, 42)
    assert not may_be_accident(envs == 3, envs, 42)
    is_off = np.arange(125) % 3 == 0
    assert not may_be_accident(is_off, envs, 42)


def test_messages_that_are_empty_at_a_start_are_of_one_moment():
    """A one-hot message, of which there is none before the first step, tells nothing about the first step."""
    rng = np.random.default_rng(3)
    state = np.concatenate([np.eye(4)[rng.integers(0, 4, 90)], rng.normal(size=(90, 3))], axis=1)
    sums = ExactSums.fit(state, state[:, [0, 5]])
    assert sums.entries.all()
    start = np.concatenate([np.zeros((8, 4)), rng.normal(size=(8, 3))], axis=1)
    assert not sums.broken(start, start[:, [0, 5]]).any()
    start[:, 2] = 1.0
    assert sums.broken(start, start[:, [0, 6]]).tolist() == [False, True]


def test_command_says_which_interface_was_recognised(tmp_path, monkeypatch, capsys):
    """The flag reaches the check in the child process, and the report names the interface and what it does not have."""
    monkeypatch.chdir(tmp_path)
    words = ["check", "test_harness_apis:make_parallel", "--contracts", "infos,reset-form"]
    assert main([*words, "--api", "pettingzoo"]) == 2  # a contract that was asked for is not judged
    printed = capsys.readouterr().out
    assert "note: interface: pettingzoo" in printed
    assert "not judged: infos: pettingzoo: " in printed
    assert main([*words, "--api", "rsl_rl"]) == 1
    assert "does not have rsl_rl's interface" in capsys.readouterr().out
