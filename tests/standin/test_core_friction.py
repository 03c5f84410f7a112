"""Friction: the mean of two surfaces, the same in all directions, on the CPU and with MuJoCo Warp.

MuJoCo lifts what slides off the ground, in proportion to its speed, until it falls back: the speed of a sliding brick
is Coulomb's only on average, and the shorter the physics step, the lower the hops.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch
from physics_scenes import GRAVITY, PLACES, actor, asset, box, forces, ground, roots, run

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

SLOPE = 0.5
"""Tangent of the angle of all slopes here, and so the least mean friction on which a body rests."""
GROUND_FRICTION = 0.7
MEANS = (0.98 * SLOPE, 1.02 * SLOPE)  # of a slope that is too slippery, and one that is not
DT, SETTLING, STEPS = 0.002, 100, 800


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def slope(heading):
    """Return the normal of a slope that falls towards this angle [rad], and the orientation of what lies on it."""
    level = 1.0 / math.hypot(1.0, SLOPE)
    normal = (SLOPE * level * math.cos(heading), SLOPE * level * math.sin(heading), level)
    quat = np.empty(4)
    mujoco.mju_quatZ2Vec(quat, np.array(normal))
    return normal, tuple(quat.tolist())


def above(normal, height):
    """Return the point at this height above a slope through the origin."""
    return tuple(height * part for part in normal)


def brick(normal, quat):
    """Return a flat brick on a slope, which cannot slip."""
    return actor(BRICK, above(normal, 0.02), quat, surface_friction=2.0)


BRICK = asset(box("brick", (0.15, 0.12, 0.02), 1.5))
SLAB = asset(box("slab", (3.0, 3.0, 0.1), 1.0), fixed_base=True)


def slip(simulation, means):
    """Let the last actor of each env settle and then have this mean friction; return the velocity it gains, (E, 3)."""
    run(simulation, SETTLING)
    before = roots(simulation)[:, -1, 7:10]
    for actors, mean in zip(simulation.envs, means, strict=True):
        surface = actors[-1].surfaces[0]._replace(friction=2.0 * mean - GROUND_FRICTION)
        actors[-1].surfaces = (surface,)
    simulation.properties_changed()
    run(simulation, STEPS)
    return roots(simulation)[:, -1, 7:10] - before


def assert_slips_only_below(gained, mean):
    """Check the velocity that a brick gains: Coulomb's on a slope that is too steep for this friction, else none."""
    level = 1.0 / math.hypot(1.0, SLOPE)
    expected = GRAVITY * level * (SLOPE - mean) * DT * STEPS
    if expected > 0.0:
        torch.testing.assert_close(float(gained.norm()), expected, rtol=0.05, atol=0.04)
    else:
        assert float(gained.norm()) < 1e-3


@pytest.mark.parametrize("heading", [0.0, 0.65])
def test_brick_on_sloping_ground_slips_below_the_mean_friction(place, heading):
    """On tilted ground, a brick slips with a mean friction 2 % below the slope, and rests with 2 % above it."""
    normal, quat = slope(heading)
    envs = [[brick(normal, quat)] for _ in MEANS]
    simulation = place.simulation(*envs, on=ground(GROUND_FRICTION, normal), dt=DT)
    for gained, mean in zip(slip(simulation, MEANS), MEANS, strict=True):
        assert_slips_only_below(gained, mean)


def test_brick_on_a_tilted_slab_slips_below_the_mean_friction_in_every_direction(place):
    """On another actor, too, and whatever direction the slope has in an env: the friction cone is round."""
    envs, means = [], []
    for heading in (0.0, 0.4, math.pi / 4.0, 2.0):
        for mean in MEANS:
            normal, quat = slope(heading)
            slab = actor(SLAB, above(normal, -0.1), quat, surface_friction=GROUND_FRICTION)
            envs.append([slab, brick(normal, quat)])
            means.append(mean)
    simulation = place.simulation(*envs, dt=DT)
    for gained, mean in zip(slip(simulation, means), means, strict=True):
        assert_slips_only_below(gained, mean)


def test_brick_twisted_on_the_slope_slips_straight_down(place):
    """A brick whose edges are not along the slope moves along its line of fall."""
    normal, quat = slope(0.0)
    envs = []
    for twist in (0.0, 0.3, math.pi / 4.0):
        turned = np.empty(4)
        mujoco.mju_mulQuat(turned, np.array(quat), np.array([math.cos(twist / 2), 0.0, 0.0, math.sin(twist / 2)]))
        envs.append([brick(normal, tuple(turned.tolist()))])
    simulation = place.simulation(*envs, on=ground(GROUND_FRICTION, normal), dt=DT)
    gained = slip(simulation, (0.4, 0.4, 0.4))
    for each in gained:
        assert_slips_only_below(each, 0.4)
    assert gained[:, 1].abs().max() < 0.05 * gained.norm(dim=1).min()


def test_force_of_a_slipping_brick_is_the_mean_friction_times_the_normal_force(place):
    """While it slips, the tangential part of the force is the mean friction times the normal part."""
    normal, quat = slope(0.65)
    means = (0.3, 0.4, 0.35)
    simulation = place.simulation(*[[brick(normal, quat)] for _ in means], on=ground(GROUND_FRICTION, normal), dt=DT)
    slip(simulation, means)
    impulse = torch.zeros(3, 3, dtype=torch.float64)
    for _ in range(20):
        run(simulation, 1)
        impulse += forces(simulation)[:, 0]
    upright = impulse @ torch.tensor(normal, dtype=torch.float64)
    along = impulse - upright.unsqueeze(1) * torch.tensor(normal, dtype=torch.float64)
    ratio = along.norm(dim=1) / upright
    torch.testing.assert_close(ratio, torch.tensor(means, dtype=torch.float64), rtol=4e-3, atol=0.0)
    uphill = torch.tensor([-math.cos(0.65), -math.sin(0.65)], dtype=torch.float64)
    torch.testing.assert_close(torch.nn.functional.normalize(along[:, :2]), uphill.expand(3, 2), rtol=0.0, atol=0.12)
