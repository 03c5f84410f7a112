"""The scene in the browser: the bodies of the model and the overlay, updated frame by frame."""

from __future__ import annotations

import itertools
import math
from typing import Dict, List, Tuple

import mujoco
import numpy as np
import trimesh
import viser

from mapush.evaluation.episode import Episode, Frame, pose
from mapush.viewer.overlay import ARROW_WIDTH, PATH_WIDTH, Arrow, Disc, Overlay, Trail, overlay_of
from mapush.viewer.web.body_meshes import QUARTER_TURN, drawn_bodies, joined, meshes_of, rgb
from mapush.viewer.web.page_colours import as_in_films, colour_for

CAMERA_PITCH = math.radians(40)  # downwards
FIELD_OF_VIEW = math.radians(45)
GROUND_COLOUR = (103, 112, 123)  # of the light from below
TILE_COLOURS = ((91, 102, 114), (102, 112, 124))  # of the floor in films
LINE_COLOUR = (115, 125, 137)  # of its lines, likewise
SKY_COLOURS = ((140, 168, 199), (235, 240, 245))  # at the zenith and at the horizon, as in films
FLOOR_REACH = 12  # half the length of the floor [m]
LINE_WIDTH = 0.015  # of the floor's lines [m]
PATH_PERIOD = 5  # frames shown between two updates of the paths

LIGHT = 1.0  # of the light from above and below
SKY_ROWS = 64  # of the picture of the sky [px]

_ROOT = "/scene"
_FLOOR_GAP = 0.001  # height step between flat things on the floor, so that they do not flicker [m]
_DISC_HEIGHT = 8 * _FLOOR_GAP
_PATH_HEIGHT = 12 * _FLOOR_GAP


class WebScene:
    """Draw frames on a viser server.

    Everything has the colours of films, in light and in dark mode; see `page_colours`. Shadows and reflections are left
    out: without a GPU, they would take most of the time.

    Args:
      server: the server; its scene should be empty.
      model: the scene.

    Attributes:
      root: the frame that contains everything; its position moves the point of interest into the middle.
      bodies: the frames of the bodies, by body id.
    """

    def __init__(self, server: viser.ViserServer, model: mujoco.MjModel) -> None:
        self._server = server
        self._model = model
        self._data = mujoco.MjData(model)
        self._focus = np.zeros(3)
        self._shown: Tuple[Episode, int, bool] = (Episode(0), 0, False)
        self._count = 0
        self._aim(1.5 * float(model.stat.extent))
        server.scene.configure_default_lights(cast_shadow=False)
        server.scene.configure_environment_map(None)
        server.scene.add_light_hemisphere("/light", ground_color=GROUND_COLOUR, intensity=LIGHT)
        self.root = server.scene.add_frame(_ROOT, show_axes=False)
        self._add_floor()
        self.bodies: Dict[int, viser.FrameHandle] = {}
        for body in drawn_bodies(model):
            self.bodies[body] = self._add_body(body)
        self._discs: List[viser.SceneNodeHandle] = []
        self._arrows: List[viser.ArrowsHandle] = []
        self._paths: List[viser.LineSegmentsHandle] = []

    def show(self, episode: Episode, step: int, follow: bool = False) -> None:
        """Show `episode.frames[step]`; browsers get all changes at once.

        Args:
          episode: the episode, which may grow meanwhile.
          step: the env step, counted from 0.
          follow: keep the object in the middle; otherwise the middle is fixed for the rest of the episode.
        """
        overlay = overlay_of(episode, step)
        last_episode, last_step, last_follow = self._shown
        self._shown = (episode, step, follow)
        restarted = episode.number != last_episode.number or step < last_step
        unchanged = not restarted and (step, follow) == (last_step, last_follow)
        with self._server.atomic():
            if not unchanged:
                self._show_moving(episode.frames[step], overlay, restarted, follow)
            if restarted or unchanged or self._count % PATH_PERIOD == 0:
                self._show_paths(overlay.paths)
        self._count += 1

    # -- what never changes ------------------------------------------------------------------------------------------

    def _aim(self, distance: float) -> None:
        camera = self._server.initial_camera
        camera.position = (0.0, -distance * math.cos(CAMERA_PITCH), distance * math.sin(CAMERA_PITCH))
        camera.look_at = (0.0, 0.0, 0.0)
        camera.fov = FIELD_OF_VIEW

    def _add_floor(self) -> None:
        """Add tiles of one metre in two colours, a line between them, and the sky behind."""
        share = np.linspace(0.0, 1.0, SKY_ROWS)[:, None, None]
        zenith, horizon = np.array(SKY_COLOURS, dtype=float)
        sky = np.broadcast_to(zenith + share * (horizon - zenith), (SKY_ROWS, 2, 3))
        self._server.scene.set_background_image(sky.astype(np.uint8), format="png")
        places = range(-FLOOR_REACH, FLOOR_REACH)
        for parity, colour in enumerate(TILE_COLOURS):
            tiles = [_rectangle(x, y, 1.0, 1.0) for x in places for y in places if (x + y) % 2 == parity]
            self._add_mesh(f"{_ROOT}/tiles{parity}", joined(tiles), colour_for(colour))
        lines = []
        for place in range(-FLOOR_REACH, FLOOR_REACH + 1):
            line = _rectangle(place - LINE_WIDTH / 2, -FLOOR_REACH, LINE_WIDTH, 2.0 * FLOOR_REACH)
            line.apply_translation((0.0, 0.0, _FLOOR_GAP))
            lines.append(line)
            lines.append(line.copy().apply_transform(QUARTER_TURN))
        self._add_mesh(f"{_ROOT}/floor", joined(lines), colour_for(LINE_COLOUR))

    def _add_body(self, body: int) -> viser.FrameHandle:
        """Add a frame for `body`, and in it one mesh per colour of its geoms."""
        name = f"{_ROOT}/{self._model.body(body).name}"
        frame = self._server.scene.add_frame(name, show_axes=False)
        for index, (colour, shape) in enumerate(meshes_of(self._model, body).items()):
            self._add_mesh(f"{name}/{index}", shape, as_in_films(colour), opacity=colour[3])
        return frame

    def _add_mesh(self, name: str, shape: trimesh.Trimesh, colour: Tuple[int, int, int], opacity: float = 1.0) -> None:
        self._server.scene.add_mesh_simple(
            name,
            np.asarray(shape.vertices, np.float32),
            np.asarray(shape.faces, np.uint32),
            color=colour,
            opacity=None if opacity >= 1.0 else opacity,
            material="toon3",  # the fastest
        )

    # -- what changes ------------------------------------------------------------------------------------------------

    def _show_moving(self, frame: Frame, overlay: Overlay, restarted: bool, follow: bool) -> None:
        if follow:
            self._focus = np.append(frame.object[:2], 0.0)
        elif restarted:
            x, y, _ = overlay.look_at
            self._focus = np.array((x, y, 0.0))
        self.root.position = -self._focus
        self._move_bodies(frame)
        self._show_discs(overlay.discs)
        self._show_arrows(overlay.arrows)

    def _move_bodies(self, frame: Frame) -> None:
        pose(self._model, self._data, frame)
        for body, handle in self.bodies.items():
            handle.position = self._data.xpos[body]
            handle.wxyz = self._data.xquat[body]

    def _show_discs(self, discs: Tuple[Disc, ...]) -> None:
        """Show `discs`; handles are added when needed and hidden when not."""
        for disc in discs[len(self._discs) :]:
            self._discs.append(self._add_disc(disc))
        for handle, wanted in itertools.zip_longest(self._discs, discs):
            handle.visible = wanted is not None
            if wanted is not None:
                x, y = wanted.centre
                handle.position = (x, y, _DISC_HEIGHT)

    def _add_disc(self, disc: Disc) -> viser.SceneNodeHandle:
        return self._server.scene.add_cylinder(
            f"{_ROOT}/disc{len(self._discs)}",
            radius=disc.radius,
            height=_FLOOR_GAP,
            color=as_in_films(disc.colour),
            opacity=disc.colour[3],
        )

    def _show_arrows(self, arrows: Tuple[Arrow, ...]) -> None:
        """Show `arrows`; handles are added when needed and hidden when not."""
        for arrow in arrows[len(self._arrows) :]:
            self._arrows.append(self._add_arrow(arrow))
        for handle, wanted in itertools.zip_longest(self._arrows, arrows):
            handle.visible = wanted is not None
            if wanted is not None:
                handle.points = _points_of(wanted)
                handle.colors = np.array(rgb(wanted.colour), np.uint8)

    def _add_arrow(self, arrow: Arrow) -> viser.ArrowsHandle:
        return self._server.scene.add_arrows(
            f"{_ROOT}/arrow{len(self._arrows)}",
            _points_of(arrow),
            rgb(arrow.colour),
            shaft_radius=ARROW_WIDTH,
            head_radius=2.2 * ARROW_WIDTH,
            head_length=4.0 * ARROW_WIDTH,
        )

    def _show_paths(self, paths: Tuple[Trail, ...]) -> None:
        for index, path in enumerate(paths):
            points = np.insert(path.points.astype(np.float32), 2, _PATH_HEIGHT, axis=1)
            segments = np.stack((points[:-1], points[1:]), axis=1)
            if index == len(self._paths):
                name = f"{_ROOT}/path{index}"
                colour = rgb(path.colour)
                self._paths.append(self._server.scene.add_line_segments(name, segments, colour, thickness=PATH_WIDTH))
            self._paths[index].visible = len(segments) > 0
            if len(segments) > 0:
                self._paths[index].points = segments


def _rectangle(x: float, y: float, width: float, depth: float) -> trimesh.Trimesh:
    """Return a rectangle on the floor that faces upwards, from its corner (x, y) [m]."""
    corners = [(x, y), (x + width, y), (x + width, y + depth), (x, y + depth)]
    vertices = [(*corner, -2 * _FLOOR_GAP) for corner in corners]
    return trimesh.Trimesh(vertices, [(0, 1, 2), (0, 2, 3)], process=False)


def _points_of(arrow: Arrow) -> np.ndarray:
    return np.array([[arrow.start, arrow.end]], np.float32)
