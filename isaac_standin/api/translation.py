"""Translate properties between Isaac Gym's objects and arrays and the plain values of `isaac_standin.scene.actor`."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from isaac_standin.api.values import (
    ActuatorProperties,
    IndexRange,
    Mat33,
    RigidBodyProperties,
    RigidShapeProperties,
    Vec3,
)
from isaac_standin.assets.asset import Asset
from isaac_standin.errors import StandinError
from isaac_standin.scene.actor import Drive, Mass, Surface

DOF_DTYPE = np.dtype(
    [
        ("hasLimits", np.bool_),
        ("lower", np.float32),
        ("upper", np.float32),
        ("driveMode", np.int32),
        ("velocity", np.float32),
        ("effort", np.float32),
        ("stiffness", np.float32),
        ("damping", np.float32),
        ("friction", np.float32),
        ("armature", np.float32),
    ]
)
UNLIMITED = np.finfo(np.float32).max  # Isaac Gym shows what has no limit as the largest float


def dof_array(drives: Sequence[Drive]) -> np.ndarray:
    """Return drives as Isaac Gym's structured array, (D,)."""
    rows = np.zeros(len(drives), dtype=DOF_DTYPE)
    for name, attribute in zip(DOF_DTYPE.names or (), Drive._fields, strict=True):
        for row, drive in enumerate(drives):
            rows[name][row] = np.clip(getattr(drive, attribute), -UNLIMITED, UNLIMITED)
    return rows


def drives(rows: np.ndarray, count: int, where: str) -> tuple[Drive, ...]:
    """Return a structured array as drives.

    Raises:
      StandinError: it is no such array, has another length, or a number in it is not finite or negative.
    """
    if not isinstance(rows, np.ndarray) or rows.dtype.names != DOF_DTYPE.names:
        raise StandinError(
            "these are no properties of degrees of freedom",
            where=where,
            got=type(rows).__name__,
            expected="the structured array that get_actor_dof_properties returns",
        )
    _require_count(len(rows), count, "degrees of freedom", where)
    found = []
    for row in rows.tolist():
        found.append(Drive(*row))
    for index, drive in enumerate(found):
        if not np.isfinite(drive[4:]).all() or min(drive[4:]) < 0.0:
            raise StandinError(
                "a property of a degree of freedom is negative or not finite",
                where=f"{where}, degree of freedom {index}",
                got=str(drive),
            )
    return tuple(found)


def _require_count(got: int, expected: int, things: str, where: str) -> None:
    if got != expected:
        raise StandinError(
            f"the number of {things} is different", where=where, got=str(got), expected=f"{expected}, one for each"
        )


def shape_list(surfaces: Sequence[Surface]) -> list[RigidShapeProperties]:
    """Return surfaces as Isaac Gym's objects."""
    found = []
    for surface in surfaces:
        shape = RigidShapeProperties()
        shape.friction = surface.friction
        shape.filter = surface.filter
        shape.restitution = surface.restitution
        found.append(shape)
    return found


def surfaces(props: Sequence[RigidShapeProperties], count: int, where: str) -> tuple[Surface, ...]:
    """Return Isaac Gym's objects as surfaces.

    Raises:
      StandinError: there are more or fewer than shapes, or a friction coefficient is negative.
    """
    _require_count(len(props), count, "shapes", where)
    found = []
    for index, shape in enumerate(props):
        surface = Surface(float(shape.friction), int(shape.filter), float(shape.restitution))
        if not 0.0 <= surface.friction < np.inf:
            raise StandinError(
                "a friction coefficient is negative or not finite", where=f"{where}, shape {index}", got=str(surface)
            )
        found.append(surface)
    return tuple(found)


def shape_ranges(asset: Asset) -> list[IndexRange]:
    """Return the first shape and the number of shapes of each body."""
    ranges = []
    first = 0
    for body in asset.bodies:
        found = IndexRange()
        found.start, found.count = first, len(body.shapes)
        ranges.append(found)
        first += len(body.shapes)
    return ranges


def mass_list(masses: Sequence[Mass]) -> list[RigidBodyProperties]:
    """Return masses as Isaac Gym's objects."""
    found = []
    for mass in masses:
        body = RigidBodyProperties()
        body.mass = mass.mass
        body.com = Vec3(*mass.com)
        body.inertia = _matrix(mass.inertia)
        if mass.mass > 0.0:
            body.invMass = 1.0 / mass.mass
            body.invInertia = _matrix(np.linalg.pinv(np.reshape(mass.inertia, (3, 3))).flatten().tolist())
        found.append(body)
    return found


def _matrix(numbers: Sequence[float]) -> Mat33:
    matrix = Mat33()
    matrix.x, matrix.y, matrix.z = Vec3(*numbers[:3]), Vec3(*numbers[3:6]), Vec3(*numbers[6:])
    return matrix


def masses(
    props: Sequence[RigidBodyProperties], before: Sequence[Mass], recompute_inertia: bool, where: str
) -> tuple[Mass, ...]:
    """Return Isaac Gym's objects as masses.

    Args:
      props: one for each body.
      before: the masses that the actor has.
      recompute_inertia: scale the inertia with the mass, as of a body of the same shape; else take it from `props`.
      where: for messages.

    Raises:
      StandinError: there are more or fewer than bodies, or a mass is not positive.
    """
    _require_count(len(props), len(before), "bodies", where)
    found = []
    for index, (body, old) in enumerate(zip(props, before, strict=True)):
        if not 0.0 < body.mass < np.inf:
            raise StandinError(
                "the mass of a body is not positive", where=f"{where}, body {index}", got=f"{body.mass:g} kg"
            )
        mass = _unless_rounded((body.mass,), (old.mass,))[0]
        x, y, z = _unless_rounded((body.com.x, body.com.y, body.com.z), old.com)
        if recompute_inertia:
            inertia = tuple(number * mass / old.mass for number in old.inertia)
        else:
            rows = (body.inertia.x, body.inertia.y, body.inertia.z)
            inertia = _unless_rounded(tuple(number for row in rows for number in (row.x, row.y, row.z)), old.inertia)
        found.append(Mass(mass, (x, y, z), inertia))
    return tuple(found)


def _unless_rounded(new: tuple[float, ...], old: tuple[float, ...]) -> tuple[float, ...]:
    """Return `old` where `new` is the same up to the rounding of single precision, in which Isaac Gym shows numbers."""
    if np.allclose(new, old, rtol=1e-6, atol=1e-12):
        return old
    return new


def actuator_list(asset: Asset) -> list[ActuatorProperties]:
    """Return an asset's motors as Isaac Gym's objects."""
    found = []
    for actuator in asset.actuators:
        motor = ActuatorProperties()
        motor.motor_effort = actuator.motor_effort
        found.append(motor)
    return found
