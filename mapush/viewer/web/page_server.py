"""The web server of the page: viser's server, guarded and never shared with the internet."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from typing import Iterator, NoReturn, Optional

import rich
import viser
from viser._messages import RunJavascriptMessage

from mapush.errors import ConfigError
from mapush.viewer.web.access_guard import Guard, guarded, is_loopback

DEFAULT_PORT = 8080
_LAST_PORT = 65535
_ANY_ADDRESS = ("0.0.0.0", "::", "")


class PageServer(viser.ViserServer):
    """Serve a page to those whom its guard admits.

    Args:
      host: name or address to listen at.
      port: port to listen at; 0 takes any free port, None takes `DEFAULT_PORT` or the next free port.
      label: heading of the panel.

    Attributes:
      port: the port at which the server listens.
      guard: the guard, with the token of this server if it needs one.

    Raises:
      ConfigError: the server cannot listen at this host and port.
    """

    def __init__(self, host: str, port: Optional[int], label: str) -> None:
        self.port = _choose_port(host, port)
        token = ""
        if not is_loopback(host):
            token = secrets.token_urlsafe(16)
        self.guard = Guard(token, cookie=f"mapush-{self.port}")
        with _silence(), guarded(self.guard) as guards:
            super().__init__(host=host, port=self.port, label=label, verbose=False)
        if not guards:
            self._reject("viser has changed since version 1.1")
        if self.get_port() != self.port:
            self._reject(f"a different program took port {self.port}")
        self.gui.configure_theme(show_share_button=False, show_logo=False)
        self.gui.main_panel.dock_right()

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        host = self.get_host()
        if host in _ANY_ADDRESS:
            host = socket.gethostname()
        if ":" in host:  # IPv6
            host = f"[{host}]"
        address = f"http://{host}:{self.port}/"
        if self.guard.token:
            address += f"?token={self.guard.token}"
        return address

    def run_in_browsers(self, source: str) -> None:
        """Run JavaScript in each browser that opens the page."""
        self._websock_server.queue_message(RunJavascriptMessage(source))

    def request_share_url(self, verbose: bool = True) -> Optional[str]:
        """Share nothing; viser's own method opens the page to the internet for anyone who sends the message."""
        return None

    def disconnect_share_url(self) -> None:
        """Do nothing, as nothing is shared."""

    def stop(self) -> None:
        """Stop the server and its threads."""
        with _silence():
            super().stop()

    def _reject(self, cause: str) -> NoReturn:
        """Stop a server that did not start as it should."""
        self.stop()
        raise ConfigError("the page cannot be served", cause=cause, fix="try again, or pip install 'viser<1.2'")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep viser from printing."""
    console = rich.get_console()
    was_quiet = console.quiet
    console.quiet = True
    try:
        yield
    finally:
        console.quiet = was_quiet


# -- ports -----------------------------------------------------------------------------------------------------------


def _choose_port(host: str, port: Optional[int]) -> int:
    first = DEFAULT_PORT if port is None else port
    if not 0 <= first <= _LAST_PORT:
        raise ConfigError("invalid port", got=str(port), expected=f"0 to {_LAST_PORT}")
    try:
        return _listen(host, first)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            what = f"cannot listen at {host}, port {first}"
            raise ConfigError(what, cause=str(error), fix="--host 127.0.0.1 --port 8080") from error
    free = _next_free(host, first + 1)
    if port is not None:
        cause = "a different program listens there, perhaps a second viewer"
        raise ConfigError(f"port {port} is in use", cause=cause, fix=f"--port {free}")
    return free


def _next_free(host: str, port: int) -> int:
    """Return the first free port from `port` on; 0 if there is none."""
    for candidate in range(port, _LAST_PORT + 1):
        with contextlib.suppress(OSError):
            return _listen(host, candidate)
    return 0


def _listen(host: str, port: int) -> int:
    """Listen for a moment to test a port, and return the port; 0 becomes a free port.

    Raises:
      OSError: nobody can listen there.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = addresses[0]
    with socket.create_server(address[:2], family=family) as listener:
        return int(listener.getsockname()[1])
