"""How a scene looks: materials, light, camera, and shapes that nothing collides with.

Simulations run without any of this; see `mapush.sim.scene.build_model`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple
from xml.etree.ElementTree import Element

from mapush.objects import Part, PushObject
from mapush.sim.go1 import FOOT_RADIUS, LINK_LENGTH, leg_signs
from mapush.sim.mjcf import add
from mapush.sim.physics import LEGS

TINTS = ((0.93, 0.42, 0.08), (0.10, 0.36, 0.80), (0.14, 0.58, 0.30))
GOAL_RADIUS = 0.5  # of the marker [m]
GOAL_HEIGHT = 0.1  # [m]
SUCCESS_RADIUS = 1.0  # around the marker [m]

_CAMERA_PITCH = math.radians(38)  # downwards
_BATTEN = 0.023  # half thickness of the edges of objects [m]

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


def dress(root: Element, robots: Sequence[str], target: Optional[PushObject]) -> None:
    """Append everything that is only there to be seen.

    Args:
      root: the MJCF.
      robots: their names.
      target: the object, if there is one; with it comes the goal.
    """
    _add_materials(root)
    _add_light(root)
    for robot, tint in zip(robots, itertools.cycle(TINTS)):
        _dress_robot(root, robot, tint)
    if target is None:
        _add_camera(root, robots[0] + "/trunk", 2.0)
        return
    for part in target.parts:
        _dress(_find(root, "body", "object"), _box_looks(part) if part.shape == "box" else _drum_looks(part))
    _add_goal(root)
    _add_camera(root, "object", 2.0 + 4.0 * max(math.hypot(x, y) for x, y in target.vertices))


def _dress_robot(root: Element, robot: str, tint: Tuple[float, float, float]) -> None:
    shell = robot + "/shell"
    add(root.find("asset"), "material", name=shell, rgba=tint + (1,), specular=0.5, shininess=0.6)
    _dress(_find(root, "body", robot + "/trunk"), _TRUNK, shell)
    for leg in LEGS:
        for part, looks in _leg_looks(leg_signs(leg)[1]).items():
            _dress(_find(root, "body", f"{robot}/{leg}_{part}"), looks, shell)


def _add_goal(root: Element) -> None:
    body = add(root.find("worldbody"), "body", name="goal", mocap="true")
    marker = _Look("cylinder", (GOAL_RADIUS, GOAL_HEIGHT / 2), "goal", _at(0, 0, GOAL_HEIGHT / 2))
    success = _Look("cylinder", (SUCCESS_RADIUS, 0.002), "success", _at(0, 0, 0.002))
    _dress(body, (marker, success))


def _add_materials(root: Element) -> None:
    asset = root.find("asset")
    for name, look in _MATERIALS.items():
        add(asset, "material", name=name, **look)
    sky = dict(rgb1=(0.55, 0.66, 0.78), rgb2=(0.92, 0.94, 0.96), width=256, height=256)
    add(asset, "texture", name="sky", type="skybox", builtin="gradient", **sky)
    tiles = dict(rgb1=(0.36, 0.40, 0.45), rgb2=(0.40, 0.44, 0.49), mark="edge", markrgb=(0.46, 0.5, 0.55))
    add(asset, "texture", name="floor", type="2d", builtin="checker", width=512, height=512, **tiles)
    add(asset, "material", name="floor", texture="floor", texuniform="true", texrepeat=(1, 1), specular=0.1)
    _find(root, "geom", "floor").set("material", "floor")


def _add_light(root: Element) -> None:
    visual = add(root, "visual")
    add(visual, "headlight", ambient=(0.35, 0.35, 0.35), diffuse=(0.2, 0.2, 0.2), specular=(0, 0, 0))
    add(visual, "quality", shadowsize=8192, offsamples=8, numslices=96)
    add(visual, "global", offwidth=1920, offheight=1080)
    sun = dict(pos=(-2.5, -3.5, 8), dir=(2.5, 3.5, -8), diffuse=(0.65, 0.63, 0.6), specular=(0.3, 0.3, 0.3))
    add(root.find("worldbody"), "light", name="sun", type="directional", **sun)


def _add_camera(root: Element, followed: str, distance: float) -> None:
    add(root, "statistic", center=(0, 0, 0.2), extent=distance)
    sine, cosine = math.sin(_CAMERA_PITCH), math.cos(_CAMERA_PITCH)
    view = dict(pos=(0, -distance * cosine, distance * sine), xyaxes=(1, 0, 0, 0, sine, cosine), fovy=36)
    add(_find(root, "body", followed), "camera", name="overview", mode="track", **view)


def _find(root: Element, tag: str, name: str) -> Element:
    return next(element for element in root.iter(tag) if element.get("name") == name)


def _dress(body: Element, looks: Sequence[_Look], shell: str = "") -> None:
    for look in looks:
        material = shell if look.material == "shell" else look.material
        add(body, "geom", class_="visual", type=look.shape, size=look.size, material=material, **look.place)


def _box_looks(part: Part) -> List[_Look]:
    """Return a crate: the box, and battens along its edges."""
    looks = [_Look("box", part.half_size, "object", _at(*part.offset))]
    for axis in range(3):
        for signs in itertools.product((-1, 1), repeat=2):
            side = iter(signs)
            ends = [0 if along == axis else next(side) for along in range(3)]
            size = [half + 0.003 if end == 0 else _BATTEN for half, end in zip(part.half_size, ends)]
            reach = [end * (half + 0.003 - _BATTEN) for half, end in zip(part.half_size, ends)]
            pos = [own + shift for own, shift in zip(reach, part.offset)]
            looks.append(_Look("box", size, "trim", _at(*pos)))
    return looks


def _drum_looks(part: Part) -> List[_Look]:
    """Return a drum: the cylinder, and a rim at either end."""
    radius, _, half = part.half_size
    drum = _Look("cylinder", (radius, half), "object", _at(*part.offset))
    lid = _Look("cylinder", (radius - 0.1, half + 0.005), "object", _at(*part.offset))
    rims = [
        _Look("cylinder", (radius + 0.003, _BATTEN), "trim", _at(0, 0, end * (half + 0.003 - _BATTEN)))
        for end in (-1, 1)
    ]
    return [drum, lid] + rims
