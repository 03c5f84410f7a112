"""Files that a user might write: an object of their own, reward terms, an environment."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mapush.objects import OBJECTS
from mapush.own import own_objects

CRATE = """
from mapush.objects import Part, PushObject

CRATE = PushObject(
    name="crate",
    parts=(
        Part.box((1.0, 0.8, 0.5), mass=3.0),
        Part.capsule(0.2, 1.2, mass=1.0, offset=(0.0, 0.5, -0.05), rpy=(0.0, 1.5707963, 0.0)),
        Part.sphere(0.25, mass=0.5, offset=(0.6, 0.0, 0.0)),
        Part.cylinder(0.2, 0.5, mass=0.25, offset=(-0.6, 0.0, 0.0)),
        Part.mesh("wedge.stl", mass=0.75, scale=0.001, offset=(0.0, -0.7, -0.25)),
    ),
    num_agents=3,
    goal_radius=1.2,
)
"""

TERMS = """
def near(inputs):
    return -(inputs.robot_pos_w - inputs.object_pos_w.unsqueeze(1)).norm(dim=-1)

def upright(inputs):
    return inputs.object_pos_w[:, 2]
"""

# A wedge, 300 mm wide, 400 mm long, 250 mm high, with its lower corner at the origin.
WEDGE_POINTS = ((0, 0, 0), (300, 0, 0), (300, 400, 0), (0, 400, 0), (0, 0, 250), (300, 0, 250))
WEDGE_FACES = ((0, 2, 1), (0, 3, 2), (0, 1, 5), (0, 5, 4), (0, 4, 3), (1, 2, 5), (3, 4, 5), (3, 5, 2))


def write_stl(path: Path, points=WEDGE_POINTS, faces=WEDGE_FACES) -> Path:
    """Write a binary STL file."""
    content = b"\0" * 80 + struct.pack("<I", len(faces))
    for face in faces:
        corners = [number for index in face for number in points[index]]
        content += struct.pack("<12fH", 0.0, 0.0, 0.0, *corners, 0)
    path.write_bytes(content)
    return path


def write_ascii_stl(path: Path, points=WEDGE_POINTS, faces=WEDGE_FACES) -> Path:
    """Write a text STL file."""
    lines = ["solid wedge"]
    for face in faces:
        lines += ["facet normal 0 0 0", "outer loop"]
        lines += [f"vertex {points[index][0]} {points[index][1]} {points[index][2]}" for index in face]
        lines += ["endloop", "endfacet"]
    path.write_text("\n".join([*lines, "endsolid wedge"]))
    return path


def write_obj(path: Path, points=WEDGE_POINTS, faces=WEDGE_FACES) -> Path:
    """Write an OBJ file, with a comment and texture indices, which are ignored."""
    lines = ["# a wedge"] + [f"v {x} {y} {z}" for x, y, z in points]
    lines += ["f " + " ".join(f"{index + 1}/1" for index in face) for face in faces]
    path.write_text("\n".join(lines))
    return path


def write_crate(folder: Path) -> Path:
    """Write the file of an object with a part of every shape, and its mesh."""
    write_stl(folder / "wedge.stl")
    path = folder / "crate.py"
    path.write_text(CRATE)
    return path


def write_terms(folder: Path, text: str = TERMS) -> Path:
    """Write a file with reward terms."""
    path = folder / "terms.py"
    path.write_text(text)
    return path


@pytest.fixture
def no_own_objects():
    """Forget after the test every object that it has registered."""
    before = set(OBJECTS)
    yield
    for name in set(OBJECTS) - before:
        own_objects.forget(name)
