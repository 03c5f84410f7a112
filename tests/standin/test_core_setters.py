"""Setters and refreshes of the state tensors, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from physics_scenes import (
    PLACES,
    WEIGHTLESS,
    actor,
    asset,
    bodies,
    body,
    box,
    dofs,
    ground,
    hinge,
    refresh,
    roots,
    run,
    with_mass,
)

from isaac_standin.assets.asset import Joint

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

NUM_ENVS, NUM_ACTORS, NUM_DOFS = 4, 3, 3


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def crane():
    """Return an asset with two joints."""
    return asset(
        body("crane", com=(0.1, 0.0, 0.2), mass=2.0),
        body("boom", parent=0, pos=(0.0, 0.0, 0.5), joint=hinge("turn", (0.0, 0.0, 1.0)), com=(0.2, 0.1, 0.0)),
        body("hook", parent=1, pos=(0.5, 0.0, 0.0), joint=Joint("lift", "prismatic", (0.0, 0.0, 1.0)), mass=0.2),
    )


POST = dataclasses.replace(
    asset(box("post", (0.1, 0.1, 0.3), 1.0), body("vane", parent=0, pos=(0.0, 0.0, 0.5), joint=hinge())),
    fixed_base=True,
)
CRANE = crane()
STONE = asset(body("stone", com=(0.0, 0.3, 0.0), inertia=np.diag([0.02, 0.03, 0.04])))


@pytest.fixture(scope="module")
def shared(place):
    """Four weightless envs of a crane, a fixed post with a vane, and a stone; masses of the stones differ."""
    envs = []
    for env in range(NUM_ENVS):
        stone = with_mass(actor(STONE, (0.0, 3.0, 0.0)), 0, com=(0.1 * env, 0.3, 0.0))
        envs.append([actor(CRANE), actor(POST, (0.0, -3.0, 0.0)), stone])
    return place.simulation(*envs, gravity=WEIGHTLESS)


@pytest.fixture
def simulation(shared):
    """The simulation `shared`, at rest in its initial poses, because making one takes a second."""
    start = torch.zeros(NUM_ENVS, NUM_ACTORS, 13)
    start[:, :, 1] = torch.tensor([0.0, -3.0, 3.0])
    start[:, :, 6] = 1.0
    shared.state.set_roots(start.view(-1, 13).to(shared.engine.device))
    shared.state.set_dofs(torch.zeros_like(shared.state.dofs))
    shared.state.apply()
    refresh(shared)
    return shared


def random_roots(simulation, seed=0):
    """Return a random state of every root, (E * A, 13)."""
    states = torch.randn(NUM_ENVS * NUM_ACTORS, 13, generator=torch.Generator().manual_seed(seed))
    states[:, 3:7] /= states[:, 3:7].norm(dim=1, keepdim=True)
    return states.to(simulation.engine.device)


def random_dofs(simulation, seed=1):
    """Return a random state of every degree of freedom, (E * D, 2)."""
    states = torch.randn(NUM_ENVS * NUM_DOFS, 2, generator=torch.Generator().manual_seed(seed))
    return states.to(simulation.engine.device)


def actors(simulation, *indices):
    """Return indices of actors as programs give them."""
    return torch.tensor(indices, dtype=torch.int32, device=simulation.engine.device)


def engine_state(simulation):
    """Return copies of all that the engine's next step depends on."""
    engine = simulation.engine
    names = ("qpos", "qvel", "mocap_pos", "mocap_quat")
    return [getattr(engine, name).cpu().clone() for name in names]


def test_state_that_was_set_is_read_back(simulation):
    """What is set for every actor is what a refresh reads, velocities and off-centre masses included."""
    expected_roots, expected_dofs = random_roots(simulation), random_dofs(simulation)
    simulation.state.set_roots(expected_roots)
    simulation.state.set_dofs(expected_dofs)
    simulation.state.apply()
    refresh(simulation)
    expected_roots = expected_roots.view(NUM_ENVS, NUM_ACTORS, 13).clone()
    expected_roots[:, 1, 7:] = 0.0  # a fixed base has no velocity
    found = simulation.state.roots.view(NUM_ENVS, NUM_ACTORS, 13)
    torch.testing.assert_close(found, expected_roots, rtol=0.0, atol=2e-6)
    torch.testing.assert_close(simulation.state.dofs, expected_dofs, rtol=0.0, atol=1e-6)


def test_setters_show_only_after_simulate(simulation):
    """A refresh between a setter and `simulate` reads the old state; after `simulate` it reads the new one."""
    before = roots(simulation), dofs(simulation)
    expected = random_roots(simulation)
    expected[:, 7:] = 0.0
    joints = random_dofs(simulation)
    joints[:, 1] = 0.0
    simulation.state.set_roots(expected)
    simulation.state.set_dofs(joints)
    refresh(simulation)
    assert torch.equal(roots(simulation), before[0])
    assert torch.equal(dofs(simulation), before[1])
    run(simulation, 1)
    torch.testing.assert_close(simulation.state.roots, expected, rtol=0.0, atol=2e-6)
    torch.testing.assert_close(simulation.state.dofs, joints, rtol=0.0, atol=2e-6)


def test_indexed_setters_change_only_the_chosen_actors(simulation):
    """Rows of other actors, and all of other envs, stay bit for bit as they were."""
    simulation.state.set_roots(random_roots(simulation, seed=5))
    simulation.state.set_dofs(random_dofs(simulation, seed=6))
    simulation.state.apply()
    refresh(simulation)
    before = roots(simulation), dofs(simulation)
    wanted_roots, wanted_dofs = random_roots(simulation, seed=7), random_dofs(simulation, seed=8)
    simulation.state.set_roots(wanted_roots, actors(simulation, 5, 3, 10))  # a stone, a crane, a post
    simulation.state.set_dofs(wanted_dofs, actors(simulation, 9, 1))  # a crane, a vane
    simulation.state.apply()
    refresh(simulation)
    changed = (roots(simulation) != before[0]).any(dim=2)
    assert changed.flatten().nonzero().flatten().tolist() == [3, 5, 10]
    torch.testing.assert_close(simulation.state.roots[5], wanted_roots[5], rtol=0.0, atol=2e-6)
    torch.testing.assert_close(simulation.state.roots[10, :7], wanted_roots[10, :7], rtol=0.0, atol=2e-6)
    changed = (dofs(simulation) != before[1]).any(dim=2)
    assert changed.nonzero().tolist() == [[0, 2], [3, 0], [3, 1]]
    rows = [2, 9, 10]
    torch.testing.assert_close(simulation.state.dofs[rows], wanted_dofs[rows], rtol=0.0, atol=1e-6)


def test_setters_of_one_env_leave_the_future_of_others_alone(place):
    """Other envs go on bit for bit as in a run without the setter, contacts included."""
    of = asset(box("box", (0.1, 0.2, 0.1), 1.0))
    futures = []
    for disturb in (False, True):
        envs = [[actor(of, (0.0, 0.0, 0.1 + 0.02 * env))] for env in range(3)]
        simulation = place.simulation(*envs, on=ground())
        run(simulation, 30)
        if disturb:
            states = simulation.state.roots.clone()
            states[:, 2] += 1.0
            simulation.state.set_roots(states, actors(simulation, 1))
        run(simulation, 30)
        futures.append(roots(simulation))
    assert not torch.equal(futures[0][1], futures[1][1])
    if place.device == "cpu":
        assert torch.equal(futures[0][[0, 2]], futures[1][[0, 2]])
    else:
        torch.testing.assert_close(futures[0][[0, 2]], futures[1][[0, 2]], rtol=0.0, atol=1e-4)


def test_two_indexed_calls_in_one_step_both_count(simulation):
    """The rows of a second call are added to those of the first; for a row of both, the second counts."""
    first, second = random_roots(simulation, seed=2), random_roots(simulation, seed=3)
    simulation.state.set_roots(first, actors(simulation, 0, 2))
    simulation.state.set_roots(second, actors(simulation, 2, 11))
    simulation.state.apply()
    refresh(simulation)
    found = simulation.state.roots
    torch.testing.assert_close(found[0], first[0], rtol=0.0, atol=2e-6)
    torch.testing.assert_close(found[[2, 11]], second[[2, 11]], rtol=0.0, atol=2e-6)


def test_setters_count_once(simulation):
    """In the `simulate` after the next, bodies and joints go on from where they are."""
    states, joints = simulation.state.roots.clone(), torch.zeros_like(simulation.state.dofs)
    states[6:9, 7] = 1.0
    joints[3, 1] = 2.0
    simulation.state.set_roots(states)
    simulation.state.set_dofs(joints)
    run(simulation, 4)
    moved = 4 * simulation.options.dt
    assert roots(simulation)[2, 0, 0] == pytest.approx(moved, rel=0.05)
    assert dofs(simulation)[1, 0, 0] == pytest.approx(2.0 * moved, rel=0.05)


def test_setters_copy_what_they_are_given(simulation):
    """What a program writes into its tensor between the setter and `simulate` does not count."""
    states = random_roots(simulation)
    expected = states.clone()
    simulation.state.set_roots(states, actors(simulation, 6))
    states.zero_()
    simulation.state.apply()
    refresh(simulation)
    torch.testing.assert_close(simulation.state.roots[6], expected[6], rtol=0.0, atol=2e-6)


def test_writing_into_the_tensors_changes_nothing(simulation):
    """The state is that of the simulation until a setter is called, and a refresh writes it over again."""
    state = simulation.state
    before = engine_state(simulation)
    for tensor in (state.roots, state.dofs, state.bodies, state.contact_forces):
        tensor.fill_(7.0)
    for old, new in zip(before, engine_state(simulation), strict=True):
        assert torch.equal(old, new)
    storage = state.roots.data_ptr(), state.dofs.data_ptr(), state.bodies.data_ptr(), state.contact_forces.data_ptr()
    run(simulation, 1)
    for tensor in (state.roots, state.dofs, state.bodies, state.contact_forces):
        assert not (tensor == 7.0).any()
    now = state.roots.data_ptr(), state.dofs.data_ptr(), state.bodies.data_ptr(), state.contact_forces.data_ptr()
    assert now == storage


def test_tensors_show_the_state_of_the_last_refresh(simulation):
    """`simulate` changes no tensor."""
    states = random_roots(simulation)
    simulation.state.set_roots(states)
    before = roots(simulation), bodies(simulation)
    simulation.simulate()
    assert torch.equal(roots(simulation), before[0])
    assert torch.equal(bodies(simulation), before[1])


def test_fixed_base_is_teleported_with_all_its_bodies(simulation):
    """Setting the root of a fixed base moves it and what its joints carry, without a velocity."""
    states = simulation.state.roots.clone()
    states[4, :3] = torch.tensor([1.0, 2.0, 3.0])
    states[4, 3:7] = torch.tensor([0.0, 0.0, 0.6, 0.8])
    simulation.state.set_roots(states, actors(simulation, 4))
    run(simulation, 3)
    first = int(simulation.layout.first_body[1])
    found = bodies(simulation)[:, first : first + 2]
    turned = torch.tensor([0.0, 0.0, 0.6, 0.8], dtype=torch.float64)
    expected = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.5]], dtype=torch.float64)
    torch.testing.assert_close(found[1, :, :3], expected, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(found[1, :, 3:7], turned.expand(2, 4), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(found[1, :, 7:], torch.zeros(2, 6).double(), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(found[0, :, :3], torch.tensor([[0.0, -3.0, 0.0], [0.0, -3.0, 0.5]]).double())


def test_teleported_base_carries_what_stands_on_it_no_more(place):
    """A ball on a post falls after the post is gone: a fixed base also collides where it was put."""
    of, post = asset(box("box", (0.1, 0.1, 0.1), 1.0)), asset(box("post", (0.2, 0.2, 0.2), 1.0), fixed_base=True)
    simulation = place.simulation(*[[actor(post), actor(of, (0.0, 0.0, 0.3))] for _ in range(2)], on=ground())
    run(simulation, 50)
    states = simulation.state.roots.clone()
    states[2, 0] = 5.0
    simulation.state.set_roots(states, actors(simulation, 2))
    run(simulation, 50)
    heights = roots(simulation)[:, 1, 2]
    assert heights[0] == pytest.approx(0.3, abs=1e-3)
    assert heights[1] < 0.2


def test_initial_poses_are_those_of_the_actors(place):
    """Every env starts with the poses that its actors were created with, fixed bases included."""
    poses = [((1.0 * env, 2.0, 3.0), (0.8, 0.0, 0.6, 0.0)) for env in range(3)]
    envs = [[actor(POST, pos), actor(STONE, pos, quat)] for pos, quat in poses]
    simulation = place.simulation(*envs)
    refresh(simulation)
    expected = torch.zeros(3, 2, 13, dtype=torch.float64)
    expected[:, :, :3] = torch.tensor([pos for pos, _ in poses]).unsqueeze(1)
    expected[:, 0, 6] = 1.0
    expected[:, 1, 3:7] = torch.tensor([0.0, 0.6, 0.0, 0.8])
    torch.testing.assert_close(roots(simulation), expected, rtol=0.0, atol=1e-6)
