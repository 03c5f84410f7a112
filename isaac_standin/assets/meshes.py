"""Files of meshes: where they are, and whether MuJoCo can read them."""

from __future__ import annotations

import functools
from pathlib import Path

import mujoco

from isaac_standin.errors import StandinError

READABLE = (".stl", ".obj", ".msh")
"""The endings that MuJoCo reads; robots' other files, mostly Collada (.dae), are only looked at in practice."""

MAX_LEVELS_UP = 6


def find(name: str, folder: Path) -> Path | None:
    """Return the file of a mesh, or None if it does not exist.

    Args:
      name: as the URDF file names it: a path, `file://` and a path, or `package://`, a package and a path in it.
      folder: the URDF file's; a relative path starts there, or in the nearest folder above that has the file.
    """
    if name.startswith("file://"):
        name = name[len("file://") :]
    candidates = [name]
    if "://" in name:
        in_parent_of_package = name.split("://", 1)[1]
        in_package = in_parent_of_package.split("/", 1)[-1]
        candidates = [in_parent_of_package, in_package]
    folder = folder.resolve()
    for base in [folder, *folder.parents][: MAX_LEVELS_UP + 1]:
        for candidate in candidates:
            if (base / candidate).is_file():
                return (base / candidate).resolve()
    return None


def find_visual(name: str, folder: Path) -> Path | None:
    """Return the file of a mesh that is only seen, or None if it is missing or MuJoCo cannot read it.

    It is left out then: physics does not depend on it, and public copies of robots often lack large meshes.
    """
    path = find(name, folder)
    if path is None or path.suffix.lower() not in READABLE or not _can_be_read(path):
        return None
    return path


@functools.lru_cache(maxsize=256)
def _can_be_read(path: Path) -> bool:
    """Return whether MuJoCo accepts a mesh; it refuses STL files in text form, and those with too many triangles."""
    spec = mujoco.MjSpec()
    spec.add_mesh(name="mesh", file=str(path), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mesh")
    try:
        spec.compile()
    except ValueError:
        return False
    return True


def find_colliding(name: str, folder: Path, where: str) -> Path:
    """Return the file of a mesh that collides.

    Raises:
      StandinError: it is missing, or MuJoCo cannot read its format.
    """
    path = find(name, folder)
    if path is None:
        raise StandinError(
            "the mesh of a collision shape is missing",
            where=where,
            got=name,
            expected=f"a file, relative to {folder} or a folder above it",
            cause="the copy of the robot is not complete; Git LFS files may not have been downloaded",
            fix="copy the mesh there, or replace it by a box, sphere or cylinder in the file",
        )
    if path.suffix.lower() not in READABLE:
        raise StandinError(
            "the mesh of a collision shape has a format that MuJoCo cannot read",
            where=where,
            got=str(path),
            expected="a file that ends with " + ", ".join(READABLE),
            fix="convert the mesh to .obj and name that in the file",
        )
    return path
