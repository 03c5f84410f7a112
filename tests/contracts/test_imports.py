"""Contracts of the architecture: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mapush

pytestmark = pytest.mark.contracts

PACKAGE = Path(mapush.__file__).parent
LEAVES = {"errors", "spec", "config", "objects", "device"}
MAY_IMPORT = {  # room: rooms below it, besides the leaves
    "device": {"device"},
    "sim": {"sim"},
    "env": {"env", "sim"},
    "happo": {"happo"},
    "run": {"run", "env", "sim", "happo"},
    "upstream": {"upstream", "run", "env", "sim", "happo", "assembly"},
    "evaluation": {"evaluation", "upstream", "run", "env", "sim", "happo", "assembly", "presets"}
    | {"viewer.selection"},
    "viewer": {"viewer", "evaluation", "upstream", "env", "sim", "happo"},
    "reports": {"reports", "viewer", "evaluation", "run", "env", "sim", "presets"},
}
FIRST_TO_LOAD = (
    "mapush.train",
    "mapush.evaluate",
    "mapush.config",
    "mapush.sim",
    "mapush.sim.physics",
    "mapush.assembly",
)


def imports_of(path):
    """Yield the modules of this package that a file imports, without the package's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from names


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_go_one_way(room):
    """A room imports itself, the leaves and what is listed below it, and nothing else of the package."""
    allowed = {"mapush." + name for name in MAY_IMPORT[room] | LEAVES}
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports_of(path):
            if name.startswith("mapush."):
                assert any((name + ".").startswith(prefix + ".") for prefix in allowed), (path.name, name)


def test_package_never_imports_the_harness():
    """The harness knows the package; the package does not know the harness."""
    for path in PACKAGE.rglob("*.py"):
        assert not any(name.split(".")[0] in ("harness", "tests") for name in imports_of(path)), path


@pytest.mark.parametrize("module", FIRST_TO_LOAD)
def test_import_before_the_simulator_loads_no_torch(module):
    """Isaac Gym has to be imported before torch, so nothing on the way to a simulator loads it."""
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'mujoco')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
