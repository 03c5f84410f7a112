"""The page in a real browser: what is seen, what the controls do, and that several browsers agree."""

from __future__ import annotations

import dataclasses
import io
import time

import numpy as np
import pytest
from browsers import enter, field, open_browser, press, settle, visit, wait_for
from own_things import write_stl
from PIL import Image

from mapush.evaluation.episode import Episode, Frame
from mapush.objects import OBJECTS, Part, PushObject
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

    def __init__(self, item=OBJECTS["cuboid"]):
        self.model = build_model(Scene(2, item))
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


FLOOR = ((80, 91, 103), (92, 103, 115)), ((93, 104, 116), (108, 119, 132))  # two shades, as MuJoCo draws them
WOOD = (223, 189, 129), (247, 209, 154)  # the object seen from above; (235, 199, 139) in films
SLANTED_WOOD = (170, 120, 50), (250, 215, 165)  # its other faces, too
ORANGE, BLUE, RED = ((180, 60, 0), (255, 170, 90)), ((0, 40, 150), (90, 130, 255)), ((140, 30, 30), (255, 115, 110))


def test_page_shows_the_robots_the_goal_and_what_moves(browser, stage):
    """The canvas has the robots, and the floor in the colours of films, and changes when they have moved."""
    page = visit(browser, stage.screen.address)
    assert _soon(lambda: all(_share(_picture(page), *colour) > 2e-4 for colour in (ORANGE, BLUE, RED)))
    before = _picture_at_rest(page)
    assert before.std() > 15.0
    assert all(_share(before, *shade) > 0.2 for shade in FLOOR)
    assert _share(before, *WOOD) > 0.01
    stage.show(shift=1.0)
    assert _soon(lambda: np.abs(_picture(page) - before).mean() > 1.0)
    stage.show()
    assert _soon(lambda: _share(np.abs(_picture(page) - before), 0, 30) > 0.97)
    assert page.locator("svg[class*=share]").count() == 0
    page.context.close()


def test_page_shows_a_mesh_of_the_users_own(browser, tmp_path):
    """An object that is a mesh from a file is drawn where it is, in the colour of films."""
    wedge = Part.mesh(write_stl(tmp_path / "wedge.stl"), mass=3.0, scale=0.004, offset=(-0.6, -0.8, -0.5))
    stage = Stage(PushObject(name="wedge", parts=(wedge,), num_agents=2))
    try:
        stage.show()
        page = visit(browser, stage.screen.address)
        assert _soon(lambda: _share(_picture(page), *SLANTED_WOOD) > 0.01)
        with_it = _picture_at_rest(page)
        stage.show(shift=30.0)
        assert _soon(lambda: _share(_picture(page), *SLANTED_WOOD) < 0.1 * _share(with_it, *SLANTED_WOOD))
        page.context.close()
    finally:
        stage.screen.close()


def test_panel_tells_of_episode_outcome_rewards_and_totals(browser, stage):
    """Everything that the user asked to see is text in the page, and follows what is shown; the tab has its title."""
    page = visit(browser, stage.screen.address)
    page.wait_for_function("document.title === 'team'")
    page.get_by_text("team", exact=True).wait_for()
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


CONTROLS = ("Pause", "Previous", "Step", "Next", "Restart from seed")


def _places(page):
    """Return where the controls are."""
    places = [page.get_by_role("button", name=name, exact=True).bounding_box() for name in CONTROLS]
    places += [field(page, name).bounding_box() for name in ("Time [s]", "Speed", "Seed")]
    return places


def test_controls_stay_in_place_over_the_start_of_an_episode(browser, stage):
    """Whatever is said of an episode and its rewards, what a user wants to press does not move."""
    page = visit(browser, stage.screen.address)
    wait_for(page, "episode", "Episode 4")
    wait_for(page, "sum", "+0.0078")
    before = _places(page)
    stage.episode.outcome = OUTCOME
    stage.board.add(stage.episode)
    wait_for(page, "last episode", AFTER["last episode"])
    assert _places(page) == before
    stage.episode = Episode(1234567)  # has no rewards yet
    stage.show()
    last = len(stage.episode.frames) - 1
    stage.episode.frames[last] = dataclasses.replace(stage.episode.frames[last], rewards={})
    wait_for(page, "episode", "Episode 1234567")
    page.locator('[data-name="sum"]').wait_for(state="detached")
    assert _places(page) == before
    stage.episode.frames[last] = dataclasses.replace(
        stage.episode.frames[last], rewards={f"term{number}": 0.1 for number in range(12)}
    )
    stage.screen.show(stage.episode, last, stage.board)
    wait_for(page, "sum", "+1.2000")
    assert _places(page) == before
    page.context.close()


def test_keys_do_what_the_buttons_do(browser, stage):
    """Also right after a button was clicked, which would take the space bar for itself, and never while typing."""
    page, transport = visit(browser, stage.screen.address), stage.transport
    wait_for(page, "episode", "Episode 4")
    press(page, "Pause")
    wait_for(page, "status", "paused")
    page.keyboard.press("Space")
    assert _soon(lambda: not transport.paused)
    page.keyboard.press("Space")
    assert _soon(lambda: transport.paused)
    keys = {"ArrowRight": Wish.STEP, "ArrowLeft": Wish.BACK, "ArrowDown": Wish.NEXT, "ArrowUp": Wish.PREVIOUS}
    for key, wish in keys.items():
        page.keyboard.press(key)
        assert transport.take(TIMEOUT_S) == wish
    field(page, "Seed").click()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert transport.take(0.2) is None
    page.context.close()


def test_keys_drive_the_robot_that_is_by_hand(browser, stage):
    """W and D walk ahead and turn right, X stops; without a driven robot they do not."""
    page, transport = visit(browser, stage.screen.address), stage.transport
    wait_for(page, "episode", "Episode 4")
    page.get_by_text("Drive by hand").click()
    page.get_by_label("By hand", exact=True).wait_for()
    page.keyboard.press("w")
    settle(page)
    assert transport.command == (0.0, 0.0, 0.0)
    transport.teleop = 1
    page.get_by_role("button", name="W", exact=True).wait_for()
    for key, command in (("w", (0.25, 0.0, 0.0)), ("d", (0.25, 0.0, -0.25)), ("x", (0.0, 0.0, 0.0))):
        page.keyboard.press(key)
        assert _soon(lambda command=command: transport.command == command), transport.command
    page.context.close()


def test_scrubber_follows_the_episode_and_goes_back_in_it(browser, stage):
    """It shows the time of the frame; what the user sets is an earlier frame, while time stands still."""
    page, transport = visit(browser, stage.screen.address), stage.transport
    for _ in range(9):
        stage.show()
    assert _soon(lambda: field(page, "Time [s]").input_value() == "0.2")
    enter(page, "Time [s]", 0.1)
    assert _soon(lambda: transport.scrubbed == 4)
    assert transport.paused
    page.locator('[data-name="reward curve"] polyline').wait_for(state="attached")
    page.context.close()


def test_page_follows_the_dark_mode_of_the_system(browser, stage):
    """Dark where the system is dark, also when it changes; the scene looks the same."""
    page = browser.new_context(viewport={"width": 800, "height": 600}, color_scheme="dark").new_page()
    page.goto(stage.screen.address)
    page.wait_for_url("**/?darkMode=&fixedDpr=0.5", timeout=1000 * TIMEOUT_S)
    page.locator("html[data-mantine-color-scheme=dark]").wait_for(timeout=1000 * TIMEOUT_S)
    wait_for(page, "episode", "Episode 4")
    settle(page)
    page.emulate_media(color_scheme="light")
    page.wait_for_url("**/?fixedDpr=0.5", timeout=1000 * TIMEOUT_S)
    page.locator("html[data-mantine-color-scheme=light]").wait_for(timeout=1000 * TIMEOUT_S)
    page.context.close()
