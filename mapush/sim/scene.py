"""A scene: robots on a floor, and an object to push to a goal, as a MuJoCo model.

Each surface has a friction coefficient, and a pair of surfaces has the mean of the two, as in PhysX, from which
MAPush's values come. Only listed pairs can touch: feet, trunks and the object touch the floor; all shapes of a robot
touch the object; trunks touch each other. A robot never collides with itself.

MuJoCo 4.0 computes wrong contacts between a cylinder and a plane when the cylinder's axis is within 1e-10 rad of the
plane's normal. Some of them are far too deep and throw the cylinder into the air. Here a cylinder stands on soles: two
boxes, rotated by an eighth of a turn relative to each other, with their corners on the cylinder's rims. Robots touch
the cylinder itself. A cylinder that lies on its side has no soles; nor have other shapes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, TypeVar

from mapush.objects import Part, PushObject
from mapush.own import solids
from mapush.sim import appearance, go1
from mapush.sim.physics import PHYSICS_DT
from mapush.sim.shapes import COLLISION_GROUP, Inertia, Vector, add_body, add_mesh, add_shape, geom_size, mesh_of

if TYPE_CHECKING:
    import mujoco
    import numpy as np

Friction = TypeVar("Friction", float, "np.ndarray")

FLOOR_FRICTION = 0.1
SOLE_YAWS = (0.0, math.pi / 4)  # orientations of the boxes on which a cylinder stands [rad]


@dataclasses.dataclass(frozen=True)
class Scene:
    """The content of each env.

    Attributes:
      num_agents: number of robots.
      object: the object to push, if there is one.
      upstream_inertia: use the object's inertia from upstream's URDF instead of computing it from its geometry.
    """

    num_agents: int
    object: Optional[PushObject] = None
    upstream_inertia: bool = False


def build_model(scene: Scene, visuals: bool = True) -> mujoco.MjModel:
    """Compile `scene`.

    Bodies are called `robot0/trunk`, `robot0/FR_hip`, ..., `object`, and `goal`, a mocap body. Joints and servos have
    the names of the bodies that they move. The camera `overview` sees everything. In the keyframe `home`, the robots
    stand in front of the object.

    Args:
      scene: what to build.
      visuals: add what is only for display. Without it, steps are cheaper and the physics is the same.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "mapush"
    spec.compiler.degree = False
    _set_options(spec.option)
    floor = spec.worldbody
    add_shape(floor, "plane", (0, 0, 1), 0, name="floor", friction=_friction(FLOOR_FRICTION))
    for robot in robots(scene):
        go1.add_robot(spec, robot)
    if scene.object is not None:
        _add_object(spec, scene.object, scene.upstream_inertia)
    _add_contacts(spec, touching(scene))
    spec.add_key(name="home", qpos=_home(scene), ctrl=go1.DEFAULT_JOINT_POS * scene.num_agents)
    if visuals:
        appearance.dress(spec, robots(scene), scene.object)
    return spec.compile()


def _set_options(option: Any) -> None:
    """Set the solver's options, a `mujoco.MjOption`: a stiff contact solver that converges at this time step."""
    import mujoco

    option.timestep = PHYSICS_DT
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.iterations = 20
    option.ls_iterations = 50
    option.impratio = 10


def _friction(sliding: float) -> Tuple[float, float, float]:
    """Return sliding, torsional and rolling friction; the last two are MuJoCo's defaults and unused at `condim` 3."""
    return sliding, 0.005, 0.0001


def robots(scene: Scene) -> List[str]:
    """Return the names of the robots."""
    return [f"robot{agent}" for agent in range(scene.num_agents)]


def object_shapes(scene: Scene) -> List[str]:
    """Return the names of all collision shapes of the object."""
    solids = _solids(scene.object)
    soles = _soles(scene.object)
    return solids + [sole for sole in soles if sole not in solids]


def touching(scene: Scene) -> List[Tuple[str, str]]:
    """Return the names of all pairs of shapes that can touch."""
    solids = _solids(scene.object)
    team = [go1.shapes(robot) for robot in robots(scene)]
    pairs = [(sole, "floor") for sole in _soles(scene.object)]
    for shapes in team:
        pairs += itertools.product(shapes.feet + shapes.trunk, ["floor"])
        pairs += itertools.product(shapes.feet + shapes.trunk + shapes.legs, solids)
    for one, other in itertools.combinations(team, 2):
        pairs += itertools.product(one.trunk, other.trunk)
    return pairs


def pair_friction(one: Friction, other: Friction) -> Friction:
    """Return the friction of two surfaces on each other."""
    return (one + other) / 2


def object_inertia(target: PushObject, upstream: bool) -> Inertia:
    """Return the inertia of all parts of `target` combined.

    Each part contributes its own inertia, and by the parallel axis theorem its mass at its distance from the common
    centre of mass.

    Args:
      target: the object.
      upstream: use the parts' inertia from upstream's URDF instead of assuming a uniform density.
    """
    mass = sum(part.mass for part in target.parts)
    com = _centre_of_mass(target, mass)
    full = [0.0] * 6
    for part in target.parts:
        own = _inertia_of(part, upstream)
        x, y, z = part.offset[0] - com[0], part.offset[1] - com[1], part.offset[2] - com[2]
        shift = (y * y + z * z, x * x + z * z, x * x + y * y, -x * y, -x * z, -y * z)
        for index, (inertia, moment) in enumerate(zip(own, shift)):
            full[index] = full[index] + inertia + part.mass * moment
    return Inertia(mass, com, tuple(full))


def _centre_of_mass(target: PushObject, mass: float) -> Vector:
    moment = [0.0, 0.0, 0.0]
    for part in target.parts:
        for axis in range(3):
            moment[axis] += part.mass * part.offset[axis]
    return moment[0] / mass, moment[1] / mass, moment[2] / mass


def _inertia_of(part: Part, upstream: bool) -> solids.Moments:
    """Return the moments of inertia of a part about its centre of mass, along the object's axes."""
    if upstream and part.upstream_inertia is not None:
        return part.upstream_inertia + (0.0, 0.0, 0.0)
    if part.shape in ("box", "cylinder"):
        moments = _uniform_inertia(part.shape, part.half_size, part.mass) + (0.0, 0.0, 0.0)
    else:
        moments = solids.moments_of(part.shape, part.half_size, part.mass, part.points, part.faces)
    return solids.rotated_moments(moments, part.rpy)


def _uniform_inertia(shape: str, half_size: Vector, mass: float) -> Vector:
    """Return the moments of inertia of a box, or of a cylinder along z, of uniform density."""
    x, y, z = half_size[0] * half_size[0], half_size[1] * half_size[1], half_size[2] * half_size[2]
    if shape == "box":
        return mass / 3 * (y + z), mass / 3 * (x + z), mass / 3 * (x + y)
    across = mass * (x / 4 + z / 3)
    return across, across, mass * x / 2


def _solids(target: Optional[PushObject]) -> List[str]:
    """Return the names of the shapes that robots touch, one for each part."""
    if target is None:
        return []
    return [f"object/{index}" for index in range(len(target.parts))]


def _soles(target: Optional[PushObject]) -> List[str]:
    """Return the names of the shapes that the floor touches."""
    if target is None:
        return []
    soles: List[str] = []
    for name, part in zip(_solids(target), target.parts):
        if not _stands_on_soles(part):
            soles.append(name)
        else:
            soles += [f"{name}/sole{index}" for index in range(len(SOLE_YAWS))]
    return soles


def _stands_on_soles(part: Part) -> bool:
    return part.shape == "cylinder" and solids.is_upright(part.rpy)


def _add_object(spec: mujoco.MjSpec, target: PushObject, upstream: bool) -> None:
    body = add_body(spec.worldbody, "object", (0, 0, 0), object_inertia(target, upstream))
    body.add_freejoint(name="object")
    friction = _friction(sum(target.friction) / 2)
    for name, part in zip(_solids(target), target.parts):
        if part.shape == "mesh":
            add_mesh(spec, name, part.points, part.faces)
        common: Dict[str, Any] = dict(pos=part.offset, friction=friction)
        if part.rpy != solids.NO_ROTATION:
            common["quat"] = solids.quat_of(part.rpy)
        if _stands_on_soles(part):
            _add_cylinder(body, name, part, common)
        else:
            add_shape(body, part.shape, geom_size(part), COLLISION_GROUP, name=name, **mesh_of(part, name), **common)


def _add_cylinder(body: mujoco.MjsBody, name: str, part: Part, common: Dict[str, Any]) -> None:
    """Add an upright cylinder and its soles, whose yaw is that of the object, not of the part."""
    radius, _, half_length = part.half_size
    add_shape(body, "cylinder", (radius, half_length), COLLISION_GROUP, name=name, **common)
    corner = radius / math.sqrt(2)
    for index, yaw in enumerate(SOLE_YAWS):
        sole = f"{name}/sole{index}"
        common.pop("quat", None)
        size = (corner, corner, half_length)
        add_shape(body, "box", size, COLLISION_GROUP, name=sole, euler=(0, 0, yaw), **common)


def _add_contacts(spec: mujoco.MjSpec, pairs: List[Tuple[str, str]]) -> None:
    """Let these pairs of shapes touch, with the mean of their frictions along both tangents."""
    surfaces = {geom.name: float(geom.friction[0]) for geom in spec.geoms}
    for one, other in pairs:
        sliding = pair_friction(surfaces[one], surfaces[other])
        contact = spec.add_pair(geomname1=one, geomname2=other, condim=3, solref=(0.01, 1))
        contact.friction[:2] = sliding


def _home(scene: Scene) -> List[float]:
    """Return the positions of the keyframe: robots side by side, on an arc in front of the object if there is one."""
    qpos: List[float] = []
    for agent in range(scene.num_agents):
        place = agent - (scene.num_agents - 1) / 2
        qpos += _stand(scene.object, place)
    if scene.object is not None:
        qpos += [0.0, 0.0, scene.object.spawn_height, 1.0, 0.0, 0.0, 0.0]
    return qpos


def _stand(target: Optional[PushObject], place: float) -> List[float]:
    """Return the positions of the robot at this place of the row, whose middle is 0."""
    x, y, yaw = 0.0, place, 0.0
    if target is not None:
        distance = sum(target.agent_distance) / 2
        yaw = min(0.7, math.tau / max(target.num_agents, 1)) * place
        x, y = -distance * math.cos(yaw), -distance * math.sin(yaw)
    orientation = [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
    return [x, y, go1.STAND_HEIGHT] + orientation + list(go1.DEFAULT_JOINT_POS)
