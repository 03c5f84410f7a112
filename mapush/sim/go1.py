"""The Unitree Go1: its links, joints, servos and collision shapes, as data and as MJCF.

Inertias, joint limits and efforts: mujoco_menagerie `unitree_go1/go1.xml`. Servo gains, armature and default pose:
mjlab 1.6 `asset_zoo/robots/unitree_go1/go1_constants.py`. The collision shapes are our own.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Tuple
from xml.etree.ElementTree import Element

from mapush.sim.mjcf import add
from mapush.sim.physics import LEGS

Vector = Tuple[float, float, float]

HIP_OFFSET = (0.1881, 0.04675)  # of the hip joint from the trunk's origin, along x and y [m]
THIGH_OFFSET = 0.08  # of the thigh joint from the hip joint, along y [m]
LINK_LENGTH = 0.213  # of thigh and of calf [m]
THIGH_RADIUS = 0.02  # [m]
CALF_RADIUS = 0.01  # [m]
FOOT_RADIUS = 0.023  # [m]

DEFAULT_JOINT_POS = (0.1, 0.9, -1.8, -0.1, 0.9, -1.8) * 2  # in the order of `JOINTS` [rad]
STAND_HEIGHT = 0.257  # of the trunk when the servos hold the default pose [m]


@dataclasses.dataclass(frozen=True)
class Servo:
    """A joint and the spring and damper that drive it.

    Attributes:
      axis: of the joint, in its parent's frame.
      range: of the joint [rad].
      stiffness: torque per position error [N m/rad].
      damping: torque per velocity [N m s/rad].
      effort: largest torque [N m].
      armature: inertia of the rotor as the joint feels it [kg m^2].
    """

    axis: Vector
    range: Tuple[float, float]
    stiffness: float
    damping: float
    effort: float
    armature: float


SERVOS = {
    "hip": Servo((1, 0, 0), (-0.863, 0.863), 15.8952, 1.01192, 23.7, 0.00402631),
    "thigh": Servo((0, 1, 0), (-0.686, 4.501), 15.8952, 1.01192, 23.7, 0.00402631),
    "calf": Servo((0, 1, 0), (-2.818, -0.888), 35.7643, 2.27683, 35.55, 0.0090592),
}


@dataclasses.dataclass(frozen=True)
class Inertia:
    """Mass distribution of a rigid body.

    Attributes:
      mass: [kg].
      com: centre of mass in the body's frame [m].
      full: ixx, iyy, izz, ixy, ixz, iyz, about the centre of mass, along the body's axes [kg m^2].
    """

    mass: float
    com: Vector
    full: Tuple[float, ...]


TRUNK = Inertia(
    5.204,
    (0.0223, 0.002, -0.0005),
    (0.0168128, 0.0630095, 0.0716547, -2.29676e-4, -2.94553e-4, -4.18733e-5),
)


def leg_signs(leg: str) -> Tuple[int, int]:
    """Return +1 for a front and -1 for a rear leg, and +1 for a left and -1 for a right one."""
    return 1 if leg[0] == "F" else -1, 1 if leg[1] == "L" else -1


def leg_inertia(front: int, left: int) -> Tuple[Inertia, Inertia, Inertia]:
    """Return the inertia of hip, thigh and calf (with its foot) of the leg with these signs."""
    hip = Inertia(
        0.68,
        (-front * 0.0049166, -left * 0.00762615, -8.865e-5),
        (3.9938e-4, 7.33419e-4, 4.68422e-4, -front * left * 1.45897e-5, front * 1.24609e-6, left * 1.57518e-6),
    )
    thigh = Inertia(
        1.009,
        (-0.00304722, -left * 0.019315, -0.0305004),
        (4.5988e-3, 4.68922e-3, 8.17448e-4, left * 6.13737e-5, -2.2753e-4, left * 6.10808e-4),
    )
    calf = Inertia(
        0.195862,
        (0.00429862, 0.000976676, -0.146197),
        (1.48449e-3, 1.49764e-3, 3.60682e-5, -6.18625e-7, -1.772e-5, -3.56628e-6),
    )
    return hip, thigh, calf


class Shapes(NamedTuple):
    """Names of a robot's collision shapes.

    Attributes:
      trunk: body and head.
      feet: one of each leg.
      legs: thigh and calf of each leg.
    """

    trunk: Tuple[str, ...]
    feet: Tuple[str, ...]
    legs: Tuple[str, ...]


def shapes(robot: str) -> Shapes:
    """Return the names of the collision shapes of `robot`."""
    return Shapes(
        trunk=(robot + "/body", robot + "/head"),
        feet=tuple(f"{robot}/{leg}_foot" for leg in LEGS),
        legs=tuple(f"{robot}/{leg}_{part}" for leg in LEGS for part in ("thigh", "calf")),
    )


def add_robot(root: Element, robot: str) -> None:
    """Append `robot` and its servos to the MJCF `root`.

    Bodies are called `<robot>/trunk` and, like their joints and servos, `<robot>/FR_hip`, ...
    """
    trunk = add_body(root.find("worldbody"), robot + "/trunk", (0, 0, 0), TRUNK)
    add(trunk, "freejoint", name=robot)
    _add_shape(trunk, robot + "/body", "capsule", 0.07, fromto=(-0.16, 0, 0, 0.2, 0, 0))
    _add_shape(trunk, robot + "/head", "sphere", 0.06, pos=(0.24, 0, 0))
    for leg in LEGS:
        _add_leg(root, trunk, robot, leg)


def add_body(parent: Element, name: str, pos: Vector, inertia: Inertia) -> Element:
    """Append a body with this inertia and return it."""
    body = add(parent, "body", name=name, pos=pos)
    add(body, "inertial", mass=inertia.mass, pos=inertia.com, fullinertia=inertia.full)
    return body


def _add_leg(root: Element, trunk: Element, robot: str, leg: str) -> None:
    front, left = leg_signs(leg)
    origins = (
        (front * HIP_OFFSET[0], left * HIP_OFFSET[1], 0),
        (0, left * THIGH_OFFSET, 0),
        (0, 0, -LINK_LENGTH),
    )
    links = [trunk]
    for part, origin, inertia in zip(SERVOS, origins, leg_inertia(front, left)):
        name = f"{robot}/{leg}_{part}"
        links.append(add_body(links[-1], name, origin, inertia))
        _add_servo(root, links[-1], name, SERVOS[part])
    _, _, thigh, calf = links
    end = (0, 0, -LINK_LENGTH)
    prefix = f"{robot}/{leg}_"
    _add_shape(thigh, prefix + "thigh", "capsule", THIGH_RADIUS, fromto=(0, 0, 0) + end)
    _add_shape(calf, prefix + "calf", "capsule", CALF_RADIUS, fromto=(0, 0, 0) + end)
    _add_shape(calf, prefix + "foot", "sphere", FOOT_RADIUS, pos=end)


def _add_servo(root: Element, link: Element, name: str, servo: Servo) -> None:
    add(link, "joint", name=name, axis=servo.axis, range=servo.range, armature=servo.armature)
    spring = (0, -servo.stiffness, -servo.damping)
    torque = (-servo.effort, servo.effort)
    gains = dict(gainprm=servo.stiffness, biastype="affine", biasprm=spring, forcerange=torque)
    add(root.find("actuator"), "general", name=name, joint=name, **gains)


def _add_shape(body: Element, name: str, shape: str, radius: float, **place: Tuple[float, ...]) -> None:
    add(body, "geom", name=name, class_="collision", type=shape, size=radius, **place)
