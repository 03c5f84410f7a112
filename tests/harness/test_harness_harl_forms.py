"""Contracts of an environment under the user's HARL, without HARL: infos in EP mode, forms of available_actions."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import AVAILABLE, INFOS, factory

from harness.contracts import Task, check_env
from harness.harl.harl_folder import find_harl, missing_module, require_harl
from harness.interface.harl_forms import (
    ARRAY_OF_NONES,
    ARRAY_OF_NUMBERS,
    NESTED_NONES,
    ONE_NONE_EACH,
    OTHER_FORM,
    PLAIN_NONE,
    HarlForms,
    form_of,
)
from mapush.errors import ConfigError

pytestmark = pytest.mark.harness

GUARDED = HarlForms("my fork", (ONE_NONE_EACH, PLAIN_NONE), (ONE_NONE_EACH,))


def only_agent_0(_, returned):
    """Return infos as HARL's EP mode reads them: key 0 only."""
    returned[INFOS] = [{0: dict(info[0])} for info in returned[INFOS]]


def only_agent_1(_, returned):
    """Return infos whose flag stands under agent 1, where HARL's EP mode never looks."""
    returned[INFOS] = [{0: {}, 1: dict(info[1])} for info in returned[INFOS]]


def plain_none(_, returned):
    """Return None for available_actions."""
    returned[AVAILABLE] = None


def report(result, contracts, state_type="EP", **settings):
    """Check an environment with changed results for some contracts."""
    task = Task(state_type=state_type)
    return check_env(factory(result=result), contracts=contracts, budget_s=20.0, task=task, **settings)


def test_infos_of_agent_0_hold_in_ep_mode():
    """What HARL's EP mode never reads may be missing; a note says so."""
    found = report(only_agent_0, ["infos", "bad-transition"])
    assert found.findings == []
    assert found.passed == ["infos", "bad-transition"]
    assert any("infos hold agent 0 only" in note for note in found.notes)


def test_infos_of_agent_0_are_broken_in_fp_mode():
    """FP mode reads every agent's info."""
    found = report(only_agent_0, ["infos"], "FP")
    assert found.findings[0].what == "info of env 0 has no key 1"


def test_flag_under_agent_1_is_found_in_ep_mode():
    """EP mode reads agent 0's flag only, so a time limit that only agent 1 knows counts as a failure."""
    found = report(only_agent_1, ["bad-transition"])
    assert [finding.contract for finding in found.findings] == ["bad-transition"]


def test_none_is_broken_for_upstreams_harl():
    """Upstream's runner indexes available_actions at every step; the fix names the way to a fork."""
    found = report(plain_none, ["available-actions"])
    assert found.findings[0].what == "available_actions is None, not [None] * num_envs"
    assert "--harl DIR" in found.findings[0].fix


def test_none_is_a_note_for_a_guarded_harl():
    """A form that the user's HARL accepts is no finding; the note says what upstream's would do."""
    found = report(plain_none, ["available-actions"], harl=lambda: GUARDED)
    assert found.findings == []
    note = next(note for note in found.notes if "available_actions" in note)
    assert "my fork accepts it in training, but not in its evaluation" in note
    assert "needs [None] * num_envs" in note


def test_form_of_available_actions_is_recognised():
    """The forms that users return are told apart."""
    forms = {
        ONE_NONE_EACH: [None] * 5,
        PLAIN_NONE: None,
        NESTED_NONES: [[None, None]] * 5,
        ARRAY_OF_NONES: np.array([[None, None]] * 5),
        ARRAY_OF_NUMBERS: np.ones((5, 2, 3)),
        OTHER_FORM: [None] * 4,
    }
    assert {form: form_of(value, 5) for form, value in forms.items()} == {form: form for form in forms}


def test_folder_that_is_no_checkout_is_refused(tmp_path, monkeypatch):
    """A named folder must contain HARL; without any, the command says where to get it."""
    monkeypatch.delenv("HARL_DIR", raising=False)
    with pytest.raises(ConfigError, match="--harl is not a checkout"):
        find_harl(str(tmp_path))
    monkeypatch.setenv("HARL_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="HARL_DIR is not a checkout"):
        find_harl()


def test_folder_of_the_package_itself_is_accepted(tmp_path):
    """DIR may be the checkout or the package in it."""
    (tmp_path / "harl").mkdir()
    (tmp_path / "harl" / "__init__.py").touch()
    assert find_harl(str(tmp_path)).path == find_harl(str(tmp_path / "harl")).path == str(tmp_path)


def test_without_harl_upstreams_forms_are_used(monkeypatch):
    """A check without any HARL judges for upstream's, and says so."""
    monkeypatch.delenv("HARL_DIR", raising=False)
    monkeypatch.setattr("harness.harl.harl_folder._installed", lambda: None)
    assert find_harl().forms().name == "upstream HARL (PKU-MARL/HARL at d539bad)"
    with pytest.raises(ConfigError, match="no HARL"):
        require_harl()


@pytest.mark.parametrize(
    "module, fix",
    [("absl.flags", "python -m pip install absl-py"), ("uu", "Python 3.12"), ("harl.envs", "git clone")],
)
def test_missing_module_has_a_fix(module, fix):
    """Each missing module says what to install."""
    assert fix in missing_module(module)[1]
