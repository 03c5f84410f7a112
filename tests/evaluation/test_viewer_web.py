"""The page without a browser: what is drawn where, what is sent how often, and that widgets and settings agree."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
import types

import mujoco
import numpy as np
import pytest

from mapush.evaluation.episode import Episode, Frame
from mapush.objects import OBJECTS
from mapush.sim.scene import Scene, build_model
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.web import browser_screen as web
from mapush.viewer.web.body_meshes import shape_of
from mapush.viewer.web.browser_scene import WebScene
from mapush.viewer.web.page_server import PageServer
from mapush.viewer.web.panel import Bound
from mapush.viewer.web.panel_text import frame_text, rest_text, reward_curve

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web]

NUM_STEPS = 7
SHAPES = (
    mujoco.mjtGeom.mjGEOM_SPHERE,
    mujoco.mjtGeom.mjGEOM_CAPSULE,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    mujoco.mjtGeom.mjGEOM_CYLINDER,
    mujoco.mjtGeom.mjGEOM_BOX,
)


@pytest.fixture(scope="module")
def model():
    """Return the scene of two robots and a cuboid."""
    return build_model(Scene(2, OBJECTS["cuboid"]))


@pytest.fixture
def server():
    """Serve a page."""
    server = PageServer("127.0.0.1", 0, "")
    yield server
    server.stop()


def _episode(model, number=1, steps=NUM_STEPS, still=False):
    """Return an episode in which everything moves at random, or robots are told to stand still."""
    rng, episode = np.random.default_rng(number), Episode(number)
    for _ in range(steps):
        qpos = (model.key_qpos[0] + 0.1 * rng.normal(size=model.nq)).astype(np.float32)
        commands = np.zeros((2, 3)) if still else rng.uniform(-0.5, 0.5, size=(2, 3))
        goal = rng.normal(size=2).astype(np.float32)
        episode.frames.append(Frame(qpos, goal, commands.astype(np.float32), {"push": 0.5, "ocb": -0.25}))
    return episode


# -- scene -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("follow", [False, True])
def test_scene_has_each_body_where_mujoco_has_it(model, server, follow):
    """In the browser's world, bodies stand to each other as in MuJoCo, and what is looked at is in the middle."""
    scene, episode, data = WebScene(server, model), _episode(model), mujoco.MjData(model)
    for step in range(NUM_STEPS):
        scene.show(episode, step, follow)
    data.qpos[:], data.mocap_pos[0, :2] = episode.frames[-1].qpos, episode.frames[-1].goal
    mujoco.mj_forward(model, data)
    first, last = episode.frames[0], episode.frames[-1]
    middle = last.object[:2] if follow else (first.object[:2] + first.goal) / 2
    assert -scene.root.position[:2] == pytest.approx(middle, abs=1e-6)
    drawn = {model.body(body).name for body in scene.bodies}
    assert {"goal", "object", "robot0/trunk", "robot1/RL_calf"} <= drawn
    for body, handle in scene.bodies.items():
        assert handle.position == pytest.approx(data.xpos[body], abs=1e-5)
        assert handle.wxyz == pytest.approx(data.xquat[body], abs=1e-5)


def test_floor_has_a_line_for_each_metre_of_the_world(model, server, monkeypatch):
    """Both ways, below what lies on it, and within the root, so that it stays where it is when the camera follows."""
    added = {}
    plain = type(server.scene).add_mesh_simple
    monkeypatch.setattr(
        type(server.scene),
        "add_mesh_simple",
        lambda self, name, vertices, faces, **rest: (
            added.update({name: vertices}) or plain(self, name, vertices, faces, **rest)
        ),
    )
    WebScene(server, model)
    corners = added["/scene/floor"].astype(float)
    assert corners[:, 2].max() < 0.0
    for axis in (0, 1):
        ends = corners[np.abs(corners[:, 1 - axis]) == 12.0, axis]  # where lines across this axis end
        assert sorted(set(np.round(ends).tolist())) == list(range(-12, 13))
        assert np.abs(ends - np.round(ends)).max() < 0.01


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.name)
def test_shape_fills_the_box_that_mujoco_gives_it(kind):
    """A mesh has the extent of MuJoCo's geom, is closed, and turns its outside outwards."""
    size = " ".join(map(str, (0.3, 0.2, 0.1)))
    xml = '<mujoco><worldbody><geom type="{}" size="{}"/></worldbody></mujoco>'
    model = mujoco.MjModel.from_xml_string(xml.format(kind.name.replace("mjGEOM_", "").lower(), size))
    shape = shape_of(int(model.geom_type[0]), model.geom_size[0])
    assert shape.bounds[1] == pytest.approx(model.geom_aabb[0, 3:], rel=0.02)
    assert shape.bounds[0] == pytest.approx(-model.geom_aabb[0, 3:], rel=0.02)
    outwards = np.einsum("fi,fi->f", shape.triangles_center, shape.face_normals)
    assert outwards.min() > 0.0


def test_scene_that_is_shown_for_long_keeps_no_more_messages(model, server):
    """What new browsers get is bounded, however many frames there were, with arrows that come and go."""
    scene, kept = WebScene(server, model), []
    for _ in range(2):
        for number in range(1, 6):
            for step in range(NUM_STEPS):
                scene.show(_episode(model, number, still=number % 2 == 0), step)
        kept.append(len(server._websock_server._broadcast_buffer.message_from_id))
    assert kept[1] == kept[0]


# -- screen ----------------------------------------------------------------------------------------------------------


class NotingScene:
    """Notes what it is told to show."""

    def __init__(self, server, model):
        self.shown = []

    def show(self, episode, step, follow):
        """Take a frame."""
        self.shown.append(step)


def test_screen_sends_few_frames_and_always_the_newest(model, monkeypatch, capfd):
    """However fast frames come, at most 25 a second are sent, and the last of them is."""
    monkeypatch.setattr(web, "WebScene", NotingScene)
    screen = web.WebScreen(model, Transport(), port=0)
    episode, steps, shown = _episode(model, steps=400), 0, screen.scene.shown
    start = time.monotonic()
    while time.monotonic() - start < 0.6:
        screen.show(episode, steps % 400, Scoreboard("cuboid"))
        steps += 1
    screen.show(episode, 123, Scoreboard("cuboid"))
    while shown[-1:] != [123] and time.monotonic() - start < 30.0:
        time.sleep(0.02)
    screen.close()
    assert shown[-1] == 123
    assert 3 <= len(shown) <= 25 * (time.monotonic() - start) + 1 < steps
    out = capfd.readouterr().out
    assert out.startswith("watch at http://127.0.0.1:")
    assert "ssh -L" in out


def test_closed_screen_leaves_no_thread(model):
    """All that a screen has started has ended when it is closed."""
    before = set(threading.enumerate())
    screen = web.WebScreen(model, Transport(), port=0)
    screen.show(_episode(model), 0, Scoreboard("cuboid"))
    time.sleep(0.2)
    screen.close()
    end = time.monotonic() + 60.0
    while not set(threading.enumerate()) <= before and time.monotonic() < end:
        time.sleep(0.02)
    assert set(threading.enumerate()) <= before


# -- panel -----------------------------------------------------------------------------------------------------------


class Widget:
    """A widget whose callback runs when the test says so, as viser's thread pool does."""

    def __init__(self, value):
        self._value, self.sent = value, []

    def on_update(self, callback):
        """Take the callback."""
        self.callback = callback

    @property
    def value(self):
        """What the widget shows."""
        return self._value

    @value.setter
    def value(self, value):
        self.sent.append(value)
        self._value = value
        self.callback(types.SimpleNamespace(client=None))

    def move(self, value):
        """Let a user move the widget; the callback is to come."""
        self._value = value


class StrictLock:
    """A lock that fails where a real one would wait for itself."""

    held = False

    def __enter__(self):
        assert not self.held, "an echo"
        self.held = True

    def __exit__(self, *error):
        self.held = False


def test_widget_and_setting_follow_each_other_without_an_echo():
    """A slider that is dragged is never set back, whenever its callbacks run; what others set is sent once."""
    setting, written = {"speed": 1.0}, []

    def write(value):
        written.append(value)
        setting["speed"] = value

    widget = Widget(1.0)
    bound = Bound(widget, lambda: setting["speed"], write, StrictLock())
    by_user = types.SimpleNamespace(client="someone")
    for value in (1.1, 1.2):
        widget.move(value)
        bound.refresh()
    widget.callback(by_user)
    widget.move(1.3)
    bound.refresh()
    widget.callback(by_user)
    widget.callback(by_user)
    bound.refresh()
    assert widget.sent == []
    assert setting["speed"] == 1.3
    setting["speed"] = 4.0
    bound.refresh()
    bound.refresh()
    assert widget.sent == [4.0]
    assert widget.value == 4.0
    assert written == [1.2, 1.3, 1.3]


def test_text_tells_the_truth_about_the_frame(model):
    """Distance, time, rewards, status and totals are those of the frame, the transport and the board."""
    episode, transport, board = _episode(model), Transport(), Scoreboard("cuboid", 7)
    frame, text = episode.frames[3], frame_text(episode, 3, transport, board)
    distance = np.hypot(*(frame.qpos[-7:-5] - frame.goal))
    for part in ("Episode 1", ">live<", ">0.08 s<", f">{distance:.2f} m<"):
        assert part in text
    assert ">paused<" not in text
    transport.paused, transport.replay, board.last = True, 1, "<b>"
    text = frame_text(episode, 3, transport, board)
    assert ">paused<" in text
    assert ">replay<" in text
    assert ">live<" not in text
    assert "&lt;b&gt;" in text
    rest = rest_text(episode, 3, board)
    for part in (">+0.5000<", ">-0.2500<", ">+0.2500<", "Over 0 of 7 episodes", "robot 1"):
        assert part in rest
    assert "nan" not in rest


def test_reward_curve_has_the_rewards_of_the_episode_so_far(model):
    """Each decision counts once in the sum, however many env steps it lasts; the marker is at the step shown."""
    episode = _episode(model)
    first, second = {"push": 0.5, "ocb": -0.25}, {"push": -1.0}
    for step, rewards in enumerate([{}, {}, first, first, first, second, second]):
        episode.frames[step] = dataclasses.replace(episode.frames[step], rewards=rewards)
    text = reward_curve(episode, 3)
    assert "-1.000 to +0.250, sum -0.75" in text
    points = re.search(r'points="([^"]*)"', text)[1].split()
    assert len(points) == 5
    assert points[0] == "100.0,0.0"
    assert points[-1] == "300.0,70.0"
    assert 'x1="150.0" x2="150.0"' in text
    assert "0.1 s" in text


def test_reward_curve_of_an_episode_that_has_just_begun_is_empty(model):
    """Before the first decision has ended, there is no reward."""
    episode = _episode(model, steps=1)
    episode.frames[0] = dataclasses.replace(episode.frames[0], rewards={})
    assert 'points=""' in reward_curve(episode, 0)
