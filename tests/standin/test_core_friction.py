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
DT, SETTLING, STEPS = 0.002, 100, 400


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


def brick(normal, quat, height, mean):
    """Return a flat brick on a slope, such that the mean of its friction and the slope's is `mean`."""
    return actor(BRICK, above(normal, height), quat, surface_friction=2.0 * mean - GROUND_FRICTION)


BRICK = asset(box("brick", (0.15, 0.12, 0.02), 1.5))
SLAB = asset(box("slab", (3.0, 3.0, 0.1), 1.0), fixed_base=True)


def velocities_gained(simulation, index):
    """Let everything settle, and return the velocity that an actor gains in `STEPS` more steps, (E, 3)."""
    run(simulation, SETTLING)
    before = roots(simulation)[:, index, 7:10]
    run(simulation, STEPS)
    return roots(simulation)[:, index, 7:10] - before


def assert_slips_only_below(gained, mean):
    """Check the velocity that a brick gains: Coulomb's on a slope that is too steep for this friction, else none."""
    level = 1.0 / math.hypot(1.0, SLOPE)
    expected = GRAVITY * level * (SLOPE - mean) * DT * STEPS
    if expected > 0.0:
        torch.testing.assert_close(float(gained.norm()), expected, rtol=0.02, atol=0.015)
    else:
        assert float(gained.norm()) < 1e-3


@pytest.mark.parametrize("heading", [0.0, 0.65])
def test_brick_on_sloping_ground_slips_below_the_mean_friction(place, heading):
    """On tilted ground, a brick slips with a mean friction 2 % below the slope, and rests with 2 % above it."""
    normal, quat = slope(heading)
    envs = [[brick(normal, quat, 0.02, mean)] for mean in MEANS]
    simulation = place.simulation(*envs, on=ground(GROUND_FRICTION, normal), dt=DT)
    for gained, mean in zip(velocities_gained(simulation, 0), MEANS, strict=True):
        assert_slips_only_below(gained, mean)


def test_brick_on_a_tilted_slab_slips_below_the_mean_friction_in_every_direction(place):
    """On another actor, too, and whatever direction the slope has in an env: the friction cone is round."""
    envs, means = [], []
    for heading in (0.0, 0.4, math.pi / 4.0, 2.0):
        for mean in MEANS:
            normal, quat = slope(heading)
            slab = actor(SLAB, above(normal, -0.1), quat, surface_friction=GROUND_FRICTION)
            envs.append([slab, brick(normal, quat, 0.02, mean)])
            means.append(mean)
    simulation = place.simulation(*envs, dt=DT)
    for gained, mean in zip(velocities_gained(simulation, 1), means, strict=True):
        assert_slips_only_below(gained, mean)


def test_brick_twisted_on_the_slope_slips_straight_down(place):
    """A brick whose edges are not along the slope moves along its line of fall."""
    normal, quat = slope(0.0)
    envs = []
    for twist in (0.0, 0.3, math.pi / 4.0):
        turned = np.empty(4)
        mujoco.mju_mulQuat(turned, np.array(quat), np.array([math.cos(twist / 2), 0.0, 0.0, math.sin(twist / 2)]))
        envs.append([brick(normal, tuple(turned.tolist()), 0.02, 0.3)])
    simulation = place.simulation(*envs, on=ground(GROUND_FRICTION, normal), dt=DT)
    gained = velocities_gained(simulation, 0)
    for each in gained:
        assert_slips_only_below(each, 0.3)
    assert gained[:, 1].abs().max() < 0.03 * gained.norm(dim=1).min()


def test_friction_set_after_prepare_counts_from_the_next_step(place):
    """A brick that rests slips when its friction becomes less, in its own env only."""
    normal, quat = slope(0.0)
    simulation = place.simulation(
        *[[brick(normal, quat, 0.02, MEANS[1] + 0.01 * env)] for env in range(3)],
        on=ground(GROUND_FRICTION, normal),
        dt=DT,
    )
    run(simulation, 20)
    changing = simulation.envs[1][0]
    changing.surfaces = (changing.surfaces[0]._replace(friction=0.0),)
    simulation.properties_changed()
    gained = velocities_gained(simulation, 0)
    assert_slips_only_below(gained[0], MEANS[1])
    assert_slips_only_below(gained[1], GROUND_FRICTION / 2.0)
    assert_slips_only_below(gained[2], MEANS[1])


def test_force_of_a_slipping_brick_is_the_mean_friction_times_the_normal_force(place):
    """While it slips, the tangential part of the ground's force is exactly the mean friction times the normal part."""
    normal, quat = slope(0.65)
    means = (0.3, 0.4, 0.35)
    envs = [[brick(normal, quat, 0.02, mean)] for mean in means]
    simulation = place.simulation(*envs, on=ground(GROUND_FRICTION, normal), dt=DT)
    run(simulation, SETTLING)
    impulse = torch.zeros(3, 3, dtype=torch.float64)
    for _ in range(20):
        run(simulation, 1)
        impulse += forces(simulation)[:, 0]
    upright = impulse @ torch.tensor(normal, dtype=torch.float64)
    along = impulse - upright.unsqueeze(1) * torch.tensor(normal, dtype=torch.float64)
    ratio = along.norm(dim=1) / upright
    torch.testing.assert_close(ratio, torch.tensor(means, dtype=torch.float64), rtol=1e-3, atol=0.0)
    uphill = torch.tensor([-math.cos(0.65), -math.sin(0.65)], dtype=torch.float64)
    torch.testing.assert_close(torch.nn.functional.normalize(along[:, :2]), uphill.expand(3, 2), rtol=0.0, atol=0.03)
