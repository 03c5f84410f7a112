"""Contracts of `docs/bugs.md`: every test and every planted bug that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from harness.faults import FAULTS

pytestmark = pytest.mark.harness

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = dict(re.findall(r"^## (\d)\. (.*?)(?=^## |\Z)", (ROOT / "docs" / "bugs.md").read_text(), re.M | re.S))


def test_bugs_are_the_eight_of_the_mission():
    """Each bug has a section with symptom, cause, remedy, tests and planted bugs."""
    assert sorted(SECTIONS) == [str(number) for number in range(1, 9)]
    for text in SECTIONS.values():
        assert re.findall(r"^- \*\*(.*?)\.\*\*", text, re.M) == [
            "Symptom",
            "Cause",
            "Impossible here",
            "Tests",
            "Planted",
        ]


@pytest.mark.parametrize("number", sorted(SECTIONS))
def test_bug_names_tests_that_exist(number):
    """Each section names tests, and each test is in the named file."""
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", SECTIONS[number])
    assert named
    for path, test in named:
        tree = ast.parse((ROOT / path).read_text())
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (path, test)


@pytest.mark.parametrize("number", sorted(SECTIONS))
def test_bug_names_its_planted_bugs(number):
    """Each section names planted bugs that exist, among them all that come from this bug."""
    named = set(re.findall(r"`([a-z0-9-]+)`", SECTIONS[number].split("**Planted.**")[1]))
    own = {name for name, fault in FAULTS.items() if re.match(rf"mission bug {number}\b", fault.origin)}
    assert own <= named <= set(FAULTS)
    assert own
