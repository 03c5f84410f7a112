"""Bodies and shapes of a scene, added to MuJoCo's model specification (`mujoco.MjSpec`)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Sequence, Tuple

if TYPE_CHECKING:
    import mujoco

Vector = Tuple[float, float, float]

COLLISION_GROUP = 3  # hidden by MuJoCo's viewers unless asked for
VISUAL_GROUP = 2


@dataclasses.dataclass(frozen=True)
class Inertia:
    """Mass distribution of a rigid body.

    Attributes:
      mass: [kg].
      com: centre of mass in the body's frame [m].
      full: ixx, iyy, izz, ixy, ixz, iyz, about the centre of mass, along the body's axes [kg m^2].
    """

    mass: float
    com: Vector
    full: Tuple[float, ...]


def add_body(parent: mujoco.MjsBody, name: str, pos: Vector, inertia: Inertia) -> mujoco.MjsBody:
    """Add a body with this inertia to `parent` and return it."""
    return parent.add_body(
        name=name,
        pos=pos,
        mass=inertia.mass,
        ipos=inertia.com,
        fullinertia=inertia.full,
        explicitinertial=True,
    )


def add_shape(body: mujoco.MjsBody, shape: str, size: Sequence[float], group: int, **options: Any) -> mujoco.MjsGeom:
    """Add a geom to `body` and return it. It can touch only the geoms with which the scene lists a contact pair.

    Args:
      body: what the geom is part of.
      shape: box, sphere, capsule, cylinder, ellipsoid or plane.
      size: one to three numbers, whose meaning depends on the shape as in MJCF [m].
      group: `COLLISION_GROUP` or `VISUAL_GROUP`; 0 for the floor.
      options: other fields of `mujoco.MjsGeom`, or `euler` [rad].
    """
    import mujoco

    kind = getattr(mujoco.mjtGeom, "mjGEOM_" + shape.upper())
    padded = tuple(size) + (0.0,) * (3 - len(size))
    return body.add_geom(type=kind, size=padded, group=group, contype=0, conaffinity=0, **options)
