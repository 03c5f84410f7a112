"""A scene in the browser: the model's bodies and what is drawn over them, kept up to date frame by frame."""

from __future__ import annotations

import itertools
import math
from typing import Dict, List, Sequence, Tuple, cast

import mujoco
import numpy as np
import trimesh
import viser

from mapush.evaluation.episode import Episode, Frame, pose
from mapush.viewer.overlay import ARROW_WIDTH, PATH_WIDTH, Colour, Overlay, overlay_of

CAMERA_PITCH = math.radians(40)  # downwards
FIELD_OF_VIEW = math.radians(45)
GROUND_COLOUR, LINE_COLOUR = (103, 112, 123), (150, 156, 163)
FLOOR_REACH, LINE_WIDTH = 12.0, 0.015  # [m]
PATH_PERIOD = 5  # frames shown from one update of the paths to the next
_COLLISION_GROUP = 3  # of geoms that are not to be seen
_ROOT = "/scene"
_QUARTER_TURN = trimesh.transformations.rotation_matrix(math.pi / 2, (0, 0, 1))
_FLOOR_GAP = 0.001  # of what lies on the floor, so that the floor does not shine through [m]


class WebScene:
    """Draws frames on a viser server.

    Args:
      server: where; the scene should be empty.
      model: what is drawn.

    Attributes:
      root: all else is in it; its position puts what is looked at into the middle.
      bodies: the frames of the bodies, by number.
    """

    def __init__(self, server: viser.ViserServer, model: mujoco.MjModel) -> None:
        self._server, self._model, self._data = server, model, mujoco.MjData(model)
        self._focus = np.zeros(3)
        self._shown: Tuple[Episode, int, bool] = (Episode(0), 0, False)
        self._count = 0
        self._aim(1.5 * float(model.stat.extent))
        server.scene.configure_default_lights(cast_shadow=False)  # shadows and reflections take most of the time
        server.scene.configure_environment_map(None)  # where there is no GPU
        server.scene.add_light_hemisphere("/light", ground_color=GROUND_COLOUR, intensity=2.0)
        self.root = server.scene.add_frame(_ROOT, show_axes=False)
        self._add_floor()
        self.bodies = {body: self._add_body(body) for body in _drawn_bodies(model)}
        self._discs: List[viser.SceneNodeHandle] = []
        self._arrows: List[viser.ArrowsHandle] = []
        self._paths: List[viser.LineSegmentsHandle] = []

    def show(self, episode: Episode, step: int, follow: bool = False) -> None:
        """Show `episode.frames[step]`, all at once.

        Args:
          episode: it may go on meanwhile.
          step: of the frame, counted from 0.
          follow: keep the object in the middle; without, the middle stays where it is for the rest of the episode.
        """
        overlay = overlay_of(episode, step)
        before, self._shown = self._shown, (episode, step, follow)
        restarted = episode.number != before[0].number or step < before[1]
        again = not restarted and before[1:] == (step, follow)
        with self._server.atomic():
            if not again:
                self._show_moving(episode.frames[step], overlay, restarted, follow)
            if restarted or again or self._count % PATH_PERIOD == 0:
                self._show_paths(overlay)
        self._count += 1

    # -- what never changes ----------------------------------------------------------------------------------------

    def _aim(self, distance: float) -> None:
        camera = self._server.initial_camera
        camera.position = (0.0, -distance * math.cos(CAMERA_PITCH), distance * math.sin(CAMERA_PITCH))
        camera.look_at, camera.fov = (0.0, 0.0, 0.0), FIELD_OF_VIEW

    def _add_floor(self) -> None:
        """Add lines alone, one for each metre: without a GPU, a plane would take as long as all else."""
        lines = []
        for place in np.arange(-FLOOR_REACH, FLOOR_REACH + 1.0):
            line = trimesh.creation.box((LINE_WIDTH, 2 * FLOOR_REACH, _FLOOR_GAP))
            line.apply_translation((place, 0.0, -_FLOOR_GAP))
            lines += [line, line.copy().apply_transform(_QUARTER_TURN)]
        self._add_mesh(_ROOT + "/floor", _joined(lines), LINE_COLOUR)

    def _add_body(self, body: int) -> viser.FrameHandle:
        """Add a frame for `body`, and in it a mesh for each colour of its geoms."""
        name = f"{_ROOT}/{self._model.body(body).name}"
        frame = self._server.scene.add_frame(name, show_axes=False)
        for index, (colour, shape) in enumerate(_meshes_of(self._model, body).items()):
            self._add_mesh(f"{name}/{index}", shape, _rgb(colour), colour[3])
        return frame

    def _add_mesh(self, name: str, shape: trimesh.Trimesh, colour: Tuple[int, int, int], opacity: float = 1.0) -> None:
        self._server.scene.add_mesh_simple(
            name,
            np.asarray(shape.vertices, np.float32),
            np.asarray(shape.faces, np.uint32),
            color=colour,
            opacity=opacity if opacity < 1.0 else None,
            material="toon3",  # the quickest
        )

    # -- what changes ----------------------------------------------------------------------------------------------

    def _show_moving(self, frame: Frame, overlay: Overlay, restarted: bool, follow: bool) -> None:
        if follow:
            self._focus = np.append(frame.object[:2], 0.0)
        elif restarted:
            self._focus = np.array(overlay.look_at[:2] + (0.0,))
        self.root.position = -self._focus
        self._move_bodies(frame)
        self._show_discs(overlay)
        self._show_arrows(overlay)

    def _move_bodies(self, frame: Frame) -> None:
        pose(self._model, self._data, frame)
        for body, handle in self.bodies.items():
            handle.position, handle.wxyz = self._data.xpos[body], self._data.xquat[body]

    def _show_discs(self, overlay: Overlay) -> None:
        for index, disc in enumerate(overlay.discs[len(self._discs) :], len(self._discs)):
            self._discs.append(
                self._server.scene.add_cylinder(
                    f"{_ROOT}/disc{index}",
                    radius=disc.radius,
                    height=_FLOOR_GAP,
                    color=_rgb(disc.colour),
                    opacity=disc.colour[3],
                )
            )
        for handle, one in itertools.zip_longest(self._discs, overlay.discs):
            handle.visible = one is not None
            if one is not None:
                handle.position = one.centre + (8 * _FLOOR_GAP,)

    def _show_arrows(self, overlay: Overlay) -> None:
        for index, arrow in enumerate(overlay.arrows[len(self._arrows) :], len(self._arrows)):
            self._arrows.append(
                self._server.scene.add_arrows(
                    f"{_ROOT}/arrow{index}",
                    np.array([[arrow.start, arrow.end]], np.float32),
                    _rgb(arrow.colour),
                    shaft_radius=ARROW_WIDTH,
                    head_radius=2.2 * ARROW_WIDTH,
                    head_length=4.0 * ARROW_WIDTH,
                )
            )
        for handle, one in itertools.zip_longest(self._arrows, overlay.arrows):
            handle.visible = one is not None
            if one is not None:
                handle.points = np.array([[one.start, one.end]], np.float32)
                handle.colors = np.array(_rgb(one.colour), np.uint8)

    def _show_paths(self, overlay: Overlay) -> None:
        for index, path in enumerate(overlay.paths):
            points = np.insert(path.points.astype(np.float32), 2, 12 * _FLOOR_GAP, axis=1)
            segments = np.stack((points[:-1], points[1:]), axis=1)
            if index == len(self._paths):
                name, colour = f"{_ROOT}/path{index}", _rgb(path.colour)
                self._paths.append(self._server.scene.add_line_segments(name, segments, colour, thickness=PATH_WIDTH))
            self._paths[index].visible = len(segments) > 0
            if len(segments):
                self._paths[index].points = segments


# -- shapes ----------------------------------------------------------------------------------------------------------


def _drawn_bodies(model: mujoco.MjModel) -> List[int]:
    return [body for body in range(1, model.nbody) if _visible_geoms(model, body)]


def _visible_geoms(model: mujoco.MjModel, body: int) -> List[int]:
    first = int(model.body_geomadr[body])
    geoms = range(first, first + int(model.body_geomnum[body]))
    return [geom for geom in geoms if model.geom_group[geom] != _COLLISION_GROUP]


def _meshes_of(model: mujoco.MjModel, body: int) -> Dict[Colour, trimesh.Trimesh]:
    """Return the visible geoms of `body` in its frame, those of a colour as one mesh."""
    shapes: Dict[Colour, List[trimesh.Trimesh]] = {}
    for geom in _visible_geoms(model, body):
        material = int(model.geom_matid[geom])
        colour = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = rotation.reshape(3, 3), model.geom_pos[geom]
        shape = shape_of(int(model.geom_type[geom]), model.geom_size[geom])
        shapes.setdefault(tuple(colour.tolist()), []).append(shape.apply_transform(place))
    return {colour: _joined(parts) for colour, parts in shapes.items()}


def shape_of(kind: int, size: np.ndarray) -> trimesh.Trimesh:
    """Return a geom of MuJoCo's as a mesh about its own origin, of few triangles: without a GPU, each costs time."""
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        box = trimesh.creation.box(2 * size)
        box.unmerge_vertices()
        return box
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return _cylinder(size[0], 2 * size[1])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        capsule = trimesh.creation.capsule(2 * size[1], size[0], count=(4, 8))
        return capsule.apply_translation(-capsule.bounds.mean(axis=0))
    radii = size if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID else np.full(3, size[0])
    return trimesh.creation.icosphere(subdivisions=1).apply_scale(radii)


def _cylinder(radius: float, height: float) -> trimesh.Trimesh:
    """Return a cylinder whose caps share no vertices with its side, so that shading keeps its edges."""
    cylinder = trimesh.creation.cylinder(radius, height, sections=16 if radius < 0.2 else 48)
    cap = np.abs(cylinder.face_normals[:, 2]) > 0.5
    return _joined(cylinder.submesh([np.flatnonzero(cap), np.flatnonzero(~cap)]))


def _joined(parts: Sequence[trimesh.Trimesh]) -> trimesh.Trimesh:
    return cast(trimesh.Trimesh, trimesh.util.concatenate(parts))


def _rgb(colour: Colour) -> Tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colour[:3])
    return red, green, blue
