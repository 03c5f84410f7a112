"""MuJoCo's window, on a virtual display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from interrupts import interruptible

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.display]

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
TIMEOUT_S = 300
STAGES = ("watching cuboid", "choosing where to show the episodes", "loading policy and simulator")

_HEAD = """
import os, signal, sys, threading, time
import mapush.env.push, mapush.env.terminations
from mapush.evaluate import main
from mapush.sim.walking import WalkingPolicy
from mapush.viewer import native
from walkers import untrained_walker

WalkingPolicy.load = classmethod(lambda cls, **_: untrained_walker())
mapush.env.push.MAX_EPISODE_LENGTH = mapush.env.terminations.MAX_EPISODE_LENGTH = 40
drawn, windows = [], []
draw, init = native.NativeWindow._draw, native.NativeWindow.__init__

def count(window, episode, step, board):
    draw(window, episode, step, board)
    drawn.append((episode.number, step, window._transport.paused, window._viewer.user_scn.ngeom))

def keep(window, model, transport):
    init(window, model, transport)
    windows.append(window)

native.NativeWindow._draw, native.NativeWindow.__init__ = count, keep

def until(condition):
    end = time.monotonic() + 60.0
    while not condition():
        time.sleep(0.02)
        if time.monotonic() > end:
            print("waited in vain, last drawn:", drawn[-1:], file=sys.stderr, flush=True)
            os._exit(3)

def close():
    with native._Simulate.in_use:
        windows[0]._viewer.close()

def standing():
    return len(drawn) > 1 and drawn[-1] == drawn[-2] and drawn[-1][2]

def view(user, *words):
    threading.Thread(target=user, daemon=True).start()
    return main(["cuboid", "--untrained", "--mode", "viewer", *words])
"""


@pytest.fixture(scope="module")
def display():
    """Return the name of a display that only this test uses."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name = ":" + pipe.readline().strip()
    yield name
    server.terminate()
    server.wait()


def _run(script, **changes):
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")]), **changes)
    env.pop("MUJOCO_GL", None)
    words = [sys.executable, "-c", _HEAD + script]
    with interruptible():
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)


def test_window_shows_episodes_and_obeys_its_keys(display):
    """The window opens where there is a display, draws the overlay, and its keys work."""
    done = _run(
        """
def user():
    until(lambda: len(drawn) > 2)
    key, transport = windows[0].on_key, windows[0]._transport
    key(ord(" "))
    until(standing)
    step = drawn[-1][1]
    key(262)
    until(lambda: standing() and drawn[-1][1] == step + 1)
    key(ord("]"))
    key(ord("]"))
    assert transport.follow == 2
    key(ord("["))
    assert transport.follow == 1
    key(ord("="))
    assert transport.speed == 2.0
    key(ord("-"))
    key(333)
    assert transport.speed == 0.5
    key(334)
    number = drawn[-1][0]
    key(ord("N"))
    until(lambda: drawn[-1][0] == number + 1)
    key(ord("P"))
    until(lambda: transport.replay == number)
    key(ord(" "))
    until(lambda: not drawn[-1][2])
    assert max(shapes for *_, shapes in drawn) > 4
    print("all keys work")
    close()

sys.exit(view(user, "--num-envs", "3"))
""",
        DISPLAY=display,
    )
    assert done.returncode == 0, done.stderr
    assert "viewer native" in done.stdout, done.stdout + done.stderr
    assert "all keys work" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("way", ["close()", "windows[0]._transport.quit()", "interrupt()"])
def test_window_is_closed_cleanly_however_it_ends(display, way):
    """Closed by the user, by `quit` or by Ctrl-C: no crash, no hang, no message, exit code 0."""
    done = _run(
        f"""
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def user():
    until(lambda: len(drawn) > 3)
    {way}

sys.exit(view(user, "--viewer", "native"))
""",
        DISPLAY=display,
    )
    said = [line for line in done.stderr.splitlines() if line not in STAGES]
    assert (done.returncode, said) == (0, []), done.stdout


def test_window_on_a_display_that_refuses_is_one_clear_message():
    """The program reports which display refused the window, names the alternative, and does not hang."""
    done = _run("sys.exit(main(['cuboid', '--untrained', '--mode', 'viewer', '--viewer', 'native']))", DISPLAY=":4021")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no window can be opened" in done.stderr
    assert ":4021" in done.stderr
    assert "--viewer web" in done.stderr
