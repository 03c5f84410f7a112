"""The Unitree Go1: its links, joints, servos and collision shapes, as data and as part of a MuJoCo model.

Inertias, joint limits and efforts: mujoco_menagerie `unitree_go1/go1.xml`. Servo gains, armature and default pose:
mjlab 1.6 `asset_zoo/robots/unitree_go1/go1_constants.py`. The collision shapes are our own.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple, Tuple

from mapush.sim.physics import LEGS
from mapush.sim.shapes import COLLISION_GROUP, Inertia, Vector, add_body, add_shape

if TYPE_CHECKING:
    import mujoco

HIP_OFFSET = (0.1881, 0.04675)  # from the trunk's origin to the hip joint, along x and y [m]
THIGH_OFFSET = 0.08  # from the hip joint to the thigh joint, along y [m]
LINK_LENGTH = 0.213  # length of the thigh and of the calf [m]
THIGH_RADIUS = 0.02  # [m]
CALF_RADIUS = 0.01  # [m]
FOOT_RADIUS = 0.023  # [m]

DEFAULT_JOINT_POS = (0.1, 0.9, -1.8, -0.1, 0.9, -1.8) * 2  # in the order of `JOINTS` [rad]
STAND_HEIGHT = 0.257  # height of the trunk when the servos hold the default pose [m]


@dataclasses.dataclass(frozen=True)
class Servo:
    """A joint, and the spring and damper that drive it.

    Attributes:
      axis: axis of the joint, in its parent's frame.
      range: limits of the joint [rad].
      stiffness: torque per position error [N m/rad].
      damping: torque per velocity [N m s/rad].
      effort: largest torque [N m].
      armature: inertia of the rotor, seen from the joint [kg m^2].
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


TRUNK = Inertia(
    5.204,
    (0.0223, 0.002, -0.0005),
    (0.0168128, 0.0630095, 0.0716547, -2.29676e-4, -2.94553e-4, -4.18733e-5),
)


def leg_signs(leg: str) -> Tuple[int, int]:
    """Return +1 for a front and -1 for a rear leg, and +1 for a left and -1 for a right leg."""
    front = {"F": 1, "R": -1}
    left = {"L": 1, "R": -1}
    return front[leg[0]], left[leg[1]]


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
      feet: the foot of each leg.
      legs: thigh and calf of each leg.
    """

    trunk: Tuple[str, ...]
    feet: Tuple[str, ...]
    legs: Tuple[str, ...]


def shapes(robot: str) -> Shapes:
    """Return the names of the collision shapes of `robot`."""
    feet = []
    legs = []
    for leg in LEGS:
        feet.append(f"{robot}/{leg}_foot")
        legs.append(f"{robot}/{leg}_thigh")
        legs.append(f"{robot}/{leg}_calf")
    return Shapes(trunk=(robot + "/body", robot + "/head"), feet=tuple(feet), legs=tuple(legs))


def add_robot(spec: mujoco.MjSpec, robot: str) -> None:
    """Add `robot` and its servos to a model.

    Bodies are called `<robot>/trunk` and, like their joints and servos, `<robot>/FR_hip`, ...
    """
    trunk = add_body(spec.worldbody, robot + "/trunk", (0, 0, 0), TRUNK)
    trunk.add_freejoint(name=robot)
    add_shape(trunk, "capsule", [0.07], COLLISION_GROUP, name=robot + "/body", fromto=(-0.16, 0, 0, 0.2, 0, 0))
    add_shape(trunk, "sphere", [0.06], COLLISION_GROUP, name=robot + "/head", pos=(0.24, 0, 0))
    for leg in LEGS:
        _add_leg(spec, trunk, robot, leg)


def _add_leg(spec: mujoco.MjSpec, trunk: mujoco.MjsBody, robot: str, leg: str) -> None:
    front, left = leg_signs(leg)
    prefix = f"{robot}/{leg}_"
    origins = (
        (front * HIP_OFFSET[0], left * HIP_OFFSET[1], 0),
        (0, left * THIGH_OFFSET, 0),
        (0, 0, -LINK_LENGTH),
    )
    links = [trunk]
    for part, origin, inertia in zip(SERVOS, origins, leg_inertia(front, left)):
        link = add_body(links[-1], prefix + part, origin, inertia)
        _add_servo(spec, link, prefix + part, SERVOS[part])
        links.append(link)
    _, _, thigh, calf = links
    end = (0, 0, -LINK_LENGTH)
    along = (0, 0, 0) + end
    add_shape(thigh, "capsule", [THIGH_RADIUS], COLLISION_GROUP, name=prefix + "thigh", fromto=along)
    add_shape(calf, "capsule", [CALF_RADIUS], COLLISION_GROUP, name=prefix + "calf", fromto=along)
    add_shape(calf, "sphere", [FOOT_RADIUS], COLLISION_GROUP, name=prefix + "foot", pos=end)


def _add_servo(spec: mujoco.MjSpec, link: mujoco.MjsBody, name: str, servo: Servo) -> None:
    """Add a joint and a servo: torque = stiffness * (target - position) - damping * velocity, limited to the effort."""
    import mujoco

    link.add_joint(name=name, axis=servo.axis, range=servo.range, armature=servo.armature)
    actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.gainprm[0] = servo.stiffness
    actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    actuator.biasprm[:3] = (0, -servo.stiffness, -servo.damping)
    actuator.forcerange = (-servo.effort, servo.effort)
