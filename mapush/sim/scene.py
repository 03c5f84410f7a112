"""A scene: robots on a floor, and an object to push to a goal, as a MuJoCo model.

Surfaces have a friction coefficient each, and a pair of surfaces has the mean of the two, as in PhysX, where MAPush's
values come from. Only listed pairs touch: feet, trunks and object meet the floor, all of a robot meets the object,
trunks meet each other; a robot never collides with itself.

MuJoCo 4.0 finds wrong contacts of a cylinder with a plane, some far too deep, where its axis is within 1e-10 rad of the
normal, and so throws it into the air. Here a cylinder stands on soles: two boxes, an eighth of a turn apart, whose
corners lie on its rims. Robots touch the cylinder itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mapush.objects import Part, PushObject
from mapush.sim import appearance, go1
from mapush.sim.go1 import Inertia, Vector
from mapush.sim.mjcf import add
from mapush.sim.physics import PHYSICS_DT

if TYPE_CHECKING:
    import mujoco
    import numpy as np

Friction = TypeVar("Friction", float, "np.ndarray")

FLOOR_FRICTION = 0.1
ROBOT_FRICTION = 1.0
SOLE_YAWS = (0.0, math.pi / 4)  # of the boxes on which a cylinder stands [rad]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What stands in each env.

    Attributes:
      num_agents: robots.
      object: what they push, if anything.
      upstream_inertia: give the object the inertia of upstream's URDF instead of that of its geometry.
    """

    num_agents: int
    object: Optional[PushObject] = None
    upstream_inertia: bool = False


def build_model(scene: Scene, visuals: bool = True) -> mujoco.MjModel:
    """Compile `scene`.

    Bodies are called `robot0/trunk`, `robot0/FR_hip`, ..., `object`, and `goal`, a mocap body; joints and servos are
    called as the bodies that they move. The camera `overview` sees all of them. In the keyframe `home`, the robots
    stand before the object.

    Args:
      scene: what to build.
      visuals: with what is only there to be seen; without it, steps are cheaper and the physics is the same.
    """
    import mujoco

    return mujoco.MjModel.from_xml_string(build_mjcf(scene, visuals))


def build_mjcf(scene: Scene, visuals: bool = True) -> str:
    """Return `scene` as MJCF text; see `build_model`."""
    root = Element("mujoco", model="mapush")
    add(root, "compiler", angle="radian", autolimits="true")
    add(root, "option", timestep=PHYSICS_DT, integrator="implicitfast", iterations=20, ls_iterations=50, impratio=10)
    default = add(root, "default")
    for name, group in (("collision", 3), ("visual", 2)):
        add(add(default, "default", class_=name), "geom", contype=0, conaffinity=0, group=group)
    for tag in ("asset", "worldbody", "actuator", "contact", "keyframe"):
        add(root, tag)
    floor = dict(type="plane", size=(0, 0, 1), friction=FLOOR_FRICTION, contype=0, conaffinity=0)
    add(root.find("worldbody"), "geom", name="floor", **floor)
    for robot in robots(scene):
        go1.add_robot(root, robot)
    if scene.object is not None:
        _add_object(root, scene.object, scene.upstream_inertia)
    _add_contacts(root, touching(scene))
    add(root.find("keyframe"), "key", name="home", qpos=_home(scene), ctrl=go1.DEFAULT_JOINT_POS * scene.num_agents)
    if visuals:
        appearance.dress(root, robots(scene), scene.object)
    return ElementTree.tostring(root, encoding="unicode")


def robots(scene: Scene) -> List[str]:
    """Return the names of the robots."""
    return [f"robot{agent}" for agent in range(scene.num_agents)]


def object_shapes(scene: Scene) -> List[str]:
    """Return the names of all collision shapes of the object."""
    return list(dict.fromkeys(_solids(scene.object) + _soles(scene.object)))


def touching(scene: Scene) -> List[Tuple[str, str]]:
    """Return the names of all pairs of shapes that can touch."""
    things = _solids(scene.object)
    team = [go1.shapes(robot) for robot in robots(scene)]
    pairs = [(sole, "floor") for sole in _soles(scene.object)]
    for shapes in team:
        pairs += itertools.product(shapes.feet + shapes.trunk, ["floor"])
        pairs += itertools.product(shapes.feet + shapes.trunk + shapes.legs, things)
    for one, other in itertools.combinations(team, 2):
        pairs += itertools.product(one.trunk, other.trunk)
    return pairs


def pair_friction(one: Friction, other: Friction) -> Friction:
    """Return the friction of two surfaces on each other."""
    return (one + other) / 2


def object_inertia(target: PushObject, upstream: bool) -> Inertia:
    """Return the inertia of all parts of `target` together.

    Args:
      target: the object.
      upstream: take the parts' inertia from upstream's URDF instead of a uniform density.
    """
    mass = sum(part.mass for part in target.parts)
    com_x, com_y, com_z = (sum(part.mass * part.offset[axis] for part in target.parts) / mass for axis in range(3))
    full = [0.0] * 6
    for part in target.parts:
        own = part.upstream_inertia if upstream else _uniform_inertia(part.shape, part.half_size, part.mass)
        x, y, z = part.offset[0] - com_x, part.offset[1] - com_y, part.offset[2] - com_z
        shift = (y * y + z * z, x * x + z * z, x * x + y * y, -x * y, -x * z, -y * z)
        full = [sum(terms) for terms in zip(full, own + (0.0, 0.0, 0.0), (part.mass * term for term in shift))]
    return Inertia(mass, (com_x, com_y, com_z), tuple(full))


def _uniform_inertia(shape: str, half_size: Vector, mass: float) -> Vector:
    x, y, z = (half * half for half in half_size)
    if shape == "box":
        return mass / 3 * (y + z), mass / 3 * (x + z), mass / 3 * (x + y)
    across = mass * (x / 4 + z / 3)
    return across, across, mass * x / 2


def _solids(target: Optional[PushObject]) -> List[str]:
    """Return the names of the shapes that robots touch, one for each part."""
    return [] if target is None else [f"object/{index}" for index in range(len(target.parts))]


def _soles(target: Optional[PushObject]) -> List[str]:
    """Return the names of the shapes that the floor touches."""
    soles: List[str] = []
    for name, part in zip(_solids(target), target.parts if target else ()):
        soles += [name] if part.shape == "box" else [f"{name}/sole{index}" for index in range(len(SOLE_YAWS))]
    return soles


def _add_object(root: Element, target: PushObject, upstream: bool) -> None:
    body = go1.add_body(root.find("worldbody"), "object", (0, 0, 0), object_inertia(target, upstream))
    add(body, "freejoint", name="object")
    friction = sum(target.friction) / 2
    for name, part in zip(_solids(target), target.parts):
        common = dict(class_="collision", pos=part.offset, friction=friction)
        if part.shape == "box":
            add(body, "geom", name=name, type="box", size=part.half_size, **common)
        else:
            _add_cylinder(body, name, part, common)


def _add_cylinder(body: Element, name: str, part: Part, common: Dict[str, Any]) -> None:
    radius, _, half_length = part.half_size
    add(body, "geom", name=name, type="cylinder", size=(radius, half_length), **common)
    corner = radius / math.sqrt(2)
    for index, yaw in enumerate(SOLE_YAWS):
        box = dict(type="box", size=(corner, corner, half_length), euler=(0, 0, yaw))
        add(body, "geom", name=f"{name}/sole{index}", **box, **common)


def _add_contacts(root: Element, pairs: List[Tuple[str, str]]) -> None:
    surfaces = {geom.get("name"): float(geom.get("friction", ROBOT_FRICTION)) for geom in root.iter("geom")}
    for one, other in pairs:
        sliding = pair_friction(surfaces[one], surfaces[other])
        contact = dict(condim=3, friction=(sliding, sliding), solref=(0.01, 1))
        add(root.find("contact"), "pair", geom1=one, geom2=other, **contact)


def _home(scene: Scene) -> List[float]:
    distance = 0.0 if scene.object is None else sum(scene.object.agent_distance) / 2
    qpos: List[float] = []
    for agent in range(scene.num_agents):
        place = agent - (scene.num_agents - 1) / 2
        yaw = 0.0 if scene.object is None else 0.7 * place
        qpos += [-distance * math.cos(yaw), -distance * math.sin(yaw) if distance else place, go1.STAND_HEIGHT]
        qpos += [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
        qpos += go1.DEFAULT_JOINT_POS
    if scene.object is not None:
        qpos += [0.0, 0.0, scene.object.spawn_height, 1.0, 0.0, 0.0, 0.0]
    return qpos
