"""Joints do not exceed the velocity limits of their files, on the CPU and with MuJoCo Warp."""

from __future__ import annotations

import pytest
import torch
from physics_scenes import PLACES, WEIGHTLESS, actor, asset, body, dofs, hinge, refresh

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

LIMITS = (3.0, 5.0)


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def wheels(place, limits):
    """Return a simulation of a free body with two wheels in each env; the limit of the second is 0: none."""
    first, second = hinge("first", (1.0, 0.0, 0.0)), hinge("second", (0.0, 0.0, 1.0))
    of = asset(body("frame"), body("one", parent=0, joint=first), body("two", parent=0, joint=second))
    envs = []
    for limit in limits:
        each = actor(of, velocity=limit)
        each.drives = (each.drives[0], each.drives[1]._replace(velocity=0.0))
        envs.append([each])
    return place.simulation(*envs, gravity=WEIGHTLESS, dt=0.01, substeps=2)


def push(simulation, effort):
    """Let an effort act on both wheels for 20 steps; return the velocities of all, (E, 2)."""
    for _ in range(20):
        simulation.set_efforts(torch.full_like(simulation.state.dof_forces, effort))
        simulation.simulate()
    refresh(simulation)
    return dofs(simulation)[:, :, 1]


def test_limited_joint_stops_to_gain_speed(place):
    """Each env has its own limit, in both directions; a joint with the limit 0 goes on."""
    simulation = wheels(place, LIMITS)
    for sign in (1.0, -1.0):
        speeds = push(simulation, sign)
        expected = sign * torch.tensor(LIMITS, dtype=torch.float64)
        torch.testing.assert_close(speeds[:, 0], expected, rtol=0.0, atol=1e-6)
        assert bool((speeds[:, 1].abs() > 8.0).all()) or sign < 0


def test_limit_can_change_later(place):
    """A limit that is set after `prepare` holds from the next `simulate` on."""
    simulation = wheels(place, LIMITS)
    push(simulation, 1.0)
    for actors in simulation.envs:
        actors[0].drives = (actors[0].drives[0]._replace(velocity=2.0), actors[0].drives[1])
    simulation.properties_changed()
    speeds = push(simulation, 1.0)[:, 0]
    torch.testing.assert_close(speeds, torch.full((2,), 2.0, dtype=torch.float64), rtol=0.0, atol=1e-6)
