"""The viewer: what its window shows on a virtual display, and what keys and mouse do in it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from screens import Screen, can_type, decoded_png

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
TIMEOUT_S = 240

WIDTH, HEIGHT = 320, 240
FOCAL = WIDTH / 2  # of 90 degrees
HALF = 0.25  # half a side of the boxes [m]
PLACES = ((2.25, 0.5, 0.0), (2.25, -0.25, 0.25), (2.25, 0.75, -0.25))

PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from isaac_standin.api import gymapi, gymutil
from screens import Hands, can_type, screen_pixels

folder, screen, places = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
gym, vec = gymapi.acquire_gym(), gymapi.Vec3
params = gymapi.SimParams()
params.up_axis, params.gravity = gymapi.UP_AXIS_Z, vec(0, 0, 0)
sim = gym.create_sim(0, 0, gymapi.SIM_PHYSX, params)
props = gymapi.CameraProperties()
props.width, props.height = 320, 240
viewer = gym.create_viewer(sim, props)  # many programs open it before there is anything to see
box = gym.create_box(sim, 0.5, 0.5, 0.5)
envs = []
for index, place in enumerate(places):
    env = gym.create_env(sim, vec(-3, 0, 0), vec(3, 0, 0), 5)
    gym.create_actor(env, box, gymapi.Transform(vec(*place)))
    color = [0, 0, 0]
    color[index] = 1
    gym.set_rigid_body_color(env, 0, 0, gymapi.MESH_VISUAL, vec(*color))
    envs.append(env)
camera = gym.create_camera_sensor(envs[0], props)
gym.set_camera_location(camera, envs[0], vec(0, 0, 0), vec(1, 0, 0))
gym.prepare_sim(sim)
found = {}

def show(name):
    for _ in range(2):
        gym.simulate(sim)
        gym.step_graphics(sim)
        gym.draw_viewer(viewer, sim, True)
        time.sleep(0.1)
    np.save(folder / name, screen_pixels(screen)[:240, :320])

def events(wanted):
    got, end = [], time.monotonic() + 10
    while len(got) < wanted and time.monotonic() < end:
        gym.poll_viewer_events(viewer)
        got += [(event.action, event.value) for event in gym.query_viewer_action_events(viewer)]
        time.sleep(0.02)
    return got

def numbers(pose):
    return [pose.p.x, pose.p.y, pose.p.z]

gym.viewer_camera_look_at(viewer, envs[1], vec(0, 0, 0), vec(1, 0, 0))
show("env1")
size = gym.get_viewer_size(viewer)
found["size"] = [size.x, size.y]
gym.write_viewer_image_to_file(viewer, str(folder / "env1.png"))
found["in env 1"] = numbers(gym.get_viewer_camera_transform(viewer, envs[1]))
found["in env 0"] = numbers(gym.get_viewer_camera_transform(viewer, envs[0]))
found["in the world"] = numbers(gym.get_viewer_camera_transform(viewer, None))
np.save(folder / "camera", gym.get_camera_image(sim, envs[0], camera, gymapi.IMAGE_COLOR).reshape(240, 320, 4))
show("after the camera")

ends = np.array([[2, -1, 1, 2, 1, 1]], dtype=np.float32)
gym.add_lines(viewer, envs[1], 1, ends, np.array([[1, 1, 0]], dtype=np.float32))
show("line")
gym.clear_lines(viewer)
gymutil.draw_line(vec(2, -1, 1), vec(2, 1, 1), vec(1, 1, 0), gym, viewer, envs[0])  # in an env that is not shown
show("no line")

gym.subscribe_viewer_keyboard_event(viewer, gymapi.KEY_V, "toggle")
gym.subscribe_viewer_keyboard_event(viewer, gymapi.KEY_ESCAPE, "quit")
gym.subscribe_viewer_mouse_event(viewer, gymapi.MOUSE_LEFT_BUTTON, "shoot")
gym.subscribe_viewer_mouse_event(viewer, gymapi.MOUSE_SCROLL_UP, "closer")
if can_type():
    hands = Hands()
    hands.move(200, 60)
    hands.key(ord("w"))
    hands.key(ord("v"))
    hands.key(0xFF1B)  # escape
    found["keys"] = events(4)
    hands.button(1, True)
    hands.button(1, False)
    found["clicks"] = events(2)
    mouse = gym.get_viewer_mouse_position(viewer)
    found["mouse"] = [mouse.x, mouse.y]
    hands.button(1, True)
    hands.move(260, 60)
    hands.button(1, False)
    events(2)
    found["turned"] = numbers(gym.get_viewer_camera_transform(viewer, envs[1]))
    hands.button(4, True)
    hands.button(4, False)
    found["wheel"] = events(1)
    found["closer"] = numbers(gym.get_viewer_camera_transform(viewer, envs[1]))
    gym.viewer_camera_look_at(viewer, envs[1], vec(0, 0, 0), vec(1, 0, 0))
    hands.key(ord("]"))
    hands.key(ord("v"))
    events(2)
else:
    for action in (1, 0):
        viewer.view.window._on_key(None, ord("V"), 0, action, 0)
    found["keys"] = events(2)
    viewer.view.window._on_key(None, ord("]"), 0, 1, 0)
show("next env")

import glfw
found["closed"] = [gym.query_viewer_has_closed(viewer)]
glfw.set_window_should_close(viewer.view.window._handle, True)
found["closed"].append(gym.query_viewer_has_closed(viewer))
gym.draw_viewer(viewer, sim, True)
gym.destroy_viewer(viewer)
found["closed"].append(gym.query_viewer_has_closed(viewer))
(folder / "found.json").write_text(json.dumps(found))
"""


class Shown:
    """What the program found, and what the display showed."""

    def __init__(self, folder):
        self.folder = folder
        self.found = json.loads((folder / "found.json").read_text())

    def pixels(self, name):
        """Return what the window showed at a moment of this name."""
        return np.load(self.folder / f"{name}.npy")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Run the program once, on a display of its own."""
    folder = tmp_path_factory.mktemp("viewer")
    screen = Screen(folder)
    try:
        env = dict(os.environ, DISPLAY=screen.name, PYTHONPATH=os.pathsep.join([str(HELPERS), *sys.path]))
        env.pop("MUJOCO_GL", None)
        words = [sys.executable, "-c", PROGRAM, str(folder), str(screen.file), json.dumps(PLACES)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    finally:
        screen.close()
    assert (done.returncode, done.stderr) == (0, "")
    return Shown(folder)


def seen(x, y, z):
    """Return column and row of a point, as a camera at the origin sees it."""
    return WIDTH / 2 - FOCAL * y / x, HEIGHT / 2 - FOCAL * z / x


def extent_of(pixels, channel):
    """Return the columns and rows where a picture has nothing but this of red, green and blue."""
    others = np.delete(pixels, channel, axis=2).max(axis=2)
    rows, columns = np.nonzero((pixels[:, :, channel] > 90) & (others < 30))
    return [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]


def front(x, y, z):
    """Return the columns and rows of the front of a box."""
    left, top = seen(x - HALF, y + HALF, z + HALF)
    right, bottom = seen(x - HALF, y - HALF, z - HALF)
    return [left, right, top, bottom]


def is_yellow(pixels):
    """Return where a picture is yellow."""
    return (pixels[:, :, :2].min(axis=2) > 150) & (pixels[:, :, 2] < 60)


@pytest.mark.display
def test_the_window_shows_the_env_that_the_camera_looks_at(shown):
    """The box of env 1 is on the display where a pinhole camera puts it; a camera's image changes nothing of that."""
    left, right, top, bottom = front(*PLACES[1])
    assert shown.found["size"] == [WIDTH, HEIGHT]
    for moment in ("env1", "after the camera"):
        columns = extent_of(shown.pixels(moment), 1)
        assert columns[1] == pytest.approx(right, abs=1.0)
        assert columns[2] == pytest.approx(top, abs=1.0)


@pytest.mark.display
def test_cameras_work_beside_the_viewer(shown):
    """A camera in env 0 sees its red box while the viewer shows env 1."""
    left, right, top, bottom = extent_of(shown.pixels("camera")[:, :, :3], 0)
    expected = front(*PLACES[0])
    assert [left, top, bottom] == pytest.approx([expected[0], *expected[2:]], abs=1.0)
    assert right > left


@pytest.mark.display
def test_the_written_picture_is_the_one_on_the_display(shown):
    """`write_viewer_image_to_file` writes the very pixels."""
    header, rows = decoded_png(shown.folder / "env1.png")
    assert header == (WIDTH, HEIGHT, 8, 2)
    apart = np.abs(rows.reshape(HEIGHT, WIDTH, 3).astype(int) - shown.pixels("env1"))
    assert apart.max() <= 2


@pytest.mark.display
def test_camera_transforms_are_relative_to_the_env(shown):
    """The envs are 6 m apart along x, and the camera is at the origin of env 1."""
    assert shown.found["in env 1"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert shown.found["in env 0"] == pytest.approx([6, 0, 0], abs=1e-6)
    assert shown.found["in the world"] == pytest.approx([6, 0, 0], abs=1e-6)


@pytest.mark.display
def test_lines_are_shown_in_their_env_until_they_are_cleared(shown):
    """A yellow line is at the row of the formula; none is after `clear_lines`, nor one of a different env."""
    assert not is_yellow(shown.pixels("env1")).any()
    rows, columns = np.nonzero(is_yellow(shown.pixels("line")))
    _, row = seen(2.0, 0.0, 1.0)
    assert rows.mean() == pytest.approx(row, abs=1.5)
    assert columns.min() == pytest.approx(seen(2.0, 1.0, 1.0)[0], abs=2.0)
    assert columns.max() == pytest.approx(seen(2.0, -1.0, 1.0)[0], abs=2.0)
    assert not is_yellow(shown.pixels("no line")).any()


@pytest.mark.display
def test_keys_become_the_actions_that_were_subscribed(shown):
    """Keys that were pressed and released, in their order; W was not subscribed."""
    keys = shown.found["keys"]
    assert keys[:2] == [["toggle", 1.0], ["toggle", 0.0]]
    if can_type():
        assert keys[2:] == [["quit", 1.0], ["quit", 0.0]]


@pytest.mark.display
@pytest.mark.skipif(not can_type(), reason="no libXtst, which moves the mouse of a display")
def test_the_mouse_reports_and_moves_the_view(shown):
    """Clicks and the wheel become actions; a drag turns the view around its target, and the wheel comes closer."""
    assert shown.found["clicks"] == [["shoot", 1.0], ["shoot", 0.0]]
    assert shown.found["mouse"] == pytest.approx([200 / WIDTH, 60 / HEIGHT])
    assert shown.found["wheel"] == [["closer", 1.0]]
    target = np.array([1.0, 0.0, 0.0])
    turned = np.array(shown.found["turned"]) - target
    angle = math.pi * 60 / HEIGHT  # the drag of 60 pixels to the right turns the camera clockwise from above
    assert turned == pytest.approx([-math.cos(angle), math.sin(angle), 0.0], abs=1e-5)
    assert np.array(shown.found["closer"]) - target == pytest.approx(0.9 * turned, abs=1e-5)


@pytest.mark.display
def test_a_key_shows_the_next_env(shown):
    """After ], the blue box of env 2 is visible, and no other."""
    pixels = shown.pixels("next env")
    left, _, _, bottom = front(*PLACES[2])
    columns = extent_of(pixels, 2)
    assert columns[0] == pytest.approx(left, abs=1.0)
    assert columns[3] == pytest.approx(bottom, abs=1.0)
    assert not ((pixels[:, :, 1] > 90) & (pixels[:, :, [0, 2]].max(axis=2) < 30)).any()


@pytest.mark.display
def test_a_closed_window_is_reported(shown):
    """It is open, then closed by the user, then destroyed; drawing in between does nothing."""
    assert shown.found["closed"] == [False, True, True]


@pytest.mark.display
@pytest.mark.render
def test_cameras_do_without_a_display_that_has_no_opengl(tmp_path):
    """They are drawn by EGL or OSMesa then; a viewer is refused."""
    program = """
from isaac_standin.errors import StandinError
from isaac_standin.viewing.gl import open_context
from isaac_standin.viewing.window import Window
context = open_context()
print(type(context).__module__)
try:
    Window(64, 48)
except StandinError as error:
    print(error.what)
context.free()
"""
    screen = Screen(tmp_path, "-extension", "GLX")
    try:
        env = dict(os.environ, DISPLAY=screen.name, MUJOCO_GL="")
        env.pop("PYOPENGL_PLATFORM", None)
        words = [sys.executable, "-c", program]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    finally:
        screen.close()
    module, refusal = done.stdout.splitlines()
    assert module in ("mujoco.egl", "mujoco.osmesa")
    assert refusal == "the viewer cannot open a window"
