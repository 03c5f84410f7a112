"""Who may see and drive the page in the browser, and where it is served."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request

import msgspec
import pytest
import viser
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mapush.errors import ConfigError
from mapush.viewer.web import page_server as web_server
from mapush.viewer.web.access_guard import is_loopback
from mapush.viewer.web.page_server import PageServer

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web]

PROTOCOL = "viser-v" + viser.__version__
TIMEOUT_S = 60.0
QUICK_S = 10.0  # 2 ms on an idle machine


@pytest.fixture
def local():
    """Serve a page for this machine alone."""
    server = PageServer("127.0.0.1", 0, "local")
    yield server
    server.stop()


@pytest.fixture
def remote():
    """Serve a page for all machines."""
    server = PageServer("0.0.0.0", 0, "remote")
    yield server
    server.stop()


def _status(server, path="/", **headers):
    """Return the status of a request for the page, and the answer's headers."""
    address = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(address, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def _socket(server, path="/", origin=None, **headers):
    address = f"ws://127.0.0.1:{server.port}{path}"
    return connect(address, origin=origin, subprotocols=[PROTOCOL], additional_headers=headers, open_timeout=TIMEOUT_S)


def _refused(server, path="/", origin=None, **headers):
    with pytest.raises(InvalidStatus) as error, _socket(server, path, origin, **headers):
        pass
    return error.value.response.status_code == 403


def _cookie(server):
    return _status(server, "/?token=" + server.guard.token)[1]["Set-Cookie"].partition(";")[0]


def _ended(before):
    """Return whether all threads but those of `before` end, the client's own among them."""
    end = time.monotonic() + TIMEOUT_S
    while not set(threading.enumerate()) <= before and time.monotonic() < end:
        time.sleep(0.02)
    return set(threading.enumerate()) <= before


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_websocket_of_another_page_is_refused(local, remote, origin):
    """No page of another origin can drive the viewer, not even one that has the cookie."""
    assert _refused(local, origin=origin)
    assert _refused(remote, origin=origin, Cookie=_cookie(remote))
    assert _status(local, Origin=origin)[0] == 403


def test_websocket_of_the_page_itself_or_of_a_program_is_accepted(local):
    """The page's own origin, also through a tunnel, and clients that are no browser get the scene."""
    own = f"http://127.0.0.1:{local.port}"
    for connection in (_socket(local, origin=own), _socket(local)):
        with connection:
            assert connection.recv(TIMEOUT_S)
    assert _status(local, Host="localhost:9000", Origin="http://localhost:9000")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "10.0.0.1", "127.0.0.1.evil.example", "]["])
def test_request_for_a_foreign_name_is_refused(local, host):
    """A name that its owner lets point to 127.0.0.1 is not the page's own origin."""
    status, _ = _status(local, Host=host, Origin="http://" + host)
    assert status in (403, 500)


def test_without_token_remote_page_and_websocket_are_refused(remote):
    """On a host that others can reach, nothing is answered without the right token."""
    for path in ("/", "/index.html", "/?token=", "/?token=wrong", "/?token=" + remote.guard.token[:-1]):
        assert _status(remote, path)[0] == 403
        assert _refused(remote, path)
    name = _cookie(remote).partition("=")[0]
    assert _refused(remote, Cookie=f"{name}=wrong")
    assert _refused(remote, Cookie=f"other={remote.guard.token}")


def test_with_token_remote_page_and_websocket_are_accepted(remote):
    """The address that is printed opens the page, and leaves a cookie that opens the rest."""
    assert remote.address.startswith(f"http://{socket.gethostname()}:{remote.port}/?token=")
    status, headers = _status(remote, "/?" + remote.address.partition("?")[2])
    assert status == 200
    assert {"HttpOnly", "SameSite=Strict"} <= set(headers["Set-Cookie"].split("; "))
    own = f"http://127.0.0.1:{remote.port}"
    with _socket(remote, origin=own, Cookie=f"theme=dark; {_cookie(remote)}") as connection:
        assert connection.recv(TIMEOUT_S)
    with _socket(remote, "/?token=" + remote.guard.token) as connection:
        assert connection.recv(TIMEOUT_S)


def test_tokens_of_two_servers_differ():
    """A token opens one server, once it has started."""
    servers = [PageServer("0.0.0.0", 0, "one") for _ in range(2)]
    first, second = (server.guard for server in servers)
    assert first.token != second.token
    assert first.cookie != second.cookie
    assert len(first.token) >= 20
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.3.2.1", True)]
    + [
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("myhost", False),
        ("localhost.evil", False),
    ],
)
def test_is_loopback_tells_this_machine_from_others(host, expected):
    """Only what no other machine can reach does without a token."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize("ours", [True, False])
def test_message_that_asks_to_share_opens_nothing(monkeypatch, ours):
    """Any client may send the message that makes viser open a tunnel to the internet; here it does nothing."""
    opened, asked = [], threading.Event()

    class Tunnel:
        def __init__(self, *address):
            opened.append(address)
            raise ConnectionError("no tunnel in tests")

    monkeypatch.setattr("viser._viser.ViserTunnel", Tunnel)
    monkeypatch.setattr("viser._viser.print_threadpool_errors", lambda future: asked.set())
    server = PageServer("127.0.0.1", 0, "") if ours else viser.ViserServer("127.0.0.1", 0, verbose=False)
    with connect(f"ws://127.0.0.1:{server.get_port()}", subprotocols=[PROTOCOL]) as connection:
        connection.recv(TIMEOUT_S)
        connection.send(msgspec.msgpack.encode({"type": "ShareUrlRequest"}))
        assert asked.wait(TIMEOUT_S)
    server.stop()
    assert bool(opened) is not ours


def test_guard_that_viser_passes_by_stops_the_server(monkeypatch):
    """A viser that starts its server in another way is not run without the guard."""

    @contextlib.contextmanager
    def nothing(guard):
        yield []

    monkeypatch.setattr(web_server, "guarded", nothing)
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match="viser has changed"):
        PageServer("127.0.0.1", 0, "")
    assert _ended(before)


def test_port_in_use_is_an_error_that_names_a_free_one(local):
    """A port that the user chose is taken or refused; nobody is moved to another one unasked."""
    with pytest.raises(ConfigError, match=f"port {local.port} is in use") as error:
        PageServer("127.0.0.1", local.port, "")
    free = int(error.value.fix.split()[-1])
    server = PageServer("127.0.0.1", free, "")
    assert server.port == free
    server.stop()


def test_default_port_in_use_gives_way_to_the_next(local, monkeypatch):
    """Who chose no port gets one that is free."""
    monkeypatch.setattr(web_server, "DEFAULT_PORT", local.port)
    server = PageServer("127.0.0.1", None, "")
    assert server.port > local.port
    assert _status(server)[0] == 200
    server.stop()


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70000), ("127.0.0.1", -1)])
def test_place_where_one_cannot_listen_is_a_config_error(host, port):
    """A wrong host or port is told at once; viser would try a thousand ports and hang."""
    with pytest.raises(ConfigError):
        PageServer(host, port, "")


def test_stop_with_a_client_connected_is_quick_and_frees_the_port(capfd):
    """The server leaves neither threads nor a taken port, nor does viser print."""
    before = set(threading.enumerate())
    server = PageServer("127.0.0.1", 0, "")
    with _socket(server) as connection:
        connection.recv(TIMEOUT_S)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < QUICK_S
    again = PageServer("127.0.0.1", server.port, "")
    again.stop()
    assert _ended(before)
    assert capfd.readouterr() == ("", "")
