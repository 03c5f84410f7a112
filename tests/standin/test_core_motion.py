"""Free motion: what the state tensors say of bodies that nothing touches, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from physics_scenes import (
    GRAVITY,
    PLACES,
    WEIGHTLESS,
    actor,
    asset,
    bodies,
    body,
    dofs,
    hinge,
    refresh,
    roots,
    run,
    with_mass,
)

from isaac_standin.assets.asset import Joint
from isaac_standin.tensors import rotation

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

COM = (0.2, -0.1, 0.05)
OTHER_COM = (0.0, 0.3, -0.1)
SPIN = (0.0, 0.0, 5.0)


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def thrown(place, coms, velocity, spin, dt=0.002, inertia=(0.02, 0.03, 0.04), **options):
    """Return a simulation of a body in each env with this centre of mass, thrown from the origin."""
    of = asset(body("stone", com=coms[0], inertia=np.diag(inertia)))
    envs = [[with_mass(actor(of), 0, com=com)] for com in coms]
    simulation = place.simulation(*envs, dt=dt, **options)
    states = simulation.state.roots.clone()
    states[:, 7:10] = torch.tensor(velocity)
    states[:, 10:] = torch.tensor(spin)
    simulation.state.set_roots(states)
    simulation.state.apply()
    refresh(simulation)
    return simulation


def com_of(states, com):
    """Return the centre of mass in the world, (E, 3), from root states, (E, 1, 13)."""
    quat = rotation.wxyz(states[:, 0, 3:7])
    return states[:, 0, :3] + rotation.rotate(quat, torch.tensor(com, dtype=torch.float64))


def test_root_velocity_is_that_of_the_centre_of_mass(place):
    """The difference quotient of the centre of mass is the linear velocity of the root, whatever the body's spin."""
    coms = (COM, OTHER_COM, (0.0, 0.0, 0.0))
    simulation = thrown(place, coms, (0.4, -0.3, 0.2), (1.0, -2.0, 3.0), dt=0.001, gravity=WEIGHTLESS)
    path, velocities = [], []
    for _ in range(9):
        run(simulation, 1)
        states = roots(simulation)
        path.append(com_of(states, coms))
        velocities.append(states[:, 0, 7:10])
    for step in range(1, 8):
        quotient = (path[step + 1] - path[step - 1]) / 0.002
        torch.testing.assert_close(velocities[step], quotient, rtol=0.0, atol=4e-3)


def test_momentum_is_kept_in_free_flight(place):
    """Without gravity, the centre of mass of an off-centre spinning body moves uniformly, and its spin stays."""
    coms, velocity = (COM, OTHER_COM), (0.4, -0.3, 0.2)
    simulation = thrown(place, coms, velocity, SPIN, gravity=WEIGHTLESS)
    start = com_of(roots(simulation), coms)
    run(simulation, 250)
    expected = start + 0.5 * torch.tensor(velocity, dtype=torch.float64)
    states = roots(simulation)
    torch.testing.assert_close(com_of(states, coms), expected, rtol=0.0, atol=0.02)
    torch.testing.assert_close(states[0, 0, 10:], torch.tensor(SPIN, dtype=torch.float64), rtol=0.0, atol=1e-3)


def test_free_fall_is_a_parabola(place):
    """After n steps of dt, a body has the velocity g n dt, and has fallen g dt^2 n (n + 1) / 2."""
    dt, steps = 0.005, 40
    simulation = thrown(place, (COM, OTHER_COM), (0.7, 0.0, 1.0), (0.0, 0.0, 0.0), dt=dt)
    run(simulation, steps)
    time = dt * steps
    fallen = GRAVITY * dt * dt * steps * (steps + 1) / 2.0
    expected = torch.tensor([[0.7 * time, 0.0, time - fallen]] * 2, dtype=torch.float64)
    states = roots(simulation)
    torch.testing.assert_close(states[:, 0, :3], expected, rtol=0.0, atol=2e-5)
    expected = torch.tensor([[0.7, 0.0, 1.0 - GRAVITY * time]] * 2, dtype=torch.float64)
    torch.testing.assert_close(states[:, 0, 7:10], expected, rtol=0.0, atol=2e-5)


def test_spinning_top_precesses_in_world_axes(place):
    """The angular velocity of a symmetric top is along the world's axes, and turns about its angular momentum.

    Seen from the top, it turns about the axis of symmetry at (I3 - I1) / I1 times its component along that axis.
    """
    dt, steps, inertia = 0.001, 200, (0.03, 0.03, 0.05)
    simulation = thrown(place, (COM, COM), (0.0, 0.0, 0.0), (2.0, 0.0, 4.0), dt, inertia, gravity=WEIGHTLESS)
    run(simulation, steps)
    state = roots(simulation)[:, 0]
    seen = rotation.rotate_inverse(rotation.wxyz(state[:, 3:7]), state[:, 10:])
    angle = (inertia[2] - inertia[0]) / inertia[0] * 4.0 * dt * steps
    expected = torch.tensor([[2.0 * np.cos(angle), 2.0 * np.sin(angle), 4.0]] * 2, dtype=torch.float64)
    torch.testing.assert_close(seen, expected, rtol=0.0, atol=0.03)
    momentum = rotation.rotate(rotation.wxyz(state[:, 3:7]), seen * torch.tensor(inertia))
    expected = torch.tensor([[0.06, 0.0, 0.2]] * 2, dtype=torch.float64)
    torch.testing.assert_close(momentum, expected, rtol=0.0, atol=2e-3)


def test_asset_without_gravity_floats_beside_one_that_falls(place):
    """An asset that gravity does not act on stays where it is, whatever its mass in an env, and gravity can change."""
    floats, falls = asset(body("balloon"), gravity=False), asset(body("stone"))
    envs = [[actor(floats), actor(falls)], [with_mass(actor(floats), 0, mass=3.0), actor(falls)]]
    simulation = place.simulation(*envs, dt=0.01)
    run(simulation, 5)
    states = roots(simulation)
    torch.testing.assert_close(states[:, 0, 9], torch.zeros(2, dtype=torch.float64), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(
        states[:, 1, 9], torch.full((2,), -0.05 * GRAVITY, dtype=torch.float64), rtol=0.0, atol=1e-5
    )
    simulation.set_gravity((3.0, 0.0, 0.0))
    run(simulation, 5)
    gained = roots(simulation)[:, :, 7:10] - states[:, :, 7:10]
    expected = torch.zeros(2, 2, 3, dtype=torch.float64)
    expected[:, 1, 0] = 0.15
    torch.testing.assert_close(gained, expected, rtol=0.0, atol=1e-5)


def test_substeps_divide_dt(place):
    """`dt` is the time of one `simulate`, however many physics steps it takes; more of them fall less far."""
    of = asset(body("stone"))
    for substeps in (1, 4):
        simulation = place.simulation([actor(of)], [actor(of)], dt=0.02, substeps=substeps)
        run(simulation, 3)
        physics_dt, steps = 0.02 / substeps, 3 * substeps
        fallen = GRAVITY * physics_dt * physics_dt * steps * (steps + 1) / 2.0
        states = roots(simulation)[:, 0]
        expected = torch.tensor([-fallen, -0.06 * GRAVITY], dtype=torch.float64).expand(2, 2)
        torch.testing.assert_close(states[:, [2, 9]], expected, rtol=0.0, atol=1e-5)


# -- bodies ----------------------------------------------------------------------------------------------------------


def tree(fixed_base=False):
    """Return an asset of four bodies, all off-centre, in two branches."""
    slide = Joint("slide", "prismatic", (0.6, 0.0, 0.8))
    quat = (0.5, 0.5, -0.5, 0.5)
    return asset(
        body("trunk", com=COM),
        body("arm", parent=0, pos=(0.3, 0.1, 0.0), quat=quat, joint=hinge(), com=(0.0, 0.05, 0.2)),
        body("hand", parent=1, pos=(0.0, 0.0, 0.4), joint=slide, com=OTHER_COM, mass=0.3),
        body("tail", parent=0, pos=(-0.3, 0.0, 0.1), joint=hinge("wag", (0.0, 0.0, 1.0), pos=(0.1, 0.0, 0.0))),
        fixed_base=fixed_base,
    )


@pytest.mark.parametrize("fixed_base", [False, True])
def test_body_states_are_those_of_mujoco(place, fixed_base):
    """Positions are those of mj_forward; velocities those of mj_objectVelocity at each body's centre of mass."""
    generator = torch.Generator().manual_seed(3)
    one, other = tree(), tree(fixed_base)
    envs = [[actor(one), actor(other, (1.0, 0.0, 2.0))] for _ in range(3)]
    simulation = place.simulation(*envs, gravity=WEIGHTLESS)
    states = torch.randn(6, 13, generator=generator)
    states[:, 3:7] /= states[:, 3:7].norm(dim=1, keepdim=True)
    joints = 0.5 * torch.randn(18, 2, generator=generator)
    simulation.state.set_roots(states.to(place.device))
    simulation.state.set_dofs(joints.to(place.device))
    simulation.state.apply()
    refresh(simulation)
    torch.testing.assert_close(dofs(simulation).view(18, 2).float(), joints)
    found, model = bodies(simulation), simulation.built.model
    for env in range(3):
        data = simulation.engine.mj_data(env)
        for index, number in enumerate(simulation.layout.bodies):
            velocity = np.zeros(6)
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, number, velocity, 0)
            quat = data.xquat[number]
            row = [*data.xpos[number], *quat[1:], quat[0], *velocity[3:], *velocity[:3]]
            expected = torch.tensor(row, dtype=torch.float64)
            torch.testing.assert_close(found[env, index], expected, rtol=1e-5, atol=1e-5)


def test_first_body_of_an_actor_has_the_state_of_its_root(place):
    """The rows of `bodies` that belong to roots are the rows of `roots`."""
    of, held = tree(), tree(fixed_base=True)
    envs = [[actor(held, (0.0, 1.0, 2.0)), actor(of, (3.0, 4.0, 5.0))] for _ in range(2)]
    simulation = place.simulation(*envs)
    run(simulation, 7)
    first = simulation.layout.first_body
    assert first.tolist() == [0, 4]
    torch.testing.assert_close(bodies(simulation)[:, first], roots(simulation), rtol=1e-5, atol=1e-5)
