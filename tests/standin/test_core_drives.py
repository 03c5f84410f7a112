"""Drives and passive forces of joints, against closed formulas, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from physics_scenes import GRAVITY, PLACES, WEIGHTLESS, actor, asset, body, dofs, hinge, run

from isaac_standin.assets.asset import Joint
from isaac_standin.scene.actor import DRIVE_EFFORT, DRIVE_POSITION, DRIVE_VELOCITY

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

DT = 0.01
REACH, MASS, MOMENT = 0.5, 2.0, 0.1
INERTIA = MOMENT + MASS * REACH**2
"""Inertia of the arm about its hinge [kg m^2]."""


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def arm(**kwargs):
    """Return a fixed base with an arm of the inertia `INERTIA`, and a slide of the mass `MASS`."""
    moment = np.diag([MOMENT, MOMENT, MOMENT])
    turning = body("arm", parent=0, joint=hinge(), com=(REACH, 0.0, 0.0), mass=MASS, inertia=moment)
    sliding = body("slide", parent=0, joint=Joint("slide", "prismatic", (1.0, 0.0, 0.0)), mass=MASS, pos=(0, 3.0, 0))
    return asset(body("base"), turning, sliding, fixed_base=True, **kwargs)


ARM = arm()
EFFECTIVE = torch.tensor([INERTIA, MASS], dtype=torch.float64)
STARTS = ((0.3, -0.4), (0.0, 2.0))  # position and velocity of the hinge and of the slide


def with_drive(of, **fields):
    """Return an actor with other properties of its degrees of freedom."""
    return dataclasses.replace(of, drives=tuple(drive._replace(**fields) for drive in of.drives))


def moving(place, envs, **options):
    """Return a weightless simulation whose joints start with `STARTS`."""
    simulation = place.simulation(*envs, dt=DT, **{"gravity": WEIGHTLESS, **options})
    simulation.state.set_dofs(torch.tensor(STARTS * len(envs), device=simulation.engine.device))
    return simulation


def starts(count):
    """Return positions and velocities in the beginning, two of (count, 2)."""
    start = torch.tensor(STARTS, dtype=torch.float64)
    return start[:, 0].repeat(count, 1), start[:, 1].repeat(count, 1)


def column(*numbers):
    """Return a number for each env."""
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(1)


def assert_steps(simulation, advance, count, steps=40, atol=2e-5):
    """Compare every step with `advance`, which returns new velocities from positions and velocities."""
    position, velocity = starts(count)
    for _ in range(steps):
        run(simulation, 1)
        velocity = advance(position, velocity)
        position = position + DT * velocity
        found = dofs(simulation)
        torch.testing.assert_close(found[..., 0], position, rtol=0.0, atol=atol)
        torch.testing.assert_close(found[..., 1], velocity, rtol=0.0, atol=10 * atol)


GAINS = ((40.0, 3.0), (400.0, 0.0), (5.0, 60.0))  # stiffness and damping of each env


def driven(mode, gains=GAINS, **fields):
    """Return an env with a driven arm for each pair of stiffness and damping."""
    envs = []
    for stiffness, damping in gains:
        envs.append([actor(ARM, mode=mode, stiffness=stiffness, damping=damping, **fields)])
    return envs


def implicit_drive(stiffness, damping, position_target, velocity_target, extra=0.0):
    """Return a backward Euler step of a drive, which acts on the position and the velocity after the step."""

    def advance(position, velocity):
        effort = stiffness * (position_target - position) + damping * velocity_target
        inertia = EFFECTIVE + extra
        return (inertia * velocity + DT * effort) / (inertia + DT * damping + DT * DT * stiffness)

    return advance


def test_position_drive_is_a_backward_euler_step(place):
    """Stiffness and damping act on the state after the step, with the gains of each env, for any stiffness."""
    simulation = moving(place, driven(DRIVE_POSITION))
    simulation.position_targets[:] = torch.tensor([0.8, -0.5])
    simulation.velocity_targets[:] = torch.tensor([0.0, 0.2])
    stiffness, damping = column(*[gain[0] for gain in GAINS]), column(*[gain[1] for gain in GAINS])
    targets = torch.tensor([0.8, -0.5], dtype=torch.float64), torch.tensor([0.0, 0.2], dtype=torch.float64)
    assert_steps(simulation, implicit_drive(stiffness, damping, *targets), 3)


def test_stiff_position_drive_is_stable(place):
    """A drive whose period is far below the time step goes to its target, and does not diverge."""
    simulation = moving(place, driven(DRIVE_POSITION, ((1e6, 0.0), (1e5, 10.0))))
    simulation.position_targets[:] = 0.4
    run(simulation, 40)
    torch.testing.assert_close(dofs(simulation)[..., 0], torch.full((2, 2), 0.4).double(), rtol=0.0, atol=1e-3)


def test_velocity_drive_ignores_positions(place):
    """Only the damping acts, towards the velocity targets, whatever the stiffness."""
    simulation = moving(place, driven(DRIVE_VELOCITY))
    simulation.position_targets[:] = 5.0
    simulation.velocity_targets[:] = torch.tensor([1.5, -0.5])
    damping, target = column(*[gain[1] for gain in GAINS]), torch.tensor([1.5, -0.5], dtype=torch.float64)
    assert_steps(simulation, implicit_drive(0.0, damping, 0.0, target), 3)


def test_gains_set_after_prepare_count_from_the_next_step(place):
    """Gains can change in every env, the first included, and the last joint of the first, too."""
    gains = ((30.0, 2.0), (300.0, 1.0), (3.0, 20.0))
    simulation = moving(place, driven(DRIVE_POSITION, ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))))
    simulation.position_targets[:] = 0.6
    for (each,), (stiffness, damping) in zip(simulation.envs, gains, strict=True):
        each.drives = tuple(drive._replace(stiffness=stiffness, damping=damping) for drive in each.drives)
    simulation.properties_changed()
    stiffness, damping = column(*[gain[0] for gain in gains]), column(*[gain[1] for gain in gains])
    assert_steps(simulation, implicit_drive(stiffness, damping, 0.6, 0.0), 3)


def test_gains_of_all_envs_can_change_in_the_same_way(place):
    """The same drives, as one object, can be given to the actors of all envs after `prepare`."""
    simulation = moving(place, driven(DRIVE_POSITION, ((1.0, 1.0), (2.0, 2.0))))
    drives = tuple(drive._replace(stiffness=50.0, damping=4.0) for drive in simulation.envs[0][0].drives)
    for (each,) in simulation.envs:
        each.drives = drives
    simulation.properties_changed()
    assert_steps(simulation, implicit_drive(50.0, 4.0, 0.0, 0.0), 2)


def test_effort_limit_holds_in_each_env(place):
    """Far from its target, a drive has its largest effort, which differs from env to env, and may be infinite."""
    limits = (np.inf, 3.0, 0.5)
    envs = [[actor(ARM, mode=DRIVE_POSITION, stiffness=200.0, effort=limit)] for limit in limits]
    simulation = place.simulation(*envs, dt=DT, gravity=WEIGHTLESS)
    simulation.position_targets[:] = 10.0
    run(simulation, 1)
    expected = column(*limits) * DT / EFFECTIVE
    expected[0] = DT * 2000.0 / (EFFECTIVE + DT * DT * 200.0)
    torch.testing.assert_close(dofs(simulation)[..., 1], expected, rtol=1e-4, atol=0.0)


def test_damping_is_implicit_and_of_each_env(place):
    """Without a drive, the damping is passive, and an arm slows down by a backward Euler step."""
    damping = (0.0, 2.0, 50.0)
    envs = [[actor(ARM, mode=DRIVE_EFFORT, damping=each)] for each in damping]
    assert_steps(moving(place, envs), implicit_drive(0.0, column(*damping), 0.0, 0.0), 3)


def test_armature_adds_to_the_inertia(place):
    """A drive's armature is inertia of its joint, in the env that has it."""
    armatures = (0.0, 0.3, 0.1)
    envs = [[actor(ARM, mode=DRIVE_POSITION, stiffness=30.0, damping=1.0, armature=each)] for each in armatures]
    assert_steps(moving(place, envs), implicit_drive(30.0, 1.0, 0.0, 0.0, column(*armatures)), 3)


def test_friction_loss_brakes_a_joint(place):
    """Friction takes away its own effort from what drives a joint, and holds it below that."""
    losses = (0.0, 0.4, 2.0)
    envs = [[actor(ARM, mode=DRIVE_EFFORT, friction=loss)] for loss in losses]
    simulation = place.simulation(*envs, dt=DT, gravity=WEIGHTLESS)
    efforts = torch.full((6,), 1.0, device=simulation.engine.device)
    for _ in range(50):
        simulation.set_efforts(efforts)
        run(simulation, 1)
    expected = torch.clamp(1.0 - column(*losses), min=0.0) * 50 * DT / EFFECTIVE
    torch.testing.assert_close(dofs(simulation)[..., 1], expected, rtol=0.01, atol=2e-3)


def test_limits_hold_in_each_env(place):
    """A joint that is pushed stops at its own limit."""
    uppers = (0.2, 0.35, 0.5)
    envs = [[actor(ARM, mode=DRIVE_EFFORT, limited=True, lower=-0.1, upper=upper, damping=1.0)] for upper in uppers]
    simulation = place.simulation(*envs, dt=DT, gravity=WEIGHTLESS)
    for effort, expected in ((2.0, column(*uppers)), (-2.0, column(-0.1, -0.1, -0.1))):
        efforts = torch.full((6,), effort, device=simulation.engine.device)
        for _ in range(300):
            simulation.set_efforts(efforts)
            simulation.simulate()
        run(simulation, 0)
        torch.testing.assert_close(dofs(simulation)[..., 0], expected.expand(3, 2), rtol=0.0, atol=0.01)


def test_one_sided_limit_leaves_the_other_side_free(place):
    """A joint with a lower limit only goes up as far as it is pushed, in the first env and in others."""
    envs = [[actor(ARM, mode=DRIVE_EFFORT, limited=True, lower=lower)] for lower in (-0.1, -0.2)]
    simulation = place.simulation(*envs, dt=DT, gravity=WEIGHTLESS)
    for _ in range(100):
        simulation.set_efforts(torch.full((4,), 3.0, device=simulation.engine.device))
        simulation.simulate()
    run(simulation, 0)
    expected = (3.0 / EFFECTIVE * DT * DT * 100 * 101 / 2.0).expand(2, 2)
    torch.testing.assert_close(dofs(simulation)[..., 0], expected, rtol=1e-4, atol=0.0)


def test_efforts_hold_for_one_simulate_and_all_its_substeps(place):
    """An effort acts for dt, and not at all in the next `simulate` unless it is set again."""
    simulation = place.simulation(*driven(DRIVE_EFFORT, ((0.0, 0.0),) * 3), dt=DT, substeps=4, gravity=WEIGHTLESS)
    efforts = torch.tensor([[1.0, 2.0], [-3.0, 0.0], [0.5, 4.0]])
    simulation.set_efforts(efforts.flatten().to(simulation.engine.device))
    run(simulation, 1)
    expected = efforts.double() * DT / EFFECTIVE
    torch.testing.assert_close(dofs(simulation)[..., 1], expected, rtol=1e-5, atol=1e-7)
    run(simulation, 3)
    torch.testing.assert_close(dofs(simulation)[..., 1], expected, rtol=1e-5, atol=1e-7)
    simulation.set_efforts(efforts.flatten().to(simulation.engine.device))
    run(simulation, 1)
    torch.testing.assert_close(dofs(simulation)[..., 1], 2.0 * expected, rtol=1e-5, atol=1e-7)


def test_targets_hold_until_they_change(place):
    """The targets of drives count in every step, unlike efforts."""
    simulation = moving(place, driven(DRIVE_POSITION, ((200.0, 40.0), (300.0, 30.0))))
    simulation.position_targets[:] = torch.tensor([0.8, -0.5])
    run(simulation, 400)
    expected = torch.tensor([[0.8, -0.5]] * 2, dtype=torch.float64)
    torch.testing.assert_close(dofs(simulation)[..., 0], expected, rtol=0.0, atol=1e-4)


def test_dof_forces_are_those_of_drives_and_efforts(place):
    """Held against gravity, the drive has the weight's torque; an effort that is set is added."""
    simulation = place.simulation(*driven(DRIVE_POSITION, ((500.0, 50.0), (900.0, 60.0))), dt=DT)
    for _ in range(500):
        simulation.simulate()
    simulation.engine.check()
    simulation.state.refresh_dof_forces()
    expected = torch.tensor([[-GRAVITY * MASS * REACH, 0.0]] * 2)
    cosine = torch.cos(_refreshed(simulation)[:, 0, 0]).float()
    expected[:, 0] *= cosine
    found = simulation.state.dof_forces.cpu().view(2, 2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    simulation.set_efforts(torch.full((4,), 7.0, device=simulation.engine.device))
    simulation.state.refresh_dof_forces()
    torch.testing.assert_close(simulation.state.dof_forces.cpu().view(2, 2), expected, rtol=1e-3, atol=1e-3)


def _refreshed(simulation):
    simulation.state.refresh_dofs()
    return dofs(simulation)
