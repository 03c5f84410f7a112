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


MEETING = """
import numpy as np
import mapush


class Meeting:
    outcomes = ("success",)

    def __init__(self, num_envs, seed):
        self.num_envs = num_envs
        self.n_agents = 2
        self.observation_space = [mapush.Box(-10.0, 10.0, (2,))] * 2
        self.share_observation_space = [mapush.Box(-10.0, 10.0, (4,))] * 2
        self.action_space = [mapush.Box(-1.0, 1.0, (2,))] * 2
        self._random = np.random.default_rng(seed)

    def reset(self):
        self._start(np.ones(self.num_envs, dtype=bool))
        return (*self._observe(), [None] * self.num_envs)

    def _start(self, where):
        if not hasattr(self, "_positions"):
            self._positions = np.zeros((self.num_envs, 2, 2))
            self._age = np.zeros(self.num_envs, dtype=int)
        self._positions[where] = self._random.uniform(-1.5, 1.5, (where.sum(), 2, 2))
        self._age[where] = self._random.uniform(0, 3, where.sum()).astype(int)

    def _observe(self):
        offset = self._positions[:, ::-1] - self._positions
        flat = self._positions.reshape(self.num_envs, 1, 4)
        return offset.astype(np.float32), np.repeat(flat, 2, axis=1).astype(np.float32)

    def step(self, actions):
        self._positions = self._positions + 0.2 * actions
        self._age += 1
        apart = np.linalg.norm(self._positions[:, 0] - self._positions[:, 1], axis=1)
        met, late = apart < 0.3, self._age >= 9
        done = met | late
        infos = [[{}, {}] for _ in range(self.num_envs)]
        for env in np.flatnonzero(done):
            infos[env][0] = {"bad_transition": bool(late[env] and not met[env]), "outcome": {"success": bool(met[env])}}
        rewards = np.repeat(-apart[:, None, None], 2, axis=1).astype(np.float32)
        self._start(done)
        return (*self._observe(), rewards, np.repeat(done[:, None], 2, axis=1), infos, [None] * self.num_envs)

    def state_dict(self):
        state = self._random.bit_generator.state["state"]
        return {
            "positions": self._positions.tolist(),
            "age": self._age.tolist(),
            "random": [str(state["state"]), str(state["inc"])],
        }

    def load_state_dict(self, state):
        self._positions = np.array(state["positions"])
        self._age = np.array(state["age"])
        generator = self._random.bit_generator.state
        generator["state"] = {"state": int(state["random"][0]), "inc": int(state["random"][1])}
        self._random.bit_generator.state = generator

    def close(self):
        pass


def make(num_envs, seed):
    return Meeting(num_envs, seed)


def too_many(num_envs):
    return Meeting(num_envs + 1, 0)


def nothing():
    return 7


FIXED = Meeting
"""


def write_meeting(folder: Path) -> Path:
    """Write an environment with HARL's interface, in which two robots have to meet."""
    path = folder / "meeting.py"
    path.write_text(MEETING)
    return path
