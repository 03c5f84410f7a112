"""The objects that a team pushes: their shape, mass and initial states, as data.

Source: MAPush@0e61e1b, `resources/objects/*/*.urdf` and `task/*/config.py`. Heights are above the floor; upstream's
floor lies at z = 0.02 m, so upstream's heights are 0.02 m larger than those here.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Tuple

from typing_extensions import Literal, get_args

from mapush.errors import unknown

Shape = Literal["box", "cylinder"]
Vector = Tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Part:
    """One rigid primitive of an object.

    Attributes:
      shape: box, or cylinder with its axis along z.
      half_size: half extents along x, y, z of a box; radius, radius, half length of a cylinder [m].
      offset: centre in the object's root frame [m].
      mass: mass [kg].
      upstream_inertia: diagonal of the inertia in upstream's URDF, about the part's centre [kg m^2].
    """

    shape: Shape
    half_size: Vector
    offset: Vector
    mass: float
    upstream_inertia: Vector

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise unknown("shape", self.shape, get_args(Shape))


@dataclasses.dataclass(frozen=True)
class PushObject:
    """One object to push.

    Attributes:
      name: name of the object and of its task.
      num_agents: size of the team.
      parts: the rigid parts of the object.
      vertices: outline in the root frame, counter-clockwise, used by the occlusion-based reward [m].
      spawn_height: height of the root frame at reset [m].
      spawn_tilt: largest roll and pitch at reset, in either direction; drawn uniformly [rad].
      friction: range of the object's own friction coefficient, drawn once per env.
      agent_distance: range of the distance between robots and object at reset [m].
      collision_distance: the episode ends when two robots are closer than this [m].
    """

    name: str
    num_agents: int
    parts: Tuple[Part, ...]
    vertices: Tuple[Tuple[float, float], ...]
    spawn_height: float
    spawn_tilt: float
    friction: Tuple[float, float]
    agent_distance: Tuple[float, float]
    collision_distance: float


CUBOID = PushObject(
    name="cuboid",
    num_agents=2,
    parts=(
        Part(
            shape="box",
            half_size=(0.6, 0.6, 0.25),
            offset=(0.0, 0.0, 0.0),
            mass=4.0,
            upstream_inertia=(0.25, 0.25, 0.25),
        ),
    ),
    vertices=((-0.6, -0.6), (0.6, -0.6), (0.6, 0.6), (-0.6, 0.6)),
    spawn_height=0.28,
    spawn_tilt=0.01,
    friction=(0.5, 0.6),
    agent_distance=(1.2, 1.3),
    collision_distance=0.25,
)

TBLOCK = PushObject(
    name="tblock",
    num_agents=2,
    parts=(
        Part(
            shape="box",
            half_size=(0.5, 0.25, 0.25),
            offset=(0.0, 0.0, 0.0),
            mass=2.0,
            upstream_inertia=(0.01, 0.01, 0.01),
        ),
        Part(
            shape="box",
            half_size=(0.25, 0.25, 0.25),
            offset=(0.0, 0.5, 0.0),
            mass=1.0,
            upstream_inertia=(0.01, 0.01, 0.01),
        ),
    ),
    vertices=((-0.5, -0.25), (0.5, -0.25), (0.25, 0.75), (-0.25, 0.75)),
    spawn_height=0.28,
    spawn_tilt=0.01,
    friction=(0.6, 0.7),
    agent_distance=(1.2, 1.3),
    collision_distance=0.27,
)

CYLINDER = PushObject(
    name="cylinder",
    num_agents=3,
    parts=(
        Part(
            shape="cylinder",
            half_size=(1.5, 1.5, 0.25),
            offset=(0.0, 0.0, 0.0),
            mass=10.0,
            upstream_inertia=(0.0833, 0.0833, 0.0417),
        ),
    ),
    vertices=((-0.75, -1.3), (0.75, -1.3), (1.5, 0.0), (0.75, 1.3), (-0.75, 1.3), (-1.5, 0.0)),
    spawn_height=0.33,
    spawn_tilt=0.0,
    friction=(0.3, 0.4),
    agent_distance=(2.0, 2.5),
    collision_distance=0.25,
)

OBJECTS: Dict[str, PushObject] = {item.name: item for item in (CUBOID, TBLOCK, CYLINDER)}
