"""The objects that a team pushes: their shape, weight and surroundings, as data.

Source: MAPush@0e61e1b, `resources/objects/*/*.urdf` and `task/*/config.py`. Heights are above the floor; upstream's
floor lies at z = 0.02 m, so each of its heights is 0.02 m larger than the one here.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Tuple

Vector = Tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Part:
    """One rigid primitive of an object.

    Attributes:
      shape: `"box"` or `"cylinder"` (axis along z).
      half_size: half extents along x, y, z of a box; radius, radius, half length of a cylinder [m].
      offset: centre in the object's root frame [m].
      mass: [kg].
      upstream_inertia: diagonal of the inertia that upstream's URDF gives, about the part's centre [kg m^2].
    """

    shape: str
    half_size: Vector
    offset: Vector
    mass: float
    upstream_inertia: Vector


@dataclasses.dataclass(frozen=True)
class PushObject:
    """One object to push.

    Attributes:
      name: how users call it.
      num_agents: size of the team.
      parts: its rigid parts.
      vertices: outline in the root frame, counter-clockwise, used by the occlusion-based reward [m].
      spawn_height: height of the root frame at reset [m].
      spawn_tilt: roll and pitch at reset are uniform within plus or minus this [rad].
      friction: range of the object's own friction coefficient, drawn once per env.
      agent_distance: range of the robots' distance from the object at reset [m].
      collision_distance: two robots closer than this end the episode [m].
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
    parts=(Part("box", (0.6, 0.6, 0.25), (0.0, 0.0, 0.0), 4.0, (0.25, 0.25, 0.25)),),
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
        Part("box", (0.5, 0.25, 0.25), (0.0, 0.0, 0.0), 2.0, (0.01, 0.01, 0.01)),
        Part("box", (0.25, 0.25, 0.25), (0.0, 0.5, 0.0), 1.0, (0.01, 0.01, 0.01)),
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
    parts=(Part("cylinder", (1.5, 1.5, 0.25), (0.0, 0.0, 0.0), 10.0, (0.0833, 0.0833, 0.0417)),),
    vertices=((-0.75, -1.3), (0.75, -1.3), (1.5, 0.0), (0.75, 1.3), (-0.75, 1.3), (-1.5, 0.0)),
    spawn_height=0.33,
    spawn_tilt=0.0,
    friction=(0.3, 0.4),
    agent_distance=(2.0, 2.5),
    collision_distance=0.25,
)

OBJECTS: Dict[str, PushObject] = {item.name: item for item in (CUBOID, TBLOCK, CYLINDER)}
