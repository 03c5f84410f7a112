"""An episode as an HTML page: one file that a browser plays without a network."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from browsers import open_browser, settle
from episodes import walking_episode

from mapush.errors import ConfigError, MapushError
from mapush.objects import OBJECTS
from mapush.sim.scene import Scene, build_model
from mapush.viewer.films.recorder import open_film

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.web]

LENGTHS = (60, 41)  # env steps of the two episodes
FPS = 25
SECONDS = (30 + 25 + 20 + 25) / FPS  # a frame for every second env step, then one second of the last one, twice


def _lines_of(number):
    return lambda step: [f"episode {number}", f"step {step} <b>&amp;</b> \"quoted\" 'it' \\n"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of two episodes, as `--record FILE.html` writes it."""
    path = tmp_path_factory.mktemp("page") / "episodes.html"
    film = open_film(path, build_model(Scene(2, OBJECTS["cuboid"])), "<two> walks")
    for number, length in enumerate(LENGTHS, 1):
        film.add(walking_episode(length, number), _lines_of(number))
    assert not path.exists()
    film.close()
    return path


@pytest.mark.browser
def test_page_is_one_small_file_without_links(page):
    """The page loads nothing from elsewhere, is the only file, and has its title."""
    text = page.read_text(encoding="utf-8")
    assert [path.name for path in page.parent.iterdir()] == ["episodes.html"]
    assert len(text) < 3_000_000
    assert "<title>&lt;two&gt; walks</title>" in text
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", text)


@pytest.fixture(scope="module")
def tab(page):
    """The page in a browser without a network; `requests` are the addresses that it asked for."""
    with open_browser() as browser:
        tab = browser.new_context(viewport={"width": 640, "height": 400}, offline=True).new_page()
        tab.requests, tab.errors = [], []
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.goto(page.as_uri())
        tab.wait_for_selector("#mapush-text:not(:empty)", timeout=60_000)
        tab.add_style_tag(content=".mantine-Notifications-root { display: none }")  # viser's, on drawing without a GPU
        _wait_until_time_goes_on(tab)
        tab.keyboard.press("Space")
        _wait_until_time_stands_still(tab)
        yield tab


def _time(tab):
    """Return the time in the play bar, as text."""
    return tab.locator("input").first.input_value()


def _wait_until_time_goes_on(tab):
    tab.wait_for_function("time => document.querySelector('input').value != time", arg=_time(tab), timeout=60_000)


def _wait_until_time_stands_still(tab):
    before = ""
    for _ in range(60):
        if before == _time(tab):
            return
        before = _time(tab)
        settle(tab)
    raise AssertionError("time does not stop")


def _show(tab, seconds, text):
    """Go to a time in `tab`, which is paused, and wait until the page shows this text."""
    tab.locator("input").first.fill(f"{seconds:.2f}")
    tab.wait_for_function(f"document.getElementById('mapush-text').textContent == {json.dumps(text)}", timeout=60_000)


def _picture(tab):
    """Wait until the canvas is drawn, and return the picture on it, shape (H, W, 3)."""
    from PIL import Image

    pictures = []
    for _ in range(60):
        settle(tab)
        with Image.open(io.BytesIO(tab.locator("canvas").first.screenshot())) as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
        if len(pictures) > 1 and (np.abs(pictures[-1] - pictures[-2]) > 30).mean() < 1e-3:
            return pictures[-1]
    raise AssertionError("the picture does not come to rest")


@pytest.mark.browser
def test_page_plays_by_itself_and_without_a_network(page, tab):
    """Opened from the disk, the page requests only itself; it starts to play, and the space bar stops it."""
    asked = [url for url in tab.requests if not url.startswith(("data:", "blob:"))]
    assert asked == [page.as_uri()]
    assert tab.errors == []
    assert tab.title() == "<two> walks"
    for _ in range(2):
        tab.keyboard.press("Space")
        _wait_until_time_goes_on(tab)
        tab.keyboard.press("Space")
        _wait_until_time_stands_still(tab)
    assert float(tab.locator("[role=slider]").first.get_attribute("aria-valuemax")) == pytest.approx(SECONDS)


@pytest.mark.browser
@pytest.mark.parametrize(("seconds", "number", "step"), [(0.02, 1, 0), (0.5, 1, 24), (1.9, 1, 59), (2.3, 2, 4)])
def test_page_says_at_each_time_what_a_film_says(tab, seconds, number, step):
    """The text belongs to the frame at this time, forwards and backwards, letter by letter."""
    _show(tab, seconds, "\n".join(_lines_of(number)(step)))


@pytest.mark.browser
def test_page_shows_the_scene_move(tab):
    """The sand-coloured object and the red goal are visible, things move, and the robots' paths grow."""
    pictures = []
    for seconds, step in ((0.02, 0), (1.9, 59)):
        _show(tab, seconds, "\n".join(_lines_of(1)(step)))
        pictures.append(_picture(tab))
    before, after = pictures
    assert before.std() > 10.0
    assert (np.abs(before - after).max(axis=2) > 30).mean() > 0.01
    blue = [(picture[..., 2] - picture[..., 0] > 120).sum() for picture in pictures]  # not the disc under the robot
    assert blue[1] > 1.2 * blue[0] > 0
    red = [(picture[..., 0] - picture[..., 2] > 60).sum() for picture in pictures]
    assert min(red) > 100


# -- what needs no browser -------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_page_without_an_episode_leaves_neither_file_nor_server(tmp_path):
    """A page without episodes is not written, and its server no longer listens."""
    film = open_film(tmp_path / "empty.html", build_model(Scene(2, OBJECTS["cuboid"])), "nothing")
    port = film._server.port
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    film.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.browser
def test_page_after_ctrl_c_plays_the_episodes_so_far(tmp_path):
    """The page contains an interrupted episode up to the interruption."""

    def interrupt(step):
        if step == 10:
            raise KeyboardInterrupt
        return ["step"]

    film = open_film(tmp_path / "part.html", build_model(Scene(2, OBJECTS["cuboid"])), "part")
    with pytest.raises(KeyboardInterrupt):
        film.add(walking_episode(30), interrupt)
    film.close()
    assert [path.name for path in tmp_path.iterdir()] == ["part.html"]


@pytest.mark.browser
def test_page_on_a_full_disk_is_an_error_that_leaves_nothing(tmp_path, monkeypatch):
    """The error names the file, and the incomplete page is removed."""

    def fill(self, *_, **__):
        self.touch()
        raise OSError(28, "No space left on device")

    film = open_film(tmp_path / "full.html", build_model(Scene(2, OBJECTS["cuboid"])), "full")
    film.add(walking_episode(2), _lines_of(1))
    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(MapushError, match="No space left") as caught:
        film.close()
    assert "full.html" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_page_without_viser_says_what_to_install(tmp_path, monkeypatch):
    """A missing package is reported before anything is simulated."""
    monkeypatch.delitem(sys.modules, "mapush.viewer.films.html_film", raising=False)
    for name in list(sys.modules):
        if name.split(".")[0] == "viser":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigError, match="pip install viser"):
        open_film(tmp_path / "film.html", None, "")
    assert list(tmp_path.iterdir()) == []
