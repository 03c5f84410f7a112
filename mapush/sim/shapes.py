"""Bodies and shapes of a scene, added to MuJoCo's model specification (`mujoco.MjSpec`)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Dict, Sequence, Tuple

from mapush.objects import Part

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
      shape: box, sphere, capsule, cylinder, ellipsoid, plane or mesh.
      size: one to three numbers, whose meaning depends on the shape as in MJCF [m].
      group: `COLLISION_GROUP` or `VISUAL_GROUP`; 0 for the floor.
      options: other fields of `mujoco.MjsGeom`, or `euler` [rad].
    """
    import mujoco

    kind = getattr(mujoco.mjtGeom, "mjGEOM_" + shape.upper())
    padded = tuple(size) + (0.0,) * (3 - len(size))
    return body.add_geom(type=kind, size=padded, group=group, contype=0, conaffinity=0, **options)


def geom_size(part: Part) -> Tuple[float, ...]:
    """Return the size of a part as `add_shape` takes it; that of a mesh is in its corners."""
    x, _, z = part.half_size
    if part.shape == "box":
        return part.half_size
    if part.shape == "cylinder":
        return x, z
    if part.shape == "capsule":
        return x, z - x
    if part.shape == "sphere":
        return (x,)
    return ()


def mesh_of(part: Part, name: str) -> Dict[str, str]:
    """Return the option of `add_shape` that names the mesh of a part; {} if it has none."""
    if part.shape == "mesh":
        return {"meshname": name}
    return {}


def add_mesh(spec: mujoco.MjSpec, name: str, points: Sequence[Vector], faces: Sequence[Tuple[int, int, int]]) -> None:
    """Add a convex mesh, which geoms of shape mesh name.

    Args:
      spec: the model.
      name: name of the mesh.
      points: corners [m].
      faces: triangles, as indices of corners; they only serve for display, as MuJoCo collides the convex hull.
    """
    import mujoco

    corners = [number for point in points for number in point]
    indices = [index for face in faces for index in face]
    spec.add_mesh(name=name, uservert=corners, userface=indices, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
