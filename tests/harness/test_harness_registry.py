"""Tests of how contracts are registered, and of what they leave for each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import contracts
from harness.contracts import CONTRACTS, contract, names
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import step_checks
from harness.findings import ContractError
from harness.interface.moment import StepErrors
from harness.toys import make_pointmass

pytestmark = pytest.mark.harness

OF_EVERY_STEP = {
    "finite",
    "bounds",
    "actions-untouched",
    "infos",
    "infos-fresh",
    "dones",
    "share-obs-same",
    "available-actions",
    "bad-transition",
    "aliasing",
}
OF_THE_RESET = {"finite", "bounds", "share-obs-same", "available-actions"}


@pytest.fixture
def registered():
    """Let a test register contracts that are gone afterwards."""
    usual = dict(CONTRACTS)
    CONTRACTS.clear()
    yield
    CONTRACTS.clear()
    CONTRACTS.update(usual)


def test_step_checks_are_those_of_the_contracts_that_hold_at_every_step():
    """A reset returns less than a step, so fewer checks apply to it."""
    assert {one.contract for one in step_checks()} == OF_EVERY_STEP
    assert {one.contract for one in step_checks() if one.at_reset} == OF_THE_RESET


@pytest.mark.parametrize("step_check_first", [True, False])
def test_contract_with_a_check_of_runs_and_one_of_steps_has_one_promise(registered, step_check_first):
    """The promise is that of the check of runs, in whichever order the two are registered."""

    def of_runs(subject):
        """The promise."""

    def of_steps(moment):
        """Part of the promise."""

    if step_check_first:
        contract("both", every_step=True)(of_steps)
        contract("both")(of_runs)
    else:
        contract("both")(of_runs)
        contract("both", every_step=True)(of_steps)
    assert names("env") == ["both"]
    assert CONTRACTS["both"].sentence == "The promise."
    assert CONTRACTS["both"].check is of_runs
    assert [one.check for one in step_checks()] == [of_steps]


def test_contract_of_steps_plays_the_long_run(registered):
    """Without a check of its own, a contract needs a run in which the player makes its step check."""

    class Subject:
        played = 0

        def long_run(self):
            """Count the calls."""
            self.played += 1

    contract("steps", every_step=True, at_reset=True)(lambda moment: None)
    subject = Subject()
    CONTRACTS["steps"].check(subject)
    assert subject.played == 1


def test_step_errors_keep_the_first_of_each_contract_until_it_is_withdrawn():
    """A later error of the same contract is a consequence more often than a cause."""
    errors = StepErrors()
    first, second, other = ContractError("first"), ContractError("second"), ContractError("other")
    errors.record("dones", first)
    errors.record("dones", second)
    errors.record("bounds", other)
    assert errors.of("dones") is first
    assert list(errors.by_contract()) == ["dones", "bounds"]
    errors.withdraw("dones")
    errors.withdraw("finite")
    assert errors.of("dones") is None
    assert errors.by_contract() == {"bounds": other}


def test_fact_is_found_once_for_each_environment():
    """Contracts share a fact by the function that finds it; an error is not kept."""
    calls = []

    def find(subject):
        calls.append(subject.seed)
        if len(calls) == 1:
            raise ContractError("not yet")
        return None

    one, other = EnvUnderTest(make_pointmass, seed=1), EnvUnderTest(make_pointmass, seed=2)
    with pytest.raises(ContractError, match="not yet"):
        one.once(find)
    for _ in range(3):
        assert one.once(find) is None
    other.once(find)
    assert calls == [1, 1, 2]


def test_every_module_with_contracts_is_registered():
    """A module that is missing from `IN_ORDER` would never run, without a word."""
    folder = Path(contracts.__file__).parent
    with_contracts = set()
    for path in folder.glob("*.py"):
        if re.search(r"^@contract\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            with_contracts.add(path.stem)
    assert with_contracts
    assert with_contracts == set(contracts.IN_ORDER)
