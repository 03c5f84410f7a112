"""Contracts of where and why: a finding names the user's own line, which number is which size, and last words."""

from __future__ import annotations

import html
import importlib
import json
import sys
from pathlib import Path

import mission_bugs
import numpy as np
import pytest
import torch
from mission_bugs import A, D, K, Points

from harness.__main__ import main
from harness.causes.symptom import CodeLine
from harness.checking.check import check
from harness.contracts import check_env
from harness.contracts.explanation import complete
from harness.findings import ContractError
from harness.interface.own_code import innermost_own, last_return
from harness.interface.size_names import explain_shapes, name_numbers
from harness.interface.spaces import Sizes

pytestmark = pytest.mark.harness

ONES = np.ones(3)
SIZES = Sizes(7, 2, 8, 16, 3, -ONES, ONES)
LIBRARY = """
import torch

def scale(action, num_envs):
    def _inner():
        return action * torch.ones(num_envs, 2, 3)
    return _inner()
"""
USER = """
import numpy as np
import torch
from mission_bugs import Points
from their_library import scale

class Env(Points):
    def _scaled(self, actions):
        swapped = torch.from_numpy(np.ascontiguousarray(actions.transpose(1, 0, 2)))
        return scale(swapped, self.num_envs).numpy()

class Inherits(Env):
    pass

class Refuses(Points):
    def __init__(self, num_envs=5, seed=0):
        super().__init__(num_envs, seed)
        scale(torch.zeros(num_envs, 4, 3), num_envs)
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Write a library and a user's module that calls it, and return the user's module."""
    (tmp_path / "their_library.py").write_text(LIBRARY)
    (tmp_path / "users_env.py").write_text(USER)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("their_library", "users_env"):
        sys.modules.pop(name, None)
    yield importlib.import_module("users_env")
    for name in ("their_library", "users_env"):
        sys.modules.pop(name, None)


def line_of(file, text):
    """Return the number of the line that contains a text."""
    return next(number for number, line in enumerate(Path(file).read_text().splitlines(), start=1) if text in line)


@pytest.mark.parametrize("name", ["Env", "Inherits"])
def test_exception_in_a_library_names_the_users_innermost_line(user, name):
    """The line of the library stays in `where`; `code` is the line of the module that defines the class."""
    (finding,) = check_env(getattr(user, name), contracts=["step-form"], budget_s=5.0).findings
    assert "their_library.py:6" in finding.where
    line = line_of(user.__file__, "return scale(")
    assert finding.code == f"{user.__file__}:{line} in _scaled: return scale(swapped, self.num_envs).numpy()"
    assert f"  code      {user.__file__}:{line} in _scaled" in str(finding)


def test_exception_of_a_constructor_names_the_users_innermost_line(user):
    """What raises before there is an environment is found in the module of the factory."""
    (finding,) = check_env(user.Refuses, contracts=["factory"], budget_s=5.0).findings
    assert finding.contract == "factory"
    assert finding.code.startswith(f"{user.__file__}:{line_of(user.__file__, 'torch.zeros')} in __init__: ")


def test_import_that_fails_names_the_line_of_the_module(tmp_path, monkeypatch):
    """A module that cannot be imported is named by its own line, not by that of the package that it lacks."""
    (tmp_path / "broken_env.py").write_text("import os\nfrom their_missing_library import scale\n")
    monkeypatch.chdir(tmp_path)
    (finding,) = check("broken_env:Env", contracts=["factory"]).findings
    assert finding.code == f"{tmp_path}/broken_env.py:2 in <module>: from their_missing_library import scale"


class Wide(Points):
    """Returns observations of a wrong width from `step`."""

    def step(self, actions):  # noqa: D102
        if actions.size == 0:
            return None
        obs, *rest = super().step(actions)
        return (np.concatenate([obs, obs], axis=2), *rest)


def test_wrong_value_names_the_line_that_returned_it():
    """Without an exception, `code` is the last return of the method that the value came from."""
    (finding,) = check_env(Wide, contracts=["step-form"], budget_s=5.0).findings
    line = line_of(__file__, "return (np.concatenate([obs, obs]")
    assert finding.code == f"{__file__}:{line} in step: return (np.concatenate([obs, obs], axis=2), *rest)"


def test_clean_environment_has_no_finding():
    """The environment that the buggy ones derive from keeps the contracts they break, as far as its run shows."""
    report = check_env(Points, contracts=["factory", "spaces", "reset-form", "step-form"], budget_s=5.0)
    assert report.ok, str(report)
    assert report.passed == ["factory", "spaces", "reset-form"]
    assert report.not_judged["step-form"].startswith("0 episodes that ended")


def test_frames_of_python_and_of_the_harness_are_nobodys_own_code():
    """Code compiled from a string, Python's own and the harness's are not the user's; without any, it is None."""
    harness = CodeLine(str(Path(check.__code__.co_filename)), 1, "check")
    library = CodeLine(json.__file__, 1, "loads")
    generated = CodeLine("<string>", 1, "<module>")
    assert innermost_own([library, generated, harness]) is None
    mine = CodeLine("/home/me/env.py", 9, "step", "x = 1")
    assert innermost_own([library, mine, harness]) == "/home/me/env.py:9 in step: x = 1"


def test_function_without_source_code_has_no_line():
    """Builtins, and functions made from strings, have no line to name."""
    assert last_return(len) is None
    assert last_return(Points, "no_such_method") is None
    assert last_return(eval("lambda: 1")) is None


# -- sizes -----------------------------------------------------------------------------------------------------------


def message_of(function):
    """Return the text of what a function raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017
        function()
    return str(caught.value)


SHAPES = [  # what raises, what the sizes say: 7 envs, 2 agents, 8 observed, 16 shared, 3 numbers in an action
    (lambda: torch.ones(2, 7, 3) * torch.ones(7, 2, 3), "7 is num_envs, 2 is num_agents: axes swapped"),
    (lambda: torch.ones(7, 4, 3) * torch.ones(7, 2, 3), "4 is no size of this environment, 2 is num_agents"),
    (lambda: np.ones((2, 7, 3)) * np.ones((7, 2, 3)), "7 is num_envs, 2 is num_agents: axes swapped"),
    (lambda: np.zeros((7, 8)).__setitem__(0, np.zeros(16)), "16 is share_obs_dim, 8 is obs_dim"),
    (lambda: torch.ones(14, 8) @ torch.ones(16, 4), "8 is obs_dim, 16 is share_obs_dim"),
    (lambda: np.ones((7, 2))[np.ones((7, 8), bool)], "2 is num_agents, 8 is obs_dim"),
    (lambda: torch.ones(2).expand(7), "7 is num_envs, 2 is num_agents"),
    (lambda: torch.cat([torch.ones(7, 1), torch.ones(2, 1)], dim=1), "7 is num_envs, 2 is num_agents"),
    (lambda: np.ones(7) @ np.ones(14), "14 is num_envs x num_agents, 7 is num_envs"),
    (lambda: torch.ones(5) * torch.ones(4), None),
    (lambda: [][7], None),
    (lambda: torch.ones(7).view(2, 3), None),
    (lambda: int("seven"), None),
]


@pytest.mark.parametrize("function, words", SHAPES)
def test_shape_error_says_which_number_is_which_size(function, words):
    """Messages of torch and numpy about two numbers that differ name the sizes that these numbers are."""
    assert explain_shapes(message_of(function), SIZES) == words


def test_number_that_is_two_sizes_is_not_decided():
    """Where two sizes are equal, both are named."""
    assert name_numbers([7, 4], Sizes(7, 2, 7, 16, 3, -ONES, ONES)) == (
        "7 is num_envs or obs_dim, 4 is no size of this environment"
    )


def test_transposed_actions_in_a_check_are_explained_by_sizes_and_by_the_line(user):
    """The cause begins with the sizes and ends with the line that transposes; other sizes have their own numbers."""
    (finding,) = check_env(user.Env, contracts=["step-form"], budget_s=5.0).findings
    place = f"{user.__file__}:{line_of(user.__file__, 'transpose(')}"
    assert finding.cause == f"5 is num_envs, 2 is num_agents: axes swapped; {place} transposes the actions"
    assert "as HARL hands them over" in finding.fix
    other = check_env(user.Env, contracts=["factory", "step-form"], budget_s=5.0).findings[0]
    assert "7 is num_envs" in other.cause


class Transposed(Points):
    """Returns observations of the agents first."""

    def reset(self):  # noqa: D102
        obs, *rest = super().reset()
        return (obs.transpose(1, 0, 2), *rest)


@pytest.mark.parametrize(
    "make_env, cause",
    [
        (Transposed, "2 is num_agents, 5 is num_envs: axes swapped"),
        (Wide, "a different obs_dim: 16 is share_obs_dim, 8 is obs_dim"),
        (mission_bugs.FixedSize, "a different num_envs: 5 were asked for, or stated by the environment, and 20 came"),
    ],
)
def test_wrong_shape_says_which_number_is_which_size(make_env, cause):
    """Arrays that the environment returns in a wrong shape are explained in the same words."""
    finding = check_env(make_env, contracts=["reset-form", "step-form"], budget_s=5.0).findings[0]
    assert finding.cause.startswith(cause)


def test_explanation_keeps_what_an_error_states_already():
    """A cause and a fix that a contract knows are not replaced."""
    error = ContractError("a thing", cause="known", fix="this")
    error.__cause__ = ZeroDivisionError("x")
    complete(error, "step-form")
    assert (error.cause, error.fix, error.code) == ("known", "this", None)


# -- last words ------------------------------------------------------------------------------------------------------


def test_death_keeps_its_last_words(tmp_path, monkeypatch, capsys):
    """The last 20 lines of a process that died are printed, and are in the bundle and in both reports."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "report"
    words = ["check", "mission_bugs:Dying", "--contracts", "step-form", "--report", str(folder)]
    assert main(words) == 1
    printed = capsys.readouterr().out
    last = ["  | step 29", "  | +++ Using GPU PhysX", "  | PhysX error: allocation of 10737418240 bytes failed"]
    lines = printed.splitlines()
    first = lines.index("  last words of the process:") + 1
    assert [line for line in lines[first:] if line.startswith("  | ")][-3:] == last
    assert len([line for line in lines if line.startswith("  | ")]) == 20
    (bundle,) = folder.glob("mission_bugs.Dying-*.json")
    kept = json.loads(bundle.read_text())["finding"]
    assert kept["last_words"] == [line[4:] for line in lines if line.startswith("  | ")]
    assert "could not allocate the GPU memory" in kept["cause"]
    assert last[-1][4:] in (folder / "report.json").read_text()
    assert last[-1][4:] in html.unescape((folder / "report.html").read_text())
    assert main(["replay", str(bundle)]) == 1
    assert last[-1] in capsys.readouterr().out


def test_death_names_the_users_line_and_a_known_cause(tmp_path, monkeypatch):
    """A crash where the simulation is created is explained; one elsewhere is not explained by contact pairs."""
    monkeypatch.chdir(tmp_path)
    (crash,) = check("mission_bugs:NoSimulation", contracts=["factory"]).findings
    file = mission_bugs.__file__
    assert crash.code.startswith(f"{file}:{line_of(file, 'ctypes.string_at')} in create_sim: ")
    assert "max_gpu_contact_pairs" in crash.cause
    assert crash.last_words == []
    (other,) = check("mission_bugs:Crashing", contracts=["factory", "reset-form"]).findings
    assert "in create_envs" in other.code
    assert "invalid memory" in other.cause


def test_toys_have_sizes_that_differ():
    """A swap of any two axes of the toys shows."""
    sizes = {A, D, K, 2 * D, mission_bugs.N}
    assert len(sizes) == 5
    assert 1 not in sizes
