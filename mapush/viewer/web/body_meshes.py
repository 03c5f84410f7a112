"""The bodies of a MuJoCo model as triangle meshes."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence, Tuple, cast

import mujoco
import numpy as np
import trimesh

from mapush.viewer.overlay import Colour

QUARTER_TURN = trimesh.transformations.rotation_matrix(math.pi / 2, (0, 0, 1))

_COLLISION_GROUP = 3  # group of the geoms that are not drawn


def drawn_bodies(model: mujoco.MjModel) -> List[int]:
    """Return the ids of the bodies that have a visible geom; the world itself is left out."""
    return [body for body in range(1, model.nbody) if _visible_geoms(model, body)]


def _visible_geoms(model: mujoco.MjModel, body: int) -> List[int]:
    first = int(model.body_geomadr[body])
    geoms = range(first, first + int(model.body_geomnum[body]))
    return [geom for geom in geoms if model.geom_group[geom] != _COLLISION_GROUP]


def meshes_of(model: mujoco.MjModel, body: int) -> Dict[Colour, trimesh.Trimesh]:
    """Return the visible geoms of `body` in its frame, one mesh per colour."""
    shapes: Dict[Colour, List[trimesh.Trimesh]] = {}
    for geom in _visible_geoms(model, body):
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
            shape = _own_mesh(model, int(model.geom_dataid[geom]))
        else:
            shape = shape_of(int(model.geom_type[geom]), model.geom_size[geom])
        shape.apply_transform(_placement_of(model, geom))
        shapes.setdefault(_colour_of(model, geom), []).append(shape)
    return {colour: joined(parts) for colour, parts in shapes.items()}


def _own_mesh(model: mujoco.MjModel, mesh: int) -> trimesh.Trimesh:
    """Return a mesh of the model, with edges that shading keeps."""
    first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    first_face, faces = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    shape = trimesh.Trimesh(
        model.mesh_vert[first : first + count], model.mesh_face[first_face : first_face + faces], process=False
    )
    shape.unmerge_vertices()
    return shape


def _placement_of(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Return position and orientation of `geom` in the frame of its body, shape (4, 4)."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    placement = np.eye(4)
    placement[:3, :3] = rotation.reshape(3, 3)
    placement[:3, 3] = model.geom_pos[geom]
    return placement


def _colour_of(model: mujoco.MjModel, geom: int) -> Colour:
    material = int(model.geom_matid[geom])
    if material < 0:
        return tuple(model.geom_rgba[geom].tolist())
    return tuple(model.mat_rgba[material].tolist())


def shape_of(kind: int, size: np.ndarray) -> trimesh.Trimesh:
    """Return a geom as a mesh around its own origin, of few triangles: without a GPU, each triangle costs time.

    Args:
      kind: type of the geom, of `mujoco.mjtGeom`.
      size: the geom's `size` in MuJoCo, shape (3,) [m].
    """
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        box = trimesh.creation.box(2 * size)
        box.unmerge_vertices()  # so that shading keeps its edges
        return box
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return _cylinder(size[0], 2 * size[1])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        capsule = trimesh.creation.capsule(2 * size[1], size[0], count=(4, 8))
        return capsule.apply_translation(-capsule.bounds.mean(axis=0))
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return _ellipsoid(size)
    return _ellipsoid(np.full(3, size[0]))


def _ellipsoid(radii: np.ndarray) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=1).apply_scale(radii)


def _cylinder(radius: float, height: float) -> trimesh.Trimesh:
    """Return a cylinder whose caps share no vertices with its side, so that shading keeps its edges."""
    sections = 16 if radius < 0.2 else 48
    cylinder = trimesh.creation.cylinder(radius, height, sections=sections)
    is_cap = np.abs(cylinder.face_normals[:, 2]) > 0.5
    return joined(cylinder.submesh([np.flatnonzero(is_cap), np.flatnonzero(~is_cap)]))


def joined(parts: Sequence[trimesh.Trimesh]) -> trimesh.Trimesh:
    """Return one mesh made of `parts`."""
    return cast(trimesh.Trimesh, trimesh.util.concatenate(parts))


def rgb(colour: Colour) -> Tuple[int, int, int]:
    """Return `colour` as integers in [0, 255], without its opacity."""
    red, green, blue, _ = colour
    return round(255 * red), round(255 * green), round(255 * blue)
