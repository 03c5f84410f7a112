"""Finished episodes as films, drawn without a display: MP4 (H.264), GIF, and pages with a play bar."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Sequence, Tuple

import mujoco
import numpy as np

from mapush.errors import ConfigError, nearest
from mapush.evaluation.episode import Episode, path_of, pose
from mapush.sim.physics import STEP_DT
from mapush.viewer.encoder import FORMATS, Encoder, require_writable
from mapush.viewer.gl import quick_to_draw
from mapush.viewer.overlay import ELEVATION, Point, aim, draw, overlay_of
from mapush.viewer.text_overlay import write_text

if TYPE_CHECKING:
    from typing_extensions import Protocol

    class Film(Protocol):
        """What episodes are added to, in the thread that opened it."""

        def add(self, episode: Episode, lines_of: Callable[[int], Sequence[str]]) -> None:
            """Take a finished episode; `lines_of` returns the text beside its frame of a step."""

        def close(self) -> None:
            """Finish the file with what was added until now; without an episode there is none."""


PAGE = ".html"
WIDTH, HEIGHT = 1280, 720  # of what is drawn [pixels]
HOLD_S = 1.0  # for which the last frame of an episode stays
TEXT_SHARE = 0.8  # of what is spare beside the scene, how much of it is left for the text
REACH = 1.0  # of what is at a place: the object, the success radius [m]


def open_film(path: Path, model: mujoco.MjModel, title: str) -> Film:
    """Start a film; what cannot be written is found out here, before anything is simulated.

    Args:
      path: its suffix is the kind of film: .mp4, .gif or .html.
      model: what is drawn.
      title: of the film.

    Raises:
      ConfigError: an unknown kind of film, a folder that does not exist, no right to write, or no package to do it.
    """
    kinds = [*FORMATS, PAGE]
    if path.suffix not in kinds:
        raise ConfigError(f"cannot record to {path}", got=path.suffix, fix=nearest(path.suffix, kinds))
    require_writable(path)
    return _open_page(path, model, title) if path.suffix == PAGE else Recorder(path, model, title)


def _open_page(path: Path, model: mujoco.MjModel, title: str) -> Film:
    try:
        from mapush.viewer.html_film import HtmlFilm
    except ImportError as error:
        raise ConfigError(f"cannot record to {path}", cause=str(error), fix="pip install viser") from error
    return HtmlFilm(path, model, title)


class Recorder:
    """A film of pictures.

    Args:
      path: of a kind in `FORMATS`.
      model: what is drawn.
      title: written into the file.
    """

    def __init__(self, path: Path, model: mujoco.MjModel, title: str) -> None:
        self._format = FORMATS[path.suffix]
        self._model = quick_to_draw(model)
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = WIDTH, HEIGHT
        self._data, self._camera = mujoco.MjData(self._model), mujoco.MjvCamera()
        mujoco.mj_forward(self._model, self._data)  # also puts the light in its place, where it stays
        self._renderer = mujoco.Renderer(self._model, HEIGHT, WIDTH)
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = False
        self._encoder = Encoder(path, WIDTH, HEIGHT, title)

    def add(self, episode: Episode, lines_of: Callable[[int], Sequence[str]]) -> None:
        """See `Film.add`."""
        aim(self._camera, *framing(episode, math.radians(self._model.vis.global_.fovy)))
        drawn = -1
        for step in steps_of(episode, self._format.fps):
            if step != drawn:
                picture, drawn = self._draw(episode, step, lines_of(step)), step
            self._encoder.write(picture)

    def close(self) -> None:
        """See `Film.close`."""
        self._renderer.close()
        self._encoder.close()

    def _draw(self, episode: Episode, step: int, lines: Sequence[str]) -> np.ndarray:
        """Return the picture of a step, (HEIGHT, WIDTH, 3) uint8."""
        pose(self._model, self._data, episode.frames[step])
        self._renderer.update_scene(self._data, self._camera)
        draw(overlay_of(episode, step), self._renderer.scene)
        picture = self._renderer.render()
        write_text(picture, lines[: self._format.lines], self._format.text_scale)
        return picture


def steps_of(episode: Episode, fps: int) -> List[int]:
    """Return which steps of `episode` become frames of a film, its last one as often as it is held."""
    last = len(episode.frames) - 1
    return list(range(0, last, round(1 / (fps * STEP_DT)))) + [last] * round(HOLD_S * fps)


def framing(episode: Episode, fovy: float) -> Tuple[Point, float]:
    """Return where a camera that does not move looks, and from what distance, to see a whole episode [m].

    The scene stands to the right of the middle where there is room, beside the text.

    Args:
      episode: finished.
      fovy: vertical angle of view [rad].
    """
    robots, item = path_of(episode, len(episode.frames) - 1)
    places = np.concatenate((robots.reshape(-1, 2), item, [episode.frames[-1].goal]))
    low, high = places.min(axis=0) - REACH, places.max(axis=0) + REACH
    half_width, half_depth = (high - low) / 2
    sine, cosine = math.sin(math.radians(-ELEVATION)), math.cos(math.radians(ELEVATION))
    up = math.tan(fovy / 2)
    aside = up * WIDTH / HEIGHT
    distance = half_depth * cosine + max(half_width / aside, half_depth * sine / up)
    spare = (distance - half_depth * cosine) * aside - half_width  # on either side
    x, y = ((low + high) / 2).tolist()
    return (x - TEXT_SHARE * spare, y, 0.0), float(distance)
