"""The page in a real browser: what is seen, what the controls do, and that several browsers agree."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from browsers import enter, field, open_browser, press, settle, visit, wait_for
from PIL import Image

from mapush.evaluation.episode import Episode, Frame
from mapush.objects import OBJECTS
from mapush.sim.scene import Scene, build_model
from mapush.viewer.playback_controls import Transport, Wish
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.web.browser_screen import WebScreen

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web, pytest.mark.browser]

TIMEOUT_S = 60.0
REST_MS = 500
NUM_ENVS = 5
REWARDS = {"target": 0.0123, "approach": -0.0045}
SUCCESS = dict(success=1.0, collision=0.0, fall=0.0, timeout=0.0, finished_time=6.0)
OUTCOME = dict(SUCCESS, length=300.0, collision_degree=0.125, collaboration=0.625)
BEFORE = {"sum": "+0.0078", "object to goal": "1.58 m", "last episode": "none yet"}
BEFORE.update({"success rate": "–", "finished time": "–", "collision degree": "–", "collaboration degree": "–"})
AFTER = {"last episode": "success after 0.0 s", "success rate": "100%", "finished time": "6.0 s"}
AFTER.update({"collision degree": "0.125", "collaboration degree": "0.625"})


class CountingTransport(Transport):
    """Counts how often each setting is written."""

    def __setattr__(self, name, value):
        writes = self.__dict__.setdefault("writes", {})
        writes[name] = writes.get(name, 0) + 1
        super().__setattr__(name, value)


class Stage:
    """A page, and what is shown on it."""

    def __init__(self):
        self.model = build_model(Scene(2, OBJECTS["cuboid"]))
        self.transport = CountingTransport(NUM_ENVS, 2, 3)
        self.board = Scoreboard("cuboid", 7)
        self.episode = Episode(4)
        self.screen = WebScreen(self.model, self.transport, port=0, title="team")

    def show(self, shift=0.0):
        """Show a frame more, all of it shifted by `shift` [m] to the right."""
        qpos = self.model.key_qpos[0].astype(np.float32)
        qpos[[0, 19, 38]] += shift
        commands = np.array([[0.5, 0.0, 0.2], [0.4, -0.3, 0.0]], np.float32)
        self.episode.frames.append(Frame(qpos, np.array([1.5, 0.5], np.float32), commands, REWARDS))
        self.screen.show(self.episode, len(self.episode.frames) - 1, self.board)


@pytest.fixture(scope="module")
def browser():
    """Run a browser."""
    with open_browser() as opened:
        yield opened


@pytest.fixture
def stage():
    """Serve a page."""
    stage = Stage()
    stage.show()
    yield stage
    stage.screen.close()


def _soon(condition):
    end = time.monotonic() + TIMEOUT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def _picture(page):
    image = Image.open(io.BytesIO(page.screenshot()))
    canvas = page.locator("canvas").first.bounding_box()
    return np.asarray(image.convert("RGB"), dtype=float)[:, : int(canvas["width"])]


def _picture_at_rest(page):
    """Wait until two pictures in a row are nearly the same: all parts of the scene are drawn; return the last."""
    pictures = [_picture(page)]

    def same():
        page.wait_for_timeout(REST_MS)
        pictures.append(_picture(page))
        return _share(np.abs(pictures[-1] - pictures[-2]), 0, 30) > 0.999

    assert _soon(same)
    return pictures[-1]


def _share(picture, low, high):
    """Return which share of the pixels lies between two colours."""
    return float(np.all((picture >= low) & (picture <= high), axis=-1).mean())


ORANGE, BLUE, RED = ((180, 60, 0), (255, 170, 90)), ((0, 40, 150), (90, 130, 255)), ((200, 60, 40), (255, 160, 140))


def test_page_shows_the_robots_the_goal_and_what_moves(browser, stage):
    """The canvas has both robots in their colours and the goal, and another picture when they have moved."""
    page = visit(browser, stage.screen.address)
    assert _soon(lambda: all(_share(_picture(page), *colour) > 2e-4 for colour in (ORANGE, BLUE, RED)))
    before = _picture_at_rest(page)
    assert before.std() > 15.0
    stage.show(shift=1.0)
    assert _soon(lambda: np.abs(_picture(page) - before).mean() > 1.0)
    stage.show()
    assert _soon(lambda: _share(np.abs(_picture(page) - before), 0, 30) > 0.97)
    assert page.locator("svg[class*=share]").count() == 0
    page.context.close()


def test_panel_tells_of_episode_outcome_rewards_and_totals(browser, stage):
    """Everything that the user asked to see is text in the page, and follows what is shown."""
    page = visit(browser, stage.screen.address)
    wait_for(page, "episode", "Episode 4")
    for name, text in dict(BEFORE, time="0.02 s", status="live", target="+0.0123", approach="-0.0045").items():
        wait_for(page, name, text)
    stage.episode.outcome = OUTCOME
    stage.board.add(stage.episode)
    stage.show(shift=0.5)
    for name, text in AFTER.items():
        wait_for(page, name, text)
    for status in ("live", "success"):
        wait_for(page, "status", status)
    page.get_by_text("Over 1 of 7 episodes").wait_for()
    stage.transport.replay = 4
    wait_for(page, "status", "replay")
    page.context.close()


def test_controls_ask_the_player_for_what_they_say(browser, stage):
    """Buttons, sliders and fields reach the transport, and each change is written once: nothing echoes."""
    page, transport = visit(browser, stage.screen.address), stage.transport
    press(page, "Pause")
    wait_for(page, "status", "paused")
    press(page, "Resume")
    assert _soon(lambda: not transport.paused)
    for button, wish in (("Next", Wish.NEXT), ("Previous", Wish.PREVIOUS), ("Step", Wish.STEP)):
        press(page, button)
        assert transport.take(TIMEOUT_S) == wish
    transport.writes.clear()
    enter(page, "Speed", 2.5)
    assert _soon(lambda: transport.speed == 2.5)
    enter(page, "Env", 3)
    assert transport.take(TIMEOUT_S) == Wish.FOLLOW
    assert transport.follow == 3
    enter(page, "Seed", 12)
    settle(page)
    press(page, "Restart from seed")
    assert transport.take(TIMEOUT_S) == Wish.RESEED
    assert transport.seed == 12
    settle(page)
    assert [transport.writes.get(name) for name in ("speed", "_follow", "seed")] == [1, 1, 1]
    page.context.close()


def test_robot_driven_by_hand_gets_the_commands_of_the_sliders(browser, stage):
    """One robot is taken from the policy, driven, halted and given back."""
    page, transport = visit(browser, stage.screen.address), stage.transport
    page.get_by_text("Drive by hand").click()
    page.get_by_label("By hand", exact=True).wait_for()
    page.get_by_text("Stand still").wait_for(state="hidden")
    page.get_by_label("By hand", exact=True).click()
    page.get_by_role("option", name="robot 1").click()
    assert _soon(lambda: transport.teleop == 1)
    for axis, (label, value) in enumerate((("Forward [m/s]", 0.4), ("Left [m/s]", -0.1), ("Turn left [rad/s]", 9.0))):
        enter(page, label, value)
        assert _soon(lambda axis=axis, value=value: transport.command[axis] == min(value, 0.5))
    assert transport.command == (0.4, -0.1, 0.5)
    press(page, "Stand still")
    assert _soon(lambda: transport.command == (0.0, 0.0, 0.0))
    assert _soon(lambda: field(page, "Forward [m/s]").input_value() == "0")
    page.get_by_label("By hand", exact=True).click()
    page.get_by_role("option", name="no robot").click()
    assert _soon(lambda: transport.teleop is None)
    page.context.close()


def test_two_browsers_and_a_key_see_the_same_controls(browser, stage):
    """What one browser, or something else, changes is seen in the other; one may leave, and nothing stops."""
    one, other = (visit(browser, stage.screen.address) for _ in range(2))
    press(one, "Pause")
    wait_for(other, "status", "paused")
    other.get_by_role("button", name="Resume").wait_for()
    enter(one, "Speed", 0.5)
    assert _soon(lambda: field(other, "Speed").input_value() == "0.5")
    stage.transport.speed, stage.transport.teleop, stage.transport.paused = 4.0, 0, False
    for page in (one, other):
        assert _soon(lambda page=page: field(page, "Speed").input_value() == "4")
        page.get_by_role("button", name="Pause").wait_for()
        assert _soon(lambda page=page: page.get_by_label("By hand", exact=True).input_value() == "robot 0")
    one.context.close()
    for shift in (0.2, 0.4):
        stage.show(shift)
    wait_for(other, "object to goal", "1.21 m")
    other.context.close()


def test_camera_that_follows_keeps_the_object_in_the_middle(browser, stage):
    """Without the box ticked, what moves far leaves the goal in the picture behind; with it, the goal is left."""
    page = visit(browser, stage.screen.address)
    stage.show(shift=20.0)
    assert _soon(lambda: _share(_picture(page), *RED) > 5e-3)
    page.get_by_label("Camera follows").click()
    assert _soon(lambda: page.get_by_label("Camera follows").is_checked())
    settle(page)
    stage.show(shift=20.0)
    assert _soon(lambda: _share(_picture(page), *RED) < 1e-3 and _share(_picture(page), *BLUE) > 2e-4)
    page.context.close()


def test_page_drawn_without_a_gpu_has_half_the_resolution(browser, stage):
    """The browser of the tests has none: the page opens itself again, once, and keeps what its address held."""
    page = browser.new_context(viewport={"width": 800, "height": 600}).new_page()
    opened = []
    page.on("load", lambda loaded: opened.append(loaded.url))
    page.goto(stage.screen.address + "?kept=1")
    page.wait_for_url("**/?kept=1&fixedDpr=0.5", timeout=1000 * TIMEOUT_S)
    wait_for(page, "episode", "Episode 4")
    sizes = "() => { const one = document.querySelector('canvas[data-engine]'); return [one.width, one.clientWidth] }"
    assert _soon(lambda: 2 * page.evaluate(sizes)[0] == page.evaluate(sizes)[1] > 0)
    settle(page)
    assert len(opened) <= 2
    page.context.close()
