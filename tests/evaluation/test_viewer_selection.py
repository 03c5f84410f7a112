"""The viewer's flags: where episodes are shown, which are recorded, and which flags exclude each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from watching import Film, Screen, short_episodes

from mapush import evaluate
from mapush.config import SimConfig
from mapush.errors import ConfigError
from mapush.evaluation.evaluate_config import RECORDING_SUFFIXES, VIEWER_FLAGS, EvaluateConfig
from mapush.viewer import policy_name
from mapush.viewer import selection as choices
from mapush.viewer.films.recorder import WRITERS
from mapush.viewer.selection import choose

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

MP4 = Path("film.mp4")


def config(**changes):
    return EvaluateConfig(mode="viewer", untrained=True, **changes)


# -- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"viewer": "natve"}, "native"),
        ({"viewer": "none"}, "--record"),
        ({"record": Path("film.avi")}, "unknown kind of film '.avi'"),
        ({"record": Path("film")}, "unknown kind of film ''"),
        ({"only": "failures"}, "--record"),
        ({"only": "successes", "record": MP4}, "unknown choice of episodes 'successes'"),
        ({"episodes": 0}, "no episodes"),
        ({"num_envs": 0}, "nothing to do"),
        ({"record": MP4, "port": 8080}, "--viewer web"),
        ({"viewer": "native", "host": "0.0.0.0"}, "--viewer web"),
        ({"record": MP4, "num_envs": 5}, "--num-envs"),
        ({"sim": SimConfig("isaacgym"), "viewer": "web"}, "MAPush's environment"),
        ({"sim": SimConfig("isaacgym"), "port": 8080}, "MAPush's environment"),
        ({"sim": SimConfig("isaacgym"), "record": Path("film.html")}, "MAPush's environment"),
        ({"sim": SimConfig("isaacgym"), "record": MP4, "viewer": "native"}, "MAPush's environment"),
    ],
)
def test_flags_that_do_not_fit_are_one_message_with_the_way_out(changes, message):
    """Impossible combinations are refused before anything is loaded."""
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("flag", VIEWER_FLAGS)
def test_flags_of_the_viewer_belong_to_it(flag):
    """The calculator does not silently ignore them."""
    values = {"viewer": "web", "host": "::1", "port": 1, "episodes": 2, "record": MP4, "only": "failures"}
    with pytest.raises(ConfigError, match="--" + flag):
        EvaluateConfig(**{flag: values[flag]})


def test_every_kind_of_film_that_may_be_asked_for_can_be_written():
    """The list of suffixes for the flags equals the table of writers."""
    assert RECORDING_SUFFIXES == tuple(WRITERS)


def test_number_of_envs_has_a_default_for_each_mode():
    """The calculator uses the published number and the viewer one env; an explicit number is kept."""
    assert EvaluateConfig().num_envs == 300
    assert config().num_envs == 1
    assert EvaluateConfig(num_envs=7).num_envs == config(num_envs=7).num_envs == 7


@pytest.mark.parametrize("record, viewers", [(None, (None, "auto", "native")), (MP4, (None, "auto", "none"))])
def test_isaac_gym_draws_by_itself(record, viewers):
    """Its own window or its own film is the default, and can be asked for."""
    for name in viewers:
        assert config(sim=SimConfig("isaacgym"), viewer=name, record=record).viewer == name


# -- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets what this machine has."""
    has = {"display": True, "draws": True, "viser": True, "asked": [], "platform": "linux", "mjpython": False}

    def renderer_of(library):
        has["asked"].append(library)
        if has["draws"]:
            return "a GPU"
        return None

    def choose_gl():
        has["asked"].append("gl")
        return "osmesa"

    def find_spec(name):
        if has["viser"]:
            return object()
        return None

    monkeypatch.setattr("mapush.viewer.gl.renderer_of", renderer_of)
    monkeypatch.setattr("mapush.viewer.gl.choose_gl", choose_gl)
    monkeypatch.setattr(choices.importlib.util, "find_spec", find_spec)

    def apply(**changes):
        has.update(changes)
        monkeypatch.setattr(choices.sys, "platform", has["platform"])
        for name in ("DISPLAY", "WAYLAND_DISPLAY", choices.MJPYTHON):
            monkeypatch.delenv(name, raising=False)
        if has["mjpython"]:
            monkeypatch.setenv(choices.MJPYTHON, "/mjpython")
        if has["display"]:
            monkeypatch.setenv("DISPLAY", ":7")
        return has

    return apply


@pytest.mark.parametrize(
    "display, draws, viser, expected, reason",
    [
        (True, True, True, ("native", None), "there is a display"),
        (True, False, True, ("web", None), "the display :7 refuses a window with OpenGL"),
        (False, True, True, ("web", None), "neither DISPLAY nor WAYLAND_DISPLAY is set"),
        (False, True, False, ("none", Path("episodes.mp4")), "viser, which serves a page, is not installed"),
        (True, False, False, ("none", Path("episodes.mp4")), "the display :7 refuses a window with OpenGL"),
    ],
)
def test_auto_takes_the_first_of_window_page_and_file_that_works(machine, display, draws, viser, expected, reason):
    """The choice comes with its reason."""
    machine(display=display, draws=draws, viser=viser)
    chosen = choose(config())
    assert (chosen.viewer, chosen.record) == expected
    assert reason in chosen.reason


@pytest.mark.parametrize(
    "changes, expected, reason",
    [
        ({"platform": "darwin"}, "web", "mjpython -m mapush watch --viewer native"),
        ({"platform": "darwin", "mjpython": True}, "native", "there is a display"),
        ({"platform": "win32"}, "native", "there is a display"),
        ({"platform": "win32", "draws": False}, "web", "refuses a window with OpenGL"),
    ],
)
def test_auto_takes_the_page_on_macos_unless_mjpython_runs(machine, changes, expected, reason):
    """Neither system has DISPLAY; on macOS only mjpython can open MuJoCo's window, and nothing is tried there."""
    has = machine(display=False, **changes)
    chosen = choose(config())
    assert chosen.viewer == expected
    assert reason in chosen.reason
    if changes["platform"] == "darwin":
        assert has["asked"] == []


def test_a_window_on_macos_is_refused_with_the_command_that_opens_it(machine):
    """`--viewer native` under the usual Python is one error, not MuJoCo's traceback."""
    machine(platform="darwin")
    with pytest.raises(ConfigError, match="--viewer web") as caught:
        choose(config(viewer="native"))
    assert "mjpython -m mapush watch --viewer native" in str(caught.value)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"record": MP4}, ("none", MP4)),
        ({"record": MP4, "viewer": "auto"}, ("native", MP4)),
        ({"record": MP4, "viewer": "web"}, ("web", MP4)),
        ({"viewer": "web"}, ("web", None)),
        ({"port": 8081}, ("web", None)),
        ({"host": "0.0.0.0", "viewer": "auto"}, ("web", None)),
    ],
)
def test_a_recording_can_be_watched_and_an_address_means_the_page(machine, changes, expected):
    """This holds where there is a display, too."""
    machine()
    chosen = choose(config(**changes))
    assert (chosen.viewer, chosen.record) == expected


def test_a_window_that_cannot_be_opened_is_refused_with_the_way_out(machine):
    """An explicit --viewer native has no fallback; the error gives cause and alternative."""
    for changes, cause in (({"display": False}, "DISPLAY"), ({"display": True, "draws": False}, ":7")):
        machine(**changes)
        with pytest.raises(ConfigError, match="--viewer web") as caught:
            choose(config(viewer="native"))
        assert cause in str(caught.value)


@pytest.mark.parametrize("changes", [{"viewer": "web"}, {"port": 8081}])
def test_a_page_that_cannot_be_served_is_refused_with_the_package_that_is_missing(machine, changes):
    """Without viser, a page that was asked for by name is an error, not an ImportError later."""
    machine(viser=False)
    with pytest.raises(ConfigError, match="viser is not installed") as caught:
        choose(config(**changes))
    assert "[viewer]" in str(caught.value)


def test_only_films_look_for_an_opengl_library(machine):
    """A recorded page and a page to watch need no OpenGL library."""
    for changes, asked in (({"record": MP4}, ["gl"]), ({"record": Path("a.html")}, []), ({"viewer": "web"}, [])):
        has = machine(asked=[])
        choose(config(**changes))
        assert has["asked"] == asked


# -- from the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def film(monkeypatch):
    """Replace films by a stand-in, and shorten the episodes."""
    film = Film()
    short_episodes(monkeypatch)
    monkeypatch.setattr("mapush.viewer.gl.choose_gl", lambda: "nothing")
    monkeypatch.setattr("mapush.viewer.films.recorder.open_film", lambda path, model, title: film)
    return film


def _view(*words):
    return evaluate.main(["cuboid", "--untrained", "--mode", "viewer", "--sim.threads", "1", *map(str, words)])


@pytest.mark.parametrize("words, count", [((), 3), (("--episodes", 2, "--only", "failures"), 2)])
def test_recording_without_a_viewer_ends_by_itself(film, capsys, words, count):
    """It ends after --episodes, or after three, and prints the path of the recording."""
    assert _view("--record", MP4, *words) == 0
    assert len(film.added) == count
    assert film.closed
    assert f"recorded to film.mp4: {count}" in capsys.readouterr().out


def test_watching_goes_on_until_ctrl_c_and_then_writes_what_is_recorded(film, monkeypatch, capsys):
    """Ctrl-C is not an error; the screen is closed before the film is written."""
    log = []

    class Interrupted(Screen):
        def show(self, episode, step, board):
            if episode.number == 2:
                raise KeyboardInterrupt

        def close(self):
            log.append(len(film.added))

    def open_screen(viewer, model, transport, *_):
        transport.speed = 1000.0
        return Interrupted()

    monkeypatch.setattr("mapush.viewer.screen.open_screen", open_screen)
    assert _view("--viewer", "web", "--record", MP4, "--episodes", 5) == 0
    assert log == [0]
    assert [episode.number for episode in film.added] == [1]
    assert film.closed
    assert "viewer web (as asked for)" in capsys.readouterr().out


def test_watching_has_no_end_unless_episodes_are_counted_or_recorded(film, monkeypatch):
    """By default, the user can watch without end."""
    boards = []

    class Playback:
        def __init__(self, env, make_env, agent, transport, board, *others):
            boards.append(board)

        def play(self):
            """Play nothing."""

    monkeypatch.setattr("mapush.viewer.playback.Playback", Playback)
    monkeypatch.setattr("mapush.viewer.screen.open_screen", lambda *_: Screen())
    monkeypatch.setattr(Screen, "close", lambda self: None, raising=False)
    for words in (("--viewer", "web"), ("--viewer", "web", "--episodes", 4), ("--viewer", "web", "--record", MP4)):
        assert _view(*words) == 0
    assert [board.episodes for board in boards] == [None, 4, 3]


@pytest.mark.parametrize("suffix", [".mp4", ".html"])
def test_recording_into_a_folder_that_does_not_exist_is_one_message(monkeypatch, tmp_path, capsys, suffix):
    """It is reported before anything is simulated, and the folder is not made."""
    short_episodes(monkeypatch)
    monkeypatch.setattr("mapush.viewer.gl.choose_gl", lambda: "nothing")
    assert _view("--record", tmp_path / "missing" / ("film" + suffix)) == 2
    error = capsys.readouterr().err
    assert error.startswith("recording cuboid\nConfigError: cannot record to")
    assert str(tmp_path / "missing") in error
    assert "Traceback" not in error
    assert not (tmp_path / "missing").exists()


def test_page_names_the_policy_that_is_watched():
    """A run or a file by its last name; otherwise, where the weights come from."""
    assert policy_name(EvaluateConfig(checkpoint=(Path("runs/cuboid/mine"),))) == "mine"
    assert policy_name(EvaluateConfig(untrained=True)) == "untrained"
    assert policy_name(EvaluateConfig()) == "the shipped policy"
