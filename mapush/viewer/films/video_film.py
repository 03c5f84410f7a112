"""Finished episodes as a video: MP4 (H.264) or GIF."""

from __future__ import annotations

from mapush.evaluation.episode import Episode
from mapush.viewer.films.encoder import Encoder
from mapush.viewer.films.episode_renderer import EpisodeRenderer
from mapush.viewer.films.film import LinesOf, steps_of


class VideoFilm:
    """A film made of pictures; see `Film`.

    Args:
      renderer: draws the pictures; closed with the film.
      encoder: writes the pictures; closed with the film.
    """

    def __init__(self, renderer: EpisodeRenderer, encoder: Encoder) -> None:
        self._renderer = renderer
        self._encoder = encoder

    def add(self, episode: Episode, lines_of: LinesOf) -> None:
        """See `Film.add`."""
        self._renderer.aim_at(episode)
        form = self._encoder.format
        drawn = -1
        for step in steps_of(episode, form.fps):
            if step != drawn:
                lines = lines_of(step)[: form.max_lines]
                picture = self._renderer.picture(episode, step, lines, form.text_scale)
                drawn = step
            self._encoder.write(picture)

    def close(self) -> None:
        """See `Film.close`."""
        self._renderer.close()
        self._encoder.close()
