"""The objects that a team pushes: their shape, mass and initial states, as data.

An object of your own is a `PushObject` in a file of yours: `mapush train --object FILE.py:NAME`; see
docs/your-own-task.md.

Source of the built-in objects: MAPush@0e61e1b, `resources/objects/*/*.urdf` and `task/*/config.py`. Heights are above
the floor; upstream's floor lies at z = 0.02 m, so upstream's heights are 0.02 m larger than those here.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from typing_extensions import Literal, get_args

from mapush.errors import ConfigError, unknown
from mapush.own import mesh_files, solids
from mapush.own.solids import NO_ROTATION, Face, Point, Vector

Shape = Literal["box", "cylinder", "capsule", "sphere", "mesh"]

SPAWN_CLEARANCE = 0.03  # between the floor and an object whose `spawn_height` is not given [m]
AGENT_CLEARANCE = (0.4, 0.5)  # between the outline and the robots, if `agent_distance` is not given [m]
MAX_GOAL_RADIUS = 1.5  # the nearest goals are that far away [m]


@dataclasses.dataclass(frozen=True)
class Part:
    """One rigid solid of an object; `Part.box`, `.cylinder`, `.capsule`, `.sphere` and `.mesh` make one more briefly.

    Attributes:
      shape: box; cylinder or capsule with its axis along z; sphere; or mesh, a convex one.
      half_size: half extents along x, y, z; of a round shape: radius, radius, half of the complete length [m].
      offset: centre of mass in the object's root frame [m].
      mass: mass [kg].
      upstream_inertia: diagonal of the inertia in upstream's URDF, about the part's centre [kg m^2]; None computes it.
      rpy: rotation by roll, then pitch, then yaw about the axes of the root frame [rad].
      points: corners of a mesh, around its centre of mass [m].
      faces: triangles of a mesh, as indices of corners.
    """

    shape: Shape
    half_size: Vector
    offset: Vector
    mass: float
    upstream_inertia: Optional[Vector] = None
    rpy: Vector = NO_ROTATION
    points: Tuple[Vector, ...] = ()
    faces: Tuple[Face, ...] = ()

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise unknown("shape", self.shape, get_args(Shape))
        what = f"the {self.shape}"
        _require(_is_positive(self.mass), f"{what} has no mass", self.mass, "more than 0 kg")
        positive = len(self.half_size) == 3 and all(_is_positive(size) for size in self.half_size)
        _require(positive, f"{what} has no size", self.half_size, "three lengths above 0 m")
        finite = all(math.isfinite(number) for number in (*self.offset, *self.rpy))
        _require(finite, f"{what} is nowhere", (self.offset, self.rpy), "finite numbers")
        x, y, z = self.half_size
        if self.shape in ("cylinder", "capsule", "sphere"):
            _require(x == y, f"{what} is not round", self.half_size, "radius, radius, half length")
        if self.shape == "capsule":
            _require(z > x, f"{what} is shorter than its ends", self.half_size, "a length above twice the radius")
        if self.shape == "sphere":
            _require(z == x, f"{what} is not round", self.half_size, "its radius three times")
        if self.shape == "mesh":
            _require(len(self.points) >= 4, f"{what} has no corners", len(self.points), "Part.mesh(FILE, mass)")

    @classmethod
    def box(cls, size: Vector, mass: float, offset: Vector = (0.0, 0.0, 0.0), rpy: Vector = NO_ROTATION) -> Part:
        """Return a box with these edge lengths along x, y, z [m]."""
        x, y, z = size
        return cls("box", (x / 2, y / 2, z / 2), offset, mass, rpy=rpy)

    @classmethod
    def cylinder(
        cls, radius: float, height: float, mass: float, offset: Vector = (0.0, 0.0, 0.0), rpy: Vector = NO_ROTATION
    ) -> Part:
        """Return a cylinder, upright unless `rpy` turns it."""
        return cls("cylinder", (radius, radius, height / 2), offset, mass, rpy=rpy)

    @classmethod
    def capsule(
        cls, radius: float, length: float, mass: float, offset: Vector = (0.0, 0.0, 0.0), rpy: Vector = NO_ROTATION
    ) -> Part:
        """Return a cylinder with round ends, upright unless `rpy` turns it; `length` includes the ends [m]."""
        return cls("capsule", (radius, radius, length / 2), offset, mass, rpy=rpy)

    @classmethod
    def sphere(cls, radius: float, mass: float, offset: Vector = (0.0, 0.0, 0.0)) -> Part:
        """Return a ball."""
        return cls("sphere", (radius, radius, radius), offset, mass)

    @classmethod
    def mesh(
        cls,
        file: Union[str, Path],
        mass: float,
        scale: float = 1.0,
        offset: Vector = (0.0, 0.0, 0.0),
        rpy: Vector = NO_ROTATION,
    ) -> Part:
        """Return a convex solid from an STL or OBJ file.

        Args:
          file: the file; a relative path starts from the folder of the file that calls this.
          mass: mass [kg], spread evenly.
          scale: metres for each unit of the file: 0.001 for a file in millimetres.
          offset: where the file's origin lies in the object's root frame [m].
          rpy: rotation of the file's axes [rad].

        Raises:
          ConfigError: the file is missing, does not parse, or is not the surface of a convex solid.
        """
        caller = sys._getframe(1).f_globals.get("__file__")
        path = Path(file)
        if caller is not None and not path.is_absolute():
            path = Path(caller).absolute().parent / path
        _require(_is_positive(scale), "the mesh has no scale", scale, "more than 0")
        corners, faces = mesh_files.read(path, scale)
        centre, _ = solids.centre_of_mesh(corners, faces)
        points = tuple(_difference(corner, centre) for corner in corners)
        half_size: List[float] = []
        for axis in range(3):
            half_size.append(max(abs(point[axis]) for point in points))
        turned = solids.rotated(centre, rpy)
        place = (offset[0] + turned[0], offset[1] + turned[1], offset[2] + turned[2])
        x, y, z = half_size
        return cls("mesh", (x, y, z), place, mass, rpy=rpy, points=points, faces=faces)

    def surface(self) -> List[Vector]:
        """Return points in the object's root frame whose convex hull is this part; if it is round, nearly."""
        found: List[Vector] = []
        for point in solids.surface_points(self.shape, self.half_size, self.points):
            x, y, z = solids.rotated(point, self.rpy)
            found.append((x + self.offset[0], y + self.offset[1], z + self.offset[2]))
        return found

    def outline(self) -> List[Point]:
        """Return the corners of this part as seen from above, counter-clockwise in the root frame [m]."""
        return solids.convex_hull([(x, y) for x, y, _ in self.surface()])


@dataclasses.dataclass(frozen=True)
class PushObject:
    """One object to push. The defaults suit an object of your own; the frame's origin should be near its middle.

    Attributes:
      name: name of the object and of its task.
      num_agents: size of the team, unless `--task.num-agents` says otherwise.
      parts: the rigid parts of the object.
      vertices: outline in the root frame, counter-clockwise, used by the occlusion-based reward [m]; by default the
        convex hull of the parts, seen from above.
      spawn_height: height of the root frame at reset [m]; by default the object starts just above the floor.
      spawn_tilt: largest roll and pitch at reset, in either direction; drawn uniformly [rad].
      friction: range of the object's own friction coefficient, drawn once per env.
      agent_distance: range of the distance between robots and object at reset [m]; by default just outside the outline.
      collision_distance: the episode ends when two robots are closer than this [m].
      goal_radius: the goal is reached when the object's origin is nearer to it than this [m].
    """

    name: str
    parts: Tuple[Part, ...]
    num_agents: int = 2
    vertices: Tuple[Point, ...] = ()
    spawn_height: float = math.nan
    spawn_tilt: float = 0.01
    friction: Tuple[float, float] = (0.5, 0.6)
    agent_distance: Tuple[float, float] = (math.nan, math.nan)
    collision_distance: float = 0.25
    goal_radius: float = 1.0

    def __post_init__(self) -> None:
        self._check()
        if not self.vertices:
            object.__setattr__(self, "vertices", tuple(solids.convex_hull(self._seen_from_above())))
        if math.isnan(self.spawn_height):
            lowest = min(point[2] for part in self.parts for point in part.surface())
            object.__setattr__(self, "spawn_height", SPAWN_CLEARANCE - lowest)
        if math.isnan(self.agent_distance[0]):
            near, far = AGENT_CLEARANCE
            object.__setattr__(self, "agent_distance", (self.reach + near, self.reach + far))
        self._check_outline()

    @property
    def reach(self) -> float:
        """Distance of the outline's farthest corner from the origin [m]."""
        return max(math.hypot(x, y) for x, y in self.vertices)

    def extents(self, angles: Sequence[float]) -> List[float]:
        """Return how far the object reaches from its origin in some directions, seen from above [m]; 0 if it does not.

        A circle counts as a polygon of 24 corners, which is up to 1 % smaller.

        Args:
          angles: the directions in the root frame [rad].
        """
        outlines = [part.outline() for part in self.parts]
        found: List[float] = []
        for angle in angles:
            found.append(max(solids.ray_length(outline, angle) for outline in outlines))
        return found

    @property
    def mass(self) -> float:
        """Mass of all parts [kg]."""
        return sum(part.mass for part in self.parts)

    def _seen_from_above(self) -> List[Point]:
        return [(x, y) for part in self.parts for x, y, _ in part.surface()]

    def _check(self) -> None:
        what = f"object {self.name!r}"
        parts = len(self.parts) > 0 and all(isinstance(part, Part) for part in self.parts)
        _require(parts, f"{what} has no parts", self.parts, "parts=(Part.box(...), ...)")
        _require(self.num_agents >= 1, f"{what} has no team", self.num_agents, "num_agents of at least 1")
        low, high = self.friction
        _require(0.0 <= low <= high, f"the friction of {what} is no range", self.friction, "0 <= low <= high")
        radius = self.goal_radius
        _require(0.0 < radius < MAX_GOAL_RADIUS, f"goal_radius of {what}", radius, f"between 0 and {MAX_GOAL_RADIUS} m")

    def _check_outline(self) -> None:
        what = f"object {self.name!r}"
        area = solids.signed_area(self.vertices)
        _require(area > 0.0, f"the outline of {what} is not counter-clockwise", self.vertices, "an area above 0")
        low, high = self.agent_distance
        expected = f"low <= high, and low above {self.reach:.2f} m, the farthest corner of the outline"
        _require(self.reach < low <= high, f"robots would start inside {what}", f"agent_distance {low, high}", expected)


def _require(good: bool, what: str, got: object, expected: str) -> None:
    if not good:
        raise ConfigError(what, got=str(got), expected=expected)


def _is_positive(number: float) -> bool:
    return math.isfinite(number) and number > 0.0


def _difference(one: Vector, other: Vector) -> Vector:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


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

BUILT_IN = (CUBOID, TBLOCK, CYLINDER)
OBJECTS: Dict[str, PushObject] = {item.name: item for item in BUILT_IN}
"""Every object that a task can name; `mapush.own.own_objects.register` adds yours."""


def team_of(name: str, num_agents: Optional[int] = None) -> PushObject:
    """Return an object by its name, for a team of this size.

    Args:
      name: name of the object.
      num_agents: size of the team; None is the object's own.

    Raises:
      ConfigError: no object has this name.
    """
    if name not in OBJECTS:
        raise unknown("object", name, OBJECTS)
    item = OBJECTS[name]
    if num_agents is None:
        return item
    return dataclasses.replace(item, num_agents=num_agents)
