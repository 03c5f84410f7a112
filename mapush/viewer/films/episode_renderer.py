"""Render the frames of an episode without a display."""

from __future__ import annotations

import math
from typing import Sequence, Tuple

import mujoco
import numpy as np

from mapush.evaluation.episode import Episode, path_of, pose
from mapush.viewer.films.text_overlay import write_text
from mapush.viewer.gl import quick_to_draw
from mapush.viewer.overlay import ELEVATION, Point, aim, draw, overlay_of

WIDTH, HEIGHT = 1280, 720  # of a picture [pixels]
TEXT_SHARE = 0.8  # share of the free width next to the scene that is left for the text
MARGIN = 1.0  # around each position that has to be visible: covers robots, object and success radius [m]


class EpisodeRenderer:
    """Render env steps as pictures.

    Args:
      model: the scene.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = quick_to_draw(model)
        self._model.vis.global_.offwidth = WIDTH
        self._model.vis.global_.offheight = HEIGHT
        self._data = mujoco.MjData(self._model)
        self._camera = mujoco.MjvCamera()
        mujoco.mj_forward(self._model, self._data)  # also places the light, which does not move later
        self._renderer = mujoco.Renderer(self._model, HEIGHT, WIDTH)
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = False

    def aim_at(self, episode: Episode) -> None:
        """Place the camera so that it sees the complete episode."""
        look_at, distance = framing(episode, math.radians(self._model.vis.global_.fovy))
        aim(self._camera, look_at, distance)

    def picture(self, episode: Episode, step: int, lines: Sequence[str], text_scale: float) -> np.ndarray:
        """Return the picture of an env step, shape (HEIGHT, WIDTH, 3), uint8.

        Args:
          episode: the episode.
          step: the env step, counted from 0.
          lines: text in the upper left corner.
          text_scale: factor on the text size.
        """
        pose(self._model, self._data, episode.frames[step])
        self._renderer.update_scene(self._data, self._camera)
        draw(overlay_of(episode, step), self._renderer.scene)
        picture = self._renderer.render()
        write_text(picture, lines, text_scale)
        return picture

    def close(self) -> None:
        """Release the OpenGL context."""
        self._renderer.close()


def framing(episode: Episode, fovy: float) -> Tuple[Point, float]:
    """Return where a fixed camera looks, and from what distance, to see a complete episode [m].

    The camera is as near as it can be. Where the picture is wider than the scene, the scene moves to the right, which
    leaves room for the text.

    Args:
      episode: a finished episode.
      fovy: vertical angle of view [rad].
    """
    robots, item = path_of(episode, len(episode.frames) - 1)
    goal = episode.frames[-1].goal
    visible = np.concatenate((robots.reshape(-1, 2), item, [goal]))
    low, high = visible.min(axis=0) - MARGIN, visible.max(axis=0) + MARGIN
    x, y = ((low + high) / 2).tolist()
    half_width, half_depth = (high - low) / 2

    # The camera looks down at `elevation`. The near edge of the scene is closest to it: there the picture has to be
    # wide enough for `half_width`, and high enough for the depth that the camera sees foreshortened.
    elevation = math.radians(-ELEVATION)
    up = math.tan(fovy / 2)
    aside = up * WIDTH / HEIGHT
    nearer = half_depth * math.cos(elevation)
    distance = nearer + max(half_width / aside, half_depth * math.sin(elevation) / up)

    free_width = (distance - nearer) * aside - half_width  # on either side of the scene
    return (x - TEXT_SHARE * free_width, y, 0.0), float(distance)
