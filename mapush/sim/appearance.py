"""How a scene looks: materials, light, camera, and shapes that nothing collides with.

Simulations run without any of it; see `mapush.sim.scene.build_model`.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mapush.objects import Part, PushObject
from mapush.own.solids import NO_ROTATION, quat_of
from mapush.sim.go1 import FOOT_RADIUS, LINK_LENGTH, leg_signs
from mapush.sim.physics import LEGS
from mapush.sim.shapes import VISUAL_GROUP, add_shape, geom_size, mesh_of

if TYPE_CHECKING:
    import mujoco

TINTS = (
    (0.93, 0.42, 0.08),
    (0.10, 0.36, 0.80),
    (0.14, 0.58, 0.30),
    (0.55, 0.24, 0.70),
    (0.88, 0.72, 0.10),
    (0.12, 0.66, 0.72),
)
"""Colours of the robots; a larger team uses them again."""
GOAL_RADIUS = 0.5  # radius of the marker [m]
GOAL_HEIGHT = 0.1  # height of the marker [m]

_CAMERA_PITCH = math.radians(38)  # downwards
_BATTEN = 0.023  # half thickness of the edges of objects [m]
_EDGE = 0.003  # how far battens and rims stand out [m]

_MATERIALS: Dict[str, Dict[str, Any]] = {
    "dark": dict(rgba=(0.075, 0.08, 0.09, 1), specular=0.5, shininess=0.5),
    "metal": dict(rgba=(0.55, 0.57, 0.6, 1), specular=0.8, shininess=0.7),
    "glass": dict(rgba=(0.01, 0.012, 0.018, 1), specular=1, shininess=0.95, reflectance=0.1),
    "rubber": dict(rgba=(0.03, 0.03, 0.032, 1), specular=0.1, shininess=0.1),
    "lamp": dict(rgba=(0.75, 0.95, 1, 1), emission=0.9),
    "object": dict(rgba=(0.86, 0.74, 0.53, 1), specular=0.25, shininess=0.3),
    "trim": dict(rgba=(0.33, 0.25, 0.18, 1), specular=0.3, shininess=0.4),
    "goal": dict(rgba=(0.9, 0.1, 0.08, 0.8), emission=0.2),
    "success": dict(rgba=(1.0, 0.3, 0.2, 0.3), emission=0.6),
}


class _Look(NamedTuple):
    """A shape that is only seen.

    Attributes:
      shape: as in `add_shape`.
      size: as in `add_shape`; a number where there is only one.
      material: its name; "shell" is the colour of the robot.
      place: `pos` and `euler`, or `fromto`, as in MJCF.
    """

    shape: str
    size: Any
    material: str
    place: Dict[str, Tuple[float, ...]]


def _at(*pos: float, euler: Tuple[float, float, float] = (0, 0, 0)) -> Dict[str, Tuple[float, ...]]:
    return dict(pos=pos, euler=euler)


def _along(*ends: float) -> Dict[str, Tuple[float, ...]]:
    return dict(fromto=ends)


_TRUNK = (
    # hull: a box with rounded edges under a tinted shell
    _Look("box", (0.165, 0.052, 0.04), "dark", _at(0, 0, -0.006)),
    _Look("capsule", 0.02, "dark", _along(-0.15, 0.042, -0.034, 0.15, 0.042, -0.034)),
    _Look("capsule", 0.02, "dark", _along(-0.15, -0.042, -0.034, 0.15, -0.042, -0.034)),
    _Look("box", (0.15, 0.056, 0.022), "shell", _at(0, 0, 0.03)),
    _Look("capsule", 0.024, "shell", _along(-0.15, 0.036, 0.034, 0.16, 0.036, 0.034)),
    _Look("capsule", 0.024, "shell", _along(-0.15, -0.036, 0.034, 0.16, -0.036, 0.034)),
    _Look("ellipsoid", (0.19, 0.05, 0.022), "shell", _at(0.0, 0, 0.05)),
    _Look("box", (0.075, 0.022, 0.004), "dark", _at(-0.03, 0, 0.07)),
    # housings of the hip servos, at both ends
    _Look("cylinder", 0.046, "dark", _along(0.14, 0.04, 0, 0.235, 0.04, 0)),
    _Look("cylinder", 0.046, "dark", _along(0.14, -0.04, 0, 0.235, -0.04, 0)),
    _Look("cylinder", 0.046, "dark", _along(-0.235, 0.04, 0, -0.14, 0.04, 0)),
    _Look("cylinder", 0.046, "dark", _along(-0.235, -0.04, 0, -0.14, -0.04, 0)),
    # head, with its face of glass
    _Look("ellipsoid", (0.075, 0.058, 0.05), "shell", _at(0.225, 0, 0.018)),
    _Look("box", (0.028, 0.044, 0.042), "shell", _at(0.25, 0, 0.004, euler=(0, -0.2, 0))),
    _Look("ellipsoid", (0.014, 0.042, 0.036), "glass", _at(0.281, 0, 0.004, euler=(0, -0.2, 0))),
    _Look("sphere", 0.009, "lamp", _at(0.29, 0.022, 0.008)),
    _Look("sphere", 0.009, "lamp", _at(0.29, -0.022, 0.008)),
)


def _leg_looks(left: int) -> Dict[str, Tuple[_Look, ...]]:
    """Return the looks of hip, thigh and calf of a left (+1) or right (-1) leg."""
    hip = (
        _Look("cylinder", 0.044, "dark", _along(0, left * 0.018, 0, 0, left * 0.058, 0)),
        _Look("cylinder", 0.047, "metal", _along(0, left * 0.054, 0, 0, left * 0.06, 0)),
    )
    thigh = (
        _Look("cylinder", 0.045, "shell", _along(0, -left * 0.02, 0, 0, left * 0.024, 0)),
        _Look("cylinder", 0.034, "dark", _along(0, left * 0.02, 0, 0, left * 0.03, 0)),
        _Look("capsule", 0.026, "shell", _along(-0.012, 0, -0.01, -0.022, 0, -0.1)),
        _Look("capsule", 0.02, "shell", _along(0.008, 0, -0.02, -0.018, 0, -0.1)),
        _Look("capsule", 0.02, "shell", _along(-0.02, 0, -0.1, -0.002, 0, -0.2)),
        _Look("cylinder", 0.021, "metal", _along(0, -0.02, -LINK_LENGTH, 0, 0.02, -LINK_LENGTH)),
    )
    calf = (
        _Look("capsule", 0.015, "dark", _along(0, 0, 0, 0.014, 0, -0.07)),
        _Look("capsule", 0.012, "dark", _along(0.014, 0, -0.07, 0.012, 0, -0.14)),
        _Look("capsule", 0.011, "dark", _along(0.012, 0, -0.14, 0, 0, -0.205)),
        _Look("sphere", FOOT_RADIUS, "rubber", _at(0, 0, -LINK_LENGTH)),
    )
    return dict(hip=hip, thigh=thigh, calf=calf)


def dress(spec: mujoco.MjSpec, robots: Sequence[str], target: Optional[PushObject]) -> None:
    """Add everything that is only for display.

    Args:
      spec: the model.
      robots: names of the robots.
      target: the object, if there is one; the goal is shown with it.
    """
    _add_materials(spec)
    _add_light(spec)
    for robot, tint in zip(robots, itertools.cycle(TINTS)):
        _dress_robot(spec, robot, tint)
    if target is None:
        _add_camera(spec, robots[0] + "/trunk", 2.0)
        return
    for index, part in enumerate(target.parts):
        _dress_part(spec, part, f"object/{index}")
    _add_goal(spec, target.goal_radius)
    size = max(math.hypot(x, y) for x, y in target.vertices)
    _add_camera(spec, "object", 2.0 + 4.0 * size)


def _dress_robot(spec: mujoco.MjSpec, robot: str, tint: Tuple[float, float, float]) -> None:
    shell = robot + "/shell"
    spec.add_material(name=shell, rgba=tint + (1,), specular=0.5, shininess=0.6)
    _dress(spec.body(robot + "/trunk"), _TRUNK, shell)
    for leg in LEGS:
        _, left = leg_signs(leg)
        for part, looks in _leg_looks(left).items():
            _dress(spec.body(f"{robot}/{leg}_{part}"), looks, shell)


def _dress_part(spec: mujoco.MjSpec, part: Part, mesh: str) -> None:
    """Show a part; a box and a cylinder that stand upright have edges of a different colour."""
    plain = part.rpy == NO_ROTATION
    if plain and part.shape == "box":
        _dress(spec.body("object"), _box_looks(part))
    elif plain and part.shape == "cylinder":
        _dress(spec.body("object"), _drum_looks(part))
    else:
        place = dict(pos=part.offset, quat=quat_of(part.rpy))
        options = mesh_of(part, mesh)
        add_shape(spec.body("object"), part.shape, geom_size(part), VISUAL_GROUP, material="object", **options, **place)


def _add_goal(spec: mujoco.MjSpec, goal_radius: float) -> None:
    body = spec.worldbody.add_body(name="goal", mocap=True)
    marker = _Look("cylinder", (GOAL_RADIUS, GOAL_HEIGHT / 2), "goal", _at(0, 0, GOAL_HEIGHT / 2))
    success = _Look("cylinder", (goal_radius, 0.002), "success", _at(0, 0, 0.002))
    _dress(body, (marker, success))


def _add_materials(spec: mujoco.MjSpec) -> None:
    import mujoco

    for name, look in _MATERIALS.items():
        spec.add_material(name=name, **look)
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=256, height=256)
    sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    sky.rgb1, sky.rgb2 = (0.55, 0.66, 0.78), (0.92, 0.94, 0.96)
    tiles = spec.add_texture(name="floor", type=mujoco.mjtTexture.mjTEXTURE_2D, width=512, height=512)
    tiles.builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER
    tiles.rgb1, tiles.rgb2 = (0.36, 0.40, 0.45), (0.40, 0.44, 0.49)
    tiles.mark, tiles.markrgb = mujoco.mjtMark.mjMARK_EDGE, (0.46, 0.5, 0.55)
    floor = spec.add_material(name="floor", texuniform=True, texrepeat=(1, 1), specular=0.1)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.geom("floor").material = "floor"


def _add_light(spec: mujoco.MjSpec) -> None:
    import mujoco

    headlight = spec.visual.headlight
    headlight.ambient, headlight.diffuse, headlight.specular = (0.35,) * 3, (0.2,) * 3, (0,) * 3
    quality = spec.visual.quality
    quality.shadowsize, quality.offsamples, quality.numslices = 8192, 8, 96
    picture = spec.visual.global_
    picture.offwidth, picture.offheight = 1920, 1080
    sun = spec.worldbody.add_light(name="sun", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
    sun.pos, sun.dir = (-2.5, -3.5, 8), (2.5, 3.5, -8)
    sun.diffuse, sun.specular = (0.65, 0.63, 0.6), (0.3, 0.3, 0.3)


def _add_camera(spec: mujoco.MjSpec, followed: str, distance: float) -> None:
    """Add the camera `overview`, which follows a body from this distance [m]."""
    import mujoco

    spec.stat.center, spec.stat.extent = (0, 0, 0.2), distance
    sine, cosine = math.sin(_CAMERA_PITCH), math.cos(_CAMERA_PITCH)
    spec.body(followed).add_camera(
        name="overview",
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK,
        pos=(0, -distance * cosine, distance * sine),
        xyaxes=(1, 0, 0, 0, sine, cosine),
        fovy=36,
    )


def _dress(body: mujoco.MjsBody, looks: Sequence[_Look], shell: str = "") -> None:
    for look in looks:
        material = look.material
        if material == "shell":
            material = shell
        size = look.size
        if not isinstance(size, (tuple, list)):
            size = (size,)
        add_shape(body, look.shape, size, VISUAL_GROUP, material=material, **look.place)


def _box_looks(part: Part) -> List[_Look]:
    """Return a crate: the box, and battens along its twelve edges."""
    looks = [_Look("box", part.half_size, "object", _at(*part.offset))]
    for axis in range(3):
        for one, other in itertools.product((-1, 1), repeat=2):
            sides = [one, other]
            sides.insert(axis, 0)  # a batten runs along `axis`, at this side of the box on the other two
            looks.append(_batten(part, sides))
    return looks


def _batten(part: Part, sides: Sequence[int]) -> _Look:
    """Return the batten along the edge on these sides of a box: -1 or 1, and 0 for the axis it runs along."""
    size = []
    pos = []
    for side, half, middle in zip(sides, part.half_size, part.offset):
        thickness = _BATTEN
        if side == 0:
            thickness = half + _EDGE
        size.append(thickness)
        pos.append(side * (half + _EDGE - _BATTEN) + middle)
    return _Look("box", size, "trim", _at(*pos))


def _drum_looks(part: Part) -> List[_Look]:
    """Return a drum: the cylinder, its lids, and a rim at either end."""
    radius, _, half = part.half_size
    x, y, z = part.offset
    drum = _Look("cylinder", (radius, half), "object", _at(x, y, z))
    lid = _Look("cylinder", (max(radius - 0.1, 0.5 * radius), half + 0.005), "object", _at(x, y, z))
    looks = [drum, lid]
    for end in (-1, 1):
        height = z + end * (half + _EDGE - _BATTEN)
        looks.append(_Look("cylinder", (radius + _EDGE, _BATTEN), "trim", _at(x, y, height)))
    return looks
