"""Contracts of the architecture: rooms, who may import whom, unique names, and what importing costs."""

from __future__ import annotations

import ast
import collections
import functools
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mapush", "harness", "isaac_standin")
NEEDS_A_NEW_PARSER = pytest.mark.python310  # to read the stand-in, whose own Python is 3.11
MOST_MODULES = {"mapush": 12, "harness": 8, "isaac_standin": 6}  # in the root of a package

COMMANDS = {f"mapush.{name}" for name in ("__main__", "train", "evaluate", "export", "replay", "report", "size")}
VOCABULARY = {"mapush.errors", "mapush.objects", "mapush.own", "mapush.spec", "mapush.config"}
PHYSICS = VOCABULARY | {"mapush.device", "mapush.sim"}
TASK = PHYSICS | {"mapush.env", "mapush.happo"}
RUN = TASK | {"mapush.presets", "mapush.run", "mapush.distributed"}
PARTS = RUN | {"mapush.assembly", "mapush.upstream"}
MEASURED = PARTS | {"mapush.evaluation"}

LEAVES = {f"harness.{name}" for name in ("findings", "object_graph", "units", "installed", "causes", "status")}
DRIVEN = {"mapush.errors"} | LEAVES | {"harness.interface", "harness.apis", "harness.contracts", "harness.process"}
GENERIC = DRIVEN | {"harness.memory", "harness.pages", "harness.checking"}

STANDIN = {"mapush.errors", "mapush.device", "isaac_standin.errors"}
SIMULATED = STANDIN | {f"isaac_standin.{room}" for room in ("assets", "scene", "physics", "tensors", "simulation")}

MAY_IMPORT: Dict[str, Set[str]] = {  # room: the rooms it may import, besides itself
    "mapush.errors": set(),
    "mapush.objects": {"mapush.errors", "mapush.own"},
    "mapush.own": {"mapush.errors", "mapush.objects"},
    "mapush.policies": set(),
    "mapush.spec": {"mapush.errors"},
    "mapush.config": {"mapush.errors", "mapush.objects", "mapush.own"},
    "mapush.presets": VOCABULARY,
    "mapush.device": VOCABULARY,
    "mapush.sim": PHYSICS | {"isaac_standin.install"},
    "mapush.happo": VOCABULARY | {"mapush.device", "mapush.distributed"},
    "mapush.env": PHYSICS,
    "mapush.distributed": RUN,
    "mapush.run": RUN,
    "mapush.assembly": PARTS,
    "mapush.upstream": PARTS | SIMULATED | {"isaac_standin.install", "isaac_standin.api"},
    "mapush.evaluation": MEASURED,
    "mapush.viewer": MEASURED,
    "mapush.reports": MEASURED | {"mapush.viewer"},
    "harness.findings": {"mapush.errors", "harness.units", "harness.installed"},
    "harness.object_graph": set(),
    "harness.status": set(),
    "harness.units": {"mapush.errors"},
    "harness.installed": set(),
    "harness.causes": set(),
    "harness.interface": {"mapush.errors", "harness.process"} | LEAVES,
    "harness.apis": {"mapush.errors", "harness.interface", "harness.process"} | LEAVES,
    "harness.contracts": {"mapush.errors", "harness.interface", "harness.apis", "harness.process"} | LEAVES,
    "harness.process": {"mapush.errors"} | LEAVES,
    "harness.harl": DRIVEN,
    "harness.memory": DRIVEN - {"harness.contracts"},
    "harness.pages": DRIVEN | {"harness.memory"},
    "harness.soaking": GENERIC | {"harness.harl"},
    "harness.checking": (GENERIC - {"harness.memory"}) | {"harness.harl"},
    "isaac_standin.errors": {"mapush.errors"},
    "isaac_standin.assets": {"isaac_standin.errors"},
    "isaac_standin.scene": STANDIN | {"isaac_standin.assets"},
    "isaac_standin.physics": STANDIN | {"isaac_standin.assets", "isaac_standin.scene", "mapush.upstream", "mapush.run"},
    "isaac_standin.tensors": STANDIN | {f"isaac_standin.{room}" for room in ("assets", "physics", "scene")},
    "isaac_standin.devices": STANDIN,
    "isaac_standin.install": STANDIN | {"isaac_standin.devices", "mapush.config"},
    "isaac_standin.launch": STANDIN | {"isaac_standin.install"},
    "isaac_standin.simulation": STANDIN | {"isaac_standin.physics", "isaac_standin.scene", "isaac_standin.tensors"},
    "isaac_standin.viewing": SIMULATED | {"mapush.viewer"},
    "isaac_standin.api": SIMULATED | {"isaac_standin.install", "isaac_standin.viewing"},
    "isaac_standin.shim": {"isaac_standin.install"},
}


def modules() -> Dict[str, Path]:
    """Return every module of both packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = list(path.relative_to(ROOT).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            found[".".join(parts)] = path
    return found


MODULES = modules()


class Named(NamedTuple):
    """What a module names; its syntax tree is not kept, because the garbage collector would visit it in all tests.

    Attributes:
      imports: the modules of both packages that it imports: at the top, in functions and for types alike.
      classes: the classes that it defines.
    """

    imports: Tuple[str, ...]
    classes: Tuple[str, ...]


@functools.lru_cache(maxsize=None)
def named_by(name: str) -> Named:
    """Return what a module names; it is read once for all tests."""
    imports: List[str] = []
    classes: List[str] = []
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports += _imported(node, name)
        elif isinstance(node, ast.ClassDef):
            classes.append(node.name)
    return Named(tuple(imports), tuple(classes))


def imported_by(name: str) -> Tuple[str, ...]:
    """Return the modules of both packages that a module imports."""
    return named_by(name).imports


def _imported(node: ast.stmt, name: str) -> Iterator[str]:
    names: List[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for one in names:
        while one and one not in MODULES:
            one = one.rpartition(".")[0]
        if one and one != name:
            yield one


def room_of(module: str) -> str:
    """Return the first two parts of a module's name."""
    return ".".join(module.split(".")[:2])


@NEEDS_A_NEW_PARSER
@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_room_imports_only_the_rooms_below_it(room):
    """Imports go one way: this is what keeps the learner, the simulators and the generic harness usable separately."""
    members = [name for name in MODULES if room_of(name) == room]
    assert members
    for name in members:
        for other in imported_by(name):
            assert room_of(other) in MAY_IMPORT[room] | {room}, f"{name} imports {other}"


def test_every_room_has_its_rule():
    """A new room must say what it may import; commands, doctor, stack, faults, toys and the plugin may import all."""
    free = COMMANDS | {"mapush", "harness", "harness.__main__", "harness.plugin", "harness.toys", "harness.grid_toy"}
    free |= {"harness.in_pytest"}
    free |= {"harness.doctor", "harness.stack", "harness.faults", "isaac_standin", "isaac_standin.__main__"}
    assert {room_of(name) for name in MODULES} == set(MAY_IMPORT) | free


@NEEDS_A_NEW_PARSER
def test_learner_knows_of_several_processes_only_their_sums():
    """How the processes start, stop and save is no matter of the mathematics."""
    for name in MODULES:
        if room_of(name) == "mapush.happo":
            of_ranks = {other for other in imported_by(name) if room_of(other) == "mapush.distributed"}
            assert of_ranks <= {"mapush.distributed.ranks"}, name


@NEEDS_A_NEW_PARSER
def test_package_never_imports_the_harness():
    """The harness knows the package; the package does not know the harness."""
    for name in MODULES:
        if not name.startswith("harness"):
            assert not any(other.startswith("harness") for other in imported_by(name)), name


@NEEDS_A_NEW_PARSER
def test_nothing_below_imports_a_command():
    """Commands stand on top: nothing but other commands, the harness and the package's face imports them."""
    for name in MODULES:
        if name.startswith("mapush.") and name not in COMMANDS:
            assert not set(imported_by(name)) & COMMANDS, name


@NEEDS_A_NEW_PARSER
def test_imports_contain_no_circle():
    """No module imports itself through others, not even inside a function or for a type."""
    below = {name: set(imported_by(name)) - set(PACKAGES) for name in MODULES}
    left = set(below)
    size = len(left) + 1
    while (
        len(left) < size
    ):  # leave out, again and again, what imports nothing that is left and what nothing left imports
        size = len(left)
        left = {name for name in left if below[name] & left}
        wanted = set().union(*(below[name] for name in left))
        left &= wanted
    assert not left, f"these modules import each other: {sorted(left)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_root_of_a_package_is_small(package):
    """Whoever opens the folder sees at once what there is."""
    names = [path.name for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"]
    assert len(names) <= MOST_MODULES[package], sorted(names)


PRODUCTS = (("mapush", "harness"), ("isaac_standin",))


@pytest.mark.parametrize("packages", PRODUCTS)
def test_no_module_name_occurs_twice(packages):
    """The name of a file says which file is meant."""
    counts = collections.Counter(path.name for name, path in MODULES.items() if name.split(".")[0] in packages)
    del counts["__init__.py"], counts["__main__.py"]
    assert [name for name, count in counts.items() if count > 1] == []


@NEEDS_A_NEW_PARSER
@pytest.mark.parametrize("packages", PRODUCTS)
def test_no_class_name_occurs_twice(packages):
    """The name of a class says which class is meant. The names in `isaac_standin.api` are Isaac Gym's."""
    places = collections.defaultdict(list)
    for name in MODULES:
        if name.split(".")[0] not in packages or room_of(name) == "isaac_standin.api":
            continue
        for class_name in named_by(name).classes:
            places[class_name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize(
    "module", ["train", "evaluate", "export", "config", "sim", "sim.physics", "assembly", "presets", "__main__"]
)
def test_import_before_the_simulator_loads_no_torch(module):
    """Isaac Gym has to be imported before torch, so nothing on the way to a simulator loads it."""
    code = f"import sys, mapush.{module}; sys.exit(any(name in sys.modules for name in ('torch', 'mujoco')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_import_of_a_package_loads_nothing_heavy(package):
    """Importing a face is free: what is heavy is loaded when it is used."""
    code = f"import sys, {package}; sys.exit(any(name in sys.modules for name in ('torch', 'mujoco', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_two_test_files_have_one_name():
    """With two test files of one name, plain `pytest` stops: it imports them by their names only."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [name for name, count in collections.Counter(names).items() if count > 1] == []
