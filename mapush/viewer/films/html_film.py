"""Finished episodes as one HTML page with a play bar, which needs neither a server nor a network."""

from __future__ import annotations

import html
import json
from pathlib import Path

import mujoco
from viser._messages import RunJavascriptMessage

from mapush.evaluation.episode import Episode
from mapush.viewer.films.film import LinesOf, steps_of
from mapush.viewer.films.film_file import partial_of, write_error
from mapush.viewer.web.browser_scene import WebScene
from mapush.viewer.web.page_server import PageServer

FRAMES_PER_SECOND = 25
TEXT_ID = "mapush-text"

_TEXT_STYLE = (
    "position:fixed;bottom:60px;left:12px;z-index:1;padding:8px 12px;border-radius:4px;white-space:pre;"
    "pointer-events:none;background:rgba(0,0,0,0.6);color:white;font:15px/1.4 sans-serif"
)
_TEXT_BOX = f'<div id="{TEXT_ID}" style="{_TEXT_STYLE}"></div>'


class HtmlFilm:
    """A film that is an HTML page: viser's client, with the messages that a server would have sent; see `Film`.

    Args:
      path: the HTML file.
      model: the scene.
      title: title of the page.
    """

    def __init__(self, path: Path, model: mujoco.MjModel, title: str) -> None:
        self._path = path
        self._title = title
        self._episodes = 0
        # viser can only record what a server sends, so there is a server, which nobody visits
        self._server = PageServer("127.0.0.1", 0, title)
        self._scene = WebScene(self._server, model)
        self._recording = self._server.get_scene_serializer()

    def add(self, episode: Episode, lines_of: LinesOf) -> None:
        """See `Film.add`."""
        self._episodes += 1
        for step in steps_of(episode, FRAMES_PER_SECOND):
            self._scene.show(episode, step)
            text = json.dumps("\n".join(lines_of(step)))
            script = f'document.getElementById("{TEXT_ID}").textContent = {text}'
            self._recording._insert_message(RunJavascriptMessage(script))
            self._recording.insert_sleep(1 / FRAMES_PER_SECOND)

    def close(self) -> None:
        """See `Film.close`."""
        page = self._recording.as_html()
        self._server.stop()
        if self._episodes == 0:
            return
        page = page.replace("<title>Viser</title>", f"<title>{html.escape(self._title)}</title>", 1)
        body_end = page.rindex("</body>")
        page = page[:body_end] + _TEXT_BOX + page[body_end:]
        partial = partial_of(self._path)
        try:
            partial.write_text(page, encoding="utf-8")
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise write_error(self._path, str(error)) from error
        partial.replace(self._path)
