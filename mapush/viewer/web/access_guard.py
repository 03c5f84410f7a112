"""Decide who may see and control a page."""

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
    """Decide which requests are answered.

    Three attacks are refused:
    - A different page, open in the same browser, connects to ours: browsers name that page in `Origin`.
    - A foreign host name resolves to this machine, so that its page counts as the same origin (DNS rebinding): where
      only this machine can connect, the address has to be one of its loopback names.
    - A stranger connects over the network: the first request needs the token in its address; later requests send it in
      a cookie.

    Attributes:
      token: the secret that a request has to know; '' if only this machine can connect.
      cookie: name of the cookie in which browsers keep the token.
    """

    token: str
    cookie: str

    def objection(self, request: Request) -> str:
        """Return why `request` is refused; '' if it is answered."""
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"only the page itself can control the viewer, not {origin}"
        if self.token:
            if not self._knows_token(request):
                return f"the address lacks the token: open http://{host}/?token=... as the program printed it"
        elif not is_loopback(urlsplit("//" + host).hostname or ""):
            return f"this page is at 127.0.0.1, not at {host}"
        return ""

    def add_headers(self, response: Response) -> None:
        """Let the browser keep the token, send it to no other site, and show the page in no frame of another site."""
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Referrer-Policy"] = "no-referrer"
        if self.token:
            response.headers["Set-Cookie"] = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"

    def _knows_token(self, request: Request) -> bool:
        offered = parse_qs(urlsplit(request.path).query).get("token", [])
        cookies: SimpleCookie = SimpleCookie(request.headers.get("Cookie", ""))
        if self.cookie in cookies:
            offered.append(cookies[self.cookie].value)
        return any(hmac.compare_digest(self.token.encode(), token.encode()) for token in offered)


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[List[Guard]]:
    """Put `guard` in front of every websockets server that starts within this context.

    viser has no hook for this, but the websockets server that it starts has.

    Yields:
      A list that holds `guard` once for each server that it was put in front of.
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
                guard.add_headers(response)
            return response

        guards.append(guard)
        return serve(*args, process_request=process, logger=_silent_logger(), **kwargs)

    module.serve = serve_guarded
    try:
        yield guards
    finally:
        module.serve = serve


def _silent_logger() -> logging.Logger:
    """Return a logger that ignores clients that hang up or send invalid requests."""
    logger = logging.getLogger(__name__)
    logger.setLevel(logging.CRITICAL)
    return logger
