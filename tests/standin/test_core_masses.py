"""Masses, centres of mass and inertia of each env, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from physics_scenes import GRAVITY, PLACES, WEIGHTLESS, actor, asset, body, box, forces, ground, roots, run, with_mass

from isaac_standin.scene.actor import Mass
from isaac_standin.scene.differences import fields_of
from isaac_standin.scene.layout import layout_of
from isaac_standin.scene.model import World, build
from isaac_standin.tensors import rotation

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

TURNED = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]])
FULL = TURNED @ np.diag([0.02, 0.035, 0.03]) @ TURNED.T
OTHER = TURNED.T @ np.diag([0.08, 0.06, 0.03]) @ TURNED
STONE = asset(body("stone", com=(0.1, -0.2, 0.3), mass=2.0, inertia=FULL))
MASSES = (
    Mass(2.0, (0.1, -0.2, 0.3), tuple(FULL.flatten().tolist())),
    Mass(0.5, (0.0, 0.1, 0.0), tuple(OTHER.flatten().tolist())),
    Mass(3.0, (-0.3, 0.0, 0.0), tuple((2.0 * FULL).flatten().tolist())),
)


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def stones():
    """Return an env for each of `MASSES`, of a stone with that mass."""
    return [[with_mass(actor(STONE), 0, **mass._asdict())] for mass in MASSES]


def wrenches(simulation, force, torque):
    """Return this force and torque on the first body of every env."""
    device = simulation.engine.device
    shape = (len(simulation.envs), simulation.layout.num_bodies, 3)
    forces, torques = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    forces[:, 0] = torch.tensor(force)
    torques[:, 0] = torch.tensor(torque)
    return forces, torques


def assert_newton(simulation, masses):
    """Check the velocities that a force and a torque give to stones at rest, against Newton and Euler."""
    force, torque, dt = (3.0, -2.0, 1.0), (0.2, 0.1, -0.3), simulation.options.dt
    rest = simulation.state.roots.clone()
    rest[:, 7:] = 0.0
    simulation.state.set_roots(rest)
    turn = rotation.wxyz(roots(simulation)[:, 0, 3:7])
    simulation.set_body_wrenches(*wrenches(simulation, force, torque))
    run(simulation, 1)
    found = roots(simulation)[:, 0, 7:]
    for env, mass in enumerate(masses):
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, turn[env].numpy())
        axes = matrix.reshape(3, 3)
        inertia = axes @ np.array(mass.inertia).reshape(3, 3) @ axes.T
        expected = torch.tensor([*(np.array(force) / mass.mass), *np.linalg.solve(inertia, torque)]) * dt
        torch.testing.assert_close(found[env], expected, rtol=2e-3, atol=2e-5)


def test_force_and_torque_move_each_env_by_its_own_mass(place):
    """A force at the centre of mass gives F / m and no spin; a torque gives the inverse of the full tensor times it."""
    assert_newton(place.simulation(*stones(), gravity=WEIGHTLESS, dt=0.001), MASSES)


def test_masses_set_after_prepare_count_from_the_next_step(place):
    """Masses of all envs can change later; on a GPU, if they already differed."""
    simulation = place.simulation(*stones(), gravity=WEIGHTLESS, dt=0.001)
    run(simulation, 2)
    changed = (MASSES[1], MASSES[2], MASSES[0])
    for (each,), mass in zip(simulation.envs, changed, strict=True):
        each.masses = (mass,)
    simulation.properties_changed()
    run(simulation, 1)
    assert_newton(simulation, changed)


def test_wrench_holds_for_one_step(place):
    """A force on a body that is not set again does nothing in the next `simulate`."""
    simulation = place.simulation(*stones(), gravity=WEIGHTLESS, dt=0.001)
    simulation.set_body_wrenches(*wrenches(simulation, (3.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    run(simulation, 1)
    once = roots(simulation)[:, 0, 7]
    run(simulation, 5)
    torch.testing.assert_close(roots(simulation)[:, 0, 7], once, rtol=1e-4, atol=0.0)


def test_weight_of_an_env_is_that_of_its_masses(place):
    """The ground carries the mass that each env has, also after it changed."""
    of = asset(box("box", (0.2, 0.2, 0.1), 1.0))
    envs = [[with_mass(actor(of, (0.0, 0.0, 0.1)), 0, mass=1.0 + env)] for env in range(3)]
    simulation = place.simulation(*envs, on=ground())
    run(simulation, 200)
    expected = GRAVITY * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(forces(simulation)[:, 0, 2], expected, rtol=1e-3, atol=0.0)
    simulation.envs[0][0].masses = (simulation.envs[0][0].masses[0]._replace(mass=5.0),)
    simulation.properties_changed()
    run(simulation, 200)
    expected[0] = 5.0 * GRAVITY
    torch.testing.assert_close(forces(simulation)[:, 0, 2], expected, rtol=1e-3, atol=0.0)


def test_heavy_body_of_an_env_sinks_no_deeper_than_a_light_one(place):
    """Contacts are as stiff for the mass of their env as for the asset's: MuJoCo's constants follow the masses."""
    of = asset(box("box", (0.2, 0.2, 0.1), 1.0))
    envs = []
    for mass in (1.0, 40.0, 0.05):
        inertia = tuple(float(moment) * mass for moment in np.ravel(of.bodies[0].inertia))
        envs.append([with_mass(actor(of, (0.0, 0.0, 0.1)), 0, mass=mass, inertia=inertia)])
    simulation = place.simulation(*envs, on=ground())
    run(simulation, 200)
    depth = 0.1 - roots(simulation)[:, 0, 2]
    torch.testing.assert_close(depth, depth[:1].expand(3), rtol=0.05, atol=0.0)


def test_off_centre_box_tips_over_an_edge(place):
    """A box tips where its centre of mass is beyond its edge, and stands where it is not."""
    of = asset(box("box", (0.1, 0.1, 0.1), 1.0))
    envs = [[with_mass(actor(of, (0.0, 0.0, 0.1)), 0, com=(x, 0.0, 0.0))] for x in (0.09, 0.11, -0.12)]
    simulation = place.simulation(*envs, on=ground())
    run(simulation, 100)
    upright = rotation.rotate(rotation.wxyz(roots(simulation)[:, 0, 3:7]), torch.tensor([0.0, 0.0, 1.0]).double())
    assert (upright[:, 2] > 0.99).tolist() == [True, False, False]
    assert upright[1, 0] > 0.1
    assert upright[2, 0] < -0.1


# -- fields of the model ---------------------------------------------------------------------------------------------


def compiled(inertia):
    """Return the model that MuJoCo compiles of a body with this inertia."""
    of = dataclasses.replace(STONE.bodies[0], inertia=np.array(inertia).reshape(3, 3))
    return build([actor(dataclasses.replace(STONE, bodies=(of,)))], World(0.01, WEIGHTLESS)).model


def tensor_of(moments, quat):
    """Return an inertia tensor, from its principal moments and the orientation of their axes."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.ascontiguousarray(quat))
    axes = matrix.reshape(3, 3)
    return axes @ np.diag(moments) @ axes.T


@pytest.mark.parametrize("inertia", [FULL, OTHER, np.diag([0.01, 0.03, 0.03]), np.diag([0.01, 0.02, 0.5])])
def test_principal_moments_are_those_of_mujocos_compiler(inertia):
    """An inertia that an env has is kept as the compiler keeps the same one, also one that no body can have."""
    env = [with_mass(actor(STONE), 0, inertia=tuple(inertia.flatten().tolist()))]
    built = build(env, World(0.01, WEIGHTLESS))
    fields = fields_of(built, layout_of(built.model, env), [env, [actor(STONE)]])
    found = tensor_of(fields["body_inertia"][0, 1], fields["body_iquat"][0, 1])
    model = compiled(inertia)
    np.testing.assert_allclose(found, tensor_of(model.body_inertia[1], model.body_iquat[1]), rtol=0.0, atol=1e-12)
    found = tensor_of(fields["body_inertia"][1, 1], fields["body_iquat"][1, 1])
    np.testing.assert_allclose(found, FULL, rtol=0.0, atol=1e-12)
