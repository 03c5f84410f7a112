"""A page in which one watches and drives a team: open it in a browser, here or on another machine."""

from __future__ import annotations

import socket
import threading
import time
from typing import Optional, Tuple

import mujoco

from mapush.evaluation.episode import Episode
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.web.browser_scene import WebScene
from mapush.viewer.web.page_server import DEFAULT_PORT, PageServer
from mapush.viewer.web.panel import Panel

FRAME_PERIOD_S = 1 / 25  # at least, between two frames that are sent
TEXT_PERIOD_S = 0.2  # at least, between two looks at what is no matter of frames
_STOP_TIMEOUT_S = 5.0
_HALVE_WITHOUT_GPU = """
const gl = document.createElement("canvas").getContext("webgl2");
const name = gl?.getParameter(gl.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER);
gl?.getExtension("WEBGL_lose_context")?.loseContext();
const address = new URL(location);
if (/swiftshader|llvmpipe|software|basic render/i.test(name) && !address.searchParams.has("fixedDpr")) {
  address.searchParams.set("fixedDpr", devicePixelRatio / 2);
  location.replace(address);
}
"""


class WebScreen:
    """A screen for any number of browsers; it works as well with none.

    A thread of its own sends the newest frame, at most 25 in a second: browsers do not say what they have drawn, and
    one that is slow would fall behind. One that draws without a GPU opens the page again at half the resolution.

    Args:
      model: what is drawn.
      transport: the controls.
      host: name or address to listen at; beyond this machine, the page needs the token in the address that is printed.
      port: to listen at; None takes 8080 or the next that is free.
      title: of the panel.

    Raises:
      ConfigError: one cannot listen there.
    """

    closed = False  # who closes a browser may come back

    def __init__(
        self,
        model: mujoco.MjModel,
        transport: Transport,
        host: str = "127.0.0.1",
        port: Optional[int] = None,
        title: str = "",
    ) -> None:
        self._server = PageServer(host, port, title)
        self._server.run_in_browsers(_HALVE_WITHOUT_GPU)
        self.scene = WebScene(self._server, model)
        self._panel = Panel(self._server.gui, transport)
        self._newest: Optional[Tuple[Episode, int, Scoreboard]] = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._send, name="web screen", daemon=True)
        self._thread.start()
        self._print_address(port)

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return self._server.address

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Let `episode.frames[step]` be the newest frame; see `Screen`."""
        self._newest = episode, step, board
        self._wake.set()

    def close(self) -> None:
        """Stop the server and all threads."""
        self._stop.set()
        self._wake.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._server.stop()

    def _send(self) -> None:
        """Send what is newest until the screen is closed."""
        text_due = 0.0
        while not self._stop.is_set():
            fresh = self._wake.wait(TEXT_PERIOD_S)
            self._wake.clear()
            newest, now = self._newest, time.monotonic()
            if newest is not None and fresh:
                self._send_frame(*newest)
            if now >= text_due:
                self._panel.refresh()
                if newest is not None:
                    self._panel.show_frame(*newest)
                    self._panel.show_rest(*newest)
                text_due = now + TEXT_PERIOD_S
            self._stop.wait(now + FRAME_PERIOD_S - time.monotonic())

    def _send_frame(self, episode: Episode, step: int, board: Scoreboard) -> None:
        with self._server.atomic():
            self.scene.show(episode, step, self._panel.camera_follows)
            self._panel.show_frame(episode, step, board)

    def _print_address(self, port: Optional[int]) -> None:
        here = self._server.port
        if port is None and here != DEFAULT_PORT:
            print(f"port {DEFAULT_PORT} is in use")
        print(f"watch at {self.address}", flush=True)
        if not self._server.guard.token:
            tunnel = f"ssh -L {here}:127.0.0.1:{here} user@{socket.gethostname()}"
            print(f"from another machine, first: {tunnel}", flush=True)
