"""Every name of Isaac Gym's API is supported under its own signature, or refused by name: never both, never neither."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import isaac_stubs as stubs
import pytest

from isaac_standin.api import table
from isaac_standin.api.refusals import NAMES, USES, Refused, refuse_name, refused_use
from isaac_standin.api.refused_methods import METHODS
from isaac_standin.errors import NotSupported

pytestmark = [pytest.mark.mujoco, pytest.mark.stubs]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "standin.md"
OPTIONS = (
    "ActuatorProperties",
    "AssetOptions",
    "CameraProperties",
    "FlexParams",
    "ForceSensorProperties",
    "HeightFieldParams",
    "PhysXParams",
    "PlaneParams",
    "RigidBodyProperties",
    "RigidShapeProperties",
    "SimParams",
    "TriangleMeshParams",
    "VhacdParams",
)

STUBS = stubs.tree()
SIGNATURES = stubs.methods(STUBS)


def accepts(method, wanted: stubs.Signature) -> bool:
    """Return whether a method can be called with the positions and names of a signature, as often without the last."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    given = len(wanted.names)
    names = [parameter.name for parameter in parameters[:given]]
    if not wanted.positional_only and names != wanted.names:
        return False
    needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    return len(parameters) >= given and len(needed) <= given - wanted.defaults


def complaints(gym: type, signatures: dict[str, stubs.Signature]) -> list[str]:
    """Return what is wrong with a class `Gym`: methods that are there twice, not at all, or with other parameters."""
    supported = table.methods_of(gym)
    wrong = []
    for name, wanted in signatures.items():
        if name in supported and name in METHODS:
            wrong.append(f"{name} is both supported and refused")
        elif name in supported and not accepts(getattr(gym, name), wanted):
            wrong.append(f"{name}{inspect.signature(getattr(gym, name))} should take {wanted.names}")
        elif name not in supported and name not in METHODS:
            wrong.append(f"{name} is neither supported nor refused")
    for name in supported:
        if name not in signatures:
            wrong.append(f"{name} is not a method of Isaac Gym")
    return wrong


THREE = {
    "create_sphere": stubs.Signature(["sim", "radius", "options"], 1),
    "simulate": stubs.Signature(["arg0"], 0),
    "create_cloth_grid": stubs.Signature(["arg0", "arg1", "arg2", "arg3", "arg4"], 0),
}


class Right(Refused):
    """A class `Gym` that has what `THREE` says."""

    def create_sphere(self, sim, radius, options=None):
        """Do nothing."""

    def simulate(self, sim):
        """Do nothing."""


class Renamed(Right):
    """Calls a parameter otherwise."""

    def create_sphere(self, sim, size, options=None):
        """Do nothing."""


class Demanding(Right):
    """Needs what Isaac Gym does not."""

    def create_sphere(self, sim, radius, options):
        """Do nothing."""


class Greedy(Right):
    """Needs one argument more."""

    def simulate(self, sim, seconds):
        """Do nothing."""


class Silent(Right):
    """Supports what is also refused."""

    def create_cloth_grid(self, sim, width, length, a, b):
        """Return what looks like an asset."""


class Inventive(Right):
    """Has a method that Isaac Gym lacks."""

    def simulate_twice(self, sim):
        """Do nothing."""


class Incomplete(Refused):
    """Lacks a method."""

    create_sphere = Right.create_sphere


def test_stubs_have_all_312_methods():
    """The walk sees every method, and the parameters of those whose stub says only *args."""
    assert len(SIGNATURES) == 312
    assert SIGNATURES["create_box"].names == ["sim", "width", "height", "depth", "options"]
    assert len(SIGNATURES["get_actor_dof_states"].names) == 3
    assert SIGNATURES["simulate"].positional_only


def test_right_gym_has_no_complaint():
    """A class with the right methods and the refusals passes."""
    assert complaints(Right, THREE) == []


@pytest.mark.parametrize("gym", [Renamed, Demanding, Greedy, Silent, Inventive, Incomplete])
def test_wrong_gym_has_one_complaint(gym):
    """Each kind of mistake is found, and only it."""
    assert len(complaints(gym, THREE)) == 1


def test_every_refused_method_is_one_of_isaac_gyms():
    """No refusal has a name that Isaac Gym does not know."""
    assert sorted(METHODS.keys() - SIGNATURES.keys()) == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_refused_method_raises_with_its_name(name):
    """Whatever it is called with, a refused method names itself, what it would do and what to use."""
    with pytest.raises(NotSupported) as caught:
        getattr(Refused(), name)(None, 3, options=5)
    assert f"Gym.{name}" in caught.value.what
    assert METHODS[name].would in caught.value.got
    assert METHODS[name].instead.removeprefix("nothing: ") in caught.value.fix


@pytest.mark.parametrize("refusals", [METHODS, NAMES, USES])
def test_way_out_exists(refusals):
    """What a refusal recommends is a method of Isaac Gym that is not refused itself."""
    for name, refusal in refusals.items():
        assert refusal.instead, name
        for method in re.findall(r"`(\w+)`", refusal.instead):
            assert method in SIGNATURES, (name, method)
            assert method not in METHODS, (name, method)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_refused_name_raises_with_its_name(name):
    """A refused name of `gymapi` is one of Isaac Gym's, and says so when it is read."""
    assert name in stubs.classes(STUBS).keys() | stubs.other_names(STUBS)
    with pytest.raises(NotSupported) as caught:
        refuse_name(name)
    assert f"gymapi.{name}" in caught.value.what


def test_name_that_isaac_gym_does_not_have_is_an_ordinary_mistake():
    """A typing error is an AttributeError, so that hasattr works."""
    with pytest.raises(AttributeError, match="Vec33"):
        refuse_name("Vec33")


@pytest.mark.parametrize("name", sorted(USES))
def test_refused_use_names_the_value_and_the_call(name):
    """A value that exists, but cannot be used, is refused with the call that met it."""
    error = refused_use(name, "Gym.create_sim")
    assert name in error.what
    assert error.where == "Gym.create_sim"


def test_table_lists_each_method_once():
    """The page has a row for each method, supported or refused."""
    rows = re.findall(r"^\| `(\w+)` \|", table.table(Right).split("### Names")[0], re.M)
    assert sorted(rows) == sorted(["create_sphere", "simulate", *METHODS])


def test_notes_are_about_methods_that_are_not_refused():
    """No remark is left of a method that is refused or misspelt."""
    assert sorted(table.NOTES.keys() - (SIGNATURES.keys() - METHODS.keys())) == []


def test_written_page_keeps_what_is_around_the_table(tmp_path):
    """Only what is between the markers is replaced, and read back as written."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write_into(page, "new\n")
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")
    assert table.between_markers(page) == "new\n"


def test_gym_has_every_method_or_refuses_it():
    """Isaac Gym's 312 methods are each supported with those parameters, or refused by name."""
    gym = importlib.import_module("isaac_standin.api.gym").Gym
    assert complaints(gym, SIGNATURES) == []


def test_gymapi_has_every_class_and_enum_member_or_refuses_it():
    """Isaac Gym's types and constants exist in `gymapi`, or reading them is refused by name."""
    gymapi = importlib.import_module("isaac_standin.api.gymapi")
    wrong = []
    for name in stubs.classes(STUBS).keys() | stubs.other_names(STUBS):
        if (name in NAMES) == (name in vars(gymapi)):
            wrong.append(name)
    for name, definition in stubs.classes(STUBS).items():
        if name in NAMES or not stubs.is_enum(definition):
            continue
        for member in stubs.fields(definition):
            if not hasattr(getattr(gymapi, name, None), member):
                wrong.append(f"{name}.{member}")
    assert sorted(wrong) == []


@pytest.mark.parametrize("name", OPTIONS)
def test_options_have_every_field(name):
    """What a program may set exists from the start, so that a misspelt name can be told from it."""
    made = getattr(importlib.import_module("isaac_standin.api.gymapi"), name)()
    missing = []
    for field in stubs.fields(stubs.classes(STUBS)[name]):
        if not hasattr(made, field):
            missing.append(field)
    assert missing == []


def test_page_has_the_table():
    """docs/standin.md says what the code does; `isaac_standin.api.table --write` renews it."""
    gym = importlib.import_module("isaac_standin.api.gym").Gym
    assert table.between_markers(PAGE) == table.table(gym)
