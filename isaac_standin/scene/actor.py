"""Actors: copies of assets in an env, with properties of their own."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from isaac_standin.assets.asset import Asset, Quaternion, Vector

DRIVE_NONE, DRIVE_POSITION, DRIVE_VELOCITY, DRIVE_EFFORT = 0, 1, 2, 3
COLLIDE_AS_SHAPES_SAY = -1  # an actor's filter that leaves the filters of its shapes as they are
COLLIDE_WITH_ALL = -1  # a group that collides with every group

DEFAULT_FRICTION = 1.0


class Surface(NamedTuple):
    """The surface of a shape.

    Attributes:
      friction: sliding friction coefficient.
      filter: two shapes with a common bit do not collide.
      restitution: kept for the program; contacts do not bounce.
    """

    friction: float = DEFAULT_FRICTION
    filter: int = 0
    restitution: float = 0.0


class Mass(NamedTuple):
    """The mass distribution of a body.

    Attributes:
      mass: [kg].
      com: centre of mass in the body's frame [m].
      inertia: about the centre of mass, along the body's axes [kg m^2], nine numbers row by row.
    """

    mass: float
    com: Vector
    inertia: tuple[float, ...]


class Drive(NamedTuple):
    """Properties of a degree of freedom.

    Attributes:
      limited: whether `lower` and `upper` hold.
      lower: smallest position [rad or m].
      upper: largest position [rad or m].
      mode: one of `DRIVE_NONE`, `DRIVE_POSITION`, `DRIVE_VELOCITY` and `DRIVE_EFFORT`.
      velocity: largest velocity [rad/s or m/s]; 0 for no limit.
      effort: largest effort of the drive [N m or N].
      stiffness: of the drive [N m/rad or N/m].
      damping: of the drive [N m s/rad or N s/m]; passive damping if the mode is `DRIVE_NONE` or `DRIVE_EFFORT`.
      friction: friction loss [N m or N].
      armature: added inertia [kg m^2 or kg].
    """

    limited: bool
    lower: float
    upper: float
    mode: int
    velocity: float
    effort: float
    stiffness: float
    damping: float
    friction: float
    armature: float


class ForceSensor(NamedTuple):
    """A sensor of the contact forces on a body.

    Attributes:
      body: index of the body in its asset.
      pos: origin of the sensor in the body's frame [m].
      quat: orientation of the sensor in the body's frame.
      in_world: measure along the world's axes instead of the sensor's.
    """

    body: int
    pos: Vector
    quat: Quaternion
    in_world: bool


@dataclasses.dataclass
class Actor:
    """A copy of an asset in one env.

    Attributes:
      asset: what it is a copy of.
      name: its name in the env.
      pos: initial position of its root [m].
      quat: initial orientation of its root.
      group: actors of different groups do not collide.
      filter: two actors with a common bit do not collide, and an actor with any bit does not collide with itself.
      surfaces: of each shape of the asset.
      masses: of each body of the asset.
      drives: of each degree of freedom of the asset.
      segmentation: value of its pixels in segmentation images.
      colors: red, green and blue of bodies whose colour was set, by the body's index.
      body_segmentation: values of the pixels of bodies for which one was set, by the body's index.
      sensors: of the contact forces on its bodies.
      start_state: position and velocity of each degree of freedom at first, (D, 2) float32.
      start_targets: position and velocity targets of its drives at first, (D, 2) float32.
    """

    asset: Asset
    name: str
    pos: Vector
    quat: Quaternion
    group: int
    filter: int
    surfaces: tuple[Surface, ...]
    masses: tuple[Mass, ...]
    drives: tuple[Drive, ...]
    segmentation: int = 0
    colors: dict[int, Vector] = dataclasses.field(default_factory=dict)
    body_segmentation: dict[int, int] = dataclasses.field(default_factory=dict)
    sensors: tuple[ForceSensor, ...] = ()

    def __post_init__(self) -> None:
        self.start_state = np.zeros((len(self.drives), 2), dtype=np.float32)
        self.start_targets = np.zeros((len(self.drives), 2), dtype=np.float32)

    def shape_filter(self, shape: int) -> int:
        """Return the filter bits of one of its shapes."""
        if self.filter == COLLIDE_AS_SHAPES_SAY:
            return self.surfaces[shape].filter
        return self.filter


def surfaces_of(asset: Asset) -> tuple[Surface, ...]:
    """Return the surfaces of an asset's shapes, as its file describes them."""
    surfaces = []
    for shape in asset.shapes():
        friction = DEFAULT_FRICTION
        if shape.friction is not None:
            friction = shape.friction
        surfaces.append(Surface(friction))
    return tuple(surfaces)


def masses_of(asset: Asset) -> tuple[Mass, ...]:
    """Return the mass distribution of an asset's bodies."""
    masses = []
    for body in asset.bodies:
        masses.append(Mass(body.mass, body.com, tuple(np.asarray(body.inertia).flatten().tolist())))
    return tuple(masses)


def drives_of(asset: Asset, mode: int) -> tuple[Drive, ...]:
    """Return the properties of an asset's degrees of freedom, as its file describes them.

    Args:
      asset: the asset.
      mode: the drive mode of all of them.
    """
    drives = []
    for joint in asset.joints():
        limited = np.isfinite(joint.lower) or np.isfinite(joint.upper)
        drives.append(
            Drive(
                limited=bool(limited),
                lower=joint.lower,
                upper=joint.upper,
                mode=mode,
                velocity=joint.velocity,
                effort=joint.effort,
                stiffness=joint.stiffness,
                damping=joint.damping,
                friction=joint.friction,
                armature=joint.armature,
            )
        )
    return tuple(drives)
