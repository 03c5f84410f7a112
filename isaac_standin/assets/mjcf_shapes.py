"""Reads the shapes of MJCF files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import mujoco

from isaac_standin.errors import NotSupported, StandinError

from .asset import Shape
from .meshes import find
from .pose import Pose, compose, inverse, quaternion, vector

SEEN_GROUPS = (0, 1, 2)
"""The groups of geoms that MuJoCo's viewer shows."""

Kind = Literal["box", "sphere", "capsule", "cylinder", "mesh"]

_KINDS: dict[mujoco.mjtGeom, tuple[Kind, int]] = {
    mujoco.mjtGeom.mjGEOM_BOX: ("box", 3),
    mujoco.mjtGeom.mjGEOM_SPHERE: ("sphere", 1),
    mujoco.mjtGeom.mjGEOM_CAPSULE: ("capsule", 2),
    mujoco.mjtGeom.mjGEOM_CYLINDER: ("cylinder", 2),
    mujoco.mjtGeom.mjGEOM_MESH: ("mesh", 0),
}
"""The kind of `Shape` and how many sizes it has, for each type of geom."""


def forget_looks(spec: mujoco.MjSpec, path: Path) -> list[Path | None]:
    """Remove from a model what is not part of the robot, and what only decides how it looks.

    Isaac Gym reads files that MuJoCo refuses because a material or a texture does not exist. Meshes that are missing
    and do not collide are removed with their geoms.

    Returns:
      The files of the remaining meshes, in their order in the compiled model; None for a mesh without a file.

    Raises:
      StandinError: a mesh that collides is missing.
    """
    _remove(spec, [spec.worldbody.geoms, spec.sensors, spec.keys, spec.pairs, spec.excludes, spec.skins, spec.tuples])
    _paint(spec)
    _remove(spec, [spec.materials, spec.textures])
    spec.compiler.fusestatic = False
    spec.compiler.discardvisual = False
    files = {mesh.name: _mesh_file(spec, mesh, path) for mesh in spec.meshes}
    missing = [name for name, file in files.items() if file is not None and not file.is_file()]
    for geom in spec.geoms:
        if geom.meshname not in missing:
            continue
        if geom.contype or geom.conaffinity:
            raise StandinError(
                "the mesh of a collision shape is missing", where=str(path), got=str(files[geom.meshname])
            )
        spec.delete(geom)
    for mesh in spec.meshes:
        if mesh.name in missing:
            spec.delete(mesh)
            del files[mesh.name]
    return list(files.values())


def _remove(spec: mujoco.MjSpec, lists: list[list]) -> None:
    for elements in lists:
        for element in list(elements):
            spec.delete(element)


def _paint(spec: mujoco.MjSpec) -> None:
    """Give geoms the colours of their materials, and take the materials from them."""
    colors = {material.name: material.rgba.copy() for material in spec.materials}
    for geom in spec.geoms:
        if geom.material in colors:
            geom.rgba = colors[geom.material]
        geom.material = ""
    for site in spec.sites:
        site.material = ""


def _mesh_file(spec: mujoco.MjSpec, mesh: mujoco.MjsMesh, path: Path) -> Path | None:
    if not mesh.file:
        return None
    name = mesh.file
    if spec.strippath:
        name = Path(name).name
    folder = path.parent / spec.meshdir
    return find(name, folder) or folder / name


def read_shape(model: mujoco.MjModel, geom: int, mesh_files: list[Path | None], where: str) -> Shape:
    """Return the shape of a geom, in its body's frame.

    Raises:
      NotSupported: it is a plane, an ellipsoid, a height field, or a mesh without a file.
    """
    kind, sizes = _kind(model, geom, where)
    pose: Pose = (vector(model.geom_pos[geom]), quaternion(model.geom_quat[geom]))
    size = tuple(model.geom_size[geom, :sizes].tolist())
    file = None
    if kind == "mesh":
        mesh = int(model.geom_dataid[geom])
        file = mesh_files[mesh]
        if file is None:
            raise NotSupported("a mesh without a file", where=where, got=repr(model.mesh(mesh).name))
        # MuJoCo moves the vertices of a mesh to its centre of mass and principal axes, and the geom with them
        pose = compose(pose, inverse((vector(model.mesh_pos[mesh]), quaternion(model.mesh_quat[mesh]))))
        size = tuple(model.mesh_scale[mesh].tolist())
    red, green, blue, alpha = model.geom_rgba[geom].tolist()
    return Shape(
        kind=kind,
        size=size,
        pos=pose[0],
        quat=pose[1],
        mesh=file,
        rgba=(red, green, blue, alpha),
        friction=float(model.geom_friction[geom, 0]),
    )


def _kind(model: mujoco.MjModel, geom: int, where: str) -> tuple[Kind, int]:
    geom_type = mujoco.mjtGeom(model.geom_type[geom])
    if geom_type not in _KINDS:
        raise NotSupported(
            "a geom of this type in a robot",
            where=where,
            got=geom_type.name[len("mjGEOM_") :].lower(),
            expected="box, sphere, capsule, cylinder or mesh",
        )
    return _KINDS[geom_type]
