"""Contracts of the architecture: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import collections
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import mapush

pytestmark = pytest.mark.contracts

ROOT = Path(mapush.__file__).resolve().parents[1]
LAYERS = (  # of mapush, the lowest first; a room imports itself and what is below it
    {"errors"},
    {"objects", "spec"},
    {"config"},
    {"presets", "device"},
    {"sim"},
    {"env"},
    {"happo"},
    {"run"},
    {"upstream", "assembly"},
    {"evaluation"},
    {"viewer"},
    {"reports"},
    {"__init__", "__main__", "evaluate", "replay", "report", "size", "train"},
)
LEARNER_MAY_IMPORT = {"happo", "config", "spec", "errors", "device"}
EXCEPTIONS = {("mapush.evaluation.evaluate_config", "mapush.viewer.selection")}
CIRCLES_IN = {"mapush.happo", "mapush.evaluation", "mapush.viewer", "harness.interface"}  # being opened
FIRST_TO_LOAD = (
    "mapush",
    "mapush.train",
    "mapush.evaluate",
    "mapush.config",
    "mapush.presets",
    "mapush.sim",
    "mapush.sim.physics",
    "mapush.assembly",
)


@functools.lru_cache(maxsize=None)
def modules():
    """Return the file of every module of both packages, by its dotted name; a package is its `__init__`."""
    found = {}
    for package in ("mapush", "harness"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return found


@functools.lru_cache(maxsize=None)
def imports_of(name):
    """Return the modules of both packages that a module imports, at any level and for type checkers, too."""
    names = set()
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {module_of(imported) for imported in names} - {None, name}


def module_of(imported):
    """Return the module that an imported name lies in, None if it is not one of ours."""
    while imported:
        for candidate in (imported, imported + ".__init__"):
            if candidate in modules():
                return candidate
        imported = imported.rpartition(".")[0]
    return None


def layer_of(name):
    room = name.split(".")[1]
    for index, rooms in enumerate(LAYERS):
        if room in rooms:
            return index
    raise AssertionError(f"{name} is in no layer")


MAPUSH = sorted(name for name in modules() if name.startswith("mapush."))


@pytest.mark.parametrize("name", MAPUSH)
def test_imports_go_down(name):
    """A module imports its own layer and the layers below it; the learner knows no environment and no simulator."""
    for imported in imports_of(name):
        assert imported.startswith("mapush."), "mapush never imports the harness"
        if (name, imported) in EXCEPTIONS:
            continue
        assert layer_of(imported) <= layer_of(name), imported
        if name.startswith("mapush.happo"):
            assert imported.split(".")[1] in LEARNER_MAY_IMPORT, imported


def test_root_has_few_modules():
    """What lies in the root of the package is what a user runs or a newcomer looks for first."""
    assert len([name for name in MAPUSH if name.count(".") == 1 and name != "mapush.__init__"]) <= 12


def test_no_two_modules_and_no_two_classes_share_a_name():
    """A name that is searched for is found in one place."""
    files = [name.rpartition(".")[2] for name in modules()]
    classes = []
    for path in modules().values():
        classes += [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    for names in (files, classes):
        twice = {name for name, count in collections.Counter(names).items() if count > 1}
        assert twice <= {"__init__", "__main__"}


def test_no_module_imports_itself_through_others():
    """Every module can be read, and tested, after those that it imports."""
    for name in modules():
        if name.rpartition(".")[0] not in CIRCLES_IN:
            assert name not in reachable_from(name), name


def reachable_from(name):
    """Return every module that a module imports, directly or through others."""
    found, waiting = set(), [name]
    while waiting:
        for imported in imports_of(waiting.pop()):
            if imported not in found:
                found.add(imported)
                waiting.append(imported)
    return found


@pytest.mark.parametrize("module", FIRST_TO_LOAD)
def test_import_before_the_simulator_loads_no_torch(module):
    """Isaac Gym has to be imported before torch, so nothing on the way to a simulator loads it."""
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'mujoco')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
