"""Contracts of the harness's architecture: which room may import which, and what the generic part knows of mapush."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import harness

pytestmark = pytest.mark.harness

PACKAGE = Path(harness.__file__).parent
VOCABULARY = {"findings", "object_graph", "units", "installed"}
MAY_IMPORT = {  # room of the generic part: the rooms below it
    "findings": set(),
    "object_graph": set(),
    "units": set(),
    "installed": set(),
    "interface": VOCABULARY,
    "contracts": VOCABULARY | {"interface"},
    "process": VOCABULARY,
    "memory": VOCABULARY,
    "pages": VOCABULARY | {"memory"},
    "checking": VOCABULARY | {"interface", "contracts", "process", "pages"},
}


def files_of(room):
    """Return the files of a room, which is a module or a folder of the harness."""
    module = PACKAGE / f"{room}.py"
    if module.is_file():
        return [module]
    return sorted((PACKAGE / room).rglob("*.py"))


def imports_of(path):
    """Return the full names of all that a file imports, wherever in the file it does."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_generic_room_knows_only_the_errors_of_mapush(room):
    """So the harness serves any environment, and could be published without mapush."""
    files = files_of(room)
    assert files
    for path in files:
        for name in imports_of(path):
            if name.split(".")[0] == "mapush":
                assert name.startswith("mapush.errors."), (path.name, name)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_generic_room_imports_only_rooms_below_it(room):
    """Imports go one way, so there is no circle between rooms."""
    allowed = MAY_IMPORT[room] | {room}
    for path in files_of(room):
        for name in imports_of(path):
            package, _, rest = name.partition(".")
            if package == "harness":
                assert rest.split(".")[0] in allowed, (path.name, name)
