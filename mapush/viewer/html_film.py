"""Finished episodes as one page with a play bar, which needs neither a server nor a network."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Callable, Sequence

import mujoco
from viser._messages import RunJavascriptMessage

from mapush.evaluation.episode import Episode
from mapush.viewer.encoder import partial_of, unwritten
from mapush.viewer.recorder import steps_of
from mapush.viewer.web_scene import WebScene
from mapush.viewer.web_server import PageServer

FRAMES_PER_SECOND = 25
TEXT_ID = "mapush-text"

_TEXT_BOX = (
    '<div id="{}" style="position:fixed;bottom:60px;left:12px;z-index:1;padding:8px 12px;border-radius:4px;'
    'white-space:pre;pointer-events:none;background:rgba(0,0,0,0.6);color:white;font:15px/1.4 sans-serif"></div>'
)
_SET_TEXT = "document.getElementById({}).textContent = {}"


class HtmlFilm:
    """A film that is a page: viser's client, with all that a server would have told it.

    Args:
      path: the HTML file.
      model: what is drawn.
      title: of the page.
    """

    def __init__(self, path: Path, model: mujoco.MjModel, title: str) -> None:
        self._path, self._title, self._episodes = path, title, 0
        self._server = PageServer("127.0.0.1", 0, title)  # which nobody visits: viser records what a server does
        self._scene = WebScene(self._server, model)
        self._recording = self._server.get_scene_serializer()

    def add(self, episode: Episode, lines_of: Callable[[int], Sequence[str]]) -> None:
        """See `mapush.viewer.recorder.Film.add`."""
        self._episodes += 1
        for step in steps_of(episode, FRAMES_PER_SECOND):
            self._scene.show(episode, step)
            text = _SET_TEXT.format(json.dumps(TEXT_ID), json.dumps("\n".join(lines_of(step))))
            self._recording._insert_message(RunJavascriptMessage(text))
            self._recording.insert_sleep(1 / FRAMES_PER_SECOND)

    def close(self) -> None:
        """See `mapush.viewer.recorder.Film.close`."""
        page = self._recording.as_html()
        self._server.stop()
        if not self._episodes:
            return
        page = page.replace("<title>Viser</title>", f"<title>{html.escape(self._title)}</title>", 1)
        body = page.rindex("</body>")
        partial = partial_of(self._path)
        try:
            partial.write_text(page[:body] + _TEXT_BOX.format(TEXT_ID) + page[body:], encoding="utf-8")
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise unwritten(self._path, str(error)) from error
        partial.replace(self._path)
