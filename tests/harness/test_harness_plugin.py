"""Contracts of the pytest plugin, each tested in a separate session of pytest."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import selection

from harness import contracts
from harness.checking import bundle, replay_finding
from harness.checking import check as checking
from harness.findings import Finding, Report

pytest_plugins = "pytester"
pytestmark = pytest.mark.harness

BROKEN = Finding("actions-untouched", "the actions are clipped in place", got="4 of 30 values changed", step=3)
ENV = "some.module:make_env"
CLIPPING = """
import numpy as np
from harness.toys import PointMass, make_pointmass

class Clipping(PointMass):
    def step(self, actions):
        return super().step(np.clip(actions, -0.5, 0.5, out=actions))

def make_env(num_envs=5, seed=0):
    env = make_pointmass(num_envs=num_envs, seed=seed)
    env.__class__ = Clipping
    return env
"""

NEGATING = """
from harness.toys import PointMass, make_pointmass

class Negating(PointMass):
    def step(self, actions):
        returned = super().step(actions)
        return returned[:2] + (-returned[2],) + returned[3:]

def make_env(num_envs=5, seed=0):
    env = make_pointmass(num_envs=num_envs, seed=seed)
    env.__class__ = Negating
    return env
"""


@pytest.fixture
def checked(monkeypatch):
    """Replace the check: of three contracts, one is broken, one holds, one does not apply; return the calls."""
    calls = []

    def fake_check(factory, kwargs, contracts, seed, **settings):
        calls.append((contracts, seed))
        return Report([BROKEN], ["finite"], {"available-actions": "the actions are not discrete"})

    monkeypatch.setattr(contracts, "names", lambda group: ["actions-untouched", "finite", "available-actions"])
    monkeypatch.setattr(checking, "check", fake_check)
    return calls


@pytest.fixture
def run(pytester, monkeypatch):
    """Return a function that runs pytest on one file, with no plugin but this one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*arguments, source="def test_ordinary(): pass"):
        pytester.makepyfile(test_it="import pytest\n" + source)
        return pytester.runpytest_inprocess("-p", "harness.plugin", "-p", "selection", *arguments)

    return run


def test_env_given_runs_its_contracts_and_nothing_else(run, checked):
    """Each contract is one test: failed, passed, or skipped with the reason; test files are not read."""
    result = run("-m", "contracts", "--env", ENV, "-rs", source="raise RuntimeError('read')")
    result.assert_outcomes(failed=1, passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*the actions are not discrete*"])


def test_env_given_reports_what_was_judged(run, checked):
    """The summary says how many contracts were judged, and why the others were not."""
    result = run("--env", ENV)
    result.stdout.fnmatch_lines(
        [
            "not judged: available-actions: the actions are not discrete",
            "2 of 3 contracts judged: 1 broken, 1 hold",
        ]
    )


def test_env_given_is_judged_for_the_harl_that_is_named(run, monkeypatch):
    """`--harl` reaches the check, and the summary says for which HARL it judged."""
    monkeypatch.setattr(
        checking, "check", lambda *_, harl, **__: Report([], ["finite"], notes=[f"judged for the HARL in {harl}"])
    )
    result = run("--env", ENV, "--harl", "own/HARL", "-k", "finite")
    result.assert_outcomes(passed=1, deselected=len(contracts.names("env")) - 1)
    result.stdout.fnmatch_lines(["note: judged for the HARL in own/HARL"])


def test_env_given_of_which_nothing_is_judged_fails(run, monkeypatch, checked):
    """A session that could not judge any contract fails."""
    monkeypatch.setattr(checking, "check", lambda *_, **__: Report([], [], {"finite": "there was no time"}))
    result = run("--env", ENV, "-k", "finite")
    result.assert_outcomes(skipped=1, deselected=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_env_given_checks_once_what_was_selected(run, checked):
    """All selected contracts share one check, with the seed of the command line."""
    run("--env", ENV, "--seed", "11", "-k", "finite or available")
    assert checked == [(["finite", "available-actions"], 11)]


def test_broken_contract_prints_finding_command_and_bundle(run, checked):
    """A failure begins with the finding and ends with two commands, without a traceback."""
    result = run("--env", ENV, "--seed", "11")
    result.stdout.fnmatch_lines(
        [
            "actions-untouched: the actions are clipped in place",
            "*got*4 of 30 values changed",
            f"*reproduce python -m harness check {ENV} --contracts actions-untouched --seed 11",
            "*replay*python -m harness replay *actions-untouched*.json",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_broken_environment_is_found_and_replayed(run, pytester, capsys):
    """A user's environment is checked, and the bundle of its finding is replayed, without any fake."""
    pytester.makepyfile(clipping=CLIPPING)
    result = run("--env", "clipping:make_env", "-k", "actions-untouched or spaces")
    result.assert_outcomes(failed=1, passed=1, deselected=len(contracts.names("env")) - 2)
    result.stdout.fnmatch_lines(["actions-untouched: step writes into the actions it is given"])
    (written,) = (pytester.path / bundle.FOLDER).iterdir()
    capsys.readouterr()
    assert replay_finding.replay(written) == 1
    assert "actions-untouched is still broken" in capsys.readouterr().out


def test_broken_contract_leaves_a_bundle_where_the_message_says(run, checked, pytester):
    """The replay bundle that the message names exists and holds the finding."""
    result = run("--env", ENV)
    # On CI (the variable CI is set) pytest's summary prints the whole message once more.
    named = {line.split()[-1] for line in result.outlines if "harness replay" in line}
    (path,) = named
    content = json.loads((pytester.path / path).read_text())
    assert content["factory"] == ENV
    assert content["finding"]["contract"] == "actions-untouched"


def test_finding_of_a_contract_that_was_not_selected_still_fails(run, checked):
    """A finding is not lost if it breaks a contract that was not selected."""
    run("--env", ENV, "-k", "finite").assert_outcomes(failed=1)


def test_soak_repeats_the_check_on_new_seeds_until_the_time_is_up(run, checked, monkeypatch):
    """The soak runs only with --soak, stops at the first finding, and reports its seed."""
    result = run("--env", ENV, "--seed", "5", "--soak=0.5", "-m", "soak")
    result.assert_outcomes(failed=1, deselected=3)
    assert checked == [(None, 6)]
    result.stdout.fnmatch_lines(["*--seed 6"])


def test_sim_is_handed_to_the_factory_and_to_the_commands(run, checked):
    """With --sim, the command that reproduces a finding uses the same simulator."""
    result = run("--env", ENV, "--sim", "warp")
    result.stdout.fnmatch_lines(['*reproduce*--kwargs *"sim": "warp"*'])


def test_processes_asked_for_are_handed_to_the_check(run, monkeypatch, checked):
    """With --one-per-process, each environment is built in a process of its own."""
    asked = []

    def fake_check(*arguments, one_per_process, **settings):
        asked.append(one_per_process)
        return Report([], ["finite"])

    monkeypatch.setattr(checking, "check", fake_check)
    run("--env", ENV, "-k", "finite")
    run("--env", ENV, "-k", "finite", "--one-per-process")
    assert asked == [False, True]


def test_selection_of_nothing_says_why(run, checked):
    """A marker that no contract has selects nothing; the summary says so, and which it would be."""
    result = run("-m", "gpu", "--env", ENV)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines([f"-m 'gpu' -k '' selects none of the contracts of {ENV}: their marker is*"])
    assert "selects none" not in str(run("-m", "contracts", "--env", ENV).stdout)


def test_task_is_handed_to_the_check_and_to_the_commands(run, pytester):
    """With --task, rewards are checked against it, and so by the command that reproduces a finding."""
    pytester.makepyfile(negating=NEGATING)
    result = run("--env", "negating:make_env", "--task", "harness.toys:PointmassTask", "-k", "reward-task")
    result.assert_outcomes(failed=1, deselected=len(contracts.names("env")) - 1)
    result.stdout.fnmatch_lines(["reward-task: the reward has the wrong sign", "*reproduce*--task harness.toys:*"])


@pytest.mark.parametrize("marker, reason", [("slow", "takes minutes"), ("soak", "runs for as long as")])
def test_marker_that_runs_on_request_is_deselected_with_the_reason(run, marker, reason):
    """Long tests run if they are asked for; otherwise the summary says why they do not."""
    source = f"@pytest.mark.{marker}\ndef test_long(): pass\ndef test_short(): pass"
    result = run("--strict-markers", source=source)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines([f"deselected {marker}: *{reason}*"])
    asked = {"slow": ["-m", "slow"], "soak": ["-m", "soak", "--soak=1"]}
    run(*asked[marker], source=source).assert_outcomes(passed=1, deselected=1)


def test_gpu_missing_deselects_with_the_reason_of_the_simulator(run, monkeypatch):
    """On a machine without a GPU, tests that need one do not run, even if they are asked for."""
    monkeypatch.setattr("mapush.sim.choose_backend", lambda name: ("mujoco", "no GPU was found"))
    monkeypatch.setattr(selection, "PACKAGES", {})
    result = run("-m", "gpu", source="@pytest.mark.gpu\ndef test_it(): pass")
    result.assert_outcomes(deselected=1)
    result.stdout.fnmatch_lines(["deselected gpu: no GPU was found"])


def test_package_missing_leaves_the_file_unread_with_the_reason(run, monkeypatch):
    """A file whose marker needs a missing package is not imported, and the summary says so."""
    monkeypatch.setattr(selection, "PACKAGES", {"warp": "no_such_package"})
    result = run(source="import no_such_package\npytestmark = pytest.mark.warp\ndef test_it(): pass")
    result.assert_outcomes()
    result.stdout.fnmatch_lines(["deselected warp: no_such_package is not installed*"])


@pytest.mark.parametrize("marker", selection.OWN_FOLDERS)
def test_quick_gates_read_only_their_own_folder(run, pytester, marker):
    """`-m contracts` spends no time on files without contracts; no other folder has a test of this marker."""
    for folder in (marker, "others"):
        (pytester.path / "tests" / folder).mkdir(parents=True)
    own = f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass"
    (pytester.path / "tests" / marker / "test_own.py").write_text(own)
    (pytester.path / "tests" / "others" / "test_other.py").write_text("raise RuntimeError('read')")
    run("-m", marker, "tests").assert_outcomes(passed=1)
    run("-m", "not " + marker, "tests").assert_outcomes(errors=1, deselected=1)
    bearing = re.compile(rf"^(pytestmark = |@).*pytest\.mark\.{marker}\b", re.MULTILINE)
    tests = Path(__file__).parents[1]
    found = {path.relative_to(tests).parts[0] for path in tests.rglob("*.py") if bearing.search(path.read_text())}
    assert found == {marker}


@pytest.mark.parametrize("enough, expected", [(2, 0), (3, 1)])
def test_at_least_fails_when_fewer_tests_ran(run, enough, expected):
    """A session in which too many tests were skipped or deselected fails."""
    source = """
def test_one(): pass
def test_two(): pass
def test_three(): pytest.skip("not here")
"""
    result = run("--at-least", str(enough), source=source)
    assert result.ret == expected
    assert ("2 tests ran, expected at least 3" in result.stdout.str()) == bool(expected)


def test_report_holds_every_test_with_its_diagnosis(run, pytester):
    """The report of ordinary tests has a row for each, with the first line of what went wrong."""
    source = """
def test_good(): pass
def test_bad(): assert 1 == 2, "one is not two"
def test_skipped(): pytest.skip("not here")
@pytest.fixture
def broken(): raise ValueError("no fixture")
def test_without_its_fixture(broken): pass
"""
    run("--report", "out", source=source)
    content = json.loads((pytester.path / "out/report.json").read_text())
    checks = {row["name"].split("::")[1]: row for row in content["checks"]}
    assert {name: row["outcome"] for name, row in checks.items()} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_skipped": "skipped",
        "test_without_its_fixture": "failed",
    }
    assert "one is not two" in checks["test_bad"]["diagnosis"]
    assert "no fixture" in checks["test_without_its_fixture"]["diagnosis"]
    assert "not here" in checks["test_skipped"]["diagnosis"]


def test_report_links_to_the_pages_that_soaks_leave_beside_it(run, pytester):
    """The page of each soak is kept next to the report, in its own folder; every link has a target."""
    source = """
@pytest.mark.parametrize("size", ["a/b", "c", "none"])
def test_soak(size, soak_folder):
    if size != "none":
        (soak_folder / "soak.html").write_text(size)
"""
    run("--report", "out", source=source)
    content = json.loads((pytester.path / "out/report.json").read_text())
    links = re.findall(r'<a href="(.+?)">', (pytester.path / "out/report.html").read_text())
    assert links == [row["page"] for row in content["checks"]][:2]
    assert [(pytester.path / "out" / link).read_text() for link in links] == ["a/b", "c"]
    run(source=source).assert_outcomes(passed=3)  # without a report, pages go to the temporary folder of the test


def test_report_of_contracts_holds_the_commands_and_the_matrix(run, checked, pytester):
    """The report of an environment shows how to reproduce each failure, and a given matrix of faults."""
    bug = {"expected": ["bounds"], "caught_by": ["bounds"], "step": 2, "seconds": 0.5, "diagnosis": "it is late"}
    (pytester.path / "matrix.json").write_text(json.dumps([dict(bug, fault="late-reward", kind="rewards")]))
    run("--env", ENV, "--report", "out", "--matrix", "matrix.json")
    content = json.loads((pytester.path / "out/report.json").read_text())
    (failed,) = [row for row in content["checks"] if row["outcome"] == "failed"]
    assert failed["diagnosis"] == "actions-untouched: the actions are clipped in place"
    assert "--contracts actions-untouched" in failed["reproduce"]
    assert "harness replay" in failed["replay"]
    assert "late-reward" in (pytester.path / "out/report.html").read_text()


MEMORY = """
class Env:
    def __init__(self, limit, keeps):
        self.limit, self.keeps, self.time, self.kept = limit, keeps, 0, []
        self.observation_space = self.share_observation_space = self.action_space = [Box(), Box()]

    def reset(self):
        return zeros((5, 2, 3)), zeros((5, 2, 3)), None

    def step(self, actions):
        self.time += 1
        ends = self.time % self.limit == 0
        if ends and self.keeps:
            self.kept.append(zeros(999))
        return *self.reset()[:2], zeros((5, 2, 1)), zeros((5, 2)) + ends, [{}] * 5, None

    def close(self):
        pass


class Box:
    shape, low, high = (3,), zeros(3) - 1, zeros(3) + 1
"""


@pytest.mark.parametrize(
    "arguments, outcome, code", [("7, True", "failed", 1), ("7, False", "passed", 0), ("10**7, False", "skipped", 1)]
)
def test_memory_of_env_is_judged_if_the_marker_is_asked_for(run, pytester, monkeypatch, arguments, outcome, code):
    """-m memory --env soaks it: a leak fails, and too few episodes are not judged, which is no success, either."""
    pytester.makepyfile(soaked=f"from numpy import zeros\n{MEMORY}\n\ndef make():\n    return Env({arguments})\n")
    paths = [str(pytester.path), str(Path(__file__).resolve().parents[2])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    result = run("-m", "memory", "--env", "soaked:make", "--soak=0.03", "-rs")
    result.assert_outcomes(**{outcome: 1}, deselected=len(contracts.names("env")) + 1)
    assert result.ret == code
    if outcome == "failed":
        result.stdout.fnmatch_lines(["memory: leak of env env.kept: *"])
    if outcome == "skipped":
        result.stdout.fnmatch_lines(["*not judged: 0 episodes ended*"])
