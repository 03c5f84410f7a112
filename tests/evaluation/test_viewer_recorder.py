"""Films: they play, show the right things, are complete or absent, and report early what is missing."""

from __future__ import annotations

import functools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest
from episodes import GOAL, STEP, frame_at, walking_episode
from interrupts import interruptible

from mapush.errors import ConfigError
from mapush.evaluation.episode import Episode
from mapush.objects import OBJECTS
from mapush.sim.scene import Scene, build_model
from mapush.viewer.films.encoder import find_ffmpeg
from mapush.viewer.films.episode_renderer import framing
from mapush.viewer.films.film import steps_of
from mapush.viewer.films.film_file import require_writable
from mapush.viewer.films.recorder import open_film
from mapush.viewer.overlay import ROBOT_COLOURS, aim

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

LENGTHS = (21, 24)  # env steps of the episodes in the films here
HELD = 25  # frames of the last step, at 25 frames/s


# -- films, from a separate process: the OpenGL library has to be chosen before MuJoCo is imported ---------------------

_START = """
import sys
from pathlib import Path
from mapush.viewer.gl import choose_gl
choose_gl()
from episodes import walking_episode
from mapush.objects import OBJECTS
from mapush.sim.scene import Scene, build_model
from mapush.viewer.films.recorder import open_film
folder, model = Path(sys.argv[1]), build_model(Scene(2, OBJECTS["cuboid"]))
def lines_of(step):
    return ["step {}".format(step), "a line that is longer", "three", "four", "five", "six"]
"""

_RECORD = """
for name, text in (("film.mp4", lines_of), ("film.gif", lines_of), ("silent.mp4", lambda step: [])):
    film = open_film(folder / name, model, "two walks")
    for number, length in enumerate({lengths}, 1):
        film.add(walking_episode(length, number), text)
    assert not (folder / name).exists(), "an incomplete film has its final name"
    film.close()
open_film(folder / "empty.mp4", model, "nothing").close()
open_film(folder / "empty.gif", model, "nothing").close()

film = open_film(folder / "full.mp4", model, "nowhere to write")
film.add(walking_episode(2), lines_of)
film._encoder._ffmpeg.kill()
try:
    film.add(walking_episode(60), lines_of)
except Exception as error:
    (folder / "writing.txt").write_text(str(error))
try:
    film.close()
except Exception as error:
    assert str(error) == (folder / "writing.txt").read_text()

film = open_film(folder / "late.mp4", model, "nowhere to finish")
film.add(walking_episode(2), lines_of)
film._encoder._ffmpeg.kill()
try:
    film.close()
except Exception as error:
    (folder / "closing.txt").write_text(str(error))
"""

_RECORD_UNTIL_CTRL_C = """
film = open_film(folder / "film.mp4", model, "until Ctrl-C")
try:
    while True:
        film.add(walking_episode(9), lines_of)
        print("added", flush=True)
except KeyboardInterrupt:
    film.close()
"""


def _python(script, folder, **how):
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MUJOCO_GL")}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), env.get("PYTHONPATH", "")])
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with interruptible():
        return subprocess.Popen([sys.executable, "-c", _START + script, str(folder)], env=env, **pipes, **how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with films of two episodes."""
    path = tmp_path_factory.mktemp("films")
    process = _python(_RECORD.format(lengths=LENGTHS), path)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return path


@functools.lru_cache(maxsize=3)
def _decode(film, width=1280, height=720):
    """Return the frames of a film, shape (T, height, width, 3), uint8, and ffmpeg's description of it."""
    command = [find_ffmpeg("libx264"), "-i", str(film), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return frames, done.stderr.decode()


@pytest.mark.render
def test_film_plays_with_the_expected_frames(folder):
    """An H.264 film has 25 frames/s: a frame for every second env step, then the last one for a second."""
    frames, said = _decode(folder / "film.mp4")
    for property_ in ("h264", "yuv420p", "1280x720", "25 fps", "two walks"):
        assert property_ in said
    moving = [(length - 1 + 1) // 2 for length in LENGTHS]
    assert len(frames) == sum(moving) + 2 * HELD
    changes = np.abs(np.diff(frames[:, ::4, ::4].astype(int), axis=0)).mean(axis=(1, 2, 3))
    moves = changes > 0.1
    ends = moving[0] + HELD
    assert moves[: moving[0]].all()
    assert not moves[moving[0] + 1 : ends - 1].any()
    assert moves[ends - 1 : ends + moving[1]].all()
    assert not moves[ends + moving[1] + 1 :].any()
    assert min(frame.std() for frame in frames[::8]) > 20.0


@pytest.mark.render
def test_film_has_text_in_its_corner_and_nowhere_else(folder):
    """The box is dark, its white letters change with the step, and pixels outside the box hardly differ."""
    written, _ = _decode(folder / "film.mp4")
    silent, _ = _decode(folder / "silent.mp4")
    box = (slice(8, 8 + 140), slice(8, 8 + 180))
    for index in (0, 20):
        inside, without = written[index][box], silent[index][box]
        assert np.median(inside) < 0.6 * np.median(without)
        assert inside.max() > 230
        outside = np.abs(written[index].astype(int) - silent[index])
        outside[:180, :300] = 0
        assert outside.mean() < 1.0
    digits = (slice(8, 40), slice(60, 120))
    assert np.abs(written[0][digits].astype(int) - written[4][digits]).max() > 100


@pytest.mark.render
def test_film_shows_paths_where_the_robots_went(folder):
    """Projected by a pinhole camera, the path of a robot has its colour, and the floor next to it has not."""
    frames, _ = _decode(folder / "silent.mp4")
    episode = walking_episode(LENGTHS[0])
    places = np.array([(-1.2, -0.9, 0.013), (-1.2, -1.05, 0.013), (-0.9, 1.1, 0.013)])
    x, y = _pixels(episode, places).round().astype(int).T
    last = frames[LENGTHS[0] // 2 + 5]
    orange, floor, blue = last[y, x] / 255.0
    assert orange[0] > 2 * orange[2]
    assert blue[2] > 2 * blue[0]
    assert np.ptp(floor) < 0.2
    assert np.argmax(ROBOT_COLOURS[0][:3]) == np.argmax(orange)


@pytest.mark.render
def test_film_shows_the_object_where_it_is(folder):
    """Projected by a pinhole camera, the object's later position first shows the floor, then its colour."""
    frames, _ = _decode(folder / "silent.mp4")
    place = np.array([(20 * STEP + 0.3, 0.0, 0.49)])
    ((x, y),) = _pixels(walking_episode(LENGTHS[0]), place).round().astype(int)
    floor = frames[0, y, x].astype(int)
    top = frames[LENGTHS[0] // 2 + 5, y, x].astype(int)
    assert floor[0] <= floor[2]
    assert top[0] > 1.3 * top[2]


@pytest.mark.render
def test_gif_plays_with_the_expected_frames_and_is_small(folder):
    """A GIF has 10 frames/s: a frame for every fifth env step, then the last one for a second."""
    from PIL import Image

    frames, said = _decode(folder / "film.gif", 640, 360)
    assert "gif" in said
    assert "10 fps" in said
    assert len(frames) == sum(-(-(length - 1) // 5) for length in LENGTHS) + 2 * 10
    assert np.abs(np.diff(frames[:4].astype(int), axis=0)).mean(axis=(1, 2, 3)).min() > 0.1
    three_lines, below = frames[0][10:65, 8:12], frames[0][95:110, 8:12]
    assert three_lines.max() < 60 < below.min()
    assert (folder / "film.gif").stat().st_size < 500_000
    with Image.open(folder / "film.gif") as film:
        assert film.info["loop"] == 0  # for ever


@pytest.mark.render
def test_film_without_an_episode_leaves_no_file(folder):
    """Closed films have their names; a film without episodes, or one that failed, leaves no file."""
    assert sorted(path.name for path in folder.glob("*.mp4")) == ["film.mp4", "silent.mp4"]
    assert sorted(path.name for path in folder.glob("*.gif")) == ["film.gif"]
    assert not list(folder.glob("*.part"))


@pytest.mark.render
def test_film_whose_encoder_dies_is_an_error_that_names_the_file(folder):
    """Recording stops with an error when its encoder has died."""
    for when, film in (("writing", "full.mp4"), ("closing", "late.mp4")):
        said = (folder / (when + ".txt")).read_text()
        assert "the film could not be written" in said
        assert film in said
        assert "disk" in said


@pytest.mark.render
def test_film_after_ctrl_c_plays_the_episodes_so_far(tmp_path):
    """Ctrl-C reaches all processes of the terminal; the encoder still finishes, and no partial file is left."""
    process = _python(_RECORD_UNTIL_CTRL_C, tmp_path, start_new_session=True)
    assert process.stdout.readline() == "added\n", process.stderr.read()
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    frames, _ = _decode(tmp_path / "film.mp4")
    assert len(frames) >= 4 + HELD


# -- what a film shows -------------------------------------------------------------------------------------------------


def test_steps_of_hold_the_last_one_for_a_second():
    """Every second env step at 25 frames/s and every fifth at 10, and the last one for a second."""
    assert steps_of(walking_episode(6), 25) == [0, 2, 4] + [5] * 25
    assert steps_of(walking_episode(7), 25) == [0, 2, 4] + [6] * 25
    assert steps_of(walking_episode(12), 10) == [0, 5, 10] + [11] * 10
    assert steps_of(walking_episode(1), 10) == [0] * 10


def _pixels(episode, places):
    """Return the pixels that show `places`, shape (n, 3), through MuJoCo's camera, shape (n, 2)."""
    model = build_model(Scene(2, OBJECTS["cuboid"]))
    fovy = math.radians(model.vis.global_.fovy)
    camera, scene, data = mujoco.MjvCamera(), mujoco.MjvScene(model, 1000), mujoco.MjData(model)
    aim(camera, *framing(episode, fovy))
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
    eye = np.mean([one.pos for one in scene.camera], axis=0)
    forward, up = scene.camera[0].forward.astype(float), scene.camera[0].up.astype(float)
    depth = (places - eye) @ forward
    focal = 360.0 / math.tan(fovy / 2)
    across = (places - eye) @ np.cross(forward, up) / depth * focal
    upwards = (places - eye) @ up / depth * focal
    return np.stack((640.0 + across, 360.0 - upwards), axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_framing_keeps_the_complete_episode_in_the_picture(seed):
    """Robots, object and the goal's disc are always visible, and the camera is as near as possible."""
    draw = np.random.default_rng(seed)
    far = draw.uniform(0.5, 8.0)
    episode = Episode(1)
    for _ in range(5):
        episode.frames.append(frame_at(draw.uniform(-far, far, (2, 3)), draw.uniform(-far, far, 3)))
    around = 0.99 * np.array([(-1, -1, 0), (-1, 1, 0), (1, -1, 0), (1, 1, 0)])
    places = [np.append(GOAL, 0.0)]
    for frame in episode.frames:
        for position in (*frame.robots, frame.object):
            places.append(np.append(position[:2], 0.0))
    pixels = _pixels(episode, (np.array(places)[:, None] + around).reshape(-1, 3))
    assert pixels.min() >= 0.0
    assert (pixels.max(axis=0) <= (1280, 720)).all()
    margins = np.concatenate((pixels.min(axis=0), (1280, 720) - pixels.max(axis=0)))
    assert margins.min() < 60.0


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_open_film_of_an_unknown_kind_names_the_kinds():
    """An unknown suffix is reported before anything is drawn."""
    with pytest.raises(ConfigError, match=r"\.mp4") as caught:
        open_film(Path("film.mp3"), None, "")
    for suffix in (".mp4", ".gif", ".html"):
        assert suffix in str(caught.value)


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film.html"])
def test_open_film_where_none_can_be_written_says_why(tmp_path, monkeypatch, name):
    """A missing folder, a folder of that name, and missing permission are reported at once."""
    with pytest.raises(ConfigError, match="mkdir -p .*nowhere"):
        open_film(tmp_path / "nowhere" / name, None, "")
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="it is a folder"):
        open_film(tmp_path / name, None, "")

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="Permission denied"):
        open_film(tmp_path / ("other" + name), None, "")


def test_find_ffmpeg_without_one_that_works_says_what_to_install(tmp_path, monkeypatch):
    """A missing package, a missing or broken binary, and a missing codec are one error each."""
    import imageio_ffmpeg

    with pytest.raises(ConfigError, match="imageio-ffmpeg") as caught:
        find_ffmpeg("no_such_codec")
    assert "no_such_codec" in str(caught.value)
    (tmp_path / "text").write_text("not a program")
    for broken in (sys.executable, str(tmp_path / "text"), str(tmp_path / "missing")):
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda path=broken: path)
        with pytest.raises(ConfigError, match="imageio-ffmpeg"):
            find_ffmpeg("libx264")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match="imageio-ffmpeg"):
        find_ffmpeg("libx264")


def test_open_film_leaves_an_older_film_unchanged(tmp_path):
    """An older film is replaced only by a complete new one."""
    old = tmp_path / "film.mp4"
    old.write_text("old")
    require_writable(old)
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]
