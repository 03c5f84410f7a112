"""Contacts: their forces, and which bodies can touch, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from physics_scenes import (
    GRAVITY,
    PLACES_OF_CONTACTS,
    WEIGHTLESS,
    Place,
    actor,
    asset,
    body,
    box,
    forces,
    ground,
    hinge,
    roots,
    run,
    with_mass,
)

from isaac_standin.assets.asset import Shape
from isaac_standin.errors import NotSupported
from isaac_standin.scene.actor import COLLIDE_AS_SHAPES_SAY, COLLIDE_WITH_ALL
from isaac_standin.scene.terrain_types import Grid

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

BALL = asset(body("ball", shapes=(Shape("sphere", (0.1,)),)))


@pytest.fixture(scope="module", params=PLACES_OF_CONTACTS)
def place(request):
    """Where the physics runs."""
    return request.param


def vector(*numbers):
    """Return a tensor of float64."""
    return torch.tensor(numbers, dtype=torch.float64)


def settled(simulation, steps=400):
    """Simulate until everything rests, and return the contact forces, (E, B, 3)."""
    run(simulation, steps)
    speed = roots(simulation)[..., 7:].abs().max()
    assert speed < 0.02
    return forces(simulation)


def test_forces_of_resting_bodies_are_their_weight_upwards(place):
    """The ground carries a stack, and the lower box carries the upper; masses differ from env to env."""
    low = asset(box("low", (0.2, 0.15, 0.1), 2.0))
    high = asset(box("high", (0.15, 0.1, 0.1), 0.7))
    alone = asset(box("alone", (0.1, 0.2, 0.1), 1.3))
    envs = []
    for mass in (0.7, 0.4, 1.1):
        upper = with_mass(actor(high, (0.0, 0.0, 0.3)), 0, mass=mass)
        envs.append([actor(low, (0.0, 0.0, 0.1)), upper, actor(alone, (2.0, 0.0, 0.1))])
    found = settled(place.simulation(*envs, on=ground()))
    weights = GRAVITY * vector([2.0, 0.7, 1.3], [2.0, 0.4, 1.3], [2.0, 1.1, 1.3])
    torch.testing.assert_close(found[..., 2], weights, rtol=1e-3, atol=0.0)
    torch.testing.assert_close(found[..., :2], torch.zeros(3, 3, 2).double(), rtol=0.0, atol=1e-3 * GRAVITY)


def test_two_bodies_push_each_other_with_opposite_forces(place):
    """What stands on a fixed table pushes it down by its weight, and is pushed up by it."""
    table = asset(box("table", (0.5, 0.5, 0.05), 5.0), fixed_base=True)
    cube = asset(box("cube", (0.1, 0.1, 0.1), 2.0))
    envs = [[actor(table, (0.0, 0.0, 0.5)), actor(cube, (0.1, 0.0, 0.65))] for _ in range(2)]
    found = settled(place.simulation(*envs, on=ground()))
    expected = vector([0.0, 0.0, -2.0 * GRAVITY], [0.0, 0.0, 2.0 * GRAVITY]).expand(2, 2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * GRAVITY)


def test_forces_of_a_robot_add_up_to_its_weight(place):
    """Each foot has its own force, the trunk in the air has none, and all together carry the robot."""
    foot = Shape("sphere", (0.05,), (0.0, 0.0, -0.3))
    parts = [body("trunk", mass=4.0, inertia=np.diag([0.1, 0.1, 0.1]), com=(0.05, 0.02, 0.0))]
    for index, (x, y) in enumerate(((0.3, 0.2), (0.3, -0.2), (-0.3, 0.0))):
        parts.append(body(f"leg{index}", parent=0, pos=(x, y, 0.0), mass=0.5, shapes=(foot,)))
    robot = asset(*parts)
    found = settled(place.simulation([actor(robot, (0.0, 0.0, 0.35))], [actor(robot, (3.0, 0.0, 0.36))], on=ground()))
    assert found[:, 0].abs().max() == 0.0
    assert (found[:, 1:, 2] > 1.0).all()
    torch.testing.assert_close(found.sum(1)[:, 2], vector(5.5, 5.5) * GRAVITY, rtol=1e-3, atol=0.0)


def test_small_box_stands_on_a_large_one(place):
    """On a floor of tens of metres, far from its middle and tilted a little, a small box rests and stays."""
    floor = asset(box("floor", (30.0, 40.0, 0.5), 1.0), fixed_base=True)
    cube = asset(box("cube", (0.12, 0.1, 0.02), 2.0))
    places, tilts = ((0.0, 0.0), (3.0, -7.0), (-21.0, 33.0)), (0.0, 0.01, -0.02)
    envs = []
    for (x, y), tilt in zip(places, tilts, strict=True):
        quat = (float(np.cos(tilt)), 0.0, float(np.sin(tilt)), 0.0)
        envs.append([actor(floor, (0.0, 0.0, -0.5)), actor(cube, (x, y, 0.03), quat)])
    simulation = place.simulation(*envs)
    for _ in range(30):
        run(simulation, 20)
        assert roots(simulation)[..., 7:].abs().max() < 0.5
    found = settled(simulation)[:, 1]
    torch.testing.assert_close(found[:, 2], vector(2.0, 2.0, 2.0) * GRAVITY, rtol=1e-3, atol=0.0)
    torch.testing.assert_close(roots(simulation)[:, 1, :2], vector(*places), rtol=0.0, atol=5e-3)


def test_forces_of_a_wall_are_horizontal(place):
    """A ball that is pushed against a wall along x by 3 N is pushed back along -x by 3 N; forces have world axes."""
    wall = asset(box("wall", (0.1, 1.0, 1.0), 1.0), fixed_base=True)
    half = float(np.sqrt(0.5))
    envs = [[actor(BALL, (-0.2, 0.0, 0.0), (half, 0.0, half, 0.0)), actor(wall)] for _ in range(2)]
    simulation = place.simulation(*envs, gravity=WEIGHTLESS)
    push = torch.zeros(2, 2, 3, device=place.device)
    push[:, 0, 0] = 3.0
    for _ in range(200):
        simulation.set_body_wrenches(push, torch.zeros_like(push))
        run(simulation, 1)
    expected = vector([-3.0, 0.0, 0.0], [3.0, 0.0, 0.0]).expand(2, 2, 3)
    torch.testing.assert_close(forces(simulation), expected, rtol=1e-3, atol=3e-3)


# -- which bodies can touch ------------------------------------------------------------------------------------------


def pushed_apart(place, *pairs):
    """Return of each pair of actors whether they push each other apart; they overlap, far from the other pairs."""
    env = []
    for number, (one, other) in enumerate(pairs):
        env.append(dataclasses.replace(one, pos=(0.0, 3.0 * number, 0.0)))
        env.append(dataclasses.replace(other, pos=(0.1, 3.0 * number, 0.0)))
    simulation = place.simulation(env, env, gravity=WEIGHTLESS)
    before = roots(simulation)[..., 0]
    run(simulation, 20)
    moved = ((roots(simulation)[..., 0] - before).abs() > 0.01).view(2, len(pairs), 2)
    assert torch.equal(moved[0], moved[1])
    assert torch.equal(moved[..., 0], moved[..., 1])
    return moved[0, :, 0].tolist()


def test_filters_with_a_common_bit_do_not_collide(place):
    """Filters 0 and 1 collide, 1 and 1 do not, 2 and 5 do, 6 and 3 do not."""
    filters = ((0, 0), (0, 1), (1, 1), (2, 5), (6, 3))
    pairs = [(actor(BALL, filter=one), actor(BALL, filter=other)) for one, other in filters]
    assert pushed_apart(place, *pairs) == [True, True, False, True, False]


def test_groups_that_differ_do_not_collide(place):
    """Actors of the same group collide, those of different ones do not, and the group -1 collides with all."""
    groups = ((4, 4), (0, 1), (COLLIDE_WITH_ALL, 1), (2, COLLIDE_WITH_ALL))
    pairs = [(actor(BALL, group=one), actor(BALL, group=other)) for one, other in groups]
    assert pushed_apart(place, *pairs) == [True, False, True, True]


def test_filter_of_shapes_counts_if_the_actor_says_so(place):
    """With the filter -1, the filters of the shapes count, which other actors' filters are compared with."""
    marked = actor(BALL, filter=COLLIDE_AS_SHAPES_SAY)
    marked = dataclasses.replace(marked, surfaces=(marked.surfaces[0]._replace(filter=2),))
    pairs = [(marked, actor(BALL, filter=1)), (marked, actor(BALL, filter=2)), (marked, marked)]
    assert pushed_apart(place, *pairs) == [True, False, False]


def chain():
    """Return an asset of three links of which all overlap; the first and the last are not connected."""
    ball = Shape("sphere", (0.1,))
    return asset(
        body("one", shapes=(ball,)),
        body("two", parent=0, pos=(0.05, 0.0, 0.0), joint=hinge("a", (0.0, 0.0, 1.0)), shapes=(ball,)),
        body("three", parent=1, pos=(0.05, 0.0, 0.0), joint=hinge("b", (0.0, 0.0, 1.0)), shapes=(ball,)),
    )


@pytest.mark.parametrize(("filter", "collides"), [(0, True), (1, False)])
def test_actor_collides_with_itself_if_its_filter_is_zero(place, filter, collides):
    """The first and the last link push each other apart with the filter 0, and do not with another."""
    of = chain()
    bent = [actor(of, filter=filter) for _ in range(2)]
    simulation = place.simulation([bent[0]], [bent[1]], gravity=WEIGHTLESS)
    run(simulation, 1)
    pushed = forces(simulation)[:, [0, 2]].abs().sum(dim=(1, 2)) > 1.0
    assert pushed.tolist() == [collides, collides]


def test_parent_and_child_never_collide(place):
    """Links that a joint connects do not push each other, though they overlap and the filter is 0."""
    of = asset(*chain().bodies[:2])
    simulation = place.simulation([actor(of)], [actor(of)], gravity=WEIGHTLESS)
    run(simulation, 5)
    assert forces(simulation).abs().max() == 0.0


def test_envs_never_touch(place):
    """Bodies at the same place in different envs, even of the group -1, do not feel each other."""
    envs = [[actor(BALL, (0.01 * env, 0.0, 0.0), group=COLLIDE_WITH_ALL)] for env in range(3)]
    simulation = place.simulation(*envs, gravity=WEIGHTLESS)
    before = roots(simulation)
    run(simulation, 20)
    assert forces(simulation).abs().max() == 0.0
    assert torch.equal(roots(simulation), before)


def test_fixed_base_neither_falls_nor_feels_the_ground(place):
    """A fixed base in the ground stays there, has no force, and still stops what moves against it."""
    post = asset(box("post", (0.2, 0.2, 0.2), 1.0), fixed_base=True)
    envs = [[actor(post, (0.0, 0.0, 0.05)), actor(BALL, (0.0, 0.0, 0.36))] for _ in range(2)]
    simulation = place.simulation(*envs, on=ground())
    assert len(simulation.built.pairs) == 2  # of the ball, with the ground and with the post
    run(simulation, 1)
    assert forces(simulation)[:, 0].abs().max() == 0.0
    settled(simulation)
    states = roots(simulation)
    torch.testing.assert_close(states[:, 0, :3], vector([0.0, 0.0, 0.05], [0.0, 0.0, 0.05]))
    assert states[:, 0, 7:].abs().max() == 0.0
    torch.testing.assert_close(states[:, 1, 2], vector(0.35, 0.35), rtol=0.0, atol=1e-3)


def test_links_of_a_fixed_base_stand_on_the_ground(place):
    """A link that a joint moves touches the ground, though its base is fixed."""
    ball = Shape("sphere", (0.1,), (0.5, 0.0, 0.0))
    of = asset(body("base"), body("arm", parent=0, joint=hinge(), shapes=(ball,), com=(0.5, 0.0, 0.0)), fixed_base=True)
    simulation = place.simulation([actor(of, (0.0, 0.0, 0.1))], [actor(of, (0.0, 0.0, 0.1))], on=ground())
    found = settled(simulation)
    torch.testing.assert_close(found[:, 1, 2], vector(GRAVITY, GRAVITY), rtol=1e-3, atol=0.0)


def test_bodies_that_start_inside_each_other_are_not_thrown_apart(place):
    """Two boxes that overlap by a third separate at about 1 m/s; as stiff as the time step allows, it would be 2.6."""
    block = asset(box("block", (0.15, 0.1, 0.1), 2.0))
    envs = [[actor(block, (0.0, 0.0, 1.0)), actor(block, (0.2, shift, 1.0))] for shift in (0.0, 0.03)]
    simulation = place.simulation(*envs, gravity=WEIGHTLESS)
    fastest = 0.0
    for _ in range(20):
        run(simulation, 1)
        fastest = max(fastest, float(roots(simulation)[..., 7:].abs().max()))
    assert 0.1 < fastest < 1.5


def test_large_box_on_a_height_field_is_refused():
    """A flat face that covers more cells than MuJoCo has contacts for would sink in; a small one is accepted."""
    rough = Grid(np.random.default_rng(3).uniform(0.0, 0.01, (40, 30)), (0.1, 0.1), (-2.0, -1.5, 0.0))
    large = asset(box("large", (0.6, 0.4, 0.1), 1.0))
    small = asset(box("small", (0.15, 0.1, 0.05), 1.0))
    Place("mujoco", "cpu").simulation([actor(small, (0.0, 0.0, 0.2))], [actor(small, (0.0, 0.0, 0.2))], on=rough)
    with pytest.raises(NotSupported) as caught:
        Place("mujoco", "cpu").simulation([actor(large, (0.0, 0.0, 0.2))], [actor(large, (0.0, 0.0, 0.2))], on=rough)
    assert "too large for rough ground" in caught.value.what
