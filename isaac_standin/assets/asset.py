"""An asset: a tree of rigid bodies with joints and shapes, independent of any physics engine.

Units are SI. Quaternions are wxyz, as in MuJoCo; only `isaac_standin.api` uses Isaac Gym's xyzw.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, Optional

import numpy as np

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

ORIGIN: Vector = (0.0, 0.0, 0.0)
IDENTITY: Quaternion = (1.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A geometric shape of a body, for collisions or only for display.

    Attributes:
      kind: `capsule` and `cylinder` lie along z; `mesh` is used as its convex hull.
      size: half extents in MuJoCo's convention [m]: box (x, y, z); sphere (radius,); capsule and cylinder (radius,
        half length without caps); mesh: its scale along x, y, z, without unit.
      pos: position in the body's frame [m].
      quat: orientation in the body's frame.
      mesh: the file of a mesh.
      rgba: its colour, from 0 to 1.
      friction: sliding friction coefficient; None if the file does not say.
    """

    kind: Literal["box", "sphere", "capsule", "cylinder", "mesh"]
    size: tuple[float, ...]
    pos: Vector = ORIGIN
    quat: Quaternion = IDENTITY
    mesh: Optional[Path] = None
    rgba: Optional[tuple[float, float, float, float]] = None
    friction: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Joint:
    """A joint with one degree of freedom, between a body and its parent.

    Attributes:
      name: its name in the file.
      kind: `revolute` turns about the axis [rad], `prismatic` slides along it [m].
      axis: unit vector in the frame of the body that it moves.
      pos: a point on the axis, in the frame of the body that it moves [m]; in URDF always the origin.
      lower: smallest position [rad or m]; minus infinity without a limit.
      upper: largest position [rad or m]; infinity without a limit.
      effort: largest effort of a drive [N m or N].
      velocity: largest velocity [rad/s or m/s].
      damping: passive damping [N m s/rad or N s/m].
      friction: friction loss [N m or N].
      armature: inertia added by the drive [kg m^2 or kg].
      stiffness: of a passive spring towards 0 [N m/rad or N/m].
    """

    name: str
    kind: Literal["revolute", "prismatic"]
    axis: Vector
    pos: Vector = ORIGIN
    lower: float = -np.inf
    upper: float = np.inf
    effort: float = np.inf
    velocity: float = np.inf
    damping: float = 0.0
    friction: float = 0.0
    armature: float = 0.0
    stiffness: float = 0.0


@dataclasses.dataclass(frozen=True)
class Body:
    """A rigid body, or link.

    Attributes:
      name: its name in the file.
      parent: index of its parent in `Asset.bodies`; -1 for the root.
      pos: position of its frame in its parent's frame, with the joint at 0 [m].
      quat: orientation of its frame in its parent's frame.
      joint: what connects it with its parent; None for the root, and for a body that is fixed to its parent.
      mass: [kg].
      com: centre of mass in its own frame [m].
      inertia: about the centre of mass, along the axes of its own frame [kg m^2], (3, 3).
      shapes: what can collide.
      visuals: what is seen; a shape that also collides is in both.
      more_joints: further joints between the parent and the body, in the order in which they act after `joint`; only
        MJCF files have them. Isaac Gym counts one degree of freedom for each, but shows no bodies in between.
    """

    name: str
    parent: int
    pos: Vector
    quat: Quaternion
    joint: Optional[Joint]
    mass: float
    com: Vector
    inertia: np.ndarray
    shapes: tuple[Shape, ...]
    visuals: tuple[Shape, ...]
    more_joints: tuple[Joint, ...] = ()

    def joints(self) -> tuple[Joint, ...]:
        """Return all joints between the parent and the body; none for the root and for a body that is fixed."""
        if self.joint is None:
            return ()
        return (self.joint, *self.more_joints)


@dataclasses.dataclass(frozen=True)
class Actuator:
    """A motor of an MJCF file.

    Attributes:
      name: its name in the file.
      joint: the joint that it drives.
      motor_effort: gear of the motor times the largest control [N m or N].
    """

    name: str
    joint: str
    motor_effort: float


@dataclasses.dataclass(frozen=True)
class Asset:
    """What `load_asset` returns.

    Attributes:
      name: name of the robot in the file.
      source: the file, for messages.
      bodies: depth first, siblings in the order of their joints' names, as Isaac Gym orders them.
      fixed_base: the root does not move by itself.
      gravity: whether gravity acts on it.
      actuators: the motors of an MJCF file.
      linear_damping: part of each body's velocity that is lost per second [1/s].
      angular_damping: likewise of its angular velocity [1/s].
    """

    name: str
    source: str
    bodies: tuple[Body, ...]
    fixed_base: bool
    gravity: bool
    actuators: tuple[Actuator, ...] = ()
    linear_damping: float = 0.0
    angular_damping: float = 0.0

    def joints(self) -> list[Joint]:
        """Return the joints, in the order of the degrees of freedom."""
        found: list[Joint] = []
        for body in self.bodies:
            found += body.joints()
        return found

    def shapes(self) -> list[Shape]:
        """Return all shapes that can collide, in the order of the bodies."""
        found: list[Shape] = []
        for body in self.bodies:
            found += body.shapes
        return found
