"""Contracts of learner, logger, configuration and checkpoint: mapush keeps them, and planted bugs break them."""

from __future__ import annotations

from unittest import mock

import pytest

from harness.contracts.registry import CONTRACTS
from harness.faults import FAULTS, find
from harness.faults.plant import replaced
from harness.stack import logger_contracts
from harness.stack.check_stack import check_stack, main
from mapush import presets
from mapush.env.push import PushEnv
from mapush.happo.happo import Happo

pytestmark = [pytest.mark.harness, pytest.mark.mujoco]

ROWS = 300  # that are logged to see whether anything grows
NAMES = (
    "stored-actions log-probs buffer-aliasing advantages masks factor logger-environment logger-keys logger-bounded "
    "task-names unknown-keys checkpoint-complete checkpoint-restores"
).split()


def test_check_stack_of_mapush_trips_nothing():
    """The stack as it is keeps every contract."""
    with mock.patch.object(
        logger_contracts, "ROWS", 5 * ROWS
    ):  # what is left of the noise is less than a bug would make
        report = check_stack(seed=3)
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
        if fault.of_stack:
            found += [(fault.name, contract, says) for contract, says in zip(fault.contracts, fault.says)]
    return found


@pytest.mark.parametrize("name, contract, says", sayings())
def test_planted_bug_is_named_in_the_first_line(name, contract, says):
    """The contract finds the bug, and the first line of the finding says what it is."""
    with find(name).inject(), mock.patch.object(logger_contracts, "ROWS", ROWS):
        report = check_stack([contract])
    assert len(report.findings) == 1, name
    assert says in report.findings[0].what, str(report)
    assert report.findings[0].reproduce == f"python -m harness stack --contracts {contract} --seed 0"


def test_env_that_edits_its_actions_changes_nothing_that_is_stored():
    """The env works on a copy of the actions, so that an edit in place stays with it."""

    def edit(original, env, actions):
        commands = original(env, actions)
        actions.mul_(0.5)
        return commands

    with replaced(PushEnv, "_commands", edit):
        report = check_stack(["stored-actions", "log-probs"])
    assert report.ok, str(report)


def test_missing_metrics_are_one_clear_finding():
    """An environment without statistics is told before training begins, not by an AttributeError at the first log."""
    with mock.patch.object(PushEnv, "metrics", property(lambda env: None, lambda env, value: None), create=True):
        report = check_stack(["logger-environment"])
    assert "the logger has no environment" in report.findings[0].what


def test_missing_preset_names_task_and_table():
    """A task that is in one table and not in another is named, with the table."""
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
    """A bug that raises is reported with file, line and command, never as a traceback."""
    with mock.patch.object(Happo, "act", side_effect=TypeError("no such thing")):
        report = check_stack(["masks"])
    assert report.findings[0].what == "the stack raises TypeError: no such thing"


def test_main_unknown_contract_is_refused_with_the_nearest(capsys):
    """A contract that does not exist is an error of the command line."""
    assert main(["--contracts", "log-prob"]) == 2
    assert "did you mean 'log-probs'" in capsys.readouterr().out


def test_main_broken_contract_exits_with_1(capsys):
    """The command prints the finding and says by its exit code that there is one."""
    with find("stored-actions-swapped").inject():
        assert main(["--contracts", "stored-actions,masks"]) == 1
    assert "actions of agents 0 and 1 are swapped in the buffer" in capsys.readouterr().out
