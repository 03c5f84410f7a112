"""Open the film that fits the suffix of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import mujoco

from mapush.errors import ConfigError, unknown
from mapush.viewer.films.encoder import Encoder
from mapush.viewer.films.episode_renderer import HEIGHT, WIDTH, EpisodeRenderer
from mapush.viewer.films.film import Film
from mapush.viewer.films.film_file import require_writable
from mapush.viewer.films.video_film import VideoFilm


def open_film(path: Path, model: mujoco.MjModel, title: str) -> Film:
    """Start a film; a file that cannot be written is reported here, before anything is simulated.

    Args:
      path: the file; its suffix chooses the kind of film, see `WRITERS`.
      model: the scene.
      title: title of the film.

    Raises:
      ConfigError: the kind of film is unknown, the file cannot be written, or a package is missing.
    """
    if path.suffix not in WRITERS:
        raise unknown("kind of film", path.suffix, WRITERS)
    require_writable(path)
    return WRITERS[path.suffix](path, model, title)


def _open_video(path: Path, model: mujoco.MjModel, title: str) -> Film:
    renderer = EpisodeRenderer(model)  # first: if it fails, no encoder is left running
    return VideoFilm(renderer, Encoder(path, WIDTH, HEIGHT, title))


def _open_page(path: Path, model: mujoco.MjModel, title: str) -> Film:
    try:
        from mapush.viewer.films.html_film import HtmlFilm
    except ImportError as error:
        raise ConfigError(f"cannot record to {path}", cause=str(error), fix="pip install viser") from error
    return HtmlFilm(path, model, title)


WRITERS: Dict[str, Callable[[Path, mujoco.MjModel, str], Film]] = {
    ".mp4": _open_video,
    ".gif": _open_video,
    ".html": _open_page,
}
"""What writes a film, by the suffix of its file; `evaluate_config.RECORDING_SUFFIXES` lists the same suffixes."""
