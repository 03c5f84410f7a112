"""`docs/contracts.md` lists every contract, with the promise that its docstring makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import harness.stack.check_stack  # noqa: F401  registers the contracts of the stack
from harness.contracts import CONTRACTS
from harness.harl.runner_checks import all_checks

pytestmark = pytest.mark.harness

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "contracts.md").read_text()
TEXT_OF_HARL = (Path(__file__).resolve().parents[2] / "docs" / "harl.md").read_text()
HEADINGS = {"env": "Of an environment", "stack": "Of the stack", "ranks": "Of several ranks"}


@pytest.mark.parametrize("group", sorted(HEADINGS))
def test_contracts_are_listed_in_their_order_with_what_they_hold(group):
    """No contract is missing, none is left that is gone, and none promises another thing."""
    section = TEXT.split(f"## {HEADINGS[group]}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(.+?)` \| (.+) \|$", section, re.M)
    assert listed == [(one.name, one.sentence) for one in CONTRACTS.values() if one.group == group]


def test_contracts_of_a_runner_are_listed_in_their_order():
    """`docs/harl.md` lists what `python -m harness harl` judges."""
    text = TEXT_OF_HARL.split("## Check your own runner\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(.+?)` \| (.+) \|$", text, re.M)
    assert listed == [(check.name, check.sentence) for check in all_checks()]
