"""Bodies rest on height fields and on meshes, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from physics_scenes import GRAVITY, PLACES, Place, actor, asset, body, box, forces, ground, roots, run
from tetrahedron import write_tetrahedron

from isaac_standin.assets.asset import Shape
from isaac_standin.scene.terrain_types import Grid

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

SLOPE = 0.15
BALL = asset(body("ball", shapes=(Shape("sphere", (0.2,)),)))


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def field(height):
    """Return a height field of 4.0 m x 3.0 m whose height is this function of x [m]."""
    x = 0.1 * np.arange(41) - 2.0
    return Grid(height(x)[:, None] + np.zeros(31), (0.1, 0.1), (-2.0, -1.5, 0.0), friction=2.0)


def tetrahedron(folder, scale):
    """Return a body of 1 kg that is a tetrahedron with edges of this length [m] along the axes."""
    file = folder / "tetrahedron.stl"
    write_tetrahedron(file)
    return body("tetrahedron", com=(scale / 4,) * 3, shapes=(Shape("mesh", (scale,) * 3, mesh=file),))


def at_rest(simulation, seconds=2.0):
    """Simulate until everything rests, and return the root states and the mean contact forces of half a second."""
    run(simulation, round(seconds / 0.005))
    total = torch.zeros_like(forces(simulation))
    for _ in range(100):
        run(simulation, 1)
        total += forces(simulation)
    states = roots(simulation)
    assert states[..., 7:].abs().max() < 0.1
    return states, total / 100


def assert_carried(forces_on_bodies):
    """The forces on bodies of 1 kg, (E, B, 3), are their weight upwards."""
    expected = torch.tensor([0.0, 0.0, GRAVITY], dtype=torch.float64).expand_as(forces_on_bodies)
    torch.testing.assert_close(forces_on_bodies, expected, rtol=0.0, atol=5e-3 * GRAVITY)


def test_cylinder_rests_flat_on_a_slope(place):
    """A cylinder turns until its base lies on a sloping height field, which carries it; three places, two envs."""
    radius, half_height = 0.15, 0.09
    shapes = (Shape("cylinder", (radius, half_height)),)
    of = asset(body("body", shapes=shapes, inertia=0.4 * radius**2 * np.eye(3)))
    envs = []
    for shift in (0.0, 0.37):
        actors = []
        for index, x in enumerate((-0.6 + shift, 0.11, 0.8 + shift)):
            above = SLOPE * x + half_height + 0.03
            actors.append(actor(of, (x, 0.6 * index - 0.7, above), surface_friction=2.0))
        envs.append(actors)
    states, found = at_rest(place.simulation(*envs, on=field(lambda x: SLOPE * x)))
    above_the_slope = (states[..., 2] - SLOPE * states[..., 0]) / math.hypot(1.0, SLOPE)
    torch.testing.assert_close(above_the_slope, torch.full((2, 3), half_height).double(), rtol=0.0, atol=3e-3)
    assert_carried(found)


@pytest.mark.warp
def test_box_on_a_height_field_is_a_warning_on_a_gpu():
    """The warning names the first box and counts the others; spheres, and boxes on flat ground, need none."""
    warp = Place("warp", "cpu")
    rough = field(lambda x: SLOPE * x)
    cube, ball = actor(asset(box("box", (0.05, 0.04, 0.03), 1.0))), actor(BALL)
    warp.simulation([cube], on=ground())
    warp.simulation([ball], on=rough)
    with pytest.warns(UserWarning, match=r"box 0 does not lie still on a height field.* \(1 more boxes\)"):
        warp.simulation([cube, ball, cube], on=rough)


def test_ball_rests_in_a_valley(place):
    """A ball in a valley of a height field touches both of its sides."""
    envs = [[actor(BALL, (0.0, y, 0.3))] for y in (-0.4, 0.0, 0.9)]
    states, found = at_rest(place.simulation(*envs, on=field(lambda x: SLOPE * np.abs(x))))
    height = torch.full((3,), 0.2 * math.hypot(1.0, SLOPE)).double()
    torch.testing.assert_close(states[:, 0, 2], height, rtol=0.0, atol=3e-3)
    assert_carried(found)


def test_mesh_rests_on_a_plane_and_on_a_height_field(place, tmp_path):
    """A tetrahedron lies on its base, on a plane and on flat ground given as a height field."""
    scale = 0.4
    of = asset(tetrahedron(tmp_path, scale))
    envs = [[actor(of, (x, y, 0.03)) for x in (-0.7, 0.2)] for y in (-0.6, 0.1, 0.35)]
    ramp_far_away = field(lambda x: np.maximum(0.3 * (x - 1.5), 0.0))  # without one, flat ground becomes a box
    for on in (ground(), ramp_far_away):
        states, found = at_rest(place.simulation(*envs, on=on))
        torch.testing.assert_close(states[..., 2], torch.zeros(3, 2).double(), rtol=0.0, atol=3e-3)
        assert_carried(found)


def test_mesh_rests_on_a_mesh(place, tmp_path):
    """A small tetrahedron lies on the face of a large one that is fixed upside down, and pushes it down."""
    table = asset(tetrahedron(tmp_path, 1.0), fixed_base=True)
    small = asset(tetrahedron(tmp_path, 0.3))
    upside_down = (0.0, 1.0, 0.0, 0.0)  # half a turn about x
    envs = []
    for x in (0.2, 0.23):
        envs.append([actor(table, (0.0, 0.0, 1.2), upside_down), actor(small, (x, -0.4, 1.22))])
    states, found = at_rest(place.simulation(*envs, on=ground()))
    torch.testing.assert_close(states[:, 1, 2], torch.full((2,), 1.2).double(), rtol=0.0, atol=3e-3)
    assert_carried(found[:, 1:])
    assert_carried(-found[:, :1])
