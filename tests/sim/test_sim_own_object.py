"""Objects of the user's own in the simulators: each part is what its shape says, on MuJoCo and on MuJoCo Warp."""

from __future__ import annotations

import dataclasses
import itertools
import math

import mujoco
import numpy as np
import pytest
import torch
from own_things import no_own_objects, write_crate, write_obj  # noqa: F401 (a fixture)

from mapush.objects import CUBOID, Part, PushObject
from mapush.own import own_objects
from mapush.sim import go1
from mapush.sim.contact_capacity import buffer_sizes
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.mjcpu import MujocoPhysics
from mapush.sim.scene import Scene, build_model

pytestmark = [pytest.mark.sim, pytest.mark.mujoco, pytest.mark.usefixtures("no_own_objects")]

LYING = (0.0, math.pi / 2, 0.4)
GEOMS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}


@pytest.fixture
def crate(tmp_path):
    """Return an object with a part of every shape."""
    return own_objects.load_object(f"{write_crate(tmp_path)}:CRATE")


def test_every_part_is_what_its_shape_says(crate):
    """A capsule is a capsule, and not a cylinder; the visible shapes are the same."""
    model = build_model(Scene(2, crate))
    for index, part in enumerate(crate.parts):
        assert model.geom(f"object/{index}").type == GEOMS[part.shape]
    visible = set(model.geom_type[(model.geom_bodyid == model.body("object").id) & (model.geom_group == 2)].tolist())
    assert {int(kind) for kind in GEOMS.values()} <= visible


def reference(item):
    """Return the object as MuJoCo compiles it from MJCF, which computes mass, centre and inertia by itself."""
    geoms, assets = [], []
    for index, part in enumerate(item.parts):
        sizes = {
            "box": part.half_size,
            "cylinder": (part.half_size[0], part.half_size[2]),
            "capsule": (part.half_size[0], part.half_size[2] - part.half_size[0]),
            "sphere": part.half_size[:1],
            "mesh": (),
        }
        size = " ".join(map(str, sizes[part.shape]))
        place = f'pos="{" ".join(map(str, part.offset))}" euler="{" ".join(map(str, part.rpy))}"'
        mesh = f'mesh="m{index}"' if part.shape == "mesh" else f'size="{size}"'
        geoms.append(f'<geom type="{part.shape}" {mesh} {place} mass="{part.mass}"/>')
        if part.shape == "mesh":
            corners = " ".join(str(number) for point in part.points for number in point)
            assets.append(f'<mesh name="m{index}" vertex="{corners}" inertia="convex"/>')
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian" eulerseq="XYZ"/><asset>{"".join(assets)}</asset>'
        f"<worldbody><body name='object'><freejoint/>{''.join(geoms)}</body></worldbody></mujoco>"
    )


def inertia_of(model):
    """Return the inertia matrix of the object along its axes."""
    body = model.body("object")
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, body.iquat)
    axes = axes.reshape(3, 3)
    return axes @ np.diag(body.inertia) @ axes.T


def test_mass_and_inertia_are_those_that_mujoco_computes(crate):
    """Mass, centre of mass and inertia of all parts agree with MuJoCo's own, of a different description."""
    tilted = dataclasses.replace(crate.parts[0], rpy=(0.3, -0.8, 1.1))
    item = dataclasses.replace(crate, parts=(tilted, *crate.parts[1:]))
    ours, theirs = build_model(Scene(1, item)), reference(item)
    assert ours.body("object").mass == pytest.approx(theirs.body("object").mass)
    assert ours.body("object").ipos == pytest.approx(theirs.body("object").ipos, abs=1e-6)
    assert inertia_of(ours) == pytest.approx(inertia_of(theirs), abs=1e-5)


def test_robots_and_floor_touch_every_part(crate):
    """Every shape of a robot touches every part; the floor touches each part, or its soles."""
    model = build_model(Scene(2, crate))
    names = [(model.geom(one).name, model.geom(two).name) for one, two in zip(model.pair_geom1, model.pair_geom2)]
    pairs = {frozenset(pair) for pair in names}
    for index, robot in itertools.product(range(len(crate.parts)), ("robot0", "robot1")):
        shapes = go1.shapes(robot)
        for shape in shapes.feet + shapes.trunk + shapes.legs:
            assert frozenset((shape, f"object/{index}")) in pairs
        floor = f"object/{index}/sole0" if crate.parts[index].shape == "cylinder" else f"object/{index}"
        assert frozenset((floor, "floor")) in pairs


def wedge(folder):
    """Return a wedge that lies on its largest side."""
    return Part.mesh(write_obj(folder / "wedge.obj"), mass=2.0, scale=0.002)


SINGLE = {
    "box": lambda folder: Part.box((0.6, 0.8, 0.5), mass=2.0),
    "cylinder": lambda folder: Part.cylinder(0.4, 0.5, mass=2.0),
    "lying cylinder": lambda folder: Part.cylinder(0.25, 0.9, mass=2.0, rpy=LYING),
    "capsule": lambda folder: Part.capsule(0.25, 1.1, mass=2.0, rpy=LYING),
    "sphere": lambda folder: Part.sphere(0.3, mass=2.0),
    "mesh": wedge,
}


def dropped(physics, velocity=0.0):
    """Put the robots far away and the object where it starts, with a speed along y; return the start."""
    state = physics.state()
    envs = physics.num_envs
    velocities = torch.zeros(envs, 3)
    velocities[:, 1] = velocity
    start = dataclasses.replace(
        state,
        robot_pos_w=torch.tensor((50.0, 0.0, 0.257)).expand_as(state.robot_pos_w),
        object_lin_vel_w=velocities.to(state.robot_pos_w.device),
    )
    physics.reset(torch.ones(envs, dtype=torch.bool), start)
    return start


def settle(physics, steps):
    """Return the state after some env steps with standing robots."""
    targets = torch.tensor(DEFAULT_JOINT_POS).expand(physics.num_envs, physics.num_agents, 12)
    for _ in range(steps):
        state = physics.step(targets)
    return state


@pytest.mark.parametrize("name", SINGLE)
def test_object_comes_to_rest_on_the_floor(tmp_path, name):
    """Whatever its shape, an object falls by the clearance of its start, and stays there."""
    item = PushObject("thing", (SINGLE[name](tmp_path),))
    physics = MujocoPhysics(Scene(1, item), 2, seed=1, threads=1)
    dropped(physics)
    state = settle(physics, 50)
    assert state.object_pos_w[:, 2].numpy() == pytest.approx(item.spawn_height - 0.03, abs=0.004)
    assert float(state.object_lin_vel_w.norm(dim=1).max()) < 0.02


@pytest.mark.parametrize("name, rolls", [("sphere", True), ("mesh", False), ("box", False)])
def test_only_what_is_round_rolls(tmp_path, name, rolls):
    """A sphere that is pushed keeps going, and turns; a box and a wedge slide to a stop."""
    physics = MujocoPhysics(Scene(1, PushObject("thing", (SINGLE[name](tmp_path),))), 2, seed=1, threads=1)
    dropped(physics, velocity=0.8)
    state = settle(physics, 60)
    speed, spin = state.object_lin_vel_w.norm(dim=1), state.object_ang_vel_b.norm(dim=1)
    assert bool((speed > 0.4).all()) == rolls
    assert bool((spin > 1.0).all()) == rolls


def test_larger_team_gets_larger_buffers():
    """Each robot more than was measured adds the contacts of a robot."""
    assert buffer_sizes(Scene(2, CUBOID)) == (48, 192)
    assert buffer_sizes(Scene(4, CUBOID)) == (48 + 32, 192 + 128)
    assert buffer_sizes(Scene(1, CUBOID)) == (48, 192)


@pytest.mark.warp
@pytest.mark.slow
def test_object_with_every_shape_moves_on_warp_as_on_mujoco(crate):
    """After half a second on the floor, the object lies where MuJoCo puts it; the buffers are large enough."""
    from mapush.sim.mjwarp import WarpPhysics

    scene = Scene(2, crate)
    physics = WarpPhysics(scene, 2, seed=3, device="cpu")
    other = MujocoPhysics(scene, 2, seed=3, threads=1)
    for one in (physics, other):
        dropped(one, velocity=0.5)
    ours, theirs = settle(physics, 25), settle(other, 25)
    physics.check()
    assert ours.object_pos_w.numpy() == pytest.approx(theirs.object_pos_w.numpy(), abs=0.005)
    assert ours.object_quat_w.numpy() == pytest.approx(theirs.object_quat_w.numpy(), abs=0.01)
