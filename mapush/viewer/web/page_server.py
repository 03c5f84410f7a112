"""The web server of the page: viser's, guarded and never shared."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from typing import Iterator, Optional

import rich
import viser
from viser._messages import RunJavascriptMessage

from mapush.errors import ConfigError
from mapush.viewer.web.access_guard import Guard, guarded, is_loopback

DEFAULT_PORT = 8080
_LAST_PORT = 65535
_ANY_ADDRESS = ("0.0.0.0", "::", "")


class PageServer(viser.ViserServer):
    """viser's server at one address, for those only whom its guard lets in.

    Args:
      host: name or address to listen at.
      port: to listen at; 0 takes any, None takes `DEFAULT_PORT` or the next that is free.
      label: what the panel is called.

    Attributes:
      port: at which it listens.
      guard: with the token of this server, if it has one.

    Raises:
      ConfigError: one cannot listen there.
    """

    def __init__(self, host: str, port: Optional[int], label: str) -> None:
        self.port = _choose_port(host, port)
        self.guard = Guard("" if is_loopback(host) else secrets.token_urlsafe(16), f"mapush-{self.port}")
        with _silence(), guarded(self.guard) as guards:
            super().__init__(host=host, port=self.port, label=label, verbose=False)
        if not guards or self.get_port() != self.port:
            self.stop()
            cause = f"another program took port {self.port}" if guards else "viser has changed since 1.1"
            raise ConfigError("the page cannot be served", cause=cause, fix="try again, or pip install 'viser<1.2'")
        self.gui.configure_theme(show_share_button=False, show_logo=False)
        self.gui.main_panel.dock_right()

    @property
    def address(self) -> str:
        """What to type into a browser."""
        host = self.get_host()
        host = socket.gethostname() if host in _ANY_ADDRESS else host
        token = "?token=" + self.guard.token if self.guard.token else ""
        return "http://{}:{}/{}".format(f"[{host}]" if ":" in host else host, self.port, token)

    def run_in_browsers(self, source: str) -> None:
        """Run JavaScript in each browser as it opens the page."""
        self._websock_server.queue_message(RunJavascriptMessage(source))

    def request_share_url(self, verbose: bool = True) -> Optional[str]:
        """Share nothing; viser's own opens the page to the internet for whoever sends the message."""
        return None

    def disconnect_share_url(self) -> None:
        """Do nothing, as nothing is shared."""

    def stop(self) -> None:
        """Stop the server and its threads."""
        with _silence():
            super().stop()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep viser from printing."""
    console = rich.get_console()
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet


def _choose_port(host: str, port: Optional[int]) -> int:
    first = DEFAULT_PORT if port is None else port
    if not 0 <= first <= _LAST_PORT:
        raise ConfigError("there is no such port", got=str(port), expected=f"0 to {_LAST_PORT}")
    try:
        return _listen(host, first)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            what, fix = f"cannot listen at {host}, port {first}", "--host 127.0.0.1 --port 8080"
            raise ConfigError(what, cause=str(error), fix=fix) from error
    free = _next_free(host, first + 1)
    if port is None:
        return free
    raise ConfigError(
        f"port {port} is in use",
        cause="another program listens there, perhaps another viewer",
        fix=f"--port {free}",
    )


def _next_free(host: str, port: int) -> int:
    for candidate in range(port, _LAST_PORT + 1):
        with contextlib.suppress(OSError):
            return _listen(host, candidate)
    return 0


def _listen(host: str, port: int) -> int:
    """Listen for a moment, and return the port; OSError if one cannot."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.create_server(address[:2], family=family) as listener:
        return int(listener.getsockname()[1])
