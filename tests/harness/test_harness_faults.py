"""Contracts of the bug zoo: every bug is really planted, begins at its step, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from typing_extensions import get_args, get_type_hints

from harness.contracts import names
from harness.faults import FAULTS, find, plant
from harness.faults.fault_matrix import WORLDS, run_matrix
from harness.faults.faults_command import FaultsConfig, main
from harness.faults.plant import replaced
from harness.grid_toy import make_grid
from harness.toys import PointMass, make_pointmass
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness

OF_AN_ENV = [fault for fault in FAULTS.values() if not fault.of_stack and fault.needs == "cpu"]
SHOWN_ELSEWHERE = {
    "close-closes-all",
    "close-leaves-a-thread",
    "done-survives-reset",
    "time-limit-beats-the-outcome",
    "robots-face-ahead-after-a-success",
}  # two envs that live one after the other, for 30 steps each, do not show them
SHOWN_BY_ONE_ENV = [fault for fault in OF_AN_ENV if fault.name not in SHOWN_ELSEWHERE and not fault.world]
OF_THE_GRID = [fault for fault in OF_AN_ENV if fault.world == "grid"]
QUICK = [
    "missing-argument",
    "rewards-without-last-axis",
    "transposed-actions",
    "infos-without-key-0",
    "timeout-as-termination",
    "available-actions-none",
    "reward-buffer-reused",
    "terminal-observation-lost",
    "reward-goes-on-from-the-old-episode",
    "share-obs-of-the-old-episode",
    "close-leaves-a-thread",
    "config-multiplied-in-place",
    "reward-of-wrong-sign",
    "first-action-of-one-agent-ignored",
    "first-reward-lost",
    "reward-of-the-next-episode",
    "some-episodes-are-born-done",
    "two-envs-start-alike",
    "negative-actions-of-one-agent-ignored",
    "reward-painted-over",
    "info-key-comes-and-goes",
    "seed-from-a-hash",
    "class-keeps-the-last-states",
    "mask-of-the-next-agent",
    "flag-survives-resets",
    "neighbouring-seeds-overlap",
    "time-limit-beats-the-outcome",
    "outcome-of-the-next-episode",
    "table-of-100-episodes",
    "robots-face-ahead-after-a-success",
    "rare-reward-lost-at-ends",
    "reward-of-motion-lost-at-time-limits",
    "return-of-neighbours-counted-too",
    "length-from-one-counter",
    "agent-is-done-but-still-acts",
]
ONLY_EARLY = {("action-levels",): 2, ("clean-start",): 50, ("timely-views",): 2}
"""Latest starts of the bugs of contracts that look at the beginning of a run only, as they try so much."""
NEEDS_MANY_EPISODES = {"lowest-reward-of-all-episodes": 50, "terminal-observation-of-the-first-env": 50}
"""Latest starts of bugs that show only in many episodes, or where several envs end in one step."""
WITH_A_FIRST_STEP = [fault for fault in OF_AN_ENV if not fault.of_making]
OF_MAKING = {
    "reset-leaves-running-episodes",
    "reset-seeds-again",
    "missing-argument",
    "hard-coded-device",
    "one-space-for-all-agents",
    "space-of-another-size",
    "second-close-raises",
    "close-leaves-a-thread",
    "config-multiplied-in-place",
    "setting-grows-with-every-env",
    "close-closes-all",
    "slower-in-odd-batches",
    "seed-ignored",
    "done-survives-reset",
    "first-episode-one-step-shorter",
    "reset-keeps-the-clock",
    "every-episode-starts-alike",
    "only-the-seed-changes-the-start",
    "all-envs-start-alike",
    "two-envs-start-alike",
    "neighbouring-seeds-overlap",
    "seed-from-a-hash",
    "order-of-a-set",
    "seed-with-the-process-id",
    "seed-from-the-clock",
    "seed-with-the-folder",
    "seed-with-the-number-of-threads",
    "registry-keeps-envs",
    "cache-of-a-method-keeps-envs",
    "class-keeps-the-last-states",
}


class Plain:
    """Something with a method of each kind."""

    def double(self, number):
        """Return twice the number."""
        return 2 * number

    @staticmethod
    def triple(number):
        """Return three times the number."""
        return 3 * number


def life_of_envs(make_env=make_pointmass, steps=30, **kwargs):
    """Use two environments one after the other; return, as bytes, everything that they return, and what they keep."""
    seen = []
    for seed in (0, 1):
        kept = []
        np.random.seed(seed)
        env = make_env(num_envs=5, seed=seed, **kwargs)
        seen.append(repr((env.observation_space, env.action_space)).encode())
        seen.append(pickle.dumps(env.reset()))
        random = np.random.default_rng(seed)
        for step in range(steps):
            actions = 1.5 * random.standard_normal((2, 5, 3)).astype(np.float32).swapaxes(0, 1)
            kept.append(env.step(actions))
            seen += [pickle.dumps(actions), pickle.dumps(kept[-1])]
            if step == 3:
                kept[-1][0][:] = 7.0
        seen += [pickle.dumps(kept), repr(sorted(vars(env))).encode()]
        seen += [pickle.dumps(env.reset()), pickle.dumps(env.step(actions))]  # in the middle of episodes
        env.close()
        env.close()
    return seen


def with_fault(name, start=1, **kwargs):
    """Return the same with a bug planted; if that raises, return the error."""
    with find(name).inject(start):
        try:
            return life_of_envs(**kwargs)
        except Exception as error:
            return [repr(error).encode()]


def test_zoo_holds_40_bugs_in_12_classes_and_those_of_the_mission():
    """The zoo is large and varied, and contains the eight bugs from which the project came."""
    on_cpu = [fault for fault in FAULTS.values() if fault.needs == "cpu"]
    assert len(on_cpu) >= 40
    assert len({fault.kind for fault in on_cpu}) >= 12
    origins = {fault.origin[:13] for fault in FAULTS.values() if fault.origin.startswith("mission bug")}
    assert origins == {f"mission bug {number}" for number in range(1, 9)}
    assert sum(fault.origin.startswith("public report") for fault in FAULTS.values()) >= 10


@pytest.fixture(scope="module")
def clean():
    """Return what the environments show without a bug."""
    return life_of_envs(horizon=7)


@pytest.mark.parametrize("fault", SHOWN_BY_ONE_ENV, ids=lambda fault: fault.name)
def test_fault_of_an_env_planted_changes_what_the_env_does_and_is_gone_afterwards(fault, clean):
    """A bug is in the code while its context is open, and gone afterwards."""
    assert with_fault(fault.name, horizon=7) != clean
    assert life_of_envs(horizon=7) == clean


@pytest.mark.parametrize("fault", OF_THE_GRID, ids=lambda fault: fault.name)
def test_fault_of_masks_changes_the_masks_of_the_grid_only_while_it_is_planted(fault):
    """A bug of the grid is in the code while its context is open, and gone afterwards."""
    clean = make_grid(seed=2).reset()[2]
    with fault.inject():
        assert (make_grid(seed=2).reset()[2] != clean).any()
    assert (make_grid(seed=2).reset()[2] == clean).all()


@pytest.mark.parametrize("name", ["agents-swapped", "rewards-without-last-axis", "reward-of-wrong-sign"])
def test_fault_with_a_start_begins_at_that_step(name, clean):
    """A bug that starts at step 11 does not change the first ten steps."""
    broken = with_fault(name, start=11, horizon=7)
    before = 2 + 2 * 10  # spaces and reset, then actions and results
    assert broken[:before] == clean[:before]
    assert broken[before + 1] != clean[before + 1]


def test_faults_and_contracts_cover_each_other():
    """Every bug names contracts that exist, and every contract has a bug that it must catch."""
    named = set()
    for fault in OF_AN_ENV:
        named.update(fault.contracts)
    assert named == set(names("env"))


@pytest.mark.parametrize("name", QUICK)
def test_fault_of_an_env_is_caught_by_a_contract_it_names(name):
    """A contract that a bug names is broken by it; `python -m harness faults` runs all bugs."""
    (row,) = run_matrix([find(name)])
    assert row.caught, find(name).about


def test_faults_without_a_first_step_are_those_of_making_and_closing():
    """All other bugs of an env begin at a step."""
    assert {fault.name for fault in OF_AN_ENV if fault.of_making} == OF_MAKING


@pytest.mark.slow
@pytest.mark.parametrize("start", [1, 2, 50, 1000])
@pytest.mark.parametrize("fault", WITH_A_FIRST_STEP, ids=lambda fault: fault.name)
def test_fault_is_caught_whenever_it_starts(fault, start):
    """A bug is caught however many correct steps come before it, with few exceptions."""
    start = min(start, ONLY_EARLY.get(fault.contracts, start), NEEDS_MANY_EPISODES.get(fault.name, start))
    (row,) = run_matrix([fault], start=start)
    assert row.caught, row.diagnosis


def test_close_closes_all_planted_stops_the_env_that_lives_on():
    """After one env is closed, the other one raises."""
    with find("close-closes-all").inject():
        first, second = make_pointmass(num_envs=5), make_pointmass(num_envs=5)
        second.reset()
        first.close()
        with pytest.raises(RuntimeError, match="simulation is gone"):
            second.step(np.zeros((5, 2, 3), np.float32))


def test_replaced_method_comes_back():
    """After the context, a replaced function is the original again, whether it is a method or static."""
    plain = Plain()
    with replaced(Plain, "double", lambda original, self, number: -original(self, number)):
        assert plain.double(2) == -4
    with replaced(Plain, "triple", lambda original, number: -original(number)):
        assert plain.triple(2) == -6
    assert [plain.double(2), plain.triple(2)] == [4, 6]


def test_unknown_fault_is_refused_with_the_nearest_name():
    """A misspelled bug is an error that names the right one."""
    with pytest.raises(ConfigError, match="did you mean 'infos-shared'"):
        find("info-shared")


def test_listed_fault_cannot_be_planted_here():
    """A bug that needs a GPU refuses to be planted, and does not pretend."""
    with pytest.raises(ConfigError, match="by the tests that can see it"):
        with find("dropped-contacts").inject():
            pass


def test_command_list_names_every_fault(capsys):
    """`--list` shows every bug."""
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in FAULTS)


def test_command_unknown_bug_is_refused_with_the_nearest_name(capsys):
    """A misspelled bug on the command line is exit code 2, and no traceback."""
    assert main(["--only", "infos-shred"]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: unknown bug 'infos-shred'; did you mean 'infos-shared'?")


def test_command_refuses_a_world_that_is_broken_without_a_bug(capsys, monkeypatch):
    """Contracts that are broken anyway would catch every bug; the matrix is not run, and the finding is shown."""
    monkeypatch.setattr(PointMass, "close", lambda env: vars(env).pop("horizon"))
    assert main(["--only", "second-close-raises"]) == 1
    output = capsys.readouterr().out
    assert output.startswith("close: ")
    assert "broken without any bug" in output


def test_bug_that_is_caught_for_the_wrong_reason_is_missed():
    """A broken contract whose finding does not name the bug does not count."""
    fault = find("rewards-without-last-axis")
    (row,) = run_matrix([dataclasses.replace(fault, says=("rewards",))])
    assert row.caught
    (row,) = run_matrix([dataclasses.replace(fault, says=("dones",))])
    assert row.caught_by == ("step-form",)
    assert not row.caught


@pytest.mark.parametrize("words", [["--inject", "infos-shared"], ["--", "harness"]])
def test_command_bug_and_command_go_together(words, capsys):
    """A bug without a command, or a command without a bug, is a wrong command line."""
    assert main(words) == 2
    assert "--inject NAME -- MODULE ARGUMENTS" in capsys.readouterr().err


def test_command_offers_every_world():
    """The choices of `--world` are the environments into which bugs can be planted."""
    assert set(get_args(get_type_hints(FaultsConfig)["world"])) == set(WORLDS)


def test_command_json_holds_the_matrix(tmp_path, capsys):
    """The file has a row for each bug that was planted, with what caught it."""
    file = tmp_path / "matrix.json"
    assert main(["--only", "rewards-without-last-axis,missing-argument", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    assert [row["fault"] for row in rows] == ["rewards-without-last-axis", "missing-argument"]
    assert rows[0]["caught_by"] == ["step-form"]
    assert "2 of 2 bugs in 2 classes caught" in capsys.readouterr().out


def test_command_inject_runs_a_module_with_the_fault_planted(tmp_path, monkeypatch):
    """The command after -- runs as `python -m` runs it, in code with the bug, and its exit code is returned."""
    script = "import sys\nfrom harness.toys import make_pointmass\nmake_pointmass()\nsys.exit(len(sys.argv))\n"
    (tmp_path / "planted_probe.py").write_text(script)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["--inject", "seed-ignored", "--", "planted_probe", "one", "two"]) == 3
    with pytest.raises(AttributeError, match="physics_engine"):
        main(["--inject", "missing-argument", "--", "planted_probe"])


def test_command_inject_takes_python_m_as_well(tmp_path, monkeypatch):
    """`python -m MODULE` after -- means the same as MODULE."""
    (tmp_path / "planted_probe.py").write_text("import sys\nsys.exit(len(sys.argv))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["--inject", "seed-ignored", "--", "python", "-m", "planted_probe", "one", "two"]) == 3


def test_bug_of_a_name_that_is_taken_or_without_words_is_refused(monkeypatch):
    """Otherwise it would replace the first one silently, or end in an IndexError."""
    monkeypatch.setattr(plant, "FAULTS", dict(plant.FAULTS))
    count = len(plant.FAULTS)

    def seed_ignored(start):
        """Take the name of a bug that exists."""
        yield

    def wordless(start):
        yield

    for bug, words in ((seed_ignored, "are called 'seed-ignored'"), (wordless, "needs a docstring")):
        with pytest.raises(ConfigError, match=words):
            plant.planted("test", "same-seed")(bug)
    assert len(plant.FAULTS) == count


def test_command_inject_plants_the_fault_in_child_processes_too(tmp_path, monkeypatch):
    """The bug is also in the child processes of the command, and they know how it was planted."""
    child = (
        "import os; from harness.toys import make_pointmass; make_pointmass(); "
        "assert os.environ['HARNESS_PLANTED_FAULT'] == '--inject seed-ignored --start 4'"
    )
    script = f"import subprocess, sys\nsys.exit(subprocess.call([sys.executable, '-c', {child!r}]))\n"
    (tmp_path / "planted_parent.py").write_text(script)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["--inject", "seed-ignored", "--start", "4", "--", "planted_parent"]) == 0
    assert main(["--inject", "missing-argument", "--", "planted_parent"]) == 1
