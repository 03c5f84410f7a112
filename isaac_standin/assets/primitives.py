"""Assets without a file: a single body with one shape."""

from __future__ import annotations

import numpy as np

from isaac_standin.errors import StandinError

from .asset import Asset, Shape, Vector
from .elements import check_positive
from .inertia import of_shapes
from .load_options import LoadOptions
from .tree import Link, to_bodies


def box(size: Vector, options: LoadOptions | None = None) -> Asset:
    """Return a box.

    Args:
      size: its edges along x, y, z [m].
      options: density, fixed or not, gravity.

    Raises:
      StandinError: a size is not positive, or the density is 0.
    """
    x, y, z = size
    return _one_shape("box", Shape("box", (x / 2, y / 2, z / 2)), options)


def sphere(radius: float, options: LoadOptions | None = None) -> Asset:
    """Return a sphere; `options` as for `box`."""
    return _one_shape("sphere", Shape("sphere", (radius,)), options)


def capsule(radius: float, length: float, options: LoadOptions | None = None) -> Asset:
    """Return a capsule.

    Args:
      radius: of its cylinder and caps [m].
      length: of its cylinder, along x as in PhysX, without the caps [m].
      options: as for `box`.
    """
    quarter_turn_about_y = (float(np.sqrt(0.5)), 0.0, float(np.sqrt(0.5)), 0.0)
    return _one_shape("capsule", Shape("capsule", (radius, length / 2), quat=quarter_turn_about_y), options)


def _one_shape(name: str, shape: Shape, options: LoadOptions | None) -> Asset:
    options = options or LoadOptions()
    where = f"create_{name}"
    check_positive(np.array(shape.size), where)
    if options.density == 0:
        raise StandinError("a body without a file needs a density", where=where, got="0", expected="kg m^-3")
    link = Link(name, of_shapes((shape,), options.density, where), shapes=(shape,), visuals=(shape,))
    return Asset(
        name=name,
        source=where,
        bodies=to_bodies([link], where),
        fixed_base=options.fix_base_link,
        gravity=not options.disable_gravity,
    )
