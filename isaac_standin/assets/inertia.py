"""Mass, centre of mass and inertia: of shapes, of parts together, and where a file does not say."""

from __future__ import annotations

import dataclasses
import warnings

import mujoco
import numpy as np

from isaac_standin.errors import StandinError

from .asset import Shape
from .load_options import LoadOptions
from .pose import Pose, rotation

MIN_MASS = 1e-3
MIN_INERTIA = 1e-6
_DENSITY = 1000.0

GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}
"""MuJoCo's type of geom for each kind of shape."""


@dataclasses.dataclass(frozen=True)
class Inertia:
    """The mass of a body and where it is.

    Attributes:
      mass: [kg].
      com: centre of mass in the body's frame [m], (3,).
      tensor: about the centre of mass, along the axes of the body's frame [kg m^2], (3, 3).
    """

    mass: float
    com: np.ndarray
    tensor: np.ndarray


def nothing() -> Inertia:
    """Return the inertia of a body without mass."""
    return Inertia(0.0, np.zeros(3), np.zeros((3, 3)))


def least() -> Inertia:
    """Return the inertia of a body that the file gives neither mass nor shapes, such as a frame between two joints.

    It is 1 g and 1e-6 kg m^2, as of a ball with a radius of 5 cm: MuJoCo refuses moving bodies without mass, and what
    Isaac Gym assumes is not documented.
    """
    return Inertia(MIN_MASS, np.zeros(3), MIN_INERTIA * np.eye(3))


def of_shapes(shapes: tuple[Shape, ...], density: float, where: str) -> Inertia:
    """Return the inertia of shapes that are filled evenly; where they overlap, each counts.

    MuJoCo computes it; a mesh counts as its convex hull, because that is what collides.

    Args:
      shapes: all in one frame.
      density: [kg m^-3].
      where: the place for messages.

    Raises:
      StandinError: MuJoCo cannot use a mesh.
    """
    if not shapes or density == 0:
        return nothing()
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body()
    for i, shape in enumerate(shapes):
        add_geom(spec, body, shape, f"mesh {i}").density = _DENSITY
    model = compile_spec(spec, f"{where}, collision shapes")
    scale = density / _DENSITY
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.body_iquat[1])
    turn = axes.reshape(3, 3)
    tensor = turn @ np.diag(model.body_inertia[1]) @ turn.T
    return Inertia(scale * float(model.body_mass[1]), model.body_ipos[1].copy(), scale * tensor)


def add_geom(spec: mujoco.MjSpec, body: mujoco.MjsBody, shape: Shape, mesh_name: str) -> mujoco.MjsGeom:
    """Add a shape to a body of a MuJoCo model, and for a mesh its file under the name `mesh_name`."""
    geom = body.add_geom(type=GEOM_TYPES[shape.kind], pos=shape.pos, quat=shape.quat)
    if shape.kind == "mesh":
        mesh = spec.add_mesh(name=mesh_name, file=str(shape.mesh), scale=shape.size)
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        geom.meshname = mesh_name
    else:
        geom.size = [*shape.size, 0.0, 0.0][:3]
    return geom


def compile_spec(spec: mujoco.MjSpec, where: str) -> mujoco.MjModel:
    """Compile a model.

    Raises:
      StandinError: MuJoCo refuses it.
    """
    try:
        return spec.compile()
    except ValueError as error:
        message = " ".join(str(error).split())
        raise StandinError("MuJoCo cannot compile it", where=where, got=message) from error


def moved(inertia: Inertia, pose: Pose) -> Inertia:
    """Return an inertia in the frame in which `pose`, that of its own frame, is given."""
    turn = rotation(pose[1])
    return Inertia(inertia.mass, np.array(pose[0]) + turn @ inertia.com, turn @ inertia.tensor @ turn.T)


def together(parts: list[Inertia]) -> Inertia:
    """Return the inertia of parts that are fixed to each other, all given in one frame (parallel axis theorem)."""
    mass = sum(part.mass for part in parts)
    if mass == 0:
        return nothing()
    com = np.zeros(3)
    for part in parts:
        com += part.mass / mass * part.com
    tensor = np.zeros((3, 3))
    for part in parts:
        arm = part.com - com
        tensor += part.tensor + part.mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return Inertia(mass, com, tensor)


def overridden(inertia: Inertia, shapes: tuple[Shape, ...], options: LoadOptions, where: str) -> Inertia:
    """Return an inertia with what the options want to be computed from the shapes, for the same mass."""
    if not shapes or not (options.override_com or options.override_inertia):
        return inertia
    filled = of_shapes(shapes, _DENSITY, where)
    if options.override_com:
        inertia = dataclasses.replace(inertia, com=filled.com)
    if options.override_inertia:
        inertia = dataclasses.replace(inertia, tensor=filled.tensor * inertia.mass / filled.mass)
    return inertia


def made_positive(inertia: Inertia, where: str) -> Inertia:
    """Return an inertia that is positive about every axis; the files of some robots have others.

    Where a principal inertia is not positive, it becomes a thousandth of the largest one, and a warning says so.
    """
    values, axes = np.linalg.eigh(inertia.tensor)
    least_value = 1e-3 * float(np.abs(values).max())
    if values[0] > 0:
        return inertia
    message = f"{where}: the inertia is not positive about each axis; principal values {values.tolist()} were raised"
    warnings.warn(f"{message} to at least {least_value:g} kg m^2", stacklevel=2)
    tensor = axes @ np.diag(np.maximum(values, least_value)) @ axes.T
    return dataclasses.replace(inertia, tensor=tensor)
