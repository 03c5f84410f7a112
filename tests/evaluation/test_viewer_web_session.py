"""A whole session, as a person has it: start the program, watch, pause, go on, leave, come back, and end it."""

from __future__ import annotations

import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from browsers import enter, open_browser, press, visit, wait_for, wait_until_still
from interrupts import interruptible

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web, pytest.mark.browser]

COMMAND = [sys.executable, "-m", "mapush.evaluate", "cuboid", "--untrained", "--mode", "viewer", "--viewer", "web"]
START_S, END_S = 180.0, 60.0
ENDING = re.compile("(success|collision|fall|timeout) after")
LOOK_S = 1.0


class Session:
    """The program, and the lines that it prints."""

    def __init__(self, *arguments):
        pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with interruptible():
            self.process = subprocess.Popen([*COMMAND, *arguments], **pipe)
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=lambda: list(map(self.lines.put, self.process.stdout)), daemon=True).start()

    def line(self, pattern):
        """Return the first match of `pattern` in what is printed from now on."""
        end = time.monotonic() + START_S
        while True:
            found = re.search(pattern, self.lines.get(timeout=end - time.monotonic()))
            if found:
                return found


@pytest.fixture
def start():
    """Return what starts a session; those that still run at the end are killed."""
    sessions = []

    def start(*arguments):
        sessions.append(Session(*arguments))
        return sessions[-1]

    yield start
    for session in sessions:
        session.process.kill()
        session.process.wait()
        session.process.stdout.close()


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.slow
def test_session_is_watched_paused_advanced_left_and_ended(start):
    """Time goes on and stands still as told, Next starts an episode, outcomes are told, and Ctrl-C alone ends it."""
    port = _free_port()
    session = start("--port", str(port))
    address = session.line("watch at (http://.*)")[1]
    assert address == f"http://127.0.0.1:{port}/"
    assert f"ssh -L {port}:127.0.0.1:{port}" in session.line("from another machine.*")[0]
    with open_browser() as browser:
        page = visit(browser, address)
        wait_for(page, "episode", "Episode 1")
        press(page, "Pause")
        wait_for(page, "status", "paused")
        wait_until_still(page, "time", LOOK_S)
        press(page, "Next")
        wait_for(page, "episode", "Episode 2")
        press(page, "Resume")
        page.get_by_role("button", name="Pause").wait_for()
        enter(page, "Speed", 8)
        wait_for(page, "last episode", ENDING)
        other = visit(browser, address)
        page.context.close()
        enter(other, "Speed", 0.5)  # so that the replay lasts
        press(other, "Previous")
        wait_for(other, "status", "replay")
        other.context.close()
        time.sleep(LOOK_S)
        assert session.process.poll() is None
        again = visit(browser, address)
        wait_for(again, "last episode", ENDING)
    session.process.send_signal(signal.SIGINT)
    assert session.process.wait(END_S) == 0


def test_session_without_a_browser_ends_at_ctrl_c(start):
    """Nobody has to watch, and nothing hangs."""
    session = start()
    port = int(session.line(r"watch at http://127\.0\.0\.1:(\d+)/")[1])
    time.sleep(LOOK_S)
    session.process.send_signal(signal.SIGINT)
    assert session.process.wait(END_S) == 0
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_session_on_a_port_in_use_is_one_message(start):
    """The program ends at once, and names a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        session = start("--port", str(port))
        session.line(f"ConfigError: port {port} is in use")
        assert re.match(r"--port \d+", session.line(r"fix +(.*)")[1])
        assert session.process.wait(END_S) == 2
