"""Who may see and drive a page."""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import ipaddress
import logging
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any, Iterator, List, Optional
from urllib.parse import parse_qs, urlsplit

import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response


@dataclasses.dataclass(frozen=True)
class Guard:
    """Decides which requests are answered.

    Those of another page are not: a browser tells in `Origin` on whose behalf it asks. Where only this machine can
    connect, the address has to be one of this machine's own, lest a foreign name that points here passes for the same
    origin. Elsewhere, the token has to be in the address or, on all requests after the first, in a cookie.

    Attributes:
      token: what proves that one may; '' if only this machine can connect.
      cookie: the name under which browsers keep the token.
    """

    token: str
    cookie: str

    def objection(self, request: Request) -> str:
        """Return why `request` is refused; '' if it is not."""
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"only this page itself can drive it, not {origin}"
        if not self.token and not is_loopback(urlsplit("//" + host).hostname or ""):
            return f"this page is at 127.0.0.1, not at {host}"
        if self.token and not any(
            hmac.compare_digest(self.token.encode(), one.encode()) for one in self._offered(request)
        ):
            return f"the address lacks the token, as in http://{host}/?token=... that the program printed"
        return ""

    def welcome(self, response: Response) -> None:
        """Let the browser keep the token, tell it to nobody, and show the page in no frame of another page."""
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Referrer-Policy"] = "no-referrer"
        if self.token:
            kept = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            response.headers["Set-Cookie"] = kept

    def _offered(self, request: Request) -> List[str]:
        """Return what `request` gives as token."""
        cookies: SimpleCookie = SimpleCookie(request.headers.get("Cookie", ""))
        kept = [cookies[self.cookie].value] if self.cookie in cookies else []
        return kept + parse_qs(urlsplit(request.path).query).get("token", [])


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to `host`, a name or an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[List[Guard]]:
    """Put `guard` before the servers of websockets that start meanwhile.

    viser offers no hook for this, but the server under it does.

    Yields:
      `guard`, once for each server that it was put before.
    """
    module: Any = websockets.asyncio.server
    serve, guards = module.serve, []

    def serve_guarded(*args: Any, process_request: Any, **kwargs: Any) -> Any:
        def process(connection: ServerConnection, request: Request) -> Optional[Response]:
            objection = guard.objection(request)
            if objection:
                return connection.respond(HTTPStatus.FORBIDDEN, objection + "\n")
            response = process_request(connection, request)
            if response is not None:
                guard.welcome(response)
            return response

        guards.append(guard)
        return serve(*args, process_request=process, logger=_logger(), **kwargs)

    module.serve = serve_guarded
    try:
        yield guards
    finally:
        module.serve = serve


def _logger() -> logging.Logger:
    """Return a logger that is silent about visitors who hang up or talk nonsense."""
    logger = logging.getLogger(__name__)
    logger.setLevel(logging.CRITICAL)
    return logger
