"""The interface of a screen, and how to open one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Protocol

from mapush.evaluation.episode import Episode
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard

if TYPE_CHECKING:
    import mujoco

DEFAULT_HOST = "127.0.0.1"


class Screen(Protocol):
    """Where somebody watches."""

    @property
    def closed(self) -> bool:
        """Whether the user has closed it, which ends the program."""

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Show `episode.frames[step]`, and return quickly; the same frame may come again."""

    def close(self) -> None:
        """Release everything."""


def open_screen(
    viewer: str, model: mujoco.MjModel, transport: Transport, host: Optional[str], port: Optional[int], title: str
) -> Screen:
    """Open a screen.

    Args:
      viewer: native or web.
      model: the scene.
      transport: the controls.
      host: web only: where the page listens; None takes this machine only.
      port: web only: where the page listens; None takes the default or the next free port.
      title: web only: title of the page and heading of the panel.

    Raises:
      ConfigError: the page cannot listen there.
    """
    if viewer == "native":
        from mapush.viewer.native import NativeWindow

        return NativeWindow(model, transport)
    from mapush.viewer.web.browser_screen import WebScreen

    return WebScreen(model, transport, host or DEFAULT_HOST, port, title)
