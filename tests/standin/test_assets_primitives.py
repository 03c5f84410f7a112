"""Assets of one shape, without a file."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isaac_standin.assets.loading import LoadOptions
from isaac_standin.assets.primitives import box, capsule, sphere
from isaac_standin.errors import StandinError

pytestmark = pytest.mark.mujoco


def test_box_has_the_mass_of_its_density():
    """Edges become half extents; mass and inertia are those of the closed formulas."""
    body = box((0.2, 0.4, 0.6), LoadOptions(density=250.0)).bodies[0]
    assert body.shapes[0].size == pytest.approx((0.1, 0.2, 0.3))
    assert body.mass == pytest.approx(12)
    np.testing.assert_allclose(body.inertia, np.diag([0.52, 0.40, 0.20]), atol=1e-9)


def test_sphere_has_the_mass_of_its_density():
    """The default density is that of water."""
    body = sphere(0.3).bodies[0]
    assert body.mass == pytest.approx(1000 * 4 / 3 * math.pi * 0.027)
    np.testing.assert_allclose(body.inertia, 0.4 * body.mass * 0.09 * np.eye(3), rtol=1e-6, atol=1e-9)


def test_capsule_lies_along_x():
    """Its length is without caps; about x, its inertia is the smallest one."""
    radius, length = 0.1, 0.5
    body = capsule(radius, length, LoadOptions(density=700.0)).bodies[0]
    assert body.mass == pytest.approx(700 * math.pi * radius**2 * (length + 4 / 3 * radius))
    cylinder = 700 * math.pi * radius**2 * length
    caps = body.mass - cylinder
    assert body.inertia[0, 0] == pytest.approx(radius**2 * (cylinder / 2 + 0.4 * caps))
    assert body.inertia[1, 1] == pytest.approx(body.inertia[2, 2])
    assert body.inertia[1, 1] > body.inertia[0, 0]


def test_options_reach_the_asset():
    """It can be fixed, and without gravity."""
    asset = sphere(0.2, LoadOptions(fix_base_link=True, disable_gravity=True))
    assert (asset.fixed_base, asset.gravity) == (True, False)
    assert (box((1, 2, 3)).fixed_base, box((1, 2, 3)).gravity) == (False, True)


@pytest.mark.parametrize(
    ("make", "size", "density"), [(box, (1, -2, 3), 5.0), (sphere, 0.0, 5.0), (box, (1, 2, 3), 0.0), (sphere, 1.0, 0.0)]
)
def test_bad_sizes_and_densities_are_refused(make, size, density):
    """The message names the call."""
    with pytest.raises(StandinError) as caught:
        make(size, LoadOptions(density=density))
    assert caught.value.where == f"create_{make.__name__}"
