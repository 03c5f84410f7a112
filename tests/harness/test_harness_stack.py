"""Tests of the contracts of the stack: mapush keeps them, and planted bugs break them."""

from __future__ import annotations

from unittest import mock

import pytest

from harness.contracts.registry import CONTRACTS
from harness.faults import FAULTS, find
from harness.faults.plant import replaced
from harness.stack.check_stack import check_stack
from harness.stack.stack_command import main
from mapush import presets
from mapush.env.push import PushEnv
from mapush.happo.happo import Happo

pytestmark = [pytest.mark.harness, pytest.mark.mujoco]

FEW_ROWS = 300  # after which a planted bug shows
ENOUGH_ROWS = 1500  # after which the allocator's noise is smaller than any bug
NAMES = (
    "stored-actions log-probs buffer-aliasing advantages masks factor logger-environment logger-keys logger-bounded "
    "task-names unknown-keys checkpoint-complete checkpoint-restores"
).split()


def test_stack_of_mapush_keeps_every_contract():
    """The stack keeps every contract."""
    report = check_stack(seed=3, logger_rows=ENOUGH_ROWS)
    assert report.ok, str(report)
    assert report.passed == NAMES


def test_contracts_have_a_sentence_each():
    """Every contract says in one line what it promises."""
    for name in NAMES:
        assert CONTRACTS[name].group == "stack", name
        assert CONTRACTS[name].sentence.endswith("."), name


def sayings():
    """Return each planted bug of the stack with a contract that finds it, and what the finding says."""
    found = []
    for fault in FAULTS.values():
        if fault.group == "stack":
            found += [(fault.name, contract, says) for contract, says in zip(fault.contracts, fault.says)]
    return found


@pytest.mark.parametrize("name, contract, says", sayings())
def test_planted_bug_is_named_in_the_first_line(name, contract, says):
    """The contract finds the bug, and the first line of the finding says what it is."""
    with find(name).inject():
        report = check_stack([contract], logger_rows=FEW_ROWS)
    assert len(report.findings) == 1, name
    assert says in report.findings[0].what, str(report)
    assert report.findings[0].reproduce == f"python -m harness stack --contracts {contract} --seed 0"


def test_env_that_edits_its_actions_changes_nothing_that_is_stored():
    """The env works on a copy of the actions, so an edit in place does not reach the buffer."""

    def edit(original, env, actions):
        commands = original(env, actions)
        actions.mul_(0.5)
        return commands

    with replaced(PushEnv, "_commands", edit):
        report = check_stack(["stored-actions", "log-probs"])
    assert report.ok, str(report)


def test_missing_metrics_are_one_clear_finding():
    """An environment without statistics is reported before training begins, not by an AttributeError while logging."""
    with mock.patch.object(PushEnv, "metrics", property(lambda env: None, lambda env, value: None), create=True):
        report = check_stack(["logger-environment"])
    assert "the logger has no environment" in report.findings[0].what


def test_missing_preset_names_task_and_table():
    """A task that is missing from a table is reported with the table."""
    fewer = {name: value for name, value in presets.PRESETS.items() if name != "tblock"}
    with mock.patch.object(presets, "PRESETS", fewer):
        report = check_stack(["task-names"])
    assert report.findings[0].what == "task 'tblock' is unknown to mapush.presets.PRESETS"


def test_aliased_snapshot_is_found():
    """A checkpoint that shares tensors with the learner changes while training goes on."""
    with mock.patch("mapush.train.copy", mock.Mock(deepcopy=lambda value: value)):
        report = check_stack(["checkpoint-restores"])
    assert "changes while training goes on" in report.findings[0].what


def test_exception_in_the_stack_is_a_finding_with_its_place():
    """An exception in the stack is reported with file and line, never as a traceback."""
    with mock.patch.object(Happo, "act", side_effect=TypeError("no such thing")):
        report = check_stack(["masks"])
    assert report.findings[0].what == "the stack raises TypeError: no such thing"


def test_main_unknown_contract_is_refused_with_the_nearest(capsys):
    """An unknown contract is an error of the command line, with a suggestion."""
    assert main(["--contracts", "log-prob"]) == 2
    assert "did you mean 'log-probs'" in capsys.readouterr().out


def test_main_broken_contract_exits_with_1(capsys):
    """The command prints the finding, and its exit code is 1."""
    with find("stored-actions-swapped").inject():
        assert main(["--contracts", "stored-actions,masks"]) == 1
    assert "actions of agents 0 and 1 are swapped in the buffer" in capsys.readouterr().out
