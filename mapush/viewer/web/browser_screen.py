"""Show episodes on a page that a browser opens, on this machine or on a different one."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Optional, Tuple

import mujoco

from mapush.evaluation.episode import Episode
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.web.browser_scene import WebScene
from mapush.viewer.web.page_server import DEFAULT_PORT, PageServer
from mapush.viewer.web.panel import Panel

FRAME_PERIOD_S = 1 / 25  # between two frames that are sent, at least
PANEL_PERIOD_S = 0.2  # between two updates of the parts of the panel that change slowly, at least
_STOP_TIMEOUT_S = 5.0
_SCRIPT = Path(__file__).with_name("page.js")


class WebScreen:
    """A screen for any number of browsers, including none; see `mapush.viewer.screen.Screen`.

    A separate thread sends the newest frame, at most 25 times a second: browsers do not report what they have drawn,
    so a slow browser would fall ever further behind. In the browser, `page.js` follows dark mode, halves the resolution
    where there is no GPU, and lets keys drive a robot.

    Args:
      model: the scene.
      transport: the controls.
      host: name or address to listen at; where other machines can connect, the page needs the token that is part of
        the printed address.
      port: port to listen at; None takes 8080 or the next free port.
      title: title of the page and heading of the panel.

    Attributes:
      scene: what the browsers show.

    Raises:
      ConfigError: the server cannot listen at this host and port.
    """

    closed = False  # a user who closes the browser may come back

    def __init__(
        self,
        model: mujoco.MjModel,
        transport: Transport,
        host: str = "127.0.0.1",
        port: Optional[int] = None,
        title: str = "",
    ) -> None:
        self._server = PageServer(host, port, title)
        self._server.run_in_browsers(_SCRIPT.read_text(encoding="utf-8"))
        if title:
            self._server.run_in_browsers(f"document.title = {json.dumps(title)}")
        self.scene = WebScene(self._server, model)
        self._panel = Panel(self._server.gui, transport)
        self._newest: Optional[Tuple[Episode, int, Scoreboard]] = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="web screen", daemon=True)
        self._thread.start()
        self._print_address(port)

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return self._server.address

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Make `episode.frames[step]` the newest frame; see `Screen.show`."""
        self._newest = episode, step, board
        self._wake.set()

    def close(self) -> None:
        """Stop the server and all threads."""
        self._stop.set()
        self._wake.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._server.stop()

    def _send(self) -> None:
        """Send the newest frame, again and again, until the screen is closed."""
        panel_due = 0.0
        while not self._stop.is_set():
            is_new = self._wake.wait(PANEL_PERIOD_S)
            self._wake.clear()
            newest, now = self._newest, time.monotonic()
            if newest is not None and is_new:
                self._send_frame(*newest)
            if now >= panel_due:
                self._panel.refresh()
                if newest is not None:
                    self._panel.show_frame(*newest)
                    self._panel.show_rest(*newest)
                panel_due = now + PANEL_PERIOD_S
            self._stop.wait(now + FRAME_PERIOD_S - time.monotonic())

    def _send_frame(self, episode: Episode, step: int, board: Scoreboard) -> None:
        with self._server.atomic():
            self.scene.show(episode, step, self._panel.camera_follows)
            self._panel.show_frame(episode, step, board)

    def _print_address(self, wanted_port: Optional[int]) -> None:
        port = self._server.port
        if wanted_port is None and port != DEFAULT_PORT:
            print(f"port {DEFAULT_PORT} is in use")
        print(f"watch at {self.address}", flush=True)
        if not self._server.guard.token:
            tunnel = f"ssh -L {port}:127.0.0.1:{port} user@{socket.gethostname()}"
            print(f"from another machine, first: {tunnel}", flush=True)
