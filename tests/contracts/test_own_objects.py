"""Contracts of objects of the user's own: solids, mesh files, defaults, registration, and what a run stores."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from own_things import (
    WEDGE_FACES,
    WEDGE_POINTS,
    no_own_objects,  # noqa: F401 (a fixture)
    write_ascii_stl,
    write_crate,
    write_obj,
    write_stl,
)

from mapush.config import PushRunConfig, run_config_from_dict, to_dict
from mapush.errors import ConfigError
from mapush.objects import CUBOID, OBJECTS, Part, PushObject
from mapush.own import own_objects, solids
from mapush.presets import preset, presets_of
from mapush.train import main, parse

pytestmark = [pytest.mark.contracts, pytest.mark.usefixtures("no_own_objects")]

BOX = Part.box((0.8, 0.6, 0.5), mass=3.0)


# -- solids ----------------------------------------------------------------------------------------------------------


def test_defaults_of_an_object_follow_from_its_parts():
    """The outline is the hull from above; the object starts above the floor, and the robots outside the outline."""
    item = PushObject("box", (Part.box((0.8, 0.6, 0.5), 3.0, offset=(0.0, 0.0, 0.1)),))
    assert set(item.vertices) == {(-0.4, -0.3), (0.4, -0.3), (0.4, 0.3), (-0.4, 0.3)}
    assert solids.signed_area(item.vertices) == pytest.approx(0.48)
    assert item.spawn_height == pytest.approx(0.25 - 0.1 + 0.03)
    assert item.agent_distance == pytest.approx((0.5 + 0.4, 0.5 + 0.5))


def test_rotation_of_a_part_is_roll_then_pitch_then_yaw():
    """A stick along x that is pitched by a quarter turn stands upright, and a yaw then changes nothing."""
    stick = Part.box((1.0, 0.1, 0.2), mass=1.0, rpy=(0.0, math.pi / 2, 0.3))
    assert max(z for _, _, z in stick.surface()) == pytest.approx(0.5)
    quat = solids.quat_of((0.4, -0.7, 1.1))
    w, x, y, z = quat
    turned = solids.rotated((1.0, 0.0, 0.0), (0.4, -0.7, 1.1))
    assert turned == pytest.approx((1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)))


def test_capsule_lying_on_its_side_is_as_long_as_it_says():
    """The length of a capsule includes its ends."""
    item = PushObject("log", (Part.capsule(0.2, 1.2, mass=1.0, rpy=(0.0, math.pi / 2, 0.0)),))
    assert item.reach == pytest.approx(0.6, abs=0.01)
    assert item.spawn_height == pytest.approx(0.2 + 0.03, abs=0.01)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Part.box((1.0, 1.0, 1.0), mass=0.0), "the box has no mass"),
        (lambda: Part.sphere(0.3, mass=math.nan), "the sphere has no mass"),
        (lambda: Part.cylinder(0.3, -1.0, mass=1.0), "the cylinder has no size"),
        (lambda: Part.capsule(0.3, 0.5, mass=1.0), "shorter than its ends"),
        (lambda: Part("cone", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1.0), "unknown shape 'cone'"),
        (lambda: PushObject("thing", ()), "has no parts"),
        (lambda: PushObject("thing", (BOX,), num_agents=0), "has no team"),
        (lambda: PushObject("thing", (BOX,), friction=(0.6, 0.5)), "friction"),
        (lambda: PushObject("thing", (BOX,), goal_radius=1.6), "goal_radius"),
        (lambda: PushObject("thing", (BOX,), agent_distance=(0.4, 0.9)), "start inside"),
        (lambda: PushObject("thing", (BOX,), vertices=((0, 0), (0, 1), (1, 0))), "not counter-clockwise"),
    ],
)
def test_object_that_cannot_be_is_refused(make, said):
    """An error that names the field is raised when the object is made."""
    with pytest.raises(ConfigError, match=said):
        make()


# -- meshes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write, name", [(write_stl, "w.stl"), (write_ascii_stl, "w.stl"), (write_obj, "w.obj")])
def test_mesh_of_every_format_is_the_same_solid(tmp_path, write, name):
    """A part lies around its centre of mass: that of a wedge is at a third of its triangle, in metres."""
    part = Part.mesh(write(tmp_path / name), mass=2.0, scale=0.001, offset=(1.0, 0.0, 0.0))
    assert len(part.points) == len(WEDGE_POINTS)
    assert part.offset == pytest.approx((1.0 + 0.15, 0.4 / 3, 0.25 / 3))
    lows = [min(point[axis] for point in part.surface()) for axis in range(3)]
    assert lows == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


def test_moments_of_a_box_as_a_mesh_are_those_of_a_box(tmp_path):
    """The sum over tetrahedra agrees with the formula of a box."""
    points = [(x, y, z) for x in (0, 2) for y in (0, 3) for z in (0, 5)]
    sides = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = [(a, b, c) for a, b, c, _ in sides] + [(a, c, d) for a, _, c, d in sides]
    part = Part.mesh(write_obj(tmp_path / "box.obj", points, faces), mass=6.0)
    moments = solids.moments_of("mesh", part.half_size, part.mass, part.points, part.faces)
    assert moments == pytest.approx((0.5 * 34, 0.5 * 29, 0.5 * 13, 0, 0, 0), abs=1e-9)
    assert part.offset == pytest.approx((1.0, 1.5, 2.5))


@pytest.mark.parametrize(
    "points, faces, said",
    [
        ((*WEDGE_POINTS[:5], (100, 50, 40)), WEDGE_FACES, "not convex"),
        (WEDGE_POINTS, WEDGE_FACES[:-1], "not closed"),
        (WEDGE_POINTS, WEDGE_FACES[:2], "not a solid"),
        ([(x, y, 0) for x, y, _ in WEDGE_POINTS], WEDGE_FACES, "flat"),
    ],
)
def test_mesh_that_is_no_convex_solid_is_refused(tmp_path, points, faces, said):
    """The simulators would fill a hollow without a word, so it is an error that says so."""
    with pytest.raises(ConfigError, match=said) as caught:
        Part.mesh(write_stl(tmp_path / "bad.stl", points, faces), mass=1.0)
    assert "bad.stl" in caught.value.where


def test_mesh_file_that_cannot_be_read_is_refused(tmp_path):
    """A missing file, an unknown format and rubbish are each one message."""
    (tmp_path / "rubbish.stl").write_bytes(b"1" * 200)
    (tmp_path / "mesh.step").write_text("?")
    for name, said in (("none.stl", "no such mesh"), ("mesh.step", "unknown format"), ("rubbish.stl", "not parse")):
        with pytest.raises(ConfigError, match=said):
            Part.mesh(tmp_path / name, mass=1.0)


# -- registration ----------------------------------------------------------------------------------------------------


def test_object_of_a_file_is_trained_under_its_name(tmp_path):
    """The file names the object; its name is the task; the presets are those that need no published numbers."""
    config, _, _ = parse(["--object", f"{write_crate(tmp_path)}:CRATE", "--preset", "quick"])
    assert (config.task_name, config.task.object, config.preset) == ("crate", "crate", "quick")
    assert "published" not in presets_of("crate")
    with pytest.raises(ConfigError, match="published no rewards"):
        preset("crate", "published")
    assert [part.shape for part in OBJECTS["crate"].parts] == ["box", "capsule", "sphere", "cylinder", "mesh"]


def test_object_of_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    """package.module:NAME works like FILE.py:NAME."""
    write_crate(tmp_path).rename(tmp_path / "own_crate_module.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert parse(["--object", "own_crate_module:CRATE"])[0].task_name == "crate"


@pytest.mark.parametrize(
    "reference, said",
    [
        ("none.py:CRATE", "there is no such file"),
        ("crate.py", "names nothing to load"),
        ("crate.py:CRAT", "did you mean 'CRATE'"),
        ("crate.py:NUMBER", "not an object to push"),
        ("crate.py:TAKEN", "name of a built-in task"),
        ("crate.py:SPACE", "no proper name"),
        ("fails.py:CRATE", "the code of"),
        ("massless.py:CRATE", "the box has no mass"),
        ("no_such_module_here:CRATE", "cannot be imported"),
    ],
)
def test_wrong_object_is_one_message_before_anything_is_built(tmp_path, monkeypatch, capsys, reference, said):
    """The command ends with code 2 and one error; no folder is made."""
    file = write_crate(tmp_path)
    more = "\nNUMBER = 7\nimport dataclasses\nTAKEN = dataclasses.replace(CRATE, name='cuboid')\n"
    file.write_text(file.read_text() + more + "SPACE = dataclasses.replace(CRATE, name='a b')\n")
    (tmp_path / "fails.py").write_text("\n\n1 / 0\n")
    (tmp_path / "massless.py").write_text("from mapush.objects import Part\nCRATE = Part.box((1, 1, 1), mass=0.0)\n")
    monkeypatch.chdir(tmp_path)
    assert main(["--object", reference, "--run-dir", "run"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("Error: ") == 1 + ("ZeroDivisionError" in error)
    assert not (tmp_path / "run").exists()


def test_two_objects_of_one_name_are_refused():
    """Numbers of different objects must not appear under one name."""
    item = PushObject("thing", (BOX,))
    assert own_objects.register(item, "one.py:A") is item
    assert own_objects.register(dataclasses.replace(item), "two.py:B") == item
    with pytest.raises(ConfigError, match="two different objects are called 'thing'") as caught:
        own_objects.register(dataclasses.replace(item, goal_radius=0.7), "two.py:B")
    assert (caught.value.got, caught.value.expected) == ("two.py:B", "one.py:A")


def test_run_stores_its_object_and_restores_it(tmp_path):
    """The configuration of a run holds the definition, so that neither the file nor its mesh is needed later."""
    config, _, _ = parse(["--object", f"{write_crate(tmp_path)}:CRATE"])
    item = OBJECTS["crate"]
    values = json.loads(json.dumps(to_dict(config)))
    own_objects.forget("crate")
    (tmp_path / "crate.py").unlink()
    assert run_config_from_dict(values) == config
    assert OBJECTS["crate"] == item
    assert hash(OBJECTS["crate"]) == hash(item)


def test_built_in_object_is_not_stored():
    """A run of a built-in task holds only its name."""
    assert "own_object" not in to_dict(PushRunConfig())


def test_changed_file_is_reported(tmp_path, monkeypatch):
    """A line says what differs between the file and the stored object; the same file gives none."""
    file = write_crate(tmp_path)
    config, _, _ = parse(["--object", f"{file}:CRATE"])
    assert own_objects.change_of("crate") is None
    values = to_dict(config)
    own_objects.forget("crate")
    changed = file.rename(tmp_path / "crate2.py")
    changed.write_text(changed.read_text().replace("mass=3.0", "mass=4.0"))
    values["own_object"]["source"] = f"{tmp_path / 'crate2.py'}:CRATE"
    run_config_from_dict(values)
    change = own_objects.change_of("crate")
    assert "mass 5.5 -> 6.5 kg" in change
    assert "crate2.py:CRATE has changed" in change


def test_team_of_the_task_counts():
    """`num_agents` of the task is the size of the team; without it, it is the object's."""
    assert parse(["cuboid"])[0].task.num_agents is None
    config, _, _ = parse(["cuboid", "--task.num-agents", "4"])
    assert config.task.num_agents == 4
    assert run_config_from_dict(to_dict(config)) == config
    with pytest.raises(ConfigError, match="num_agents"):
        parse(["cuboid", "--task.num-agents", "0"])
    assert CUBOID.num_agents == 2
